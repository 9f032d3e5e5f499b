//! Taking observations in: the snapshot is brought up to date, and what that may change is marked dirty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use herald_core::ServiceKey;
use herald_speaker_core::{NodeView, ServiceView, SliceView, api_service};

use super::stores::{Listed, Store};
use super::{Change, Engine, NodeSeen, Observation, SliceKey, SpeakerSeen};
use crate::data_path::DataPathReport;

impl Engine {
    /// Takes one observation in. Cheap; the work is done by [`Self::plan`].
    pub fn observe(&mut self, observation: Observation, now: Instant) {
        match observation {
            Observation::Service(change) => self.service(change),
            Observation::Slice(change) => self.slice(change),
            Observation::Node(change) => self.node(change),
            Observation::Pool(change) => {
                let (store, known) = (&mut self.pools, &mut self.snapshot.pools);
                self.dirty.all_owners |= merge(store, known, change);
            }
            Observation::Advertisement(change) => {
                let known = &mut self.snapshot.advertisements;
                self.dirty.all_owners |= merge(&mut self.advertisements, known, change);
            }
            Observation::Speaker(change) => self.speaker(change, now),
            Observation::Links(links) => {
                if self.snapshot.links != links {
                    let node = self.snapshot.node.clone();
                    let keys = self.snapshot.addresses.set_links(&node, links.values());
                    self.touch_all(keys);
                    self.snapshot.links = links;
                    self.dirty.all_owners = true;
                    self.dirty.report = true;
                }
            }
            Observation::DataPath(report) => self.data_path(report, now),
            Observation::Announcing { generation } => {
                self.announcing.acknowledged(generation);
                self.dirty.forwards.extend(self.held.drain());
            }
            Observation::Announcer(report) => {
                self.differences += u64::from(self.announcing.reported(report, now));
                self.dirty.report = true;
            }
            Observation::Written { version } => {
                if self.written != version {
                    self.written_at = Some(now);
                }
                self.written = version;
            }
            Observation::KernelSettings(settings) => {
                self.dirty.report |= self.kernel.as_ref() != Some(&settings.problems);
                self.kernel = Some(settings.problems);
                // Planned through the interfaces that this node publishes: every speaker elects by these.
                self.dirty.report |= self.snapshot.not_forwarding != settings.not_forwarding;
                self.snapshot.not_forwarding = settings.not_forwarding;
            }
            Observation::Admin(refused) => {
                self.dirty.report |= self.admin != refused;
                self.admin = refused;
            }
            Observation::Leave => {
                self.leave = true;
                self.dirty.report = true;
            }
            Observation::Tick => {}
        }
    }

    fn touch(&mut self, key: ServiceKey) {
        self.dirty.owners.insert(key.clone());
        self.dirty.forwards.insert(key);
    }

    pub(super) fn touch_all(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        for key in keys {
            self.touch(key);
        }
    }

    fn service(&mut self, change: Change<ServiceKey, ServiceView>) {
        let gone = match change.settled(|key| self.snapshot.services.contains_key(key)) {
            Change::Listing => return self.services.begin(),
            Change::Unreadable(key) => return self.services.saw(&key),
            Change::Set(key, view) | Change::InPart(key, view) => {
                self.services.saw(&key);
                let known = self.snapshot.services.get(&key);
                if known != Some(&view) {
                    let addresses = &mut self.snapshot.addresses;
                    let others = addresses.replace_service(known, Some(&view));
                    self.snapshot.services.insert(key.clone(), view);
                    self.touch_all(others);
                    self.touch(key);
                }
                return;
            }
            Change::Gone(key) => vec![key],
            Change::Listed => {
                let (listed, gone) = self.services.finish(self.snapshot.services.keys());
                self.dirty.report |= listed == Listed::Holds;
                gone
            }
        };
        for key in gone {
            if let Some(known) = self.snapshot.services.remove(&key) {
                let addresses = &mut self.snapshot.addresses;
                let others = addresses.replace_service(Some(&known), None);
                self.touch_all(others);
                self.touch(key);
            }
        }
    }

    fn slice(&mut self, change: Change<SliceKey, SliceView>) {
        let gone = match change.settled(|key| self.slice_service.contains_key(key)) {
            Change::Listing => return self.slices.begin(),
            Change::Unreadable(key) => return self.slices.saw(&key),
            Change::Set(key, view) | Change::InPart(key, view) => {
                self.slices.saw(&key);
                let service = view.service.clone();
                if self
                    .slice_service
                    .get(&key)
                    .is_some_and(|known| *known != service)
                {
                    self.forget_slice(&key);
                }
                let slices = self.snapshot.slices.entry(service.clone()).or_default();
                if slices.get(&key.name) != Some(&view) {
                    slices.insert(key.name.clone(), view);
                    self.slice_service.insert(key, service.clone());
                    self.touch_slices_of(service);
                }
                return;
            }
            Change::Gone(key) => vec![key],
            Change::Listed => {
                let (listed, gone) = self.slices.finish(self.slice_service.keys());
                self.dirty.report |= listed == Listed::Holds;
                gone
            }
        };
        for key in gone {
            self.forget_slice(&key);
        }
    }

