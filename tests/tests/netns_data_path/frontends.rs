//! Which frontends lead where, for clients outside, on the node and in its pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_speaker_core::ServiceProxy;

use crate::lab::{self, Lab, gateways, skipped};
use crate::net::{Outcome, TRANSPORTS, Transport, ask, ask_in_vain};
use crate::proxy::{Proxy, far, key, near, service};
use crate::{NODE_PORT, cluster_ip, external, load_balancer, names, survey, web};

#[test]
fn external_frontends_reach_every_pod_masqueraded() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("lb")?;
    // So few ports that one would come twice if its client had given it back.
    lab.client
        .sysctl("ipv4/ip_local_port_range", "40000 40063")?;
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
            let own = lab::near()[family];
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
fn node_ports_can_answer_on_every_local_address() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("npa")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.config.nodeport_addresses = Some(vec!["0.0.0.0/0".parse()?, "::/0".parse()?]);
    proxy.put(web(), &near());
    proxy.replace()?;
    for address in [
        "192.0.2.1",
        "10.244.1.1",
        "10.244.2.1",
        "2001:db8:1::1",
        "fd00:244:1::1",
    ] {
        let outcome = ask(&lab.client, Transport::Tcp, address.parse()?, NODE_PORT)?;
        ensure!(outcome.server() == Some("near"), "{address}: {outcome:?}");
    }
    // Neither loopback, nor addresses that are not this node's.
    for address in ["127.0.0.1", "::1"] {
        let outcome = ask(&lab.node, Transport::Tcp, address.parse()?, NODE_PORT)?;
        ensure!(outcome == Outcome::Refused, "{address}: {outcome:?}");
    }
    let transit = ask(
        &lab.client,
        Transport::Tcp,
        "10.244.2.12".parse()?,
        NODE_PORT,
    )?;
    ensure!(transit == Outcome::Refused, "{transit:?}");
    lab.listing()?;
    Ok(())
}
