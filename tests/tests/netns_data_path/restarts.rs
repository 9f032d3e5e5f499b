//! What a restarted data path finds, takes over, replaces and removes.

use anyhow::{Result, ensure};
use herald_core::IpFamily;
use herald_nft::{Socket, table_flag};
use herald_speaker::data_path::DataPath;
use herald_speaker_core::ruleset::{Ruleset, table};
use herald_speaker_core::{ForwardConfig, ServiceProxy, TrafficPolicy};
use herald_tests::wait_for;

use crate::lab::{Lab, both, skipped};
use crate::net::{Held, Transport, ask};
use crate::proxy::{Proxy, far, key, near, service};
use crate::{DEADLINE, load_balancer, target, web};

/// Why a restarted speaker would not take the tables over as they are.
fn mismatches(lab: &Lab, config: &ForwardConfig) -> Result<Vec<String>> {
    let mut socket = lab.node.enter(Socket::open)??;
    let mut ruleset = Ruleset::new(config);
    ruleset.set_table_flags(table_flag::OWNER | table_flag::PERSIST);
    let listings = [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .map(|family| Ok((family, socket.list(&table(family))?)))
        .collect::<Result<_>>()?;
    let mismatches = ruleset.observe(&listings).into_iter();
    Ok(mismatches
        .map(|(family, m)| format!("{family}: {m}"))
        .collect())
}

#[test]
fn restart_adopts_what_is_there() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("adopt")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    let mut full = web();
    full.external_policy = TrafficPolicy::Local;
    full.source_ranges = vec!["192.0.2.0/24".parse()?, "2001:db8:1::/64".parse()?];
    full.cluster_ips = both("10.96.0.10", "fd00:96::10").to_vec();
    proxy.put(full, &[near(), far()].concat());
    let mut other = service("other");
    other.load_balancer_ips = both("203.0.113.11", "2001:db8:2::11").to_vec();
    proxy.put(other, &[near(), far()].concat());
    proxy.replace()?;
    let mut held: Vec<_> = load_balancer()
        .into_iter()
        .map(|a| Held::open(&lab.client, target(a)))
        .collect::<Result<_>>()?;
    let handles = || lab.node.run(&["nft", "-a", "list", "ruleset"]);
    let owner = |text: String| text.replace("flags owner", "");
    let before = owner(handles()?);
    ensure!(before.contains("counter packets 1 "), "{before}");
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    ensure!(
        mismatches(&lab, &config)?.is_empty(),
        "{:?}",
        mismatches(&lab, &config)?
    );
    drop(proxy);
    // Nobody runs: the rules go on working.
    for held in &mut held {
        held.works()?;
    }
    wait_for(
        "the first data path to let go of its tables",
        DEADLINE,
        || Ok((!lab.listing()?.contains("progname")).then_some(())),
    )?;
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.replace()?;
    let after = owner(handles()?);
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|l| l.split(" # progname").next().unwrap_or(l));
        lines
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect()
    };
    ensure!(
        plain(&before) == plain(&after),
        "before:\n{before}\nafter:\n{after}"
    );
    for held in &mut held {
        held.works()?;
    }
    let counted = proxy.connections(load_balancer()[0])?;
    ensure!(counted == Some(1), "counters were lost: {counted:?}");

    // What changed while nobody ran is made up for, without touching the rest.
    let (config, mut snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for(
        "the second data path to let go of its tables",
        DEADLINE,
        || Ok((!lab.listing()?.contains("progname")).then_some(())),
    )?;
    snapshot.services.remove(&key("other"));
    snapshot.slices.remove(&key("other"));
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.endpoints(&key("web"), &near());
    proxy.replace()?;
    let elements = lab.elements("services")?.join(" ");
    ensure!(!elements.contains("203.0.113.11"), "{elements}");
    ensure!(proxy.connections(load_balancer()[0])? == Some(1));
    for held in &mut held {
        held.works()?;
    }
    Ok(())
}

#[test]
fn foreign_table_of_that_name_is_replaced_at_once() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("alien")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let mut held = Held::open(&lab.client, target(load_balancer()[0]))?;
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    for command in [
        "add chain ip herald alien",
        "add rule ip herald alien counter accept",
        "add set ip6 herald alien { type inet_service; }",
    ] {
        wait_for("the tables to be free", DEADLINE, || {
            Ok(Some(lab.node.run(
                &[&["nft"], &command.split(' ').collect::<Vec<_>>()[..]].concat(),
            )?))
        })?;
    }
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.replace()?;
    let listing = lab.listing()?;
    ensure!(!listing.contains("alien"), "{listing}");
    held.works()?;
    for address in load_balancer() {
        let outcome = ask(&lab.client, Transport::Tcp, address, 80)?;
        ensure!(outcome.server() == Some("near"), "{address}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn mode_off_leaves_nothing_in_the_way() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("off")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let (mut config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        Ok((!lab.listing()?.contains("progname")).then_some(()))
    })?;
    config.mode = ServiceProxy::Off;
    Proxy::with(&lab.node, config, snapshot)?.replace()?;
    ensure!(lab.listing()?.trim().is_empty(), "{}", lab.listing()?);
    Ok(())
}

#[test]
fn cleanup_removes_every_trace() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("clean")?;
    lab.node.enter(DataPath::cleanup)??;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    ensure!(lab.listing()?.contains("table ip6 herald"));
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        Ok(lab.node.enter(DataPath::cleanup)?.is_ok().then_some(()))
    })?;
    ensure!(lab.listing()?.trim().is_empty(), "{}", lab.listing()?);
    Ok(())
}
