//! What clients of a Service see, on real nf_tables: clients and servers in network namespaces on either side of a node.
//! Needs root. Every scenario ends with `nft` listing the ruleset.

mod netns_data_path_lab;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use herald_speaker_core::{ServiceProxy, TrafficPolicy};
use herald_tests::Netns;

use netns_data_path_lab::net::{Outcome, TRANSPORTS, Transport, ask, ask_in_vain, ask_often};
use netns_data_path_lab::proxy::{Proxy, endpoint, far, key, near, service, with_node_port};
use netns_data_path_lab::{Lab, both, client, gateways, node, skipped};

const NODE_PORT: u16 = 30080;

fn load_balancer() -> [IpAddr; 2] {
    both("203.0.113.10", "2001:db8:2::10")
}

fn cluster_ip() -> [IpAddr; 2] {
    both("10.96.0.10", "fd00:96::10")
}

/// Every frontend that clients outside use: load-balancer address and node port of both families.
fn external() -> Vec<(IpAddr, u16)> {
    let addresses = load_balancer().map(|a| (a, 80));
    let node_ports = node().map(|a| (a, NODE_PORT));
    addresses.into_iter().chain(node_ports).collect()
}

/// Enough tries from a place to see every server that would answer: who did, and the sources they saw.
fn survey(
    place: &Netns,
    transport: Transport,
    (address, port): (IpAddr, u16),
) -> Result<(BTreeSet<String>, BTreeSet<IpAddr>)> {
    let outcomes = ask_often(place, transport, SocketAddr::new(address, port), 24)?;
    let mut servers = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for outcome in outcomes {
        let Outcome::Answer(server, source) = outcome else {
            anyhow::bail!("{transport:?} to {address}:{port}: {outcome:?}");
        };
        servers.insert(server);
        sources.insert(source);
    }
    Ok((servers, sources))
}

fn names(servers: &[&str]) -> BTreeSet<String> {
    servers.iter().map(|s| (*s).to_owned()).collect()
}

fn web() -> herald_speaker_core::ServiceView {
    let mut web = with_node_port(service("web"), NODE_PORT);
    web.load_balancer_ips = load_balancer().to_vec();
    web
}

#[test]
fn external_frontends_reach_every_pod_masqueraded() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("lb")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &[near(), far()].concat());
    let synced = proxy.replace()?;
    ensure!(
        synced.len() == 1 && synced[0].addresses == load_balancer(),
        "{synced:?}"
    );
    for transport in TRANSPORTS {
        for frontend in external() {
            let (servers, sources) = survey(&lab.client, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?}: {servers:?}"
            );
            ensure!(
                sources.iter().all(|s| gateways().contains(s)),
                "{frontend:?}: seen as {sources:?}"
            );
            // The node itself and a pod on it are clients too.
            let (servers, _) = survey(&lab.node, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?} from the node: {servers:?}"
            );
            let (servers, sources) = survey(&lab.near, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?} from a pod: {servers:?}"
            );
            ensure!(
                sources.iter().all(|s| gateways().contains(s)),
                "{sources:?}"
            );
        }
    }
    // One first packet for each of the connections above: three places, two transports.
    for address in load_balancer() {
        let counted = proxy.connections(address)?;
        ensure!(counted == Some(3 * 2 * 24), "{address}: {counted:?}");
    }
    // Another port of the address is nobody's, and left to whoever else may have it: here, no route back.
    let other = ask_in_vain(&lab.client, Transport::Tcp, load_balancer()[0], 81)?;
    ensure!(other.server().is_none(), "{other:?}");
    lab.listing()?;
    Ok(())
}

#[test]
fn cluster_ips_work_in_mode_all() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("cip")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    let mut web = service("web");
    web.cluster_ips = cluster_ip().to_vec();
    proxy.put(web, &[near(), far()].concat());
    proxy.replace()?;
    for transport in TRANSPORTS {
        for (family, address) in cluster_ip().into_iter().enumerate() {
            let frontend = (address, 80);
            // A pod of this node keeps its address, except towards itself.
            let (servers, sources) = survey(&lab.near, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?}: {servers:?}"
            );
            let own = netns_data_path_lab::near()[family];
            let hairpin = gateways()[family];
            ensure!(
                sources == BTreeSet::from([own, hairpin]),
                "{frontend:?}: from {own}, seen as {sources:?}"
            );
            let (servers, sources) = survey(&lab.client, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?}: {servers:?}"
            );
            ensure!(
                sources.iter().all(|s| gateways().contains(s)),
                "{sources:?}"
            );
            let (servers, _) = survey(&lab.node, transport, frontend)?;
            ensure!(
                servers == names(&["near", "far"]),
                "{frontend:?} from the node: {servers:?}"
            );
            for place in [&lab.client, &lab.near, &lab.node] {
                let unknown = ask(place, transport, address, 81)?;
                ensure!(
                    unknown == Outcome::Refused,
                    "{address} port 81: {unknown:?}"
                );
            }
        }
    }
    lab.listing()?;
    Ok(())
}

