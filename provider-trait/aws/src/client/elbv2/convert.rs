//! Between the SDK's types and ours.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types as sdk;
use herald_core::IpFamily;

use crate::model::{
    AddressType, GroupSpec, Health, HealthCheck, Listener, ListenerSpec, LoadBalancer, Mapping,
    NO_ALPN, Probe, Ref, Scheme, State, Tags, Target, TargetGroup, TargetType, Wire,
};

/// A load balancer as described, without tags; `None` for what is not a Network Load Balancer in a usable form.
pub(super) fn load_balancer(found: &sdk::LoadBalancer) -> Option<LoadBalancer> {
    use sdk::LoadBalancerStateEnum::{Active, ActiveImpaired, Failed};
    let state = match found.state().and_then(|state| state.code()) {
        Some(Active | ActiveImpaired) => State::Active,
        Some(Failed) => State::Failed,
        _ => State::Provisioning,
    };
    let zone = |zone: &sdk::AvailabilityZone| {
        let addresses = zone.load_balancer_addresses();
        let one = |get: fn(&sdk::LoadBalancerAddress) -> Option<&str>| {
            addresses.iter().find_map(get).map(str::to_owned)
        };
        Mapping {
            subnet: zone.subnet_id().unwrap_or_default().to_owned(),
            allocation: one(sdk::LoadBalancerAddress::allocation_id),
            private_ipv4: one(sdk::LoadBalancerAddress::private_ipv4_address)
                .and_then(|a| a.parse().ok()),
            ipv6: one(sdk::LoadBalancerAddress::ipv6_address).and_then(|a| a.parse().ok()),
        }
    };
    Some(LoadBalancer {
        arn: found.load_balancer_arn()?.to_owned(),
        name: found.load_balancer_name()?.to_owned(),
        dns_name: found.dns_name().unwrap_or_default().to_owned(),
        scheme: Scheme::parse(found.scheme()?.as_str())?,
        address_type: found
            .ip_address_type()
            .and_then(|t| AddressType::parse(t.as_str()))
            .unwrap_or(AddressType::Ipv4),
        state,
        vpc: found.vpc_id().unwrap_or_default().to_owned(),
        mappings: found.availability_zones().iter().map(zone).collect(),
        security_groups: found.security_groups().iter().cloned().collect(),
        tags: Tags::new(),
        attributes: None,
        listeners: None,
    })
}

