//! Tables, chains, sets, elements and rules.

use std::sync::Arc;
use std::time::Duration;

use crate::{Expression, KeyType};

/// The family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `ip`.
    Ipv4,
    /// `ip6`.
    Ipv6,
}

impl Family {
    /// `NFPROTO_*`, the number that [`crate::MetaKey::Family`] loads.
    pub fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Ipv4),
            10 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// A table's family and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Its family.
    pub family: Family,
    /// Its name within the family.
    pub name: Arc<str>,
}

impl TableName {
    /// A table's name from its parts.
    pub fn new(family: Family, name: impl Into<Arc<str>>) -> Self {
        Self {
            family,
            name: name.into(),
        }
    }

    /// A chain of this table.
    pub fn chain(&self, name: impl Into<Arc<str>>) -> ChainName {
        ChainName {
            table: self.clone(),
            name: name.into(),
        }
    }

    /// A set or map of this table.
    pub fn set(&self, name: impl Into<Arc<str>>) -> SetName {
        SetName {
            table: self.clone(),
            name: name.into(),
        }
    }
}

/// A chain's table and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainName {
    /// Its table.
    pub table: TableName,
    /// Its name within the table.
    pub name: Arc<str>,
}

/// A set's or map's table and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetName {
    /// Its table.
    pub table: TableName,
    /// Its name within the table.
    pub name: Arc<str>,
}

/// Bits of [`Table::flags`].
pub mod table_flag {
    /// Only the socket that made the table may change it.
    pub const OWNER: u32 = 2;
    /// The table stays when its owner's socket closes, for the next owner to adopt. Linux 6.9.
    pub const PERSIST: u32 = 4;
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Bits of [`table_flag`].
    pub flags: u32,
}

/// A netfilter hook of the IP families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing, packets from outside.
    Prerouting,
    /// Packets that are routed through this host.
    Forward,
    /// Packets from this host.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [
            Self::Prerouting,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
        ]
        .into_iter()
        .find(|h| h.number() == number)
    }
}

/// Which packets a chain sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// The first of each connection, to be translated.
    Nat,
    /// All.
    Filter,
}

impl ChainKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Nat, Self::Filter]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// What makes a chain one that the kernel calls by itself; its policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// For which packets.
    pub kind: ChainKind,
    /// Where.
    pub hook: Hook,
    /// In which order among the chains of that hook; lower runs first.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: ChainName,
    /// `None` for a chain that is only jumped to.
    pub base: Option<BaseChain>,
}

/// What a map's elements hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A verdict.
    Verdict,
    /// Fields.
    Fields(KeyType),
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: SetName,
    /// Its key.
    pub key: KeyType,
    /// What elements hold; `None` for a set.
    pub value: Option<Value>,
    /// Keys are ranges.
    pub interval: bool,
    /// Every element counts the packets that matched it.
    pub counter: bool,
    /// Elements may have a time-out.
    pub timeout: bool,
}

/// Packets and bytes that an element has matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Dropped.
    Drop,
    /// Accepted by this hook's chain.
    Accept,
    /// Back to the calling chain.
    Return,
    /// On to a chain, and back at its end.
    Jump(Arc<str>),
    /// On to a chain for good.
    Goto(Arc<str>),
}

/// What a map's element holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A verdict.
    Verdict(Verdict),
    /// Bytes, laid out as the value's fields are.
    Bytes(Vec<u8>),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// The last key of a range, in sets of concatenated ranges.
    pub key_end: Option<Vec<u8>>,
    /// This element is the first key *beyond* a range, in sets of plain ranges.
    pub interval_end: bool,
    /// What a map's element holds.
    pub data: Option<Data>,
    /// What it has counted; only read.
    pub counter: Option<Counter>,
    /// How long it lives from the moment it is added, in whole milliseconds; `None` for ever. Older kernels than 6.12 leave
    /// an element that is there as it is: flush or delete it in the same transaction.
    pub timeout: Option<Duration>,
    /// How much of that is left; only read.
    pub expires: Option<Duration>,
}

impl Element {
    /// An element of a set.
    pub fn key(key: Vec<u8>) -> Self {
        Self {
            key,
            key_end: None,
            interval_end: false,
            data: None,
            counter: None,
            timeout: None,
            expires: None,
        }
    }

    /// An element of a map.
    pub fn entry(key: Vec<u8>, data: Data) -> Self {
        Self {
            data: Some(data),
            ..Self::key(key)
        }
    }
}

/// Elements of one set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    /// The set or map.
    pub set: SetName,
    /// The elements.
    pub elements: Vec<Element>,
}

/// A rule; rules of a chain run in the order they were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain.
    pub chain: ChainName,
    /// What it does, left to right.
    pub expressions: Vec<Expression>,
}
