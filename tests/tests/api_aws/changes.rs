//! Everything about a Service that can change while its load balancer stays.

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Health;
use herald_tests::wait_for;
use serde_json::json;

use crate::api_aws::aws::{Made, REGION, Tagged};
use crate::api_aws::cloud::{Cloud, PROVISIONED, TARGETS_HEALTHY};
use crate::api_aws::objects::{annotation, port};
use crate::api_aws::site::node;
use crate::api_server::DEADLINE;

pub(crate) fn health_is_told(cloud: &Cloud, group: &str, unhealthy: &[String]) -> Result<()> {
    let objects = cloud.objects();
    let report = |state: Option<&str>| {
        cloud.moto.health(&[Health {
            region: REGION.into(),
            group: Some(group.to_owned()),
            state: state.map(str::to_owned),
            ..Health::default()
        }])
    };
    report(Some("unhealthy"))?;
    cloud.wait_for_targets(group, unhealthy)?;
    let condition = objects.wait_for_condition("web", TARGETS_HEALTHY, "False", "Unhealthy")?;
    ensure!(
        condition["message"] == "0 of 3 targets are healthy",
        "{condition}"
    );
    // The load balancer itself is none the worse for it.
    objects.wait_for_condition("web", PROVISIONED, "True", "Provisioned")?;
    report(None)?;
    objects
        .wait_for_condition("web", TARGETS_HEALTHY, "True", "Healthy")
        .map(drop)
}

/// A node that an autoscaler takes away leaves before it goes; one that comes joins.
pub(crate) fn nodes_come_and_go(cloud: &Cloud, group: &str, number: u64) -> Result<()> {
    let objects = cloud.objects();
    let site = &cloud.site;
    let targets = |instances: &[&String]| {
        let mut all: Vec<_> = instances
            .iter()
            .map(|id| format!("{id}:{number} healthy"))
            .collect();
        all.sort();
        all
    };
    let [one, two, three] = &site.instances[..] else {
        anyhow::bail!("three instances");
    };
    let admin = cloud.bench().admin();
    let taint = "ToBeDeletedByClusterAutoscaler=1:NoSchedule";
    admin.run(&["taint", "node", "n3", taint])?;
    cloud.wait_for_targets(group, &targets(&[one, two]))?;
    admin.run(&["taint", "node", "n3", "ToBeDeletedByClusterAutoscaler-"])?;
    cloud.wait_for_targets(group, &targets(&[one, two, three]))?;
    // Cordoned for an upgrade: it still serves.
    admin.run(&["cordon", "n2"])?;
    objects.delete("node/n3")?;
    cloud.wait_for_targets(group, &targets(&[one, two]))?;
    admin.run(&["uncordon", "n2"])?;
    cloud.add_node(&node("n3", three))?;
    cloud.wait_for_targets(group, &targets(&[one, two, three]))
}

pub(crate) fn ports_change(cloud: &Cloud, uid: &str, balancer: &Tagged) -> Result<()> {
    let objects = cloud.objects();
    let listeners = |expected: &[(u16, &str)]| {
        wait_for(&format!("listeners {expected:?} of web"), DEADLINE, || {
            let found = cloud.aws.listeners(&balancer.id)?;
            let found: Vec<_> = found
                .iter()
                .map(|one| (one["Port"].as_u64(), one["Protocol"].as_str()))
                .collect();
            let expected = expected
                .iter()
                .map(|(port, protocol)| (Some(u64::from(*port)), Some(*protocol)));
            ensure!(found == expected.collect::<Vec<_>>(), "{found:?}");
            let groups = cloud.aws.made_for(uid)?.target_groups.len();
            ensure!(groups == found.len(), "{groups} target groups");
            Ok(Some(()))
        })
    };
    let three = [
        port("http", 80, "TCP"),
        port("https", 443, "TCP"),
        port("dns", 53, "UDP"),
    ];
    objects.patch("web", &json!({ "spec": { "ports": three } }).to_string())?;
    listeners(&[(53, "UDP"), (80, "TCP"), (443, "TCP")])?;
    // Nothing answers TCP on a UDP port: the node's own health is asked.
    let made = cloud.aws.made_for(uid)?;
    let udp = made
        .target_groups
        .iter()
        .find(|group| group.is["Protocol"] == "UDP");
    let udp = &udp.context("a UDP target group")?.is;
    ensure!(
        udp["HealthCheckProtocol"] == "HTTP" && udp["HealthCheckPort"] == "10256",
        "{udp}"
    );
    cloud.wait_until_published("web", &["80/TCP", "443/TCP", "53/UDP"])?;
    // One number changes, one port goes.
    let two = [port("http", 81, "TCP"), port("https", 443, "TCP")];
    objects.patch("web", &json!({ "spec": { "ports": two } }).to_string())?;
    listeners(&[(81, "TCP"), (443, "TCP")])?;
    cloud.wait_until_published("web", &["81/TCP", "443/TCP"])
}

