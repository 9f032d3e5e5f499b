//! The one owner of what this speaker knows, and of what it has asked for.
//!
//! Pure in effect: observations and the time go in, steps come out; the driver in `runtime.rs` carries them out and
//! feeds back what became of them. Events only mark Services dirty; [`Engine::plan`] recomputes the dirty ones from the
//! whole snapshot by `ownership()` and `forward()`, and a [full pass](Engine::full_pass) must come to the same.
//!
//! Promises: nothing is planned before the stores it rests on are complete (I6). An address is announced only while the
//! data path carries it, and the data path loses it only after the announcer has let go (I3). That one host
//! answers at a time (I1) is the announcer's part.

mod announcing;
mod conditions;
mod observation;
mod peers;
mod report;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_core::ServiceKey;
use herald_speaker_core::{
    ForwardConfig, LinkView, Mac, NodeForwarding, NodeView, ServiceForwarding, ServiceProxy,
    Snapshot, SpeakerView, forward, forward_node, own_targets, ownership, published_interfaces,
};

use herald_speaker_core::announce::{ClaimKey, ClaimState};

use crate::data_path::DataPathReport;
use announcing::Announcing;
use peers::Peers;
use stores::{Listed, Store};

pub use announcing::Targets;
pub use observation::{Change, NodeSeen, Observation, SliceKey, SpeakerSeen};
pub use report::{Facts, Figures, Report, State};

/// What the engine asks for, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the announcer: hold exactly these. It answers with [`Observation::Announcing`].
    Announce {
        /// Counts up.
        generation: u64,
        /// All targets.
        targets: Targets,
        /// This node's links.
        links: BTreeMap<u32, LinkView>,
    },
    /// To the data path: this is the whole state.
    Replace(NodeForwarding, Vec<ServiceForwarding>),
    /// To the data path: the node's own facts changed.
    Node(NodeForwarding),
    /// To the data path: these Services changed.
    Change(Vec<ServiceForwarding>),
}

/// See the module.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Engine {
    config: ForwardConfig,
    snapshot: Snapshot,
    services: Store<ServiceKey>,
    slices: Store<SliceKey>,
    nodes: Store<Arc<str>>,
    pools: Store<Arc<str>>,
    advertisements: Store<Arc<str>>,
    speakers: Store<Arc<str>>,
    slice_service: HashMap<SliceKey, ServiceKey>,
    peers: Peers,
    announcing: Announcing,
    dirty: Dirty,
    planned: HashMap<ServiceKey, Planned>,
    /// Sent to the data path and not reported back yet.
    unsynced: HashSet<ServiceKey>,
    /// Refused by the kernel, with its words.
    failed: BTreeMap<ServiceKey, String>,
    /// Kept from the data path until the announcer has let go of an address.
    held: HashSet<ServiceKey>,
    node_forwarding: Option<NodeForwarding>,
    /// Nodes that the control plane has not heard from.
    silent: BTreeSet<Arc<str>>,
    own_uid: String,
    own_leaving: bool,
    leave: bool,
    replaced: bool,
    settled: bool,
    ready: bool,
    data_ready: bool,
    unavailable: Option<String>,
    kernel: Option<Vec<String>>,
    conflicts: BTreeMap<IpAddr, Mac>,
    last_sync: Option<Instant>,
    version: u64,
    written: u64,
    published: Option<Facts>,
    differences: u64,
    /// Counts renewals asked for out of turn.
    renewal: u64,
    renewal_told: u64,
    renewal_asked: Option<Instant>,
}

/// Between two renewals out of turn.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What must be planned again.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each marks a part of its own"
)]
struct Dirty {
    owners: HashSet<ServiceKey>,
    forwards: HashSet<ServiceKey>,
    all_owners: bool,
    all_forwards: bool,
    node: bool,
    report: bool,
    checking: bool,
}

/// What was planned last for one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Planned {
    /// Its external addresses in the forwarding that the data path was given.
    external: Vec<IpAddr>,
    /// Those that it has reported back.
    synced: Vec<IpAddr>,
    /// What it wants announced by this node.
    targets: Targets,
}

