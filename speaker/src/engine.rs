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
mod observe;
mod peers;
mod plan;
mod report;
mod reserved;
mod soundness;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_core::ServiceKey;
use herald_speaker_core::{
    ForwardConfig, LinkView, Mac, NodeForwarding, ServiceForwarding, Snapshot,
};

use herald_speaker_core::announce::{ClaimKey, ClaimState};

use announcing::Announcing;
use peers::Peers;
use soundness::History;
use stores::Store;

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
    history: History,
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
    /// Others changed the rules: since when, and what they did.
    damaged: Option<(Instant, String)>,
    damages: u64,
    /// Damage has lasted for longer than [`DAMAGE_GRACE`].
    broken: bool,
    kernel: Option<Vec<String>>,
    /// Why probes and metrics are not served.
    admin: Option<String>,
    conflicts: BTreeMap<IpAddr, Mac>,
    last_sync: Option<Instant>,
    version: u64,
    written: u64,
    written_at: Option<Instant>,
    published: Option<Facts>,
    differences: u64,
    /// Counts renewals asked for out of turn.
    renewal: u64,
    renewal_told: u64,
    renewal_asked: Option<Instant>,
}

/// Damaged rules are mended within this, or the node's addresses go where they are forwarded: moving them sooner would take
/// longer than mending.
const DAMAGE_GRACE: Duration = Duration::from_secs(1);

/// After this time the API server's word about our own Speaker is not older than ours.
const SEEN_AGAIN_AFTER: Duration = Duration::from_secs(10);
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
    holders: bool,
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
            history: History::default(),
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
            damaged: None,
            damages: 0,
            broken: false,
            kernel: None,
            admin: None,
            conflicts: BTreeMap::new(),
            last_sync: None,
            version: 0,
            written: 0,
            written_at: None,
            published: None,
            differences: 0,
            renewal: 0,
            renewal_told: 0,
            renewal_asked: None,
        }
    }

    /// Marks everything dirty. What changes then was missed before; [`Self::differences`] counts it.
    pub fn full_pass(&mut self) {
        self.rebuild_addresses();
        self.dirty.all_owners = true;
        self.dirty.all_forwards = true;
        self.dirty.node = true;
        self.dirty.report = true;
        self.dirty.checking = true;
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

    /// The announcer must say again where its claims stand.
    pub fn is_unheard(&self) -> bool {
        self.announcing.is_unheard()
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
