//! Others change tables that we do not own: noticed at once, mended, reported.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use herald_core::IpFamily;
use herald_nft::Socket;
use herald_speaker::data_path::DataPathReport;
use herald_speaker_core::ServiceProxy;
use herald_speaker_core::ruleset::{Ruleset, table};

use crate::lab::{Lab, skipped};
use crate::net::{TRANSPORTS, ask};
use crate::proxy::{Proxy, near};
use crate::{load_balancer, web};

/// Every kind of damage, for one family and its load-balancer address.
const DAMAGE: [&str; 16] = [
    "flush ruleset",
    "delete table FAMILY herald",
    "flush table FAMILY herald",
    "flush map FAMILY herald services",
    "flush map FAMILY herald endpoints",
    "flush set FAMILY herald alive",
    "flush chain FAMILY herald prerouting",
    "flush chain FAMILY herald external-1",
    "delete element FAMILY herald services { ADDRESS . tcp . 80 }",
    "delete rule FAMILY herald prerouting handle HANDLE",
    "insert rule FAMILY herald prerouting drop",
    "add element FAMILY herald services { ADDRESS . tcp . 81 : drop }",
    "add chain FAMILY herald alien",
    "add chain FAMILY herald alien { type filter hook prerouting priority 0; policy drop; }",
    "add set FAMILY herald alien { type inet_service; flags timeout; }",
    "add table FAMILY herald { flags dormant; }",
];

fn nft(lab: &Lab, command: &str) -> Result<String> {
    lab.node.run(&["nft", command])
}

/// The rule that looks up Services.
fn dispatch_handle(lab: &Lab, family: &str) -> Result<String> {
    let list = ["nft", "-a", "list", "chain", family, "herald", "prerouting"];
    let chain = lab.node.run(&list)?;
    let rule = chain.lines().find(|line| line.contains("vmap @services"));
    let handle = rule.and_then(|line| line.rsplit_once("# handle "));
    Ok(handle.context(chain.clone())?.1.trim().to_owned())
}

/// The next report that says how the data path is.
fn state(proxy: &mut Proxy) -> Result<DataPathReport> {
    loop {
        let report = proxy.report()?;
        if !matches!(report, DataPathReport::Synced { .. }) {
            return Ok(report);
        }
    }
}

/// Waits for "damaged" and then "ready".
fn mended(proxy: &mut Proxy) -> Result<String> {
    let first = state(proxy)?;
    let DataPathReport::Damaged { what } = first else {
        anyhow::bail!("{first:?} in place of damage");
    };
    let then = state(proxy)?;
    ensure!(then == DataPathReport::Ready, "{what}, then {then:?}");
    Ok(what)
}

/// Whether the kernel holds exactly what the snapshot asks for.
fn in_line(lab: &Lab, proxy: &Proxy) -> Result<()> {
    let mut socket = lab.node.enter(Socket::open)??;
    let mut ruleset = Ruleset::new(&proxy.config);
    ruleset.want_node(herald_speaker_core::forward_node(
        &proxy.snapshot,
        &proxy.config,
    ));
    ruleset.want(proxy.forwarding("web"));
    let listings: BTreeMap<_, _> = [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .map(|family| Ok((family, socket.list(&table(family))?)))
        .collect::<Result<_>>()?;
    let mismatches = ruleset.observe(&listings);
    ensure!(mismatches.is_empty(), "{mismatches:?}");
    let plan = ruleset.plan(&HashSet::new());
    let changes: Vec<_> = plan.changes().collect();
    ensure!(changes.is_empty(), "{changes:?}");
    let signs = lab.elements("alive")?;
    ensure!(signs.len() == 2, "signs of life: {signs:?}");
    Ok(())
}

fn started(label: &str) -> Result<(Lab, Proxy)> {
    let lab = Lab::with_servers(label)?;
    let mut proxy = Proxy::start_shared(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    Ok((lab, proxy))
}

#[test]
fn every_kind_of_damage_is_reported_and_mended() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, mut proxy) = started("dmg")?;
    for (family, address) in ["ip", "ip6"].into_iter().zip(load_balancer()) {
        for damage in DAMAGE {
            let mut command = damage
                .replace("FAMILY", family)
                .replace("ADDRESS", &address.to_string());
            if command.contains("HANDLE") {
                command = command.replace("HANDLE", &dispatch_handle(&lab, family)?);
            }
            nft(&lab, &command).with_context(|| command.clone())?;
            let what = mended(&mut proxy).with_context(|| command.clone())?;
            ensure!(
                what.contains(&format!("table {family} herald")) && what.contains("(nft, process "),
                "{command}: {what}"
            );
            in_line(&lab, &proxy).with_context(|| command.clone())?;
            for transport in TRANSPORTS {
                for address in load_balancer() {
                    let outcome = ask(&lab.client, transport, address, 80)?;
                    ensure!(
                        outcome.server() == Some("near"),
                        "{command}, {address}: {outcome:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn changes_to_tables_of_others_cost_nothing() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, mut proxy) = started("storm")?;
    let before = proxy.handle.comparisons();
    let script: String = ["ip kube-proxy", "inet herald", "ip6 herald-other"]
        .iter()
        .map(|table| {
            let set = "{ type inet_service; elements = { 80, 81 }; }";
            let once = format!(
                "add table {table}\nadd set {table} s {set}\n\
                 delete element {table} s {{ 80 }}\ndelete table {table}\n"
            );
            once.repeat(100)
        })
        .collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), script)?;
    let path = file.path().to_str().context("odd path")?;
    for _ in 0..10 {
        lab.node.run(&["nft", "-f", path])?;
    }
    // What is told in order was read in order: by now all of the above was heard.
    nft(&lab, "delete table ip herald")?;
    mended(&mut proxy)?;
    let comparisons = proxy.handle.comparisons() - before;
    ensure!(comparisons == 1, "compared {comparisons} times");
    Ok(())
}

#[test]
fn who_fights_with_us_cannot_keep_us_busy() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, mut proxy) = started("fight")?;
    let (start, before) = (Instant::now(), proxy.handle.comparisons());
    for _ in 0..150 {
        // It may not be there just now.
        lab.node.output(&["nft", "delete table ip herald"])?;
    }
    // As often as allowed from the start to the end, which a slow machine only makes longer.
    loop {
        match state(&mut proxy)? {
            DataPathReport::Ready if in_line(&lab, &proxy).is_ok() => break,
            // The other may be quicker twice in a row: then nothing can be applied for a moment.
            DataPathReport::Ready
            | DataPathReport::Damaged { .. }
            | DataPathReport::Unavailable { .. } => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    let comparisons = u128::from(proxy.handle.comparisons() - before);
    let rounds = 6 + start.elapsed().as_millis() / Duration::from_millis(500).as_millis();
    // A transaction that fails for want of its table compares once more.
    let allowed = 4 * rounds;
    ensure!(
        comparisons <= allowed,
        "compared {comparisons} times where {allowed} were allowed"
    );
    for address in load_balancer() {
        let outcome = ask(&lab.client, TRANSPORTS[0], address, 80)?;
        ensure!(outcome.server() == Some("near"), "{address}: {outcome:?}");
    }
    Ok(())
}
