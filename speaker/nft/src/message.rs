//! Netlink messages of the nf_tables subsystem: headers, and requests for dumps.

use crate::attribute::Writer;
use crate::object::{Family, SetName, TableName};

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 4;
/// `NLM_F_DUMP_INTR`: what was dumped changed meanwhile.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;
/// `NLM_F_ACK_TLVS`: an error is followed by attributes.
pub(crate) const ERROR_ATTRIBUTES: u16 = 0x200;
/// `NLM_F_CAPPED`: an error does not repeat the message it is about.
pub(crate) const ERROR_CAPPED: u16 = 0x100;

/// `NLMSG_ERROR`.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub(crate) const DONE: u16 = 3;
/// `NFNL_MSG_BATCH_BEGIN`.
pub(crate) const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub(crate) const BATCH_END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;

/// Length of a netlink header.
pub(crate) const HEADER: usize = 16;
/// Length of a netlink header and the nfnetlink header behind it.
pub(crate) const HEADERS: usize = 20;

/// `NFT_MSG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    /// Makes or describes a table.
    NewTable = 0,
    /// Asks for tables.
    GetTable = 1,
    /// Deletes a table.
    DeleteTable = 2,
    /// Makes or describes a chain.
    NewChain = 3,
    /// Asks for chains.
    GetChain = 4,
    /// Deletes a chain.
    DeleteChain = 5,
    /// Makes or describes a rule.
    NewRule = 6,
    /// Asks for rules.
    GetRule = 7,
    /// Deletes rules.
    DeleteRule = 8,
    /// Makes or describes a set.
    NewSet = 9,
    /// Asks for sets.
    GetSet = 10,
    /// Deletes a set.
    DeleteSet = 11,
    /// Makes or describes elements.
    NewElements = 12,
    /// Asks for elements.
    GetElements = 13,
    /// Deletes elements.
    DeleteElements = 14,
    /// Ends the notifications of a transaction, and says who made it.
    NewGeneration = 15,
}

impl MessageKind {
    pub(crate) fn number(self) -> u16 {
        SUBSYSTEM << 8 | self as u16
    }
}

/// Appends a message: both headers, and whatever `fill` writes.
pub(crate) fn message(
    writer: &mut Writer,
    kind: u16,
    flags: u16,
    sequence: u32,
    address: (u8, u16),
    fill: impl FnOnce(&mut Writer),
) {
    let start = writer.bytes.len();
    let (family, resource) = address;
    writer.bytes.extend_from_slice(&[0; 4]);
    writer.bytes.extend_from_slice(&kind.to_ne_bytes());
    writer
        .bytes
        .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    writer.bytes.extend_from_slice(&sequence.to_ne_bytes());
    writer.bytes.extend_from_slice(&[0; 4]);
    writer.bytes.extend_from_slice(&[family, 0]);
    writer.bytes.extend_from_slice(&resource.to_be_bytes());
    fill(writer);
    let length = u32::try_from(writer.bytes.len() - start).unwrap_or_else(|_| {
        writer.too_long = true;
        u32::MAX
    });
    if let Some(place) = writer.bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

/// A request for a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// All tables of a family.
    Tables(Family),
    /// All chains of a family: the kernel cannot narrow this to a table.
    Chains(Family),
    /// The rules of a table.
    Rules(&'a TableName),
    /// The sets and maps of a table.
    Sets(&'a TableName),
    /// The elements of a set or map.
    Elements(&'a SetName),
}

impl Request<'_> {
    /// The bytes of the request.
    pub fn encode(&self, sequence: u32) -> Vec<u8> {
        let (kind, family) = match self {
            Self::Tables(family) => (MessageKind::GetTable, *family),
            Self::Chains(family) => (MessageKind::GetChain, *family),
            Self::Rules(table) => (MessageKind::GetRule, table.family),
            Self::Sets(table) => (MessageKind::GetSet, table.family),
            Self::Elements(set) => (MessageKind::GetElements, set.table.family),
        };
        let mut writer = Writer::default();
        let address = (family.number(), 0);
        message(
            &mut writer,
            kind.number(),
            DUMP,
            sequence,
            address,
            |w| match self {
                Self::Tables(_) | Self::Chains(_) => {}
                Self::Rules(table) | Self::Sets(table) => w.text(1, &table.name),
                Self::Elements(set) => {
                    w.text(1, &set.table.name);
                    w.text(2, &set.name);
                }
            },
        );
        writer.bytes
    }
}