pub(crate) fn sources_change(cloud: &Cloud, uid: &str) -> Result<()> {
    let objects = cloud.objects();
    let rules = |expected: &[&str]| {
        cloud.until(&format!("rules {expected:?}"), uid, |made| {
            let found = ingress(made.security_group()?);
            ensure!(found == expected, "{found:?}");
            Ok(true)
        })
    };
    rules(&["tcp 443 0.0.0.0/0", "tcp 81 0.0.0.0/0"])?;
    let ranges =
        json!({ "spec": { "loadBalancerSourceRanges": ["192.0.2.0/24", "198.51.100.7/32"] } });
    objects.patch("web", &ranges.to_string())?;
    rules(&[
        "tcp 443 192.0.2.0/24",
        "tcp 443 198.51.100.7/32",
        "tcp 81 192.0.2.0/24",
        "tcp 81 198.51.100.7/32",
    ])?;
    objects.patch("web", r#"{"spec":{"loadBalancerSourceRanges":null}}"#)?;
    rules(&["tcp 443 0.0.0.0/0", "tcp 81 0.0.0.0/0"]).map(drop)
}

/// The rules of a security group as `protocol port source`, sorted.
fn ingress(group: &Tagged) -> Vec<String> {
    let mut all = Vec::new();
    for rule in group.is["IpPermissions"].as_array().into_iter().flatten() {
        for range in rule["IpRanges"].as_array().into_iter().flatten() {
            let source = range["CidrIp"].as_str().unwrap_or_default();
            let protocol = rule["IpProtocol"].as_str().unwrap_or_default();
            all.push(format!("{protocol} {} {source}", rule["FromPort"]));
        }
    }
    all.sort();
    all
}

/// Attributes, health checks and tags: set, changed, and back at their defaults when the annotation goes.
pub(crate) fn settings_change(cloud: &Cloud, uid: &str, balancer: &Tagged) -> Result<()> {
    let set = |values: &[(&str, Option<&str>)]| -> Result<()> {
        for (name, value) in values {
            cloud.objects().annotate("web", &annotation(name, *value))?;
        }
        Ok(())
    };
    let groups = |made: &Made, key: &str, value: &str| -> Result<bool> {
        for group in &made.target_groups {
            let found = cloud.aws.attribute(&group.id, key)?;
            ensure!(found == value, "{key} is {found}");
        }
        Ok(true)
    };
    let cross = "load_balancing.cross_zone.enabled";
    let delay = "deregistration_delay.timeout_seconds";
    let checks = |made: &Made, interval: u64, path: Option<&str>| {
        made.target_groups.iter().all(|group| {
            group.is["HealthCheckIntervalSeconds"] == interval
                && group.is["HealthCheckPath"].as_str() == path
        })
    };
    // Of the listener on port 81, the first.
    let idle = |balancer: &Tagged| -> Result<String> {
        let listeners = cloud.aws.listeners(&balancer.id)?;
        let arn = listeners[0]["ListenerArn"].as_str().unwrap_or_default();
        cloud.aws.attribute(arn, "tcp.idle_timeout.seconds")
    };
    let mut all = made_names(&cloud.aws.made_for(uid)?);
    set(&[
        (
            "aws-load-balancer-attributes",
            Some("load_balancing.cross_zone.enabled=true"),
        ),
        (
            "aws-load-balancer-target-group-attributes",
            Some("deregistration_delay.timeout_seconds=30"),
        ),
        (
            "aws-load-balancer-additional-resource-tags",
            Some("team=net,app=web"),
        ),
        ("aws-load-balancer-healthcheck-interval", Some("15")),
        (
            "aws-load-balancer-listener-attributes.TCP-81",
            Some("tcp.idle_timeout.seconds=60"),
        ),
    ])?;
    cloud.until("attributes, tags and interval", uid, |made| {
        let balancer = made.load_balancer()?;
        let tags = (balancer.tag("team"), balancer.tag("app"));
        ensure!(tags == (Some("net"), Some("web")), "{tags:?}");
        ensure!(cloud.aws.attribute(&balancer.id, cross)? == "true");
        ensure!(checks(made, 15, None), "{:?}", made.target_groups);
        ensure!(idle(balancer)? == "60");
        groups(made, delay, "30")
    })?;
    set(&[
        ("aws-load-balancer-attributes", None),
        (
            "aws-load-balancer-target-group-attributes",
            Some("deregistration_delay.timeout_seconds=60"),
        ),
        (
            "aws-load-balancer-additional-resource-tags",
            Some("team=ops"),
        ),
        ("aws-load-balancer-healthcheck-interval", None),
        ("aws-load-balancer-listener-attributes.TCP-81", None),
    ])?;
    cloud.until("attributes, tags and interval changed back", uid, |made| {
        let balancer = made.load_balancer()?;
        let tags = (balancer.tag("team"), balancer.tag("app"));
        ensure!(tags == (Some("ops"), None), "{tags:?}");
        ensure!(cloud.aws.attribute(&balancer.id, cross)? == "false");
        ensure!(checks(made, 10, None), "{:?}", made.target_groups);
        ensure!(idle(balancer)? == "350");
        groups(made, delay, "60")
    })?;
    ensure!(
        all == made_names(&cloud.aws.made_for(uid)?),
        "something was replaced"
    );
    // Another kind of check is another target group: the new one is used before the old one goes.
    set(&[
        ("aws-load-balancer-healthcheck-protocol", Some("http")),
        ("aws-load-balancer-healthcheck-path", Some("/ready")),
    ])?;
    cloud.until("HTTP health checks", uid, |made| {
        ensure!(made.target_groups.len() == 2, "{:?}", made.target_groups);
        Ok(checks(made, 10, Some("/ready")))
    })?;
    all = made_names(&cloud.aws.made_for(uid)?);
    ensure!(all[0] == balancer.id, "{all:?}");
    cloud.wait_until_published("web", &["81/TCP", "443/TCP"])
}

/// ARNs and ids of all that was made, the load balancer's first.
pub(crate) fn made_names(made: &Made) -> Vec<String> {
    let all = [
        &made.load_balancers,
        &made.target_groups,
        &made.security_groups,
    ];
    all.into_iter()
        .flatten()
        .map(|one| one.id.clone())
        .collect()
}

/// Somebody removes a listener and the rules: the audit brings them back.
pub(crate) fn what_is_taken_away_comes_back(
    cloud: &Cloud,
    uid: &str,
    balancer: &Tagged,
) -> Result<()> {
    let listeners = cloud.aws.listeners(&balancer.id)?;
    let lost = json!({ "ListenerArn": listeners[0]["ListenerArn"] });
    cloud.aws.elb("delete_listener", &lost)?;
    let made = cloud.aws.made_for(uid)?;
    let group = made.security_group()?;
    let rules = json!({ "GroupId": group.id, "IpPermissions": group.is["IpPermissions"] });
    cloud.aws.ec2("revoke_security_group_ingress", &rules)?;
    cloud
        .until("what was taken away", uid, |made| {
            let rules = ingress(made.security_group()?);
            let listeners = cloud.aws.listeners(&balancer.id)?.len();
            ensure!(
                (rules.len(), listeners) == (2, 2),
                "{rules:?}, {listeners} listeners"
            );
            Ok(true)
        })
        .map(drop)
}
