use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, ServiceKey};

use crate::{
    Addresses, AdvertisementView, LinkView, NodeView, PoolView, ServiceView, SliceView, Soundness,
    SpeakerView,
};

/// Everything one speaker has observed; what the planners read.
///
/// The speaker's engine owns the one instance and writes it only from observations.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// This speaker's node.
    pub node: Arc<str>,
    /// Services by key.
    pub services: HashMap<ServiceKey, ServiceView>,
    /// EndpointSlices of each Service, by slice name.
    pub slices: HashMap<ServiceKey, BTreeMap<Arc<str>, SliceView>>,
    /// Nodes by name.
    pub nodes: BTreeMap<Arc<str>, NodeView>,
    /// AddressPools by name.
    pub pools: BTreeMap<Arc<str>, PoolView>,
    /// L2Advertisements by name.
    pub advertisements: BTreeMap<Arc<str>, AdvertisementView>,
    /// Speakers by node, this one included.
    pub speakers: BTreeMap<Arc<str>, SpeakerView>,
    /// What each Node's conditions have said lately; of a node that is not in here the present counts.
    pub soundness: BTreeMap<Arc<str>, Soundness>,
    /// The nodes whose Speaker says that it answers for an address. Only asked for while a node is not sound.
    pub holders: BTreeMap<IpAddr, BTreeSet<Arc<str>>>,
    /// The families that this node's kernel does not forward, by the name of the link they come in by.
    pub not_forwarding: BTreeMap<Arc<str>, BTreeSet<IpFamily>>,
    /// This node's links by interface index.
    pub links: BTreeMap<u32, LinkView>,
    /// Who uses which address, and which are no Service's to take.
    pub addresses: Addresses,
}

impl Snapshot {
    /// The slices of a Service.
    pub fn slices_of<'a>(
        &'a self,
        key: &ServiceKey,
    ) -> impl Iterator<Item = &'a SliceView> + use<'a> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// This speaker's own Node, once it has been seen.
    pub fn own_node(&self) -> Option<&NodeView> {
        self.nodes.get(&self.node)
    }
}
