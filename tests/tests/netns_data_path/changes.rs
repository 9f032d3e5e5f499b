//! Changes: under traffic, of UDP backends, of the node, removals.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use herald_nft::{Family, Socket};
use herald_speaker_core::{ServiceProxy, TrafficPolicy};
use herald_tests::{Netns, wait_for};

use crate::lab::{Lab, node, skipped};
use crate::net::{Outcome, PATIENCE, Transport, ask, tcp_once};
use crate::proxy::{Proxy, endpoint, far, key, near};
use crate::{DEADLINE, NODE_PORT, cluster_ip, load_balancer, target, web};

/// How many SYNs were sent again in a namespace: what a lost first packet shows as.
fn repeated_syns(namespace: &Netns) -> Result<u64> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next(), lines.next());
    let names = names.unwrap_or_default().split(' ');
    let mut columns = names.zip(values.unwrap_or_default().split(' '));
    let found = columns.find(|(name, _)| *name == "TCPSynRetrans");
    Ok(found.context("no TCPSynRetrans")?.1.parse()?)
}

#[test]
fn scaling_under_traffic_loses_no_connection() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("flip")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let sets = [near(), [near(), far()].concat(), far()];
    proxy.put(web(), &sets[0]);
    proxy.replace()?;
    let before = repeated_syns(&lab.client)?;
    let done = AtomicBool::new(false);
    let connects = std::thread::scope(|scope| -> Result<usize> {
        let clients: Vec<_> = load_balancer()
            .into_iter()
            .map(|address| {
                let (lab, done) = (&lab, &done);
                scope.spawn(move || {
                    lab.client.enter(|| -> Result<usize> {
                        let mut connects = 0;
                        while !done.load(Ordering::Relaxed) {
                            let outcome = tcp_once(target(address), PATIENCE)?;
                            ensure!(outcome.server().is_some(), "{address}: {outcome:?}");
                            connects += 1;
                        }
                        Ok(connects)
                    })?
                })
            })
            .collect();
        // Until enough of both has happened; a client that fails ends the test at its join.
        for round in 1.. {
            proxy.endpoints(&key("web"), &sets[round % sets.len()]);
            proxy.change(&[key("web")])?;
            if round >= 3000
                || clients
                    .iter()
                    .any(std::thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        let counts = clients.into_iter().map(|c| match c.join() {
            Ok(count) => count,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        counts.sum()
    })?;
    let repeated = repeated_syns(&lab.client)? - before;
    println!("{connects} connects during 3,000 changes, {repeated} repeated SYNs");
    ensure!(connects > 1000, "only {connects} connects");
    ensure!(
        repeated == 0,
        "{repeated} of {connects} first packets were lost"
    );
    lab.listing()?;
    Ok(())
}

/// Whether the node has an entry of an unanswered TCP flow to `destination`.
fn unanswered(lab: &Lab, destination: SocketAddr) -> Result<bool> {
    let mut found = false;
    let mut socket = lab.node.enter(Socket::open)??;
    for family in [Family::Ipv4, Family::Ipv6] {
        socket.flows(family, |flow| {
            found |= flow.destination == destination && flow.unanswered;
        })?;
    }
    Ok(found)
}

#[test]
fn a_syn_that_nobody_answered_moves_with_the_endpoints() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("syn")?;
    // This pod hears nothing and says nothing.
    for command in [
        "add table inet deaf",
        "add chain inet deaf in { type filter hook prerouting priority -500; }",
        "add rule inet deaf in meta l4proto tcp drop",
    ] {
        lab.near.run(&["nft", command])?;
    }
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    for address in load_balancer() {
        for (then, expected) in [(far(), Some("far")), (Vec::new(), None)] {
            proxy.endpoints(&key("web"), &near());
            proxy.change(&[key("web")])?;
            let client = std::thread::scope(|scope| -> Result<_> {
                // One socket, so one source port, and the kernel sends its SYN again and again.
                let client =
                    scope.spawn(|| lab.client.enter(|| tcp_once(target(address), DEADLINE)));
                wait_for("a SYN to a deaf pod", DEADLINE, || {
                    Ok(unanswered(&lab, target(address))?.then_some(()))
                })?;
                proxy.endpoints(&key("web"), &then);
                proxy.change(&[key("web")])?;
                client.join().map_err(|_| anyhow::anyhow!("the client"))?
            })?;
            let outcome = client?;
            ensure!(outcome.server() == expected, "{address}: {outcome:?}");
            ensure!(
                expected.is_some() || outcome == Outcome::Refused,
                "{outcome:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn udp_flow_moves_when_its_backend_goes() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("udp")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    for address in load_balancer() {
        proxy.put(web(), &near());
        if address.is_ipv4() {
            proxy.replace()?;
        } else {
            proxy.change(&[key("web")])?;
        }
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = lab.client.enter(|| UdpSocket::bind(any))??;
        socket.connect(target(address))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let ask = || -> Result<Option<String>> {
            socket.send(b"who?")?;
            let mut buffer = [0; 128];
            let length = socket.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            Ok(text.split(' ').next().map(str::to_owned))
        };
        let served_by = |name: &str| -> Result<()> {
            wait_for(&format!("an answer of {name}"), DEADLINE, || {
                Ok((ask()?.as_deref() == Some(name)).then_some(()))
            })
        };
        served_by("near")?;
        // A backend that terminates but still serves keeps its flows: other endpoints alone are no reason to move.
        let mut draining = near();
        for endpoint in &mut draining {
            (endpoint.ready, endpoint.terminating) = (false, true);
        }
        proxy.endpoints(&key("web"), &[draining, far()].concat());
        proxy.change(&[key("web")])?;
        ensure!(
            ask()?.as_deref() == Some("near"),
            "the flow of a draining backend moved"
        );
        proxy.endpoints(&key("web"), &far());
        proxy.change(&[key("web")])?;
        served_by("far")?;
        proxy.endpoints(&key("web"), &[]);
        proxy.change(&[key("web")])?;
        wait_for("refusal", DEADLINE, || Ok(ask().is_err().then_some(())))?;
        proxy.endpoints(&key("web"), &near());
        proxy.change(&[key("web")])?;
        served_by("near")?;
    }
    Ok(())
}

#[test]
fn node_changes_reach_the_kernel() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("node")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let [address, _] = node();
    let outcome = ask(&lab.client, Transport::Tcp, address, NODE_PORT)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    let own = proxy
        .snapshot
        .nodes
        .values_mut()
        .next()
        .context("no node")?;
    own.addresses = vec!["10.244.1.1".parse()?];
    own.pod_cidrs = vec!["10.244.0.0/16".parse()?];
    proxy.node()?;
    wait_for("node ports on the new address only", DEADLINE, || {
        let new = ask(
            &lab.client,
            Transport::Tcp,
            "10.244.1.1".parse()?,
            NODE_PORT,
        )?;
        let old = ask(&lab.client, Transport::Tcp, address, NODE_PORT)?;
        Ok((new.server() == Some("near") && old == Outcome::Refused).then_some(()))
    })?;
    ensure!(
        lab.elements("pods")? == ["10.244.0.0/16"],
        "{:?}",
        lab.elements("pods")?
    );
    lab.listing()?;
    Ok(())
}

#[test]
fn deleted_service_leaves_no_element() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("del")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    proxy.replace()?;
    let empty = lab.listing()?;
    let mut full = web();
    full.cluster_ips = cluster_ip().to_vec();
    full.external_policy = TrafficPolicy::Local;
    full.source_ranges = vec!["192.0.2.0/24".parse()?];
    proxy.put(
        full,
        &[near(), far(), vec![endpoint("10.244.1.99".parse()?, "n1")]].concat(),
    );
    let synced = proxy.change(&[key("web")])?;
    ensure!(synced[0].addresses == load_balancer());
    for set in [
        "services",
        "endpoints",
        "endpoints-local",
        "addresses",
        "cluster-ips",
        "hairpin",
    ] {
        ensure!(!lab.elements(set)?.is_empty(), "{set} should hold elements");
    }
    proxy.remove(&key("web"));
    let synced = proxy.change(&[key("web")])?;
    ensure!(synced[0].addresses.is_empty());
    let elements = |listing: &str| -> Vec<String> {
        let sets = listing.split("\n\tchain ").next().unwrap_or_default();
        sets.lines().map(str::to_owned).collect()
    };
    ensure!(
        elements(&lab.listing()?) == elements(&empty),
        "{}",
        lab.listing()?
    );
    for set in SETS {
        let left = lab.elements(set)?;
        ensure!(left.is_empty(), "{set}: {left:?}");
    }
    Ok(())
}

/// Every set and map that a Service's elements may be in.
const SETS: [&str; 13] = [
    "services",
    "node-ports",
    "guarded",
    "source-ranges",
    "services-short",
    "node-ports-short",
    "endpoints",
    "endpoints-local",
    "node-port-endpoints",
    "node-port-endpoints-local",
    "addresses",
    "cluster-ips",
    "hairpin",
];
