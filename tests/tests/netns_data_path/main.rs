//! The data path on real nf_tables: clients and servers in network namespaces on either side of a node. Needs root.

mod changes;
mod damage;
mod frontends;
mod lab;
mod net;
mod others;
mod policies;
mod proxy;
mod restarts;
mod size;
mod step_aside;
mod unknown_ports;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use herald_speaker_core::ServiceView;
use herald_tests::Netns;

use lab::{both, node};
use net::{Outcome, Transport, ask_often};
use proxy::{service, with_node_port};

const NODE_PORT: u16 = 30080;

const DEADLINE: Duration = Duration::from_secs(30);

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

fn web() -> ServiceView {
    let mut web = with_node_port(service("web"), NODE_PORT);
    web.load_balancer_ips = load_balancer().to_vec();
    web
}

fn target(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 80)
}
