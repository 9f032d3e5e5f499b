//! Many Services, and what is left of many changes.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_core::IpFamily;
use herald_nft::Socket;
use herald_speaker_core::ruleset::{Plan, Ruleset, SetId, table};
use herald_speaker_core::{ServiceProxy, forward_node};
use herald_tests::wait_for;

use crate::lab::{Lab, skipped};
use crate::net::{Transport, ask};
use crate::proxy::{Proxy, endpoint, far, key, near, service};
use crate::{DEADLINE, load_balancer, web};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

#[test]
fn ten_thousand_services_load_and_change() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("scale")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    for number in 0..SERVICES {
        let mut one = service(&format!("s{number}"));
        one.ports.truncate(1);
        let [_, _, high, low] = number.to_be_bytes();
        one.load_balancer_ips = vec![IpAddr::from([198, 18, high, low])];
        let endpoints: Vec<_> = (0..ENDPOINTS)
            .map(|e| {
                endpoint(
                    IpAddr::from([10, 128 + e.to_be_bytes()[3], high, low]),
                    "n2",
                )
            })
            .collect();
        proxy.put(one, &endpoints);
    }
    proxy.put(web(), &near());
    proxy.replace()?;
    let count = |set: SetId| -> Result<usize> {
        lab.node.enter(|| -> Result<usize> {
            let name = table(IpFamily::V4).set(set.name());
            Ok(Socket::open()?.elements(&name)?.len())
        })?
    };
    let rows = count(SetId::Endpoints)?;
    // Those of the many, and of the one both protocols.
    ensure!(
        rows == usize::try_from(SERVICES * ENDPOINTS)? + 2,
        "{rows} rows"
    );
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    proxy.endpoints(&key("web"), &far());
    proxy.change(&[key("web")])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("far"), "{outcome:?}");
    // A restart reads all of it back and finds nothing to change.
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        let tables = lab.node.run(&["nft", "list", "tables"])?;
        Ok((!tables.contains("progname")).then_some(()))
    })?;
    Proxy::with(&lab.node, config, snapshot)?.replace()?;
    ensure!(count(SetId::Endpoints)? == rows);
    Ok(())
}

/// Commits a plan on a socket of its own, as the data path does.
fn commit(lab: &Lab, ruleset: &mut Ruleset, mut plan: Plan) -> Result<()> {
    let mut socket = lab.node.enter(Socket::open)??;
    for transaction in plan.transactions() {
        for part in transaction.parts(1 << 20)? {
            socket.commit(part.batch())?;
            ruleset.commit(&transaction, &part);
        }
    }
    ruleset.done(&plan);
    Ok(())
}

#[test]
fn unused_pick_chains_can_be_deleted() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("idle")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut ruleset = Ruleset::new(&proxy.config);
    for endpoints in [near(), [near(), far()].concat(), far()] {
        proxy.put(web(), &endpoints);
        ruleset.want(proxy.forwarding("web"));
        let plan = ruleset.plan(&HashSet::new());
        commit(&lab, &mut ruleset, plan)?;
    }
    ensure!(lab.listing()?.contains("chain external-2"));
    let plan = ruleset.plan_collect(0);
    commit(&lab, &mut ruleset, plan)?;
    let listing = lab.listing()?;
    ensure!(!listing.contains("chain external-2"), "{listing}");
    ensure!(listing.contains("chain external-1"), "{listing}");
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("far"), "{outcome:?}");
    Ok(())
}

#[test]
fn a_small_send_buffer_splits_the_load() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("split")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut ruleset = Ruleset::new(&proxy.config);
    ruleset.want_node(forward_node(&proxy.snapshot, &proxy.config));
    for number in 0..500u32 {
        let mut one = service(&format!("s{number}"));
        let [_, _, high, low] = number.to_be_bytes();
        one.load_balancer_ips = vec![IpAddr::from([198, 18, high, low])];
        proxy.put(one, &[near(), far()].concat());
        ruleset.want(proxy.forwarding(&format!("s{number}")));
    }
    let mut socket = lab.node.enter(Socket::open)??;
    let mut parts = 0;
    let mut plan = ruleset.plan(&HashSet::new());
    for transaction in plan.transactions() {
        for part in transaction.parts(30_000)? {
            socket.commit(part.batch())?;
            ruleset.commit(&transaction, &part);
            parts += 1;
        }
    }
    ruleset.done(&plan);
    ensure!(parts > 3, "{parts} parts");
    let outcome = ask(&lab.client, Transport::Tcp, "198.18.1.0".parse()?, 80)?;
    ensure!(outcome.server().is_some(), "{outcome:?}");
    Ok(())
}