/// A target group as described, without tags; `None` for one of a kind that Herald does not make.
pub(super) fn target_group(found: &sdk::TargetGroup) -> Option<TargetGroup> {
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let port = match found.health_check_port() {
        None | Some("traffic-port") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    let protocol = Probe::parse(found.health_check_protocol()?.as_str())?;
    let http = protocol != Probe::Tcp;
    let codes = found
        .matcher()
        .and_then(|m| m.http_code())
        .map(str::to_owned);
    let family = match found.ip_address_type() {
        Some(sdk::TargetGroupIpAddressTypeEnum::Ipv6) => IpFamily::V6,
        _ => IpFamily::V4,
    };
    Some(TargetGroup {
        arn: found.target_group_arn()?.to_owned(),
        spec: GroupSpec {
            name: found.target_group_name()?.to_owned(),
            protocol: Wire::parse(found.protocol()?.as_str())?,
            port: u16::try_from(found.port()?).ok()?,
            target_type: TargetType::parse(found.target_type()?.as_str())?,
            family,
            vpc: found.vpc_id().unwrap_or_default().to_owned(),
            health_check: HealthCheck {
                protocol,
                port,
                path: found
                    .health_check_path()
                    .filter(|_| http)
                    .map(str::to_owned),
                codes: codes.filter(|_| http),
                interval: number(found.health_check_interval_seconds()),
                timeout: number(found.health_check_timeout_seconds()),
                healthy: number(found.healthy_threshold_count()),
                unhealthy: number(found.unhealthy_threshold_count()),
            },
            tags: Tags::new(),
        },
        attributes: None,
        targets: None,
    })
}

/// A listener as described, without further certificates and tags.
pub(super) fn listener(found: &sdk::Listener) -> Option<Listener> {
    let target_group = found
        .default_actions()
        .iter()
        .find_map(|action| action.target_group_arn());
    let text = |value: Option<&str>| value.map(str::to_owned);
    let certificate = found
        .certificates()
        .first()
        .and_then(|c| c.certificate_arn());
    let protocol = Wire::parse(found.protocol()?.as_str())?;
    let tls = protocol == Wire::Tls;
    let spec = ListenerSpec {
        port: u16::try_from(found.port()?).ok()?,
        protocol,
        target_group: group_ref(target_group.unwrap_or_default()),
        certificate: text(certificate),
        tls_policy: text(found.ssl_policy()).filter(|_| tls),
        alpn: tls.then(|| {
            found
                .alpn_policy()
                .first()
                .map_or(NO_ALPN, String::as_str)
                .to_owned()
        }),
    };
    Some(Listener {
        arn: found.listener_arn()?.to_owned(),
        spec,
        certificates: BTreeSet::new(),
        attributes: None,
        tags: Tags::new(),
    })
}

/// A reference from a target group's ARN: `arn:…:targetgroup/<name>/<id>`.
fn group_ref(arn: &str) -> Ref {
    let name = arn.rsplit('/').nth(1).unwrap_or_default();
    Ref::to(name, arn)
}

pub(super) fn targets(found: &[sdk::TargetHealthDescription]) -> BTreeMap<Target, Health> {
    use sdk::TargetHealthStateEnum::{Draining, Healthy, Initial};
    let one = |found: &sdk::TargetHealthDescription| {
        let target = found.target()?;
        let state = found.target_health();
        let health = match state.and_then(|s| s.state()) {
            Some(Healthy) => Health::Healthy,
            Some(Initial) => Health::Initial,
            Some(Draining) => Health::Draining,
            _ => {
                let reason = state
                    .and_then(|s| s.reason())
                    .map(|r| r.as_str().to_owned());
                Health::Unhealthy(reason.unwrap_or_default())
            }
        };
        let target = Target {
            id: target.id()?.to_owned(),
            port: u16::try_from(target.port()?).ok()?,
            anywhere: target.availability_zone() == Some("all"),
        };
        Some((target, health))
    };
    found.iter().filter_map(one).collect()
}

pub(super) fn tags(found: &[sdk::Tag]) -> Tags {
    let one = |tag: &sdk::Tag| {
        Some((
            tag.key()?.to_owned(),
            tag.value().unwrap_or_default().to_owned(),
        ))
    };
    found.iter().filter_map(one).collect()
}

pub(super) fn to_tags(tags: &Tags) -> Vec<sdk::Tag> {
    tags.iter()
        .map(|(key, value)| sdk::Tag::builder().key(key).value(value).build())
        .collect()
}

pub(super) fn to_mappings(mappings: &BTreeSet<Mapping>) -> Vec<sdk::SubnetMapping> {
    let text = |address: Option<std::net::IpAddr>| address.map(|a| a.to_string());
    let one = |mapping: &Mapping| {
        sdk::SubnetMapping::builder()
            .subnet_id(&mapping.subnet)
            .set_allocation_id(mapping.allocation.clone())
            .set_private_ipv4_address(text(mapping.private_ipv4))
            .set_ipv6_address(text(mapping.ipv6))
            .build()
    };
    mappings.iter().map(one).collect()
}

pub(super) fn to_targets<'a>(
    targets: impl IntoIterator<Item = &'a Target>,
) -> Vec<sdk::TargetDescription> {
    let one = |target: &Target| {
        sdk::TargetDescription::builder()
            .id(&target.id)
            .port(target.port.into())
            .set_availability_zone(target.anywhere.then(|| "all".to_owned()))
            .build()
    };
    targets.into_iter().map(one).collect()
}

pub(super) fn to_certificates<'a>(
    arns: impl IntoIterator<Item = &'a String>,
) -> Vec<sdk::Certificate> {
    let one = |arn| sdk::Certificate::builder().certificate_arn(arn).build();
    arns.into_iter().map(one).collect()
}

pub(super) fn to_action(target_group: &str) -> sdk::Action {
    sdk::Action::builder()
        .r#type(sdk::ActionTypeEnum::Forward)
        .target_group_arn(target_group)
        .build()
}

pub(super) fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
