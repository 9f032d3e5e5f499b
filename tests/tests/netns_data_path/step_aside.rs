//! Rules that nobody keeps true step aside for another proxy's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use herald_nft::{Batch, Operation, Socket, Table, table_flag};
use herald_speaker::data_path::DataPathReport;
use herald_speaker_core::ServiceProxy;
use herald_speaker_core::ruleset::table;
use herald_tests::{Netns, wait_for};

use crate::lab::{Lab, skipped};
use crate::net::{Held, TRANSPORTS, ask};
use crate::proxy::{Proxy, far, near};
use crate::{DEADLINE, NODE_PORT, external, load_balancer, web};

/// Long enough for a busy machine to renew, short enough to wait for its end.
const SHORT: Duration = Duration::from_secs(6);
/// So long that no test sees its end.
const LONG: Duration = Duration::from_mins(10);

/// What kube-proxy is to us: nat chains at −100 that lead the same frontends elsewhere, to the far pod.
fn other_proxy(lab: &Lab) -> Result<()> {
    let four = ("ip", "203.0.113.10", "192.0.2.1", "10.244.2.12:8080");
    let six = (
        "ip6",
        "2001:db8:2::10",
        "2001:db8:1::1",
        "[fd00:244:2::12]:8080",
    );
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), [four, six].map(other_table).concat())?;
    lab.node
        .run(&["nft", "-f", &file.path().display().to_string()])?;
    Ok(())
}

fn other_table((family, address, node, backend): (&str, &str, &str, &str)) -> String {
    let dispatch = |hook| {
        format!(
            "chain {hook} {{
                type nat hook {hook} priority -100;
                {family} daddr {address} meta l4proto {{ tcp, udp }} th dport 80 goto to-far
                {family} daddr {node} meta l4proto {{ tcp, udp }} th dport {NODE_PORT} goto to-far
            }}"
        )
    };
    let (prerouting, output) = (dispatch("prerouting"), dispatch("output"));
    format!(
        "table {family} other-proxy {{
            chain to-far {{
                meta mark set meta mark or 0x4000
                meta l4proto {{ tcp, udp }} dnat to {backend}
            }}
            {prerouting}
            {output}
            chain postrouting {{
                type nat hook postrouting priority 100;
                meta mark and 0x4000 == 0x4000 masquerade
            }}
        }}\n"
    )
}

/// Every frontend, by every transport, from outside and from the node itself, is answered by this server.
fn all_answered_by(lab: &Lab, server: &str) -> Result<()> {
    for place in [&lab.client, &lab.node] {
        for transport in TRANSPORTS {
            for (address, port) in external() {
                let outcome = ask(place, transport, address, port)?;
                ensure!(
                    outcome.server() == Some(server),
                    "{transport:?} to {address}:{port}: {outcome:?}, expected {server}"
                );
            }
        }
    }
    Ok(())
}

/// Waits until a new connection is answered by this server.
fn wait_for_server(place: &Netns, server: &str) -> Result<()> {
    let addresses: [IpAddr; 2] = load_balancer();
    wait_for(
        &format!("{server} to answer both families"),
        DEADLINE,
        || {
            for address in addresses {
                if ask(place, TRANSPORTS[0], address, 80)?.server() != Some(server) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        },
    )
}

fn alive(lab: &Lab) -> Result<usize> {
    Ok(lab.elements("alive")?.len())
}

#[test]
fn rules_step_aside_for_another_proxy_when_nobody_renews_them() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("aside")?;
    other_proxy(&lab)?;
    let mut proxy = Proxy::start_lasting(&lab.node, ServiceProxy::External, SHORT)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    all_answered_by(&lab, "near")?;
    let mut held: Vec<_> = external()
        .into_iter()
        .map(|(address, port)| Held::open(&lab.client, SocketAddr::new(address, port)))
        .collect::<Result<_>>()?;

    // As after SIGKILL: the thread is gone, its tables are not.
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for_server(&lab.client, "far")?;
    ensure!(alive(&lab)? == 0, "{:?}", lab.elements("alive")?);
    all_answered_by(&lab, "far")?;
    for held in &mut held {
        held.works()?;
    }
    let listing = lab.listing()?;
    ensure!(listing.contains("table ip6 herald"), "{listing}");

    // A new speaker compares first; its word counts again at once.
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.replace()?;
    all_answered_by(&lab, "near")?;
    for held in &mut held {
        held.works()?;
    }
    Ok(())
}