impl Engine {
    /// An engine that knows nothing yet. `now` is when the speaker started.
    pub fn new(node: Arc<str>, config: ForwardConfig, now: Instant) -> Self {
        Self {
            snapshot: Snapshot {
                node: node.clone(),
                ..Snapshot::default()
            },
            config,
            services: Store::new("services", true),
            slices: Store::new("endpointslices", true),
            nodes: Store::new("nodes", true),
            pools: Store::new("addresspools", false),
            advertisements: Store::new("l2advertisements", false),
            speakers: Store::new("speakers", false),
            slice_service: HashMap::new(),
            peers: Peers::new(node, now),
            announcing: Announcing::default(),
            dirty: Dirty::default(),
            planned: HashMap::new(),
            unsynced: HashSet::new(),
            failed: BTreeMap::new(),
            held: HashSet::new(),
            node_forwarding: None,
            silent: BTreeSet::new(),
            own_uid: String::new(),
            own_leaving: false,
            leave: false,
            replaced: false,
            settled: false,
            ready: false,
            data_ready: false,
            unavailable: None,
            kernel: None,
            conflicts: BTreeMap::new(),
            last_sync: None,
            version: 0,
            written: 0,
            published: None,
            differences: 0,
            renewal: 0,
            renewal_told: 0,
            renewal_asked: None,
        }
    }

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
                self.announcing.reported(report, now);
                self.dirty.report = true;
            }
            Observation::Written { version } => self.written = version,
            Observation::KernelSettings(problems) => {
                self.dirty.report |= self.kernel.as_ref() != Some(&problems);
                self.kernel = Some(problems);
            }
            Observation::Leave => {
                self.leave = true;
                self.dirty.report = true;
            }
            Observation::Tick => {}
        }
    }

    /// Marks everything dirty. What changes then was missed before; [`Self::differences`] counts it.
    pub fn full_pass(&mut self) {
        self.dirty.all_owners = true;
        self.dirty.all_forwards = true;
        self.dirty.node = true;
        self.dirty.report = true;
        self.dirty.checking = true;
    }

    /// Plans what is dirty. Call it after every batch of observations and whenever time has passed.
    pub fn plan(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        self.refresh_speakers(now);
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
        self.dirty.checking = false;
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
        let stuck = self.unavailable.is_some() || self.leave;
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
                    live,
                    interfaces: seen.interfaces.clone(),
                };
                (seen.node.clone(), view)
            })
            .collect();
        for name in &self.silent {
            if let Some(node) = self.snapshot.nodes.get_mut(name) {
                let heard = self.peers.heard(name);
                self.dirty.all_owners |= node.ready != heard;
                node.ready = heard;
            }
        }
        let own = SpeakerView {
            node: self.snapshot.node.clone(),
            live: !self.leave && self.unavailable.is_none() && self.peers.own_live(),
            // Our own links as they are, not as the API server last heard.
            interfaces: published_interfaces(&self.snapshot),
        };
        views.insert(own.node.clone(), own);
        if self.snapshot.speakers != views {
            self.snapshot.speakers = views;
            self.dirty.all_owners = true;
        }
    }

    fn synced(&self) -> bool {
        self.unlisted().is_empty()
    }

    /// The kinds whose first list is not complete.
    pub fn unlisted(&self) -> Vec<&'static str> {
        [
            (self.services.synced(), self.services.name),
            (self.slices.synced(), self.slices.name),
            (self.nodes.synced(), self.nodes.name),
            (self.pools.synced(), self.pools.name),
            (self.advertisements.synced(), self.advertisements.name),
            (self.speakers.synced(), self.speakers.name),
        ]
        .into_iter()
        .filter(|(synced, _)| !synced)
        .map(|(_, name)| name)
        .collect()
    }

    /// Everything was listed once and the first state is in the kernel. Stays true (I5).
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// The node is about to go, so that an ending speaker must give its addresses away.
    pub fn node_leaving(&self) -> bool {
        self.own_leaving
    }

    /// After [`Observation::Leave`]: nothing is announced any more and the API server knows.
    pub fn has_left(&self) -> bool {
        let told = self.written == self.version && !self.dirty.report;
        self.leave && self.announcing.is_silent() && told
    }

    /// What [`Self::full_pass`] found that earlier passes had missed.
    pub fn differences(&self) -> u64 {
        self.differences
    }

    /// What is known.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What the announcer is to hold.
    pub fn targets(&self) -> &Targets {
        self.announcing.targets()
    }

    /// What is answered for.
    pub fn owned(&self) -> Targets {
        self.announcing.owned()
    }

    /// Targets that are not answered for yet, with what the announcer says.
    pub fn waiting(&self) -> impl Iterator<Item = (ClaimKey, Option<ClaimState>)> {
        self.announcing.waiting()
    }

    /// How many Services the data path has not reported back, and how many it failed.
    pub fn backlog(&self) -> (usize, usize) {
        (self.unsynced.len(), self.failed.len())
    }
}

