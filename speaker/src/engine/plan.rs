//! Planning what is dirty: owners first, then forwarding, in the order that I3 asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use herald_core::ServiceKey;
use herald_speaker_core::{
    ServiceProxy, Soundness, SpeakerView, forward, forward_node, own_targets, ownership,
    published_interfaces,
};

use super::{ASK_EVERY, DAMAGE_GRACE, Engine, Planned, Step};

impl Engine {
    /// Plans what is dirty. Call it after every batch of observations and whenever time has passed.
    pub fn plan(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        self.refresh_speakers(now);
        self.refresh_conflicts(now);
        self.refresh_soundness(now);
        if self.synced() {
            self.plan_owners();
        }
        if let Some((generation, targets)) = self.announcing.settle(&self.snapshot.links) {
            let links = self.snapshot.links.clone();
            steps.push(Step::Announce {
                generation,
                targets,
                links,
            });
            self.dirty.report = true;
        }
        if self.services.synced() && self.slices.synced() && self.nodes.synced() {
            self.plan_forwarding(&mut steps);
        }
        self.settle_in();
        let conflicts = self.announcing.conflicts(now);
        self.dirty.report |= self.conflicts != conflicts;
        self.conflicts = conflicts;
        if std::mem::take(&mut self.dirty.checking) {
            self.check_published(now);
        }
        steps
    }

    /// Who owns what, of the dirty Services.
    fn plan_owners(&mut self) {
        let keys = if std::mem::take(&mut self.dirty.all_owners) {
            self.dirty.owners.clear();
            self.all_keys()
        } else {
            self.dirty.owners.drain().collect()
        };
        for key in keys {
            let mut targets = own_targets(&ownership(&key, &self.snapshot), &self.snapshot);
            targets.retain(|address, links| !links.is_empty() && self.carried(&key, *address));
            let before = self.planned.get(&key).map(|planned| &planned.targets);
            if before.map_or(targets.is_empty(), |before| *before == targets) {
                continue;
            }
            self.differences += u64::from(self.dirty.checking);
            let planned = self.planned.entry(key.clone()).or_default();
            self.announcing.want(&key, &planned.targets, &targets);
            planned.targets = targets;
            if *planned == Planned::default() && !self.snapshot.services.contains_key(&key) {
                self.planned.remove(&key);
            }
        }
    }

    /// Whether traffic for `address` of Service `key` can be forwarded by this node, as far as that is our task.
    fn carried(&self, key: &ServiceKey, address: IpAddr) -> bool {
        if self.snapshot.addresses.reservation(address).is_some() {
            return false;
        }
        // The announcer is silent and finds out when the other host has gone; only then is there something to carry.
        if self.snapshot.addresses.conflict(address).is_some() {
            return true;
        }
        let ours = self.snapshot.services.get(key).is_some_and(|s| s.proxied);
        if self.config.mode == ServiceProxy::Off || !ours {
            return true;
        }
        let planned = self.planned.get(key);
        planned.is_some_and(|p| p.external.contains(&address) && p.synced.contains(&address))
    }

    /// What the data path is to be told.
    fn plan_forwarding(&mut self, steps: &mut Vec<Step>) {
        if std::mem::take(&mut self.dirty.node) && self.snapshot.own_node().is_some() {
            let node = forward_node(&self.snapshot, &self.config);
            if self.node_forwarding.as_ref() != Some(&node) {
                self.node_forwarding = Some(node.clone());
                if self.replaced {
                    steps.push(Step::Node(node));
                }
            }
        }
        // Without its own Node the data path would not know the node's addresses: wait for it once, remember it ever after.
        let Some(node) = self.node_forwarding.clone() else {
            return;
        };
        // The whole state at first, and again in a full pass, unless something must wait for the announcer.
        let whole = !self.replaced || (self.dirty.all_forwards && self.held.is_empty());
        let keys = if whole || std::mem::take(&mut self.dirty.all_forwards) {
            self.dirty.forwards.clear();
            self.all_keys()
        } else {
            self.dirty.forwards.drain().collect()
        };
        self.dirty.all_forwards = false;
        let mut services = Vec::with_capacity(keys.len());
        let mut waits = false;
        for key in keys {
            let forwarding = forward(&key, &self.snapshot, &self.config);
            let external = forwarding.external_addresses();
            let before = self.planned.get(&key);
            let lost = before.map_or(&[][..], |planned| &planned.external);
            let mut lost = lost.iter().filter(|address| !external.contains(address));
            if lost.any(|address| self.announcing.is_withdrawing(*address)) {
                self.held.insert(key);
                waits = true;
                continue;
            }
            self.forwarded(&key, external);
            services.push(forwarding);
        }
        if self.config.mode == ServiceProxy::Off {
            services.clear();
            self.unsynced.clear();
        }
        if whole && !waits {
            self.replaced = true;
            services.retain(|forwarding| !forwarding.frontends.is_empty());
            steps.push(Step::Replace(node, services));
        } else if !services.is_empty() {
            steps.push(Step::Change(services));
        }
    }

