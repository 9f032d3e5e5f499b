//! Attributes: set what users name, reset what they no longer name, leave everything else to whoever set it.

use crate::model::{Attributes, GroupSpec, TargetType, Wire};
use crate::tags;

/// AWS's defaults of a load balancer's attributes. `None`: the key is not known here, or AWS takes no empty value,
/// and it stays as it is.
pub(super) fn of_load_balancer(key: &str) -> Option<&'static str> {
    Some(match key {
        "deletion_protection.enabled"
        | "load_balancing.cross_zone.enabled"
        | "access_logs.s3.enabled"
        | "zonal_shift.config.enabled" => "false",
        "access_logs.s3.prefix" => "",
        "dns_record.client_routing_policy" => "any_availability_zone",
        _ => return None,
    })
}

/// The same of a target group, whose defaults depend on what it is.
pub(super) fn of_group(spec: &GroupSpec, key: &str) -> Option<&'static str> {
    let datagrams = matches!(spec.protocol, Wire::Udp | Wire::TcpUdp);
    let instance = spec.target_type == TargetType::Instance;
    let truth = |value| if value { "true" } else { "false" };
    Some(match key {
        "preserve_client_ip.enabled" => truth(instance || datagrams),
        "deregistration_delay.connection_termination.enabled" => truth(datagrams),
        "proxy_protocol_v2.enabled" | "stickiness.enabled" => "false",
        "stickiness.type" => "source_ip",
        "load_balancing.cross_zone.enabled" => "use_load_balancer_configuration",
        "deregistration_delay.timeout_seconds" => "300",
        "target_health_state.unhealthy.connection_termination.enabled" => "true",
        "target_health_state.unhealthy.draining_interval_seconds" => "0",
        "target_group_health.dns_failover.minimum_healthy_targets.count"
        | "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" => "1",
        "target_group_health.dns_failover.minimum_healthy_targets.percentage"
        | "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" => "off",
        _ => return None,
    })
}

/// The same of a listener.
pub(super) fn of_listener(protocol: Wire, key: &str) -> Option<&'static str> {
    (protocol == Wire::Tcp && key == "tcp.idle_timeout.seconds").then_some("350")
}

/// The attributes to set, and the note of those that Herald manages.
pub(super) struct Difference {
    pub(super) set: Attributes,
    pub(super) note: Option<String>,
}

/// Compares the attributes of an object with what is wanted of it; `noted` are those that were set earlier.
pub(super) fn difference(
    have: Option<&Attributes>,
    want: &Attributes,
    noted: &[String],
    default: impl Fn(&str) -> Option<&'static str>,
) -> Difference {
    let value = |key: &str| have.and_then(|have| have.get(key)).map(String::as_str);
    let mut set: Attributes = want
        .iter()
        .filter(|(key, wanted)| value(key) != Some(wanted))
        .map(|(key, wanted)| (key.clone(), wanted.clone()))
        .collect();
    let mut managed = want.clone();
    for key in noted.iter().filter(|key| !want.contains_key(*key)) {
        // An empty value is not reported by AWS at all.
        if let Some(reset) = default(key)
            && value(key).unwrap_or_default() != reset
        {
            set.insert(key.clone(), reset.to_owned());
            managed.insert(key.clone(), reset.to_owned());
        }
    }
    Difference {
        set,
        note: tags::note(&managed),
    }
}

/// Whether the attributes of an object have to be known to plan for it.
pub(super) fn needed(want: &Attributes, tags: &crate::model::Tags) -> bool {
    !want.is_empty() || tags.contains_key(tags::MANAGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Attributes {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn sets_what_differs_and_resets_what_is_no_longer_asked_for() {
        let default = of_load_balancer;
        let have = map(&[
            ("access_logs.s3.enabled", "true"),
            ("access_logs.s3.bucket", "logs"),
            ("deletion_protection.enabled", "true"),
            ("load_balancing.cross_zone.enabled", "false"),
        ]);
        let want = map(&[("load_balancing.cross_zone.enabled", "true")]);
        let noted = ["access_logs.s3.enabled", "access_logs.s3.bucket"].map(str::to_owned);
        let found = difference(Some(&have), &want, &noted, default);
        let expected = map(&[
            ("load_balancing.cross_zone.enabled", "true"),
            ("access_logs.s3.enabled", "false"),
        ]);
        assert_eq!(found.set, expected, "protection was set by somebody else");
        assert_eq!(
            found.note.as_deref(),
            Some("access_logs.s3.enabled load_balancing.cross_zone.enabled")
        );

        let mut reset = have;
        reset.extend(found.set);
        let found = difference(Some(&reset), &want, &noted, default);
        assert_eq!(found.set, Attributes::new());
        assert_eq!(
            found.note.as_deref(),
            Some("load_balancing.cross_zone.enabled")
        );
    }
}