    fn forget_slice(&mut self, key: &SliceKey) {
        let Some(service) = self.slice_service.remove(key) else {
            return;
        };
        if let Some(slices) = self.snapshot.slices.get_mut(&service) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.snapshot.slices.remove(&service);
            }
        }
        self.touch_slices_of(service);
    }

    fn touch_slices_of(&mut self, service: ServiceKey) {
        if service == api_service() {
            let mut addresses = std::mem::take(&mut self.snapshot.addresses);
            let keys = addresses.set_api_servers(&self.snapshot, &self.config.api_servers);
            self.snapshot.addresses = addresses;
            self.touch_all(keys);
        }
        self.touch(service);
    }

    fn node(&mut self, change: Change<Arc<str>, NodeSeen>) {
        let change = match change.settled(|key| self.snapshot.nodes.contains_key(key)) {
            Change::Listing => Change::Listing,
            Change::Unreadable(key) => Change::Unreadable(key),
            Change::Gone(key) => {
                self.silent.remove(&key);
                Change::Gone(key)
            }
            Change::Listed => Change::Listed,
            Change::Set(key, seen) | Change::InPart(key, seen) => {
                if key == self.snapshot.node {
                    self.dirty.report |= self.own_uid != seen.uid;
                    self.own_uid = seen.uid;
                    self.own_leaving = seen.leaving;
                    let forwarding =
                        |view: &NodeView| (view.addresses.clone(), view.pod_cidrs.clone());
                    let known = self.snapshot.own_node().map(forwarding);
                    self.dirty.node |= known != Some(forwarding(&seen.view));
                }
                if seen.silent {
                    self.silent.insert(key.clone());
                } else {
                    self.silent.remove(&key);
                }
                Change::Set(key, seen.view)
            }
        };
        self.dirty.report |= change == Change::Listed;
        let named = match &change {
            Change::Set(key, view) => vec![(key.clone(), view.known_addresses.clone())],
            Change::Gone(key) => vec![(key.clone(), Vec::new())],
            _ => Vec::new(),
        };
        let listed = change == Change::Listed;
        self.dirty.all_owners |= merge(&mut self.nodes, &mut self.snapshot.nodes, change);
        for (node, addresses) in named {
            let keys = self.snapshot.addresses.set_node(&node, &addresses);
            self.touch_all(keys);
        }
        if listed {
            self.rebuild_addresses();
        }
    }

    fn speaker(&mut self, change: Change<Arc<str>, SpeakerSeen>, now: Instant) {
        match change.settled(|key| self.peers.names().any(|name| name == key)) {
            Change::Listing => self.speakers.begin(),
            Change::Unreadable(key) => self.speakers.saw(&key),
            Change::Set(key, seen) | Change::InPart(key, seen) => {
                self.speakers.saw(&key);
                if key == self.snapshot.node && !self.speakers.synced() {
                    self.announcing.inherit(seen.owned.iter().copied());
                }
                self.dirty.holders |= self.peers.set(seen, now);
            }
            Change::Gone(key) => {
                self.peers.remove(&key);
                self.dirty.holders = true;
            }
            Change::Listed => {
                let (_, gone) = self.speakers.finish(self.peers.names());
                for key in gone {
                    self.peers.remove(&key);
                }
                self.dirty.holders = true;
                self.dirty.report = true;
            }
        }
    }

    fn data_path(&mut self, report: DataPathReport, now: Instant) {
        match report {
            DataPathReport::Synced { services } => {
                self.last_sync = Some(now);
                for service in services {
                    self.unsynced.remove(&service.key);
                    self.dirty.report |= self.failed.remove(&service.key).is_some();
                    let Some(planned) = self.planned.get_mut(&service.key) else {
                        continue;
                    };
                    if planned.synced != service.addresses {
                        planned.synced = service.addresses;
                        self.dirty.owners.insert(service.key);
                    }
                }
            }
            DataPathReport::Failed { keys, error } => {
                for key in keys {
                    tracing::error!(service = %key, error, "the kernel refused the Service's rules; trying again");
                    self.failed.insert(key, error.clone());
                }
                self.dirty.report = true;
            }
            DataPathReport::Unavailable { error } => {
                self.dirty.report |= self.unavailable.as_ref() != Some(&error);
                self.unavailable = Some(error);
            }
            DataPathReport::Damaged { what } => {
                self.damages += 1;
                self.dirty.report = true;
                let since = self.damaged.as_ref().map_or(now, |(since, _)| *since);
                self.damaged = Some((since, what));
            }
            DataPathReport::Ready => {
                self.dirty.report |=
                    !self.data_ready || self.unavailable.is_some() || self.damaged.is_some();
                self.data_ready = true;
                self.unavailable = None;
                self.damaged = None;
                self.last_sync = Some(now);
            }
        }
    }
}

/// Applies a change to a store of objects without namespace; true when something changed.
fn merge<V: PartialEq>(
    store: &mut Store<Arc<str>>,
    known: &mut BTreeMap<Arc<str>, V>,
    change: Change<Arc<str>, V>,
) -> bool {
    match change.settled(|key| known.contains_key(key)) {
        Change::Listing => store.begin(),
        Change::Unreadable(key) => store.saw(&key),
        Change::Set(key, view) | Change::InPart(key, view) => {
            store.saw(&key);
            let changed = known.get(&key) != Some(&view);
            known.insert(key, view);
            return changed;
        }
        Change::Gone(key) => return known.remove(&key).is_some(),
        Change::Listed => {
            let first = !store.synced();
            let (_, gone) = store.finish(known.keys());
            for key in &gone {
                known.remove(key);
            }
            return first || !gone.is_empty();
        }
    }
    false
}