    /// Notes that the data path is being told these external addresses of Service `key`.
    fn forwarded(&mut self, key: &ServiceKey, external: Vec<IpAddr>) {
        if external.is_empty() && !self.planned.contains_key(key) {
            return;
        }
        let planned = self.planned.entry(key.clone()).or_default();
        self.differences += u64::from(self.dirty.checking && planned.external != external);
        planned.synced.retain(|address| external.contains(address));
        if external
            .iter()
            .any(|address| !planned.synced.contains(address))
        {
            self.unsynced.insert(key.clone());
        } else {
            self.unsynced.remove(key);
            self.failed.remove(key);
        }
        planned.external = external;
        if *planned == Planned::default() {
            self.planned.remove(key);
        }
    }

    /// Once everything of the first state is in place, what only the last run owned is dropped.
    fn settle_in(&mut self) {
        let off = self.config.mode == ServiceProxy::Off;
        let first = self.replaced && (off || self.data_ready);
        if self.synced() && first && !self.ready {
            self.ready = true;
            self.dirty.report = true;
        }
        let pending = self.dirty.all_owners || !self.dirty.owners.is_empty();
        let stuck = self.unavailable.is_some() || self.damaged.is_some() || self.leave;
        let done = self.ready && !pending && self.unsynced.len() <= self.failed.len();
        if !self.settled && (done || stuck) {
            self.settled = true;
            self.announcing.disinherit();
        }
    }

    /// Every Service that is known or was planned.
    fn all_keys(&self) -> Vec<ServiceKey> {
        let mut keys: BTreeSet<&ServiceKey> = self.snapshot.services.keys().collect();
        keys.extend(self.planned.keys());
        keys.into_iter().cloned().collect()
    }

    /// Brings the snapshot's speakers in line with what was seen of them and with the time.
    fn refresh_speakers(&mut self, now: Instant) {
        let asked = self.renewal_asked;
        if self.peers.wants_sight(now) && asked.is_none_or(|at| now.duration_since(at) > ASK_EVERY)
        {
            self.renewal_asked = Some(now);
            self.renewal += 1;
            self.dirty.report = true;
        }
        let mut views: BTreeMap<Arc<str>, SpeakerView> = self
            .peers
            .others()
            .map(|(seen, live)| {
                let view = SpeakerView {
                    node: seen.node.clone(),
                    live: live && self.heard(&seen.node),
                    interfaces: seen.interfaces.clone(),
                };
                (seen.node.clone(), view)
            })
            .collect();
        let damaged = self.damaged.as_ref();
        let broken =
            damaged.is_some_and(|(since, _)| now.saturating_duration_since(*since) >= DAMAGE_GRACE);
        self.dirty.report |= broken != self.broken;
        self.broken = broken;
        let own_name = self.snapshot.node.clone();
        let able = !self.leave && self.unavailable.is_none() && !self.broken;
        let own = SpeakerView {
            live: able && self.peers.own_live() && self.heard(&own_name),
            node: own_name,
            // Our own links as they are, not as the API server last heard.
            interfaces: published_interfaces(&self.snapshot),
        };
        views.insert(own.node.clone(), own);
        if self.snapshot.speakers != views {
            let before = std::mem::replace(&mut self.snapshot.speakers, views);
            self.dirty.all_owners = true;
            self.refresh_subnets(&before);
        }
    }

    /// Whether a node that the control plane has not heard from is heard of by its speaker.
    fn heard(&self, node: &Arc<str>) -> bool {
        !self.silent.contains(node) || self.peers.heard(node)
    }

    /// Brings the snapshot in line with what Nodes' conditions have said by now.
    fn refresh_soundness(&mut self, now: Instant) {
        let soundness = self.history.update(self.snapshot.nodes.values(), now);
        let changed = self.snapshot.soundness != soundness;
        self.snapshot.soundness = soundness;
        self.dirty.all_owners |= changed;
        self.dirty.report |= changed;
        let unsound = |soundness: &Soundness| *soundness != Soundness::Sound;
        if !self.snapshot.soundness.values().any(unsound) {
            // Nobody asks, and they change with every address.
            self.snapshot.holders.clear();
            self.dirty.holders = true;
        } else if std::mem::take(&mut self.dirty.holders) {
            let holders = self.peers.holders();
            self.dirty.all_owners |= self.snapshot.holders != holders;
            self.snapshot.holders = holders;
        }
    }
}
