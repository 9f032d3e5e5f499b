//! Everything that can reach the engine: the whole of its input.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::ServiceKey;
use herald_speaker_core::{
    AdvertisementView, Interface, LinkView, Mac, NodeView, PoolView, ServiceView, SliceView,
};

use crate::announcer::AnnouncerReport;
use crate::data_path::DataPathReport;
use crate::kernel::KernelSettings;

/// One observation. The order within a kind is the order in which things happened.
#[derive(Clone, Debug)]
pub enum Observation {
    /// Services.
    Service(Change<ServiceKey, ServiceView>),
    /// EndpointSlices.
    Slice(Change<SliceKey, SliceView>),
    /// Nodes.
    Node(Change<Arc<str>, NodeSeen>),
    /// AddressPools.
    Pool(Change<Arc<str>, PoolView>),
    /// L2Advertisements.
    Advertisement(Change<Arc<str>, AdvertisementView>),
    /// Speakers.
    Speaker(Change<Arc<str>, SpeakerSeen>),
    /// This node's links, all of them.
    Links(BTreeMap<u32, LinkView>),
    /// The data path achieved or failed something.
    DataPath(DataPathReport),
    /// The announcer holds exactly the targets of this generation, and those of earlier ones no more.
    Announcing {
        /// From [`Step::Announce`](super::Step::Announce).
        generation: u64,
    },
    /// What became of a target.
    Announcer(AnnouncerReport),
    /// The API server has taken this version of our Speaker's status.
    Written {
        /// From [`Report`](super::Report).
        version: u64,
    },
    /// What the node's kernel settings stand in the way of.
    KernelSettings(KernelSettings),
    /// Why probes and metrics are not served; `None` when they are.
    Admin(Option<String>),
    /// The speaker ends and its node goes too: give the addresses away.
    Leave,
    /// Time has passed.
    Tick,
}

/// What a watch says about one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K, V> {
    /// A complete list begins.
    Listing,
    /// An object is there, new or changed.
    Set(K, V),
    /// An object is there and cannot be read: what was known of it stays.
    Unreadable(K),
    /// An object is there, and something that decides cannot be read: what was known of it stays. If nothing was known, this much
    /// can be read.
    InPart(K, V),
    /// An object is gone, or is no longer of a kind that matters.
    Gone(K),
    /// The list is complete: what it did not name is gone.
    Listed,
}

impl<K, V> Change<K, V> {
    /// Settles what can be read only in part, by whether the object is known.
    pub(super) fn settled(self, known: impl FnOnce(&K) -> bool) -> Self {
        match self {
            Self::InPart(key, _) if known(&key) => Self::Unreadable(key),
            Self::InPart(key, view) => Self::Set(key, view),
            change => change,
        }
    }
}

/// Namespace and name of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A Node, and what only its own speaker needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// What every speaker plans with.
    pub view: NodeView,
    /// Condition Ready is Unknown: the control plane has not heard from the node's kubelet.
    pub silent: bool,
    /// `metadata.uid`, the owner of the Speaker object.
    pub uid: String,
    /// Cordoned, shutting down or about to be deleted: a speaker that is told to end gives its addresses away.
    pub leaving: bool,
}

/// A Speaker object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerSeen {
    /// The node's name.
    pub node: Arc<str>,
    /// `status.renewTime` as text: only compared with its earlier value.
    pub renewed: String,
    /// False when the speaker itself says that it must not own addresses.
    pub willing: bool,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// The hardware addresses of its interfaces.
    pub macs: Vec<Mac>,
    /// The addresses it says it answers for.
    pub owned: Vec<IpAddr>,
    /// The addresses it says others answer for that it should.
    pub conflicts: Vec<(IpAddr, Mac)>,
}