#[test]
fn internal_policy_local_keeps_to_this_node() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("itp")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    let mut web = service("web");
    web.cluster_ips = cluster_ip().to_vec();
    web.internal_policy = TrafficPolicy::Local;
    proxy.put(web, &[near(), far()].concat());
    proxy.replace()?;
    for transport in TRANSPORTS {
        for address in cluster_ip() {
            let (servers, _) = survey(&lab.node, transport, (address, 80))?;
            ensure!(servers == names(&["near"]), "{address}: {servers:?}");
        }
    }
    proxy.endpoints(&key("web"), &far());
    proxy.change(&[key("web")])?;
    for transport in TRANSPORTS {
        for address in cluster_ip() {
            let outcome = ask_in_vain(&lab.near, transport, address, 80)?;
            ensure!(outcome == Outcome::Silence, "{address}: {outcome:?}");
        }
    }
    lab.listing()?;
    Ok(())
}

#[test]
fn external_policy_local_keeps_client_address_and_node() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("etp")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut web = web();
    web.external_policy = TrafficPolicy::Local;
    proxy.put(web, &[near(), far()].concat());
    proxy.replace()?;
    for transport in TRANSPORTS {
        for frontend in external() {
            let (servers, sources) = survey(&lab.client, transport, frontend)?;
            ensure!(servers == names(&["near"]), "{frontend:?}: {servers:?}");
            ensure!(
                sources.len() == 1 && sources.iter().all(|s| client().contains(s)),
                "{frontend:?}: client seen as {sources:?}"
            );
            short_circuits(&lab, transport, frontend)?;
        }
    }
    // Without a local pod clients outside get silence, so that they try another node; the node's own are served.
    proxy.endpoints(&key("web"), &far());
    proxy.change(&[key("web")])?;
    for transport in TRANSPORTS {
        for (address, port) in external() {
            let outcome = ask_in_vain(&lab.client, transport, address, port)?;
            ensure!(outcome == Outcome::Silence, "{address}:{port}: {outcome:?}");
            for place in [&lab.node, &lab.near] {
                let (servers, _) = survey(place, transport, (address, port))?;
                ensure!(servers == names(&["far"]), "{address}:{port}: {servers:?}");
            }
        }
    }
    lab.listing()?;
    Ok(())
}

/// Clients on the node itself are served from the whole cluster: pods with their own address, the node masqueraded.
fn short_circuits(lab: &Lab, transport: Transport, frontend: (IpAddr, u16)) -> Result<()> {
    let (servers, sources) = survey(&lab.near, transport, frontend)?;
    ensure!(
        servers == names(&["near", "far"]),
        "{frontend:?} from a pod: {servers:?}"
    );
    let own = netns_data_path_lab::near();
    ensure!(
        sources.iter().any(|s| own.contains(s)),
        "{frontend:?}: pod seen as {sources:?}"
    );
    let (servers, sources) = survey(&lab.node, transport, frontend)?;
    ensure!(
        servers == names(&["near", "far"]),
        "{frontend:?} from the node: {servers:?}"
    );
    ensure!(
        sources.iter().all(|s| gateways().contains(s)),
        "{frontend:?}: node seen as {sources:?}"
    );
    Ok(())
}

#[test]
fn no_endpoints_means_refused_until_there_are_some() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("rej")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    let mut web = web();
    web.cluster_ips = cluster_ip().to_vec();
    proxy.put(web, &[]);
    proxy.replace()?;
    let frontends = || external().into_iter().chain(cluster_ip().map(|a| (a, 80)));
    for transport in TRANSPORTS {
        for (address, port) in frontends() {
            for place in [&lab.client, &lab.node, &lab.near] {
                let outcome = ask(place, transport, address, port)?;
                ensure!(
                    outcome == Outcome::Refused,
                    "{transport:?} {address}:{port} from {}: {outcome:?}",
                    place.name()
                );
            }
        }
    }
    lab.listing()?;
    proxy.endpoints(&key("web"), &near());
    proxy.change(&[key("web")])?;
    for transport in TRANSPORTS {
        for frontend in frontends() {
            let (servers, _) = survey(&lab.client, transport, frontend)?;
            ensure!(servers == names(&["near"]), "{frontend:?}: {servers:?}");
        }
    }
    Ok(())
}

