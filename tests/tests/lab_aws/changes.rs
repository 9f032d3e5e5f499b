//! What happens to connections while load balancers and targets change.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use herald_tests::moto::Settings;
use herald_tests::{Place, wait_for};
use serde_json::json;

use crate::nlb::{DEADLINE, Nlb, attribute, deregister, group, register};
use crate::talk::{self, Held};
use crate::{HTTP, LINES, Lab};

/// A new listener and fewer targets: connections go on, and new ones are made all the while.
pub(crate) fn changes_drop_no_connection(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "lines", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], LINES)?;
    balancer.listen("TCP", 83, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let to = SocketAddr::new(balancer.address(false)?, 83);
    let mut held = Held::open(lab.cluster, to)?;
    let pod = held.ask()?.pod;
    let done = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut made = 0;
            while !done.load(Ordering::Relaxed) {
                talk::tcp(lab.cluster, to).with_context(|| format!("after {made}"))?;
                made += 1;
            }
            anyhow::Ok(made)
        });
        let changed = balancer
            .listen("TCP", 84, &group)
            .and_then(|()| lab.aws.settled())
            .and_then(|()| deregister(lab.aws, &group, &lab.pods[0][0], LINES))
            .and_then(|()| lab.aws.settled());
        done.store(true, Ordering::Relaxed);
        let made = asking.join().map_err(|_| anyhow!("the client panicked"))?;
        changed.and(made)
    })?;
    ensure!(made > 0, "no connection was tried");
    ensure!(held.ask()?.pod == pod, "the connection stays");
    Ok(())
}

/// Both data paths: new connections go elsewhere at once, the one there is lives until the delay is over.
pub(crate) fn a_deregistered_target_keeps_its_connections(
    lab: &Lab<'_>,
    balancer: &Nlb<'_>,
) -> Result<()> {
    let delay = Duration::from_secs(60);
    let manual = Settings {
        clock: Some("manual"),
        ..Settings::default()
    };
    lab.aws.moto().settings(Some(lab.aws.region()), &manual)?;
    for (name, port, kept) in [("drained-a", 90, "true"), ("drained-b", 91, "false")] {
        let group = group(lab.aws, name, "TCP", "ip", &json!({}))?;
        for (key, value) in [
            ("preserve_client_ip.enabled", kept),
            ("deregistration_delay.timeout_seconds", "60"),
            (
                "deregistration_delay.connection_termination.enabled",
                "true",
            ),
        ] {
            attribute(lab.aws, &group, key, value)?;
        }
        register(lab.aws, &group, &lab.pods[0], LINES)?;
        balancer.listen("TCP", port, &group)?;
        lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
        let to = SocketAddr::new(balancer.address(false)?, port);
        let mut held = Held::open(lab.cluster, to)?;
        let leaving = held.ask()?.pod;
        deregister(lab.aws, &group, &lab.address_of(&leaving)?, LINES)?;
        lab.aws.settled()?;
        for _ in 0..20 {
            let answer = talk::tcp(lab.cluster, to)?;
            ensure!(answer.pod != leaving, "{name}: {answer:?} gets new ones");
        }
        ensure!(held.ask()?.pod == leaving, "the connection stays");
        lab.aws.moto().advance(Some(lab.aws.region()), delay)?;
        wait_for("end of the connection", DEADLINE, || {
            Ok(held.ask().is_err().then_some(()))
        })?;
        ensure!(lab.aws.targets(&group)?.len() == 2);
    }
    let real = Settings {
        clock: Some("real"),
        ..Settings::default()
    };
    lab.aws.moto().settings(Some(lab.aws.region()), &real)
}

/// A dualstack load balancer with pods of either family, and IPv6 clients of IPv4 targets.
pub(crate) fn both_families(lab: &Lab<'_>) -> Result<()> {
    let balancer = Nlb::create(lab.aws, "both", "dualstack")?;
    let six = Place::Remote.addresses().context("remote has addresses")?[1];
    for (name, port, kept) in [("six", 80, "false"), ("six-kept", 81, "true")] {
        let group = group(
            lab.aws,
            name,
            "TCP",
            "ip",
            &json!({"IpAddressType": "ipv6"}),
        )?;
        attribute(lab.aws, &group, "preserve_client_ip.enabled", kept)?;
        register(lab.aws, &group, &lab.pods[1], HTTP)?;
        balancer.listen("TCP", port, &group)?;
        lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
        let url = format!("http://{}:{port}/", balancer.hostname);
        let answer = talk::http(lab.cluster, &["-6", &url])?;
        let own = lab.aws.addresses(&balancer.hostname)?;
        let as_wanted = if kept == "true" {
            answer.peer == six
        } else {
            own.contains(&answer.peer)
        };
        ensure!(as_wanted && answer.peer.is_ipv6(), "{name}: {answer:?}");
    }
    let group = group(lab.aws, "four", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 82, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:82/", balancer.hostname);
    for family in ["-4", "-6"] {
        talk::http(lab.cluster, &[family, &url])?;
    }
    // With it go its name and its addresses.
    let address = SocketAddr::new(balancer.address(true)?, 82);
    let arguments = json!({"LoadBalancerArn": balancer.arn});
    lab.aws.call("elbv2", "delete_load_balancer", &arguments)?;
    lab.aws.settled()?;
    ensure!(lab.aws.addresses(&balancer.hostname)?.is_empty());
    let url = format!("http://{}:82/", balancer.hostname);
    ensure!(talk::http(lab.cluster, &[&url]).is_err(), "no such name");
    ensure!(talk::tcp(lab.cluster, address).is_err(), "nobody is there");
    Ok(())
}

/// Nodes without a pod fail kube-proxy's check under policy Local: none of them is asked, nor is anything lost.
pub(crate) fn unhealthy_targets_get_nothing(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let listeners = lab.aws.listeners(&balancer.arn)?;
    let group = &listeners
        .iter()
        .find(|one| one.port == 80)
        .context("listener 80")?
        .group;
    lab.cluster
        .kubectl(&["scale", "deployment", "echo", "--replicas=1"])?;
    lab.cluster
        .wait_for_rollout("default", "deployment/echo", DEADLINE)?;
    lab.aws.wait_for_targets(group, "unhealthy", 2, DEADLINE)?;
    let url = format!("http://{}/", balancer.hostname);
    let node = talk::http(lab.cluster, &[&url])?.node;
    for _ in 0..20 {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(
            answer.node == node && answer.peer == lab.remote,
            "{answer:?}"
        );
    }
    Ok(())
}
