//! One difference between what is installed and what is wanted, and the elements it takes.

use std::net::{IpAddr, SocketAddr};

use herald_core::{AddressRange, IpFamily, Protocol};
use herald_nft::{Data, Element};
use ipnet::IpNet;

use super::layout::SetId;
use super::pick::{Pick, Target};
use crate::Frontend;

/// Which rows of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rows {
    /// The ones most verdicts pick from.
    Endpoints,
    /// The local ones of policy Local.
    Local,
}

/// Which verdict of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// Where new connections start.
    Main,
    /// Where they go on once their source is allowed.
    Guarded,
    /// Where the node's own clients go under policy Local.
    Short,
}

/// An element that several Services may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shared {
    /// A counted address.
    Address(IpAddr),
    /// A cluster IP.
    ClusterIp(IpAddr),
    /// An address that Herald allocated.
    Own(IpAddr),
    /// A backend of this node.
    Hairpin(IpAddr),
}

impl Shared {
    pub(super) fn address(self) -> IpAddr {
        match self {
            Self::Address(a) | Self::ClusterIp(a) | Self::Own(a) | Self::Hairpin(a) => a,
        }
    }
}

/// A set of the node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeSet {
    /// Where node ports answer.
    Addresses,
    /// Sources that are pods of this node.
    Pods,
    /// Sources that keep their address to cluster IPs.
    KeepSource,
}

impl NodeSet {
    pub(super) fn id(self) -> SetId {
        match self {
            Self::Addresses => SetId::NodeAddresses,
            Self::Pods => SetId::Pods,
            Self::KeepSource => SetId::KeepSource,
        }
    }
}

/// One difference. `None` stands for "not there".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pick chain is made (`true`) or deleted.
    Pick(IpFamily, Pick, bool),
    /// A row changes.
    Row {
        /// Whose.
        frontend: Frontend,
        /// Which rows.
        rows: Rows,
        /// Which one.
        index: u32,
        /// The backend so far.
        old: Option<SocketAddr>,
        /// The backend from now on.
        new: Option<SocketAddr>,
    },
    /// A verdict changes.
    Entry {
        /// Whose.
        frontend: Frontend,
        /// Which.
        entry: Entry,
        /// So far.
        old: Option<Target>,
        /// From now on.
        new: Option<Target>,
    },
    /// A source is allowed (`true`) or no longer.
    Source(Frontend, IpNet, bool),
    /// A shared element is made (`true`) or deleted.
    Shared(Shared, bool),
    /// A range of the node's own is added (`true`) or deleted.
    Node(NodeSet, AddressRange, bool),
}

/// What becomes of one set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) family: IpFamily,
    pub(super) set: SetId,
    pub(super) delete: Vec<Element>,
    pub(super) add: Vec<Element>,
}

impl Change {
    /// The elements to delete and to add; `None` for pick chains.
    pub(super) fn edit(&self) -> Option<Edit> {
        let edit = |family, set, old: Vec<Element>, new: Vec<Element>| {
            Some(Edit {
                family,
                set,
                delete: old,
                add: new,
            })
        };
        let toggled = |family, set, elements: Vec<Element>, on: bool| {
            if on {
                edit(family, set, Vec::new(), elements)
            } else {
                edit(family, set, elements, Vec::new())
            }
        };
        match self {
            Self::Pick(..) => None,
            Self::Row {
                frontend,
                rows,
                index,
                old,
                new,
            } => {
                let element = |backend: &SocketAddr| {
                    let mut key = frontend_key(frontend);
                    key.extend(index.to_ne_bytes());
                    Element::entry(key, Data::Bytes(backend_bytes(backend)))
                };
                edit(
                    frontend.family(),
                    rows_set(frontend, *rows),
                    old.iter().map(element).collect(),
                    new.iter().map(element).collect(),
                )
            }
            Self::Entry {
                frontend,
                entry,
                old,
                new,
            } => {
                let element = |target: &Target| {
                    Element::entry(frontend_key(frontend), Data::Verdict(target.verdict()))
                };
                edit(
                    frontend.family(),
                    entry_set(frontend, *entry),
                    old.iter().map(element).collect(),
                    new.iter().map(element).collect(),
                )
            }
            Self::Source(frontend, net, on) => {
                let bound = |address: IpAddr| {
                    let mut key = frontend_key(frontend);
                    push_address(&mut key, address);
                    key
                };
                let mut element = Element::key(bound(net.network()));
                element.key_end = Some(bound(net.broadcast()));
                toggled(frontend.family(), SetId::SourceRanges, vec![element], *on)
            }
            Self::Shared(shared, on) => {
                let mut key = address_bytes(shared.address());
                let set = match shared {
                    Shared::Address(_) => SetId::Addresses,
                    Shared::ClusterIp(_) => SetId::ClusterIps,
                    Shared::Own(_) => SetId::OwnAddresses,
                    Shared::Hairpin(_) => {
                        key.extend_from_within(..);
                        SetId::Hairpin
                    }
                };
                let family = IpFamily::of(shared.address());
                toggled(family, set, vec![Element::key(key)], *on)
            }
            Self::Node(set, range, on) => {
                toggled(range.family(), set.id(), range_elements(range), *on)
            }
        }
    }
}

