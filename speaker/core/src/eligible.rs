//! Which nodes can own an address, and why the others cannot. What Nodes' conditions say is not decided here: see
//! `soundness.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, Selector, ServiceKey};

use crate::{AdvertisementView, Interface, NodeView, ServiceView, Snapshot, TrafficPolicy};

/// Why a node may not own an address; of several reasons the first in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ineligible {
    /// The Node is labelled out of external load balancers.
    Excluded,
    /// The node shuts down.
    ShuttingDown,
    /// No Speaker object of the node has been renewed in time.
    NoSpeaker,
    /// The node selectors of the matching L2Advertisements leave it out.
    NotSelected,
    /// No interface owns the address's subnet, and none is named by the L2Advertisement.
    NoInterface,
    /// The interfaces that could announce have no link.
    LinkDown,
    /// The node's kernel does not forward packets of the address's family from the interfaces that could announce.
    NotForwarding,
    /// `externalTrafficPolicy: Local`, and the endpoints are on other nodes.
    NoLocalEndpoint,
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excluded => "node is excluded from external load balancers",
            Self::ShuttingDown => "node is shutting down",
            Self::NoSpeaker => "no live speaker",
            Self::NotSelected => "not selected by the L2Advertisement",
            Self::NoInterface => "no interface in the address's subnet",
            Self::LinkDown => "interface is down",
            Self::NotForwarding => "the kernel does not forward this family",
            Self::NoLocalEndpoint => "no local endpoint",
        })
    }
}

/// The L2Advertisements that are about the address of `service` at `position` in its status: those that select its pool and the
/// Service, and where none does those of the last pool it was in that one selects.
///
/// Which pool that is only the record on the Service says, which the controller writes: a range that moves from one pool to
/// another silences nothing, whatever is seen first.
pub(crate) fn advertisements<'a>(
    service: &ServiceView,
    position: usize,
    snapshot: &'a Snapshot,
) -> Vec<&'a AdvertisementView> {
    let recorded = service.allocated_from.get(position);
    let recorded = recorded.or_else(|| service.allocated_from.first());
    let earlier = service.earlier_pools.get(position);
    let pools = recorded.into_iter().chain(earlier.into_iter().flatten());
    let selecting = |pool: &String| -> Vec<&AdvertisementView> {
        let selects = |advert: &&AdvertisementView| {
            selects_pool(advert, pool, snapshot)
                && Selector::any_matches(&advert.service_selectors, &service.labels)
        };
        snapshot.advertisements.values().filter(selects).collect()
    };
    pools
        .map(selecting)
        .find(|adverts| !adverts.is_empty())
        .unwrap_or_default()
}

fn selects_pool(advert: &AdvertisementView, pool: &str, snapshot: &Snapshot) -> bool {
    if advert.pools.is_empty() && advert.pool_selectors.is_empty() {
        return true;
    }
    let labels = snapshot.pools.get(pool).map(|pool| &pool.labels);
    advert.pools.iter().any(|name| name == pool)
        || labels.is_some_and(|labels| advert.pool_selectors.iter().any(|s| s.matches(labels)))
}

/// The nodes with a usable endpoint, when `externalTrafficPolicy: Local` asks for one; `None` under Cluster, where a
/// Service without any endpoint is announced too: its data path refuses connections, so clients fail at once.
///
/// Usable is ready; while nobody is ready, serving and terminating (KEP-1669), so that the last pod is used until it goes.
pub(crate) fn local_nodes(
    service: &ServiceView,
    family: IpFamily,
    snapshot: &Snapshot,
) -> Option<BTreeSet<Arc<str>>> {
    if service.external_policy == TrafficPolicy::Cluster {
        return None;
    }
    let nodes_where = |usable: fn(bool, bool, bool) -> bool| -> BTreeSet<Arc<str>> {
        endpoints(&service.key, family, snapshot)
            .filter(|(_, ready, serving, terminating)| usable(*ready, *serving, *terminating))
            .map(|(node, ..)| node)
            .collect()
    };
    let ready = nodes_where(|ready, _, _| ready);
    Some(if ready.is_empty() {
        nodes_where(|_, serving, terminating| serving && terminating)
    } else {
        ready
    })
}

fn endpoints(
    key: &ServiceKey,
    family: IpFamily,
    snapshot: &Snapshot,
) -> impl Iterator<Item = (Arc<str>, bool, bool, bool)> {
    snapshot
        .slices_of(key)
        .filter(move |slice| slice.family == family)
        .flat_map(|slice| &slice.endpoints)
        .filter_map(|e| Some((e.node.clone()?, e.ready, e.serving, e.terminating)))
}

/// The interfaces on which `node` may announce `address`, or why it may not.
pub(crate) fn evaluate(
    node: &NodeView,
    address: IpAddr,
    advertisements: &[&AdvertisementView],
    local: Option<&BTreeSet<Arc<str>>>,
    snapshot: &Snapshot,
) -> Result<BTreeSet<Arc<str>>, Ineligible> {
    if node.excluded {
        return Err(Ineligible::Excluded);
    }
    if node.shutting_down {
        return Err(Ineligible::ShuttingDown);
    }
    let speaker = snapshot.speakers.get(&node.name).filter(|s| s.live);
    let speaker = speaker.ok_or(Ineligible::NoSpeaker)?;
    let mut selecting = advertisements
        .iter()
        .filter(|advert| Selector::any_matches(&advert.node_selectors, &node.labels))
        .peekable();
    if selecting.peek().is_none() {
        return Err(Ineligible::NotSelected);
    }
    let candidates: Vec<&Interface> = selecting
        .flat_map(|advert| {
            speaker
                .interfaces
                .iter()
                .filter(|i| carries(advert, i, address))
        })
        .collect();
    if candidates.is_empty() {
        return Err(Ineligible::NoInterface);
    }
    let up: Vec<&Interface> = candidates.into_iter().filter(|i| i.up).collect();
    if up.is_empty() {
        return Err(Ineligible::LinkDown);
    }
    let family = IpFamily::of(address);
    let able: BTreeSet<Arc<str>> = up
        .into_iter()
        .filter(|i| !i.not_forwarding.contains(&family))
        .map(|i| i.name.clone())
        .collect();
    if able.is_empty() {
        return Err(Ineligible::NotForwarding);
    }
    if local.is_some_and(|local| !local.contains(&node.name)) {
        return Err(Ineligible::NoLocalEndpoint);
    }
    Ok(able)
}

/// An L2Advertisement that names interfaces means these, whatever subnet they own; one that names none means every
/// interface that owns the address's subnet.
fn carries(advert: &AdvertisementView, interface: &Interface, address: IpAddr) -> bool {
    if advert.interfaces.is_empty() {
        interface.addresses.iter().any(|net| net.contains(&address))
    } else {
        advert
            .interfaces
            .iter()
            .any(|name| **name == *interface.name)
    }
}
