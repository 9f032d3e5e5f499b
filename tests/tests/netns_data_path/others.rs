//! Other writers of nf_tables, refusals, and few privileges.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use herald_speaker::data_path::DataPathReport;
use herald_speaker_core::ServiceProxy;

use crate::lab::{Lab, skipped};
use crate::net::{Transport, ask, ask_often};
use crate::proxy::{Proxy, far, key, near, service};
use crate::{load_balancer, target, web};

#[test]
fn owned_tables_are_safe_from_others_and_waited_for() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("own")?;
    let mut first = Proxy::start(&lab.node, ServiceProxy::External)?;
    first.put(web(), &near());
    first.replace()?;
    let flush = lab.node.output(&["nft", "flush", "ruleset"])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(
        outcome.server() == Some("near"),
        "after {flush:?}: {outcome:?}"
    );

    let mut second = Proxy::with(&lab.node, first.config.clone(), first.snapshot.clone())?;
    second.endpoints(&key("web"), &far());
    let error = second.replace().map(drop);
    let error = error.err().context("two owners at once")?.to_string();
    ensure!(
        error.contains("Unavailable") && error.contains("own the tables"),
        "{error}"
    );
    drop(first);
    loop {
        match second.report()? {
            DataPathReport::Ready => break,
            DataPathReport::Synced { .. } => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("far"), "{outcome:?}");
    Ok(())
}

/// What kube-proxy's chains look like to us: later in the same hooks, with an answer of their own for the same address.
const KUBE_PROXY: &str = "
table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 203.0.113.10 . tcp . 80 : goto to-far, 10.96.0.10 . tcp . 80 : goto to-far }
  }
  chain to-far {
    meta mark set meta mark or 0x4000
    ip protocol tcp dnat to 10.244.2.12:8080
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain nat-output {
    type nat hook output priority -100;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain nat-postrouting {
    type nat hook postrouting priority 100;
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
}";

#[test]
fn kube_proxy_beside_us_is_preceded_and_left_alone() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("kube")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), KUBE_PROXY)?;
    let path = file.path().to_str().context("odd path")?;
    lab.node.run(&["nft", "-f", path])?;
    let theirs = || {
        lab.node
            .run(&["nft", "-a", "list", "table", "ip", "kube-proxy"])
    };
    let before = theirs()?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut web = web();
    web.cluster_ips = vec!["10.96.0.10".parse()?];
    proxy.put(web, &near());
    proxy.replace()?;
    for place in [&lab.client, &lab.node] {
        for outcome in ask_often(place, Transport::Tcp, target(load_balancer()[0]), 10)? {
            ensure!(
                outcome.server() == Some("near"),
                "{outcome:?}: kube-proxy came first"
            );
        }
        // Cluster IPs are kube-proxy's in mode external.
        let outcome = ask(place, Transport::Tcp, "10.96.0.10".parse()?, 80)?;
        ensure!(outcome.server() == Some("far"), "{outcome:?}");
    }
    ensure!(theirs()? == before, "kube-proxy's table changed");
    proxy.remove(&key("web"));
    proxy.change(&[key("web")])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(
        outcome.server() == Some("far"),
        "{outcome:?}: without us it is kube-proxy's again"
    );
    Ok(())
}

#[test]
fn refused_service_holds_up_no_other() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("isol")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    // The kernel refuses an IPv6 backend in the IPv4 map; no snapshot leads to one.
    let mut broken = service("broken");
    broken.load_balancer_ips = vec!["203.0.113.66".parse()?];
    proxy.put(broken, &near());
    for at_start in [true, false] {
        let mut bad = proxy.forwarding("broken");
        for frontend in &mut bad.frontends {
            frontend.cluster = [herald_speaker_core::Backend {
                address: "[fd00::1]:80".parse()?,
                node: None,
                local: false,
            }]
            .into();
        }
        let good = proxy.forwarding("web");
        if at_start {
            proxy.send_replace(vec![bad, good])?;
        } else {
            proxy.send_change(vec![bad, good])?;
        }
        let (mut failed, mut synced) = (false, false);
        while !(failed && synced) {
            match proxy.report()? {
                DataPathReport::Failed { keys, error } => {
                    ensure!(
                        keys == [key("broken")] && error.contains("Invalid argument"),
                        "{error}"
                    );
                    failed = true;
                }
                DataPathReport::Synced { services } => {
                    ensure!(services.iter().all(|s| s.key == key("web")), "{services:?}");
                    synced = true;
                }
                DataPathReport::Ready => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
        let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
        ensure!(outcome.server() == Some("near"), "{outcome:?}");
    }
    proxy.change(&[key("broken")])?;
    let outcome = ask(&lab.client, Transport::Tcp, "203.0.113.66".parse()?, 80)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    lab.listing()?;
    Ok(())
}

/// Set in the child of [`two_capabilities_are_enough`].
const CHILD: &str = "HERALD_TEST_CAPABILITIES";

/// The speaker's container: root without any capability but NET_ADMIN and NET_RAW.
#[test]
fn two_capabilities_are_enough() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    if std::env::var_os(CHILD).is_some() {
        let mut proxy = Proxy::start_here(ServiceProxy::External)?;
        proxy.put(web(), &near());
        proxy.replace()?;
        return Ok(());
    }
    let lab = Lab::with_servers("caps")?;
    let own = std::env::current_exe()?;
    let mut child = lab.node.command("setpriv")?;
    child
        .args([
            "--bounding-set",
            "-all,+net_admin,+net_raw",
            "--no-new-privs",
        ])
        .arg(own)
        .args([
            "--exact",
            "others::two_capabilities_are_enough",
            "--nocapture",
        ])
        .env(CHILD, "1");
    let output = child.output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: BTreeSet<_> = load_balancer()
        .into_iter()
        .map(|a| ask(&lab.client, Transport::Tcp, a, 80))
        .collect::<Result<_>>()?;
    ensure!(
        answers.iter().all(|o| o.server() == Some("near")),
        "{answers:?}"
    );
    lab.listing()?;
    Ok(())
}