/// Where the rows of a frontend are.
pub(super) fn rows_set(frontend: &Frontend, rows: Rows) -> SetId {
    match (frontend, rows) {
        (Frontend::Address { .. }, Rows::Endpoints) => SetId::Endpoints,
        (Frontend::Address { .. }, Rows::Local) => SetId::EndpointsLocal,
        (Frontend::NodePort { .. }, Rows::Endpoints) => SetId::NodePortEndpoints,
        (Frontend::NodePort { .. }, Rows::Local) => SetId::NodePortEndpointsLocal,
    }
}

/// Where a verdict of a frontend is. Source ranges are no business of node ports, so they have no guarded one.
pub(super) fn entry_set(frontend: &Frontend, entry: Entry) -> SetId {
    match (frontend, entry) {
        (Frontend::Address { .. }, Entry::Main) => SetId::Services,
        (Frontend::Address { .. } | Frontend::NodePort { .. }, Entry::Guarded) => SetId::Guarded,
        (Frontend::Address { .. }, Entry::Short) => SetId::ServicesShort,
        (Frontend::NodePort { .. }, Entry::Main) => SetId::NodePorts,
        (Frontend::NodePort { .. }, Entry::Short) => SetId::NodePortsShort,
    }
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn push_address(key: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => key.extend(v4.octets()),
        IpAddr::V6(v6) => key.extend(v6.octets()),
    }
}

/// Address (for frontends that have one), protocol and port, each padded to four bytes.
fn frontend_key(frontend: &Frontend) -> Vec<u8> {
    let mut key = Vec::with_capacity(40);
    if let Frontend::Address { address, .. } = frontend {
        push_address(&mut key, *address);
    }
    key.extend([frontend.protocol().number(), 0, 0, 0]);
    key.extend(frontend.port().to_be_bytes());
    key.extend([0, 0]);
    key
}

fn backend_bytes(backend: &SocketAddr) -> Vec<u8> {
    let mut bytes = address_bytes(backend.ip());
    bytes.extend(backend.port().to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A range as the kernel's ordered sets want it: its first key, and the first key beyond it.
fn range_elements(range: &AddressRange) -> Vec<Element> {
    let mut elements = vec![Element::key(address_bytes(range.first()))];
    let beyond = range.numbers().1.checked_add(1);
    if let Some(end) = beyond.and_then(|n| AddressRange::address(range.family(), n)) {
        let mut element = Element::key(address_bytes(end));
        element.interval_end = true;
        elements.push(element);
    }
    elements
}

/// Reads keys back.
pub(super) struct Reader<'a> {
    family: IpFamily,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(family: IpFamily, bytes: &'a [u8]) -> Self {
        Self { family, bytes }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*head)
    }

    pub(super) fn address(&mut self) -> Option<IpAddr> {
        match self.family {
            IpFamily::V4 => self.take::<4>().map(IpAddr::from),
            IpFamily::V6 => self.take::<16>().map(IpAddr::from),
        }
    }

    pub(super) fn port(&mut self) -> Option<u16> {
        let [a, b, 0, 0] = self.take::<4>()? else {
            return None;
        };
        Some(u16::from_be_bytes([a, b]))
    }

    pub(super) fn index(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(super) fn frontend(&mut self, node_port: bool) -> Option<Frontend> {
        let address = if node_port {
            None
        } else {
            Some(self.address()?)
        };
        let [number, 0, 0, 0] = self.take::<4>()? else {
            return None;
        };
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| p.number() == number)?;
        let port = self.port()?;
        let family = self.family;
        Some(match address {
            Some(address) => Frontend::Address {
                address,
                protocol,
                port,
            },
            None => Frontend::NodePort {
                family,
                protocol,
                port,
            },
        })
    }

    /// `value` if the key is read to its end.
    pub(super) fn end<T>(&self, value: T) -> Option<T> {
        self.bytes.is_empty().then_some(value)
    }
}
