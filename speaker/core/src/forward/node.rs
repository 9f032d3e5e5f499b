//! What the data path must know about the node itself.

use std::net::IpAddr;

use herald_core::{AddressRange, IpFamily};
use ipnet::IpNet;

use super::ForwardConfig;
use crate::Snapshot;

/// The facts about this node that every Service's forwarding shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeForwarding {
    /// The first InternalIP of each family.
    pub addresses: Vec<IpAddr>,
    /// Local addresses within these answer node ports: sorted, disjoint, no loopback.
    pub nodeport_ranges: Vec<AddressRange>,
    /// Sources that are pods of this node: sorted, disjoint. None of a family means that pods cannot be told there.
    pub pod_cidrs: Vec<IpNet>,
}

/// The node's own part of the forwarding plan; empty fields as long as the Node has not been seen.
pub fn forward_node(snapshot: &Snapshot, config: &ForwardConfig) -> NodeForwarding {
    let own = snapshot.own_node();
    let addresses = own.map(|n| n.addresses.clone()).unwrap_or_default();
    let nodeport_ranges: Vec<AddressRange> = match &config.nodeport_addresses {
        None => addresses
            .iter()
            .copied()
            .map(AddressRange::single)
            .collect(),
        Some(nets) => nets.iter().map(range_of).collect(),
    };
    let pods = config
        .cluster_cidrs
        .clone()
        .or_else(|| own.map(|n| n.pod_cidrs.clone()))
        .unwrap_or_default();
    let pods: Vec<IpNet> = pods.iter().map(IpNet::trunc).collect();
    let mut pod_cidrs = IpNet::aggregate(&pods);
    pod_cidrs.sort_unstable();
    NodeForwarding {
        addresses,
        nodeport_ranges: disjoint(nodeport_ranges.iter().flat_map(without_loopback).collect()),
        pod_cidrs,
    }
}

fn range_of(net: &IpNet) -> AddressRange {
    AddressRange::new(net.network(), net.broadcast())
        .unwrap_or_else(|| AddressRange::single(net.addr()))
}

/// `range` less 127.0.0.0/8 or ::1: a node port on loopback would let pods of the host network reach what listens there
/// (CVE-2020-8558).
fn without_loopback(range: &AddressRange) -> Vec<AddressRange> {
    let loopback = match range.family() {
        IpFamily::V4 => (0x7f00_0000, 0x7fff_ffff),
        IpFamily::V6 => (1, 1),
    };
    let (first, last) = range.numbers();
    let part = |from: u128, to: u128| {
        (from <= to).then_some(())?;
        AddressRange::new(
            AddressRange::address(range.family(), from)?,
            AddressRange::address(range.family(), to)?,
        )
    };
    if last < loopback.0 || first > loopback.1 {
        return vec![*range];
    }
    let below = part(first, loopback.0 - 1);
    let above = part((loopback.1 + 1).max(first), last);
    below.into_iter().chain(above).collect()
}

/// The same addresses as sorted ranges that neither overlap nor touch.
pub(crate) fn disjoint(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort_unstable();
    let mut merged: Vec<AddressRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let touching = merged.last().is_some_and(|last| {
            last.family() == range.family()
                && range.numbers().0 <= last.numbers().1.saturating_add(1)
        });
        match merged.last_mut().filter(|_| touching) {
            Some(last) if range.last() > last.last() => {
                if let Some(joined) = AddressRange::new(last.first(), range.last()) {
                    *last = joined;
                }
            }
            Some(_) => {}
            None => merged.push(range),
        }
    }
    merged
}