// === what was observed ===

impl Engine {
    fn touch(&mut self, key: ServiceKey) {
        self.dirty.owners.insert(key.clone());
        self.dirty.forwards.insert(key);
    }

    fn service(&mut self, change: Change<ServiceKey, herald_speaker_core::ServiceView>) {
        let gone = match change {
            Change::Listing => return self.services.begin(),
            Change::Unreadable(key) => return self.services.saw(&key),
            Change::Set(key, view) => {
                self.services.saw(&key);
                if self.snapshot.services.get(&key) != Some(&view) {
                    self.snapshot.services.insert(key.clone(), view);
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
            if self.snapshot.services.remove(&key).is_some() {
                self.touch(key);
            }
        }
    }

    fn slice(&mut self, change: Change<SliceKey, herald_speaker_core::SliceView>) {
        let gone = match change {
            Change::Listing => return self.slices.begin(),
            Change::Unreadable(key) => return self.slices.saw(&key),
            Change::Set(key, view) => {
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
                    self.touch(service);
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
        self.touch(service);
    }

    fn node(&mut self, change: Change<Arc<str>, NodeSeen>) {
        let change = match change {
            Change::Listing => Change::Listing,
            Change::Unreadable(key) => Change::Unreadable(key),
            Change::Gone(key) => {
                self.silent.remove(&key);
                Change::Gone(key)
            }
            Change::Listed => Change::Listed,
            Change::Set(key, seen) => {
                if key == self.snapshot.node {
                    self.dirty.report |= self.own_uid != seen.uid;
                    self.own_uid = seen.uid;
                    self.own_leaving = seen.leaving;
                    let forwarding =
                        |view: &NodeView| (view.addresses.clone(), view.pod_cidrs.clone());
                    let known = self.snapshot.own_node().map(forwarding);
                    self.dirty.node |= known != Some(forwarding(&seen.view));
                }
                let mut view = seen.view;
                if seen.silent {
                    view.ready = self.peers.heard(&key);
                    self.silent.insert(key.clone());
                } else {
                    self.silent.remove(&key);
                }
                Change::Set(key, view)
            }
        };
        self.dirty.report |= change == Change::Listed;
        self.dirty.all_owners |= merge(&mut self.nodes, &mut self.snapshot.nodes, change);
    }

    fn speaker(&mut self, change: Change<Arc<str>, SpeakerSeen>, now: Instant) {
        match change {
            Change::Listing => self.speakers.begin(),
            Change::Unreadable(key) => self.speakers.saw(&key),
            Change::Set(key, seen) => {
                self.speakers.saw(&key);
                if key == self.snapshot.node && !self.speakers.synced() {
                    self.announcing.inherit(seen.owned.iter().copied());
                }
                self.peers.set(seen, now);
            }
            Change::Gone(key) => self.peers.remove(&key),
            Change::Listed => {
                let (_, gone) = self.speakers.finish(self.peers.names());
                for key in gone {
                    self.peers.remove(&key);
                }
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
            DataPathReport::Ready => {
                self.dirty.report |= !self.data_ready || self.unavailable.is_some();
                self.data_ready = true;
                self.unavailable = None;
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
    match change {
        Change::Listing => store.begin(),
        Change::Unreadable(key) => store.saw(&key),
        Change::Set(key, view) => {
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