#[test]
fn terminating_pods_serve_when_no_other_does() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("term")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut going = near();
    for endpoint in &mut going {
        (endpoint.ready, endpoint.terminating) = (false, true);
    }
    proxy.put(web(), &[going.clone(), far()].concat());
    proxy.replace()?;
    let frontend = (load_balancer()[0], 80);
    let (servers, _) = survey(&lab.client, Transport::Tcp, frontend)?;
    ensure!(servers == names(&["far"]), "{servers:?}");
    proxy.endpoints(&key("web"), &going);
    proxy.change(&[key("web")])?;
    let (servers, _) = survey(&lab.client, Transport::Tcp, frontend)?;
    ensure!(servers == names(&["near"]), "{servers:?}");
    Ok(())
}

#[test]
fn source_ranges_shut_others_out() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("src")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut open = web();
    open.source_ranges = ["192.0.2.0/28", "198.51.100.0/24", "2001:db8:1::/64"]
        .iter()
        .map(|net| net.parse())
        .collect::<Result<_, _>>()?;
    let mut shut = open.clone();
    shut.source_ranges = vec!["192.0.2.0/29".parse()?, "2001:db8:9::/64".parse()?];
    proxy.put(open.clone(), &near());
    proxy.replace()?;
    let reached = |expected: &Outcome| -> Result<()> {
        for transport in TRANSPORTS {
            for address in load_balancer() {
                let outcome = match expected {
                    Outcome::Silence => ask_in_vain(&lab.client, transport, address, 80)?,
                    _ => ask(&lab.client, transport, address, 80)?,
                };
                let same = (outcome.server().is_some(), &outcome) == (false, expected)
                    || (outcome.server(), expected.server()) == (Some("near"), Some("near"));
                ensure!(
                    same,
                    "{transport:?} {address}: {outcome:?}, not {expected:?}"
                );
            }
            // Node ports know no source ranges.
            let (servers, _) = survey(&lab.client, transport, (node()[0], NODE_PORT))?;
            ensure!(servers == names(&["near"]), "{servers:?}");
        }
        lab.listing()?;
        Ok(())
    };
    let answered = Outcome::Answer("near".to_owned(), client()[0]);
    reached(&answered)?;
    // A narrower range inside the old one, and back; then none at all, and back.
    for (next, expected) in [
        (&shut, &Outcome::Silence),
        (&open, &answered),
        (&shut, &Outcome::Silence),
    ] {
        proxy.put(next.clone(), &near());
        proxy.change(&[key("web")])?;
        reached(expected)?;
    }
    proxy.put(web(), &near());
    proxy.change(&[key("web")])?;
    reached(&answered)?;
    ensure!(lab.elements("source-ranges")?.is_empty());
    proxy.put(shut, &near());
    proxy.change(&[key("web")])?;
    reached(&Outcome::Silence)
}

#[test]
fn first_claim_to_an_address_wins_and_the_next_takes_over() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("claim")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut thief = service("a-thief");
    thief.external_ips = load_balancer().to_vec();
    proxy.put(thief, &far());
    let mut rightful = service("web");
    rightful.load_balancer_ips = load_balancer().to_vec();
    proxy.put(rightful, &near());
    let synced = proxy.replace()?;
    for service in synced {
        let expected: &[IpAddr] = if service.key == key("web") {
            &load_balancer()
        } else {
            &[]
        };
        ensure!(service.addresses == expected, "{service:?}");
    }
    let frontend = (load_balancer()[0], 80);
    let (servers, _) = survey(&lab.client, Transport::Tcp, frontend)?;
    ensure!(servers == names(&["near"]), "{servers:?}");
    proxy.remove(&key("web"));
    proxy.change(&[key("web")])?;
    let (servers, _) = survey(&lab.client, Transport::Tcp, frontend)?;
    ensure!(servers == names(&["far"]), "{servers:?}");
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
