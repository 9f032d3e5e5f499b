//! One change to nf_tables, and the message it becomes.

use crate::attribute::Writer;
use crate::message::{APPEND, CREATE, MessageKind};
use crate::object::{
    Chain, ChainName, Data, Element, Elements, Family, Rule, Set, SetName, Table, TableName, Value,
};

/// `NFT_SET_INTERVAL`.
pub(crate) const SET_INTERVAL: u32 = 4;
/// `NFT_SET_MAP`.
pub(crate) const SET_MAP: u32 = 8;
/// `NFT_SET_TIMEOUT`.
pub(crate) const SET_TIMEOUT: u32 = 0x10;
/// `NFT_SET_CONCAT`.
pub(crate) const SET_CONCAT: u32 = 0x80;
/// `NFT_DATA_VERDICT`.
pub(crate) const DATA_VERDICT: u32 = 0xffff_ff00;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(crate) const ELEMENT_INTERVAL_END: u32 = 1;
/// `NF_ACCEPT`, the policy of our base chains.
pub(crate) const POLICY_ACCEPT: u32 = 1;

/// One change. Making what is there already, exactly as it is, is no error; an element with other data is one (EEXIST).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a table, or adopts one that was left by its owner.
    AddTable(Table),
    /// Deletes a table with all that is in it.
    DeleteTable(TableName),
    /// Makes a chain.
    AddChain(Chain),
    /// Deletes all rules of a chain.
    ClearChain(ChainName),
    /// Deletes a chain that has no rules and that nothing leads to.
    DeleteChain(ChainName),
    /// Makes a set or map.
    AddSet(Set),
    /// Appends a rule to its chain.
    AddRule(Rule),
    /// Adds elements.
    AddElements(Elements),
    /// Deletes elements, by key.
    DeleteElements(Elements),
    /// Deletes all elements of a set or map, if there are any.
    FlushSet(SetName),
}

impl Operation {
    pub(crate) fn kind(&self) -> MessageKind {
        match self {
            Self::AddTable(_) => MessageKind::NewTable,
            Self::DeleteTable(_) => MessageKind::DeleteTable,
            Self::AddChain(_) => MessageKind::NewChain,
            Self::ClearChain(_) => MessageKind::DeleteRule,
            Self::DeleteChain(_) => MessageKind::DeleteChain,
            Self::AddSet(_) => MessageKind::NewSet,
            Self::AddRule(_) => MessageKind::NewRule,
            Self::AddElements(_) => MessageKind::NewElements,
            Self::DeleteElements(_) | Self::FlushSet(_) => MessageKind::DeleteElements,
        }
    }

    pub(crate) fn flags(&self) -> u16 {
        match self {
            Self::AddTable(_) | Self::AddChain(_) | Self::AddSet(_) | Self::AddElements(_) => {
                CREATE
            }
            Self::AddRule(_) => CREATE | APPEND,
            Self::DeleteTable(_)
            | Self::ClearChain(_)
            | Self::DeleteChain(_)
            | Self::DeleteElements(_)
            | Self::FlushSet(_) => 0,
        }
    }

    pub(crate) fn family(&self) -> Family {
        match self {
            Self::AddTable(table) => table.name.family,
            Self::DeleteTable(table) => table.family,
            Self::AddChain(chain) => chain.name.table.family,
            Self::ClearChain(chain) | Self::DeleteChain(chain) => chain.table.family,
            Self::AddSet(set) => set.name.table.family,
            Self::AddRule(rule) => rule.chain.table.family,
            Self::AddElements(elements) | Self::DeleteElements(elements) => {
                elements.set.table.family
            }
            Self::FlushSet(set) => set.table.family,
        }
    }

    /// The attributes of everything but elements, which the batch splits over messages.
    pub(crate) fn encode(&self, w: &mut Writer, set_id: u32) {
        match self {
            Self::AddTable(table) => {
                w.text(1, &table.name.name);
                w.u32(2, table.flags);
            }
            Self::DeleteTable(table) => w.text(1, &table.name),
            Self::AddChain(chain) => encode_chain(w, chain),
            Self::ClearChain(chain) => {
                w.text(1, &chain.table.name);
                w.text(2, &chain.name);
            }
            Self::DeleteChain(chain) => {
                w.text(1, &chain.table.name);
                w.text(3, &chain.name);
            }
            Self::AddSet(set) => encode_set(w, set, set_id),
            Self::AddRule(rule) => {
                w.text(1, &rule.chain.table.name);
                w.text(2, &rule.chain.name);
                w.nest(4, |w| {
                    for expression in &rule.expressions {
                        w.nest(1, |w| expression.encode(w));
                    }
                });
            }
            Self::FlushSet(set) => {
                w.text(1, &set.table.name);
                w.text(2, &set.name);
            }
            Self::AddElements(_) | Self::DeleteElements(_) => {}
        }
    }
}

fn encode_chain(w: &mut Writer, chain: &Chain) {
    w.text(1, &chain.name.table.name);
    w.text(3, &chain.name.name);
    if let Some(base) = &chain.base {
        w.nest(4, |w| {
            w.u32(1, base.hook.number());
            w.u32(2, base.priority.cast_unsigned());
        });
        w.u32(5, POLICY_ACCEPT);
        w.text(7, base.kind.name());
    }
}

fn encode_set(w: &mut Writer, set: &Set, id: u32) {
    let concatenation = set.key.is_concatenation();
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    w.text(1, &set.name.table.name);
    w.text(2, &set.name.name);
    w.u32(
        3,
        flag(set.interval, SET_INTERVAL)
            | flag(set.value.is_some(), SET_MAP)
            | flag(set.timeout, SET_TIMEOUT)
            | flag(concatenation, SET_CONCAT),
    );
    w.u32(4, set.key.number());
    w.u32(5, set.key.length());
    match &set.value {
        None => {}
        Some(Value::Verdict) => {
            w.u32(6, DATA_VERDICT);
            w.u32(7, 0);
        }
        Some(Value::Fields(fields)) => {
            w.u32(6, fields.number());
            w.u32(7, fields.length());
        }
    }
    if concatenation {
        w.nest(9, |w| {
            w.nest(2, |w| {
                for field in &set.key.0 {
                    w.nest(1, |w| w.u32(1, field.length()));
                }
            });
        });
    }
    w.u32(10, id);
    if set.counter {
        w.nest(17, |w| {
            w.text(1, "counter");
            w.nest(2, |_| {});
        });
    }
}

/// An element; for a deletion its key suffices.
pub(crate) fn encode_element(w: &mut Writer, element: &Element, with_data: bool) {
    w.nest(1, |w| {
        w.nest(1, |w| w.raw(1, &element.key));
        if let Some(end) = &element.key_end {
            w.nest(10, |w| w.raw(1, end));
        }
        if element.interval_end {
            w.u32(3, ELEMENT_INTERVAL_END);
        }
        if let Some(timeout) = element.timeout.filter(|_| with_data) {
            w.u64(4, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        match element.data.as_ref().filter(|_| with_data) {
            None => {}
            Some(Data::Verdict(verdict)) => w.nest(2, |w| verdict.encode(w)),
            Some(Data::Bytes(bytes)) => w.nest(2, |w| w.raw(1, bytes)),
        }
    });
}
