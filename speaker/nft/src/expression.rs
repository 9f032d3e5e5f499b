//! The steps of a rule: load into registers, compare, look up, act.

mod decode;
mod encode;

pub(crate) use decode::decode_counter;

use std::sync::Arc;

use crate::{Counter, Family, Verdict};

/// One of the sixteen four-byte registers. Longer values take the following ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register(u8);

impl Register {
    /// The first one; what single loads use.
    pub const FIRST: Self = Self(0);

    /// The register `words` four-byte words behind the first; `None` beyond the sixteenth.
    pub fn at(words: u32) -> Option<Self> {
        u8::try_from(words).ok().filter(|w| *w < 16).map(Self)
    }

    /// The kernel's number, in the form it uses itself when it dumps: 1 to 4 where the word starts a 16-byte register,
    /// otherwise 8 and up.
    pub(crate) fn number(self) -> u32 {
        let word = u32::from(self.0);
        if word.is_multiple_of(4) {
            1 + word / 4
        } else {
            8 + word
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            1..=4 => Self::at((number - 1) * 4),
            8..=23 => Self::at(number - 8),
            _ => None,
        }
    }
}

/// Where a payload load counts its offset from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadBase {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// What `meta` loads or sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// The packet mark, in the machine's order.
    Mark,
    /// The packet's family, one byte: 2 for IPv4, 10 for IPv6.
    Family,
    /// The transport protocol, one byte.
    L4Protocol,
}

/// What `ct` loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtKey {
    /// The bits `IPS_*`, in the machine's order.
    Status,
}

/// Where a lookup puts what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// Nowhere: it only tests whether the key is in the set.
    Test,
    /// It tests that the key is *not* in the set.
    TestAbsent,
    /// The element's verdict is followed.
    Verdict,
    /// The element's value is loaded.
    Load(Register),
}

/// Which address `fib` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibAddress {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Which end `nat` translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads bytes of the packet.
    Payload {
        /// Counted from here.
        base: PayloadBase,
        /// Offset in bytes.
        offset: u32,
        /// Length in bytes.
        length: u32,
        /// Into this register.
        to: Register,
    },
    /// Loads a fact about the packet.
    Meta {
        /// Which.
        key: MetaKey,
        /// Into this register.
        to: Register,
    },
    /// Sets a fact about the packet.
    SetMeta {
        /// Which.
        key: MetaKey,
        /// From this register.
        from: Register,
    },
    /// Loads a fact about the connection.
    Ct {
        /// Which.
        key: CtKey,
        /// Into this register.
        to: Register,
    },
    /// `to = (from & mask) ^ xor`.
    Bitwise {
        /// Operand.
        from: Register,
        /// Result.
        to: Register,
        /// As long as `xor`.
        mask: Vec<u8>,
        /// As long as `mask`.
        xor: Vec<u8>,
    },
    /// Ends the rule unless the register equals `value` (or differs from it).
    Compare {
        /// What is compared.
        from: Register,
        /// True for "equals".
        equal: bool,
        /// With what.
        value: Vec<u8>,
    },
    /// Looks a key up; ends the rule when it is not found.
    Lookup {
        /// The set or map.
        set: Arc<str>,
        /// The key starts in this register.
        key: Register,
        /// What to do with the element.
        result: LookupResult,
    },
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Loads a random number below `modulus`, in the machine's order.
    Random {
        /// At least 1.
        modulus: u32,
        /// Into this register.
        to: Register,
    },
    /// Translates the connection.
    Nat {
        /// Which end.
        kind: NatKind,
        /// The family of the address.
        family: Family,
        /// The address is in this register.
        address: Register,
        /// The port is in this register.
        port: Register,
    },
    /// Translates the source to an address of the outgoing interface, at a random port.
    Masquerade,
    /// Answers with ICMP or ICMPv6 unreachable.
    Reject {
        /// The ICMP code.
        code: u8,
    },
    /// Loads the routing type (`RTN_*`) of an address, in the machine's order.
    FibType {
        /// Which address.
        address: FibAddress,
        /// Into this register.
        to: Register,
    },
    /// Counts packets and bytes.
    Counter(Counter),
    /// Something this crate does not write; only read.
    Other(Arc<str>),
}
