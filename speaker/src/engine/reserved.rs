//! Which addresses are no Service's to take, kept in line with what was observed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use herald_core::ServiceKey;
use herald_speaker_core::{Addresses, Mac, SpeakerView};

use super::Engine;

impl Engine {
    /// Builds the addresses from the stores alone; what differs was missed before and is planned again.
    pub(super) fn rebuild_addresses(&mut self) {
        let mut fresh = Addresses::of(&self.snapshot, &self.config.api_servers);
        fresh.set_conflicts(self.snapshot.addresses.conflicts().clone());
        if self.snapshot.addresses != fresh {
            self.snapshot.addresses = fresh;
            self.dirty.all_owners = true;
            self.dirty.all_forwards = true;
        }
    }

    /// The other nodes' interfaces, where a Speaker says others than `before`.
    pub(super) fn refresh_subnets(&mut self, before: &BTreeMap<Arc<str>, SpeakerView>) {
        let now = self.snapshot.speakers.clone();
        let nodes: BTreeSet<&Arc<str>> = before.keys().chain(now.keys()).collect();
        for node in nodes {
            let interfaces = now.get(node).map(|view| &view.interfaces);
            let same = before.get(node).map(|view| &view.interfaces) == interfaces;
            if same || *node == self.snapshot.node {
                continue;
            }
            let nets = interfaces.into_iter().flatten().flat_map(|i| &i.addresses);
            let nets = nets.copied().collect();
            let keys = self.snapshot.addresses.set_subnets(node, nets);
            self.touch_all(keys);
        }
    }

    /// Addresses that a live speaker, this one or another, finds in the hands of a host that is no node. Between nodes an
    /// address may change hands, and both may carry it.
    pub(super) fn refresh_conflicts(&mut self, now: Instant) {
        let mut conflicts: BTreeMap<IpAddr, Mac> = self.announcing.conflicts(now);
        let mut nodes: BTreeSet<Mac> = self.snapshot.links.values().map(|l| l.mac).collect();
        for (seen, live) in self.peers.others() {
            nodes.extend(&seen.macs);
            if live {
                conflicts.extend(seen.conflicts.iter().copied());
            }
        }
        conflicts.retain(|_, mac| !nodes.contains(mac));
        if self.snapshot.addresses.conflicts() != &conflicts {
            let keys: BTreeSet<ServiceKey> = self.snapshot.addresses.set_conflicts(conflicts);
            self.touch_all(keys);
        }
    }
}
