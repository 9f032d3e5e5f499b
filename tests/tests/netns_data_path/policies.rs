//! Traffic policies, terminating pods, source ranges.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_speaker_core::{ServiceProxy, TrafficPolicy};

use crate::lab::{self, Lab, client, gateways, node, skipped};
use crate::net::{Outcome, TRANSPORTS, Transport, ask, ask_in_vain};
use crate::proxy::{Proxy, far, key, near, service};
use crate::{NODE_PORT, cluster_ip, external, load_balancer, names, survey, web};

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
    let own = lab::near();
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
