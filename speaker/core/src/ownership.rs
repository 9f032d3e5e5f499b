//! Who owns each address of a Service: eligible nodes, then the election. Every speaker computes the same answer from the
//! same observations; the controller reads it back from the Speaker objects, not from here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, ServiceKey};
use ipnet::IpNet;

use crate::eligible::{Ineligible, advertisements, evaluate, local_nodes};
use crate::soundness::choose;
use crate::{Interface, LinkView, ServiceKind, Snapshot};

/// Most nodes that [`NobodyReason::NoEligibleNode`] lists.
pub const LISTED_NODES_MAX: usize = 8;

/// An address of a Service and who owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressOwnership {
    /// The load-balancer address.
    pub address: IpAddr,
    /// Who announces it.
    pub owner: Owner,
}

/// Who announces an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One node, on these of its interfaces (never none).
    Node {
        /// The node's name.
        node: Arc<str>,
        /// Interface names.
        interfaces: BTreeSet<Arc<str>>,
    },
    /// Nobody, and why.
    Nobody(NobodyReason),
}

/// Why nobody announces an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NobodyReason {
    /// No L2Advertisement selects the pool and the Service.
    NoAdvertisement,
    /// `externalTrafficPolicy: Local` and no usable endpoint of the address's family on any node.
    NoLocalEndpoints,
    /// Every node is out for a reason of its own.
    NoEligibleNode {
        /// The first nodes in the order of their names, at most [`LISTED_NODES_MAX`].
        nodes: Vec<(Arc<str>, Ineligible)>,
        /// How many more there are.
        more: usize,
    },
}

impl NobodyReason {
    /// The reason of condition `heraldlb.io/Announced` when it is False.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoAdvertisement => "NoAdvertisement",
            Self::NoLocalEndpoints => "NoLocalEndpoints",
            Self::NoEligibleNode { .. } => "NoEligibleNode",
        }
    }
}

impl fmt::Display for NobodyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdvertisement => f.write_str(
                "no L2Advertisement selects the address's pool and this Service; create one",
            ),
            Self::NoLocalEndpoints => f.write_str(
                "externalTrafficPolicy is Local and no node has a usable endpoint of this family",
            ),
            Self::NoEligibleNode { nodes, more } => {
                f.write_str("no node can announce the address")?;
                for (at, (node, reason)) in nodes.iter().enumerate() {
                    write!(f, "{}{node}: {reason}", if at == 0 { ": " } else { "; " })?;
                }
                if *more > 0 {
                    write!(f, "; and {more} more nodes")?;
                }
                Ok(())
            }
        }
    }
}

/// The owner of each load-balancer address of Service `key`, in the order of its status.
///
/// Empty when the Service is unknown, is not of type LoadBalancer, or has no address from a pool of ours.
pub fn ownership(key: &ServiceKey, snapshot: &Snapshot) -> Vec<AddressOwnership> {
    let Some(service) = snapshot.services.get(key) else {
        return Vec::new();
    };
    if service.kind != ServiceKind::LoadBalancer || service.allocated_from.is_empty() {
        return Vec::new();
    }
    let owner = |position: usize, address: IpAddr| {
        let adverts = advertisements(service, position, snapshot);
        if adverts.is_empty() {
            return Owner::Nobody(NobodyReason::NoAdvertisement);
        }
        let local = local_nodes(service, IpFamily::of(address), snapshot);
        if local.as_ref().is_some_and(BTreeSet::is_empty) {
            return Owner::Nobody(NobodyReason::NoLocalEndpoints);
        }
        let mut eligible = BTreeMap::new();
        let mut out = Vec::new();
        for node in snapshot.nodes.values() {
            match evaluate(node, address, &adverts, local.as_ref(), snapshot) {
                Ok(interfaces) => {
                    eligible.insert(node.name.clone(), interfaces);
                }
                Err(reason) => out.push((node.name.clone(), reason)),
            }
        }
        let chosen = choose(address, &eligible, snapshot);
        if let Some((node, interfaces)) = chosen.and_then(|node| eligible.remove_entry(&node)) {
            return Owner::Node { node, interfaces };
        }
        let more = out.len().saturating_sub(LISTED_NODES_MAX);
        out.truncate(LISTED_NODES_MAX);
        Owner::Nobody(NobodyReason::NoEligibleNode { nodes: out, more })
    };
    let addresses = service.load_balancer_ips.iter();
    addresses
        .enumerate()
        .map(|(position, address)| AddressOwnership {
            address: *address,
            owner: owner(position, *address),
        })
        .collect()
}

/// What this speaker's announcer is to hold of `owners`: each address it owns and the indexes of its links.
///
/// A link that is down is listed too: the announcer waits for it.
pub fn own_targets<'a>(
    owners: impl IntoIterator<Item = &'a AddressOwnership>,
    snapshot: &Snapshot,
) -> BTreeMap<IpAddr, BTreeSet<u32>> {
    let mut targets: BTreeMap<IpAddr, BTreeSet<u32>> = BTreeMap::new();
    for AddressOwnership { address, owner } in owners {
        let Owner::Node { node, interfaces } = owner else {
            continue;
        };
        if *node != snapshot.node {
            continue;
        }
        let links = snapshot
            .links
            .values()
            .filter(|link| interfaces.contains(&link.name));
        targets
            .entry(*address)
            .or_default()
            .extend(links.map(|link| link.index));
    }
    targets
}

/// The links to publish in this node's Speaker object: those that own a subnet which is not link-local, and those that an
/// L2Advertisement names. The host ends of pods' links usually have link-local or host addresses (/32, /128) at most; with
/// them every pod's start would change the object.
pub fn published_interfaces(snapshot: &Snapshot) -> Vec<Interface> {
    let named: BTreeSet<&str> = snapshot
        .advertisements
        .values()
        .flat_map(|advert| advert.interfaces.iter().map(String::as_str))
        .collect();
    let wanted = |link: &&LinkView| {
        let subnet =
            |net: &IpNet| !link_local(net.addr()) && net.prefix_len() < net.max_prefix_len();
        named.contains(&*link.name) || link.addresses.iter().any(subnet)
    };
    let publish = |link: &LinkView| Interface {
        name: link.name.clone(),
        addresses: link.addresses.clone(),
        up: link.up,
        not_forwarding: snapshot
            .not_forwarding
            .get(&link.name)
            .cloned()
            .unwrap_or_default(),
    };
    snapshot
        .links
        .values()
        .filter(wanted)
        .map(publish)
        .collect()
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