#[test]
fn a_sign_of_life_is_renewed_without_any_change() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("renew")?;
    let mut proxy = Proxy::start_lasting(&lab.node, ServiceProxy::External, SHORT)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let mut socket = lab.node.enter(Socket::open)??;
    let set = table(herald_core::IpFamily::V6).set("alive");
    let mut last = SHORT;
    let mut renewals = 0;
    wait_for("two renewals", DEADLINE, || {
        let elements = socket.elements(&set)?;
        let [element] = elements.as_slice() else {
            anyhow::bail!("not one sign of life: {elements:?}");
        };
        ensure!(element.timeout == Some(SHORT), "{element:?}");
        let left = element.expires.unwrap_or_default();
        renewals += usize::from(left > last);
        last = left;
        Ok((renewals == 2).then_some(()))
    })
}

#[test]
fn a_restart_leaves_the_sign_of_life_alone_until_its_rules_are_true() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("again")?;
    other_proxy(&lab)?;
    let mut proxy = Proxy::start_lasting(&lab.node, ServiceProxy::External, LONG)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let (config, mut snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    // In between nothing steps aside, and the next speaker takes everything over.
    all_answered_by(&lab, "near")?;
    ensure!(alive(&lab)? == 2);
    // What an old speaker left can be stale: without a sign it is not followed before it has been compared.
    wait_for("the tables to be free", DEADLINE, || {
        Ok((!lab.listing()?.contains("progname")).then_some(()))
    })?;
    for family in ["ip", "ip6"] {
        lab.node
            .run(&["nft", "flush", "set", family, "herald", "alive"])?;
    }
    all_answered_by(&lab, "far")?;
    snapshot.slices.clear();
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    ensure!(alive(&lab)? == 0, "a sign of life before the first state");
    proxy.endpoints(&crate::proxy::key("web"), &far());
    proxy.replace()?;
    ensure!(alive(&lab)? == 2);
    all_answered_by(&lab, "far")?;
    let counted = proxy.connections(load_balancer()[0])?;
    ensure!(counted > Some(0), "{counted:?}: it is our rules again");
    Ok(())
}

#[test]
fn in_mode_all_nothing_steps_aside() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("stay")?;
    let mut proxy = Proxy::start_lasting(&lab.node, ServiceProxy::All, Duration::from_millis(10))?;
    proxy.put(web(), &near());
    proxy.replace()?;
    drop(proxy);
    let listing = lab.listing()?;
    ensure!(!listing.contains("alive"), "{listing}");
    all_answered_by(&lab, "near")
}

#[test]
fn a_sign_that_cannot_be_renewed_is_reported() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("taken")?;
    other_proxy(&lab)?;
    let mut proxy = Proxy::start_shared_lasting(&lab.node, ServiceProxy::External, SHORT)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    // Another program takes the table for itself.
    let mut thief = lab.node.enter(Socket::open)??;
    let mut batch = Batch::new();
    let name = table(herald_core::IpFamily::V4);
    batch.push((), &Operation::DeleteTable(name.clone()));
    batch.push(
        (),
        &Operation::AddTable(Table {
            name,
            flags: table_flag::OWNER,
        }),
    );
    thief.commit(&batch.finish()?)?;
    let error = loop {
        match proxy.report()? {
            DataPathReport::Unavailable { error } => break error,
            DataPathReport::Failed { .. } => anyhow::bail!("a Service was blamed"),
            DataPathReport::Synced { .. }
            | DataPathReport::Damaged { .. }
            | DataPathReport::Ready => {}
        }
    };
    ensure!(error.contains("own the tables"), "{error}");
    // Neither family is half ours: both step aside.
    wait_for_server(&lab.client, "far")?;
    drop(thief);
    while proxy.report()? != DataPathReport::Ready {}
    all_answered_by(&lab, "near")
}

/// Owned tables can be deleted by their owner only.
#[test]
fn a_speaker_that_is_taken_away_removes_its_own_tables() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("gone")?;
    other_proxy(&lab)?;
    let mut proxy = Proxy::start_lasting(&lab.node, ServiceProxy::External, LONG)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let mut held: Vec<_> = external()
        .into_iter()
        .map(|(address, port)| Held::open(&lab.client, SocketAddr::new(address, port)))
        .collect::<Result<_>>()?;
    proxy.take_away()?;
    let listing = lab.listing()?;
    ensure!(!listing.contains(" herald {"), "{listing}");
    all_answered_by(&lab, "far")?;
    for held in &mut held {
        held.works()?;
    }
    // A change that was under way makes nothing anew.
    let web = proxy.forwarding("web");
    proxy.send_change(vec![web])?;
    proxy.take_away()?;
    let listing = lab.listing()?;
    ensure!(!listing.contains(" herald {"), "{listing}");
    Ok(())
}

#[test]
fn damage_is_mended_before_the_sign_is_renewed() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("mend")?;
    other_proxy(&lab)?;
    let mut proxy = Proxy::start_shared_lasting(&lab.node, ServiceProxy::External, SHORT)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    lab.node.run(&["nft", "delete", "table", "ip", "herald"])?;
    wait_for_server(&lab.client, "near")?;
    all_answered_by(&lab, "near")?;
    drop(proxy);
    Ok(())
}
