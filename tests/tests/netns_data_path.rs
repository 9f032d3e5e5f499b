//! The data path on real nf_tables: clients and servers in network namespaces on either side of a node. Needs root.

mod netns_data_path_lab;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use herald_speaker_core::ServiceProxy;

use netns_data_path_lab::net::{Outcome, TRANSPORTS, ask, ask_often, serve};
use netns_data_path_lab::proxy::{Proxy, far, near, service, with_node_port};
use netns_data_path_lab::{Lab, both, gateways, node, skipped};

fn load_balancer() -> [IpAddr; 2] {
    both("203.0.113.10", "2001:db8:2::10")
}

#[test]
fn load_balancer_address_reaches_every_pod() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::new("lb")?;
    serve(&lab.near, "near")?;
    serve(&lab.far, "far")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut web = with_node_port(service("web"), 30080);
    web.load_balancer_ips = load_balancer().to_vec();
    proxy.put(web, &[near(), far()].concat());
    let synced = proxy.replace()?;
    println!("{}", lab.listing()?);
    ensure!(synced.len() == 1 && synced[0].addresses == load_balancer());
    for transport in TRANSPORTS {
        for (address, port) in load_balancer()
            .map(|a| (a, 80))
            .into_iter()
            .chain(node().map(|a| (a, 30080)))
        {
            let target = SocketAddr::new(address, port);
            let outcomes = ask_often(&lab.client, transport, target, 40)?;
            let servers: BTreeSet<_> = outcomes.iter().map(Outcome::server).collect();
            ensure!(
                servers == BTreeSet::from([Some("near"), Some("far")]),
                "{transport:?} {target}: {servers:?}"
            );
            for outcome in &outcomes {
                let source = outcome.source();
                ensure!(
                    source.is_some_and(|s| gateways().contains(&s)),
                    "{transport:?} {target}: masqueraded, but seen as {source:?}"
                );
            }
            ensure!(ask(&lab.node, transport, address, port)?.server().is_some());
        }
    }
    Ok(())
}
