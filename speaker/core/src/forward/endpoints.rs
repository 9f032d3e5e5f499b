//! Which endpoints of a Service port are usable: ready ones, or, when there are none, those that still serve while they
//! terminate (KEP-1669), decided separately for the cluster and for this node.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use herald_core::{IpFamily, ServiceKey};

use super::Backend;
use crate::{EndpointView, ServicePort, Snapshot};

/// The usable endpoints of one Service port and family.
pub(super) struct Usable {
    /// Anywhere.
    pub(super) cluster: Arc<[Backend]>,
    /// On this node.
    pub(super) local: Arc<[Backend]>,
    /// Neither, but still serving.
    pub(super) draining: Arc<[SocketAddr]>,
}

/// What one address of the EndpointSlices amounts to. The same address in several slices counts once, a local one first.
struct Candidate {
    node: Option<Arc<str>>,
    local: bool,
    ready: bool,
}

pub(super) fn usable(
    snapshot: &Snapshot,
    key: &ServiceKey,
    port: &ServicePort,
    family: IpFamily,
) -> Usable {
    let mut candidates: BTreeMap<SocketAddr, Candidate> = BTreeMap::new();
    for slice in snapshot.slices_of(key).filter(|s| s.family == family) {
        let ports = slice
            .ports
            .iter()
            .filter(|p| p.name == port.name && p.protocol == port.protocol && p.port != 0);
        for number in ports.map(|p| p.port) {
            for endpoint in &slice.endpoints {
                if IpFamily::of(endpoint.address) == family
                    && let Some(candidate) = candidate(endpoint, &snapshot.node)
                {
                    let address = SocketAddr::new(endpoint.address, number);
                    let better = candidates.get(&address).is_none_or(|known| {
                        (candidate.local, candidate.ready) > (known.local, known.ready)
                    });
                    if better {
                        candidates.insert(address, candidate);
                    }
                }
            }
        }
    }
    let cluster = choose(&candidates, |_| true);
    let local = choose(&candidates, |c| c.local);
    let chosen: HashSet<SocketAddr> = cluster.iter().chain(&*local).map(|b| b.address).collect();
    let draining = candidates.keys().filter(|a| !chosen.contains(a)).copied();
    Usable {
        draining: draining.collect(),
        cluster,
        local,
    }
}

fn candidate(endpoint: &EndpointView, node: &Arc<str>) -> Option<Candidate> {
    let serving_last = endpoint.serving && endpoint.terminating;
    (endpoint.ready || serving_last).then(|| Candidate {
        node: endpoint.node.clone(),
        local: endpoint.node.as_ref() == Some(node),
        ready: endpoint.ready,
    })
}

/// The ready ones among those within `scope`, or all of them when none is ready.
fn choose(
    candidates: &BTreeMap<SocketAddr, Candidate>,
    scope: impl Fn(&Candidate) -> bool,
) -> Arc<[Backend]> {
    let within = || candidates.iter().filter(|(_, c)| scope(c));
    let any_ready = within().any(|(_, c)| c.ready);
    within()
        .filter(|(_, c)| c.ready || !any_ready)
        .map(|(address, c)| Backend {
            address: *address,
            node: c.node.clone(),
            local: c.local,
        })
        .collect()
}
