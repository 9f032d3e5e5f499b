//! Reading what the kernel says: errors, acknowledgements, dumped objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::attribute::Attributes;
use crate::datatype::KeyType;
use crate::expression::{Expression, decode_counter};
use crate::message::{
    DONE, DUMP_INTERRUPTED, ERROR, ERROR_ATTRIBUTES, ERROR_CAPPED, HEADER, HEADERS, MessageKind,
    SUBSYSTEM,
};
use crate::object::{
    BaseChain, Chain, ChainKind, Data, Element, Elements, Family, Hook, Rule, Set, Table,
    TableName, Value, Verdict,
};
use crate::operation::{
    DATA_VERDICT, ELEMENT_INTERVAL_END, POLICY_ACCEPT, SET_CONCAT, SET_INTERVAL, SET_MAP,
    SET_TIMEOUT,
};

/// One message from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A table.
    Table(Table),
    /// A chain.
    Chain(Chain),
    /// A rule.
    Rule(Rule),
    /// A set or map.
    Set(Set),
    /// Elements, perhaps not all of their set.
    Elements(Elements),
    /// A message was refused, or, without an error number, done.
    Answer {
        /// The sequence number of the message it is about.
        sequence: u32,
        /// What went wrong; `None` for an acknowledgement.
        fault: Option<Fault>,
    },
    /// The end of a dump.
    Done,
    /// What was dumped changed meanwhile: dump again.
    Interrupted,
    /// An object of this table with properties this crate does not write.
    Unknown(TableName),
    /// Another object or kind of message.
    Other,
}

/// Why the kernel refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The error number.
    pub errno: i32,
    /// Where in the message the attribute at fault starts, if the kernel says so.
    pub offset: Option<u32>,
    /// The kernel's words, if it has any.
    pub text: Option<Arc<str>>,
}

/// A datagram that is no sequence of netlink messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message")]
pub struct Malformed;

/// The objects of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The table; `None` when it is not there.
    pub table: Option<Table>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Its rules by chain, in order.
    pub rules: BTreeMap<Arc<str>, Vec<Vec<Expression>>>,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Their elements.
    pub elements: BTreeMap<Arc<str>, Vec<Element>>,
    /// Something in it has properties that this crate does not write.
    pub unknown: bool,
}

impl Listing {
    /// Takes up a dumped object if it is of the table `name`.
    pub fn add(&mut self, name: &TableName, decoded: Decoded) {
        match decoded {
            Decoded::Table(table) if table.name == *name => self.table = Some(table),
            Decoded::Chain(chain) if chain.name.table == *name => self.chains.push(chain),
            Decoded::Rule(rule) if rule.chain.table == *name => self
                .rules
                .entry(rule.chain.name)
                .or_default()
                .push(rule.expressions),
            Decoded::Set(set) if set.name.table == *name => self.sets.push(set),
            Decoded::Elements(elements) if elements.set.table == *name => self
                .elements
                .entry(elements.set.name)
                .or_default()
                .extend(elements.elements),
            Decoded::Unknown(table) if table == *name => self.unknown = true,
            _ => {}
        }
    }
}

/// A netlink message, headers included.
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    /// The port of the socket that it comes from, or, in a notification, that changed something.
    pub(crate) port: u32,
    flags: u16,
    pub(crate) bytes: &'a [u8],
}

/// The messages of a datagram; ends after the first that is malformed.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = take_message(&mut rest);
        if message.is_none() {
            rest = &[];
        }
        Some(message.ok_or(Malformed))
    })
}

fn take_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32_at(rest, 0)?).ok()?;
    let bytes = rest.get(..length).filter(|b| b.len() >= HEADER)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Message {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        port: u32_at(bytes, 12)?,
        bytes,
    })
}

/// The messages of a datagram.
pub fn decode(datagram: &[u8]) -> Result<Vec<Decoded>, Malformed> {
    let mut decoded = Vec::new();
    for message in messages(datagram) {
        let Message {
            kind, flags, bytes, ..
        } = message?;
        if flags & DUMP_INTERRUPTED != 0 && kind != ERROR {
            decoded.push(Decoded::Interrupted);
        }
        decoded.push(match kind {
            ERROR => decode_answer(bytes, flags).ok_or(Malformed)?,
            DONE => Decoded::Done,
            _ if kind >> 8 == SUBSYSTEM => decode_object(kind, bytes)
                .or_else(|| table_of(bytes).map(Decoded::Unknown))
                .unwrap_or(Decoded::Other),
            _ => Decoded::Other,
        });
    }
    Ok(decoded)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn decode_answer(message: &[u8], flags: u16) -> Option<Decoded> {
    let errno = u32_at(message, HEADER)?.cast_signed();
    let about = message.get(HEADER + 4..)?;
    let sequence = u32_at(about, 8)?;
    if errno == 0 {
        return Some(Decoded::Answer {
            sequence,
            fault: None,
        });
    }
    let repeated = if flags & ERROR_CAPPED != 0 {
        HEADER
    } else {
        usize::try_from(u32_at(about, 0)?).ok()?.next_multiple_of(4)
    };
    let details = match flags & ERROR_ATTRIBUTES {
        0 => &[],
        _ => about.get(repeated..).unwrap_or_default(),
    };
    let details = Attributes::new(details);
    Some(Decoded::Answer {
        sequence,
        fault: Some(Fault {
            errno: errno.saturating_neg(),
            offset: details.get(2).and_then(|a| u32_at(a.value, 0)),
            text: details.get(1).and_then(|a| a.text()).map(Into::into),
        }),
    })
}

/// Whatever the object, its first attribute is the table's name.
fn table_of(message: &[u8]) -> Option<TableName> {
    let family = Family::from_number(*message.get(HEADER)?)?;
    let attributes = Attributes::new(message.get(HEADERS..)?);
    Some(TableName::new(family, attributes.get(1)?.text()?))
}

fn decode_object(kind: u16, message: &[u8]) -> Option<Decoded> {
    let table = table_of(message)?;
    let attributes = Attributes::new(message.get(HEADERS..)?);
    let is = |expected: MessageKind| kind == expected.number();
    if is(MessageKind::NewTable) {
        Some(Decoded::Table(Table {
            name: table,
            flags: attributes.get(2)?.u32()?,
        }))
    } else if is(MessageKind::NewChain) {
        decode_chain(&table, &attributes).map(Decoded::Chain)
    } else if is(MessageKind::NewRule) {
        let expressions = attributes.get(4)?.nested();
        Some(Decoded::Rule(Rule {
            chain: table.chain(attributes.get(2)?.text()?),
            expressions: expressions
                .map(|e| Expression::decode(&e.nested()))
                .collect(),
        }))
    } else if is(MessageKind::NewSet) {
        decode_set(&table, &attributes).map(Decoded::Set)
    } else if is(MessageKind::NewElements) {
        let elements = attributes.get(3).map(|a| a.nested());
        Some(Decoded::Elements(Elements {
            set: table.set(attributes.get(2)?.text()?),
            elements: elements
                .into_iter()
                .flatten()
                .map(|e| decode_element(&e.nested()))
                .collect::<Option<_>>()?,
        }))
    } else {
        None
    }
}

fn decode_chain(table: &TableName, attributes: &Attributes<'_>) -> Option<Chain> {
    let base = match attributes.get(4) {
        None => None,
        Some(hook) => {
            let policy = attributes.get(5)?.u32()?;
            (policy == POLICY_ACCEPT).then_some(())?;
            Some(BaseChain {
                kind: ChainKind::from_name(attributes.get(7)?.text()?)?,
                hook: Hook::from_number(hook.nested().get(1)?.u32()?)?,
                priority: hook.nested().get(2)?.u32()?.cast_signed(),
            })
        }
    };
    Some(Chain {
        name: table.chain(attributes.get(3)?.text()?),
        base,
    })
}

fn decode_set(table: &TableName, attributes: &Attributes<'_>) -> Option<Set> {
    let number = |kind| attributes.get(kind).and_then(|a| a.u32());
    let flags = number(3).unwrap_or(0);
    let key = KeyType::from_number(number(4)?)?;
    let known = SET_INTERVAL | SET_MAP | SET_CONCAT | SET_TIMEOUT;
    // A time-out of the set itself is never written.
    let same = flags & !known == 0
        && attributes.get(11).is_none_or(|a| a.u64() == Some(0))
        && number(5)? == key.length()
        && (flags & SET_CONCAT != 0) == key.is_concatenation();
    let value = match number(6) {
        _ if flags & SET_MAP == 0 => None,
        Some(DATA_VERDICT) => Some(Value::Verdict),
        Some(fields) => {
            let fields = KeyType::from_number(fields)?;
            (number(7)? == fields.length()).then_some(Value::Fields(fields))
        }
        None => return None,
    };
    let counter = match attributes.get(17) {
        None => false,
        Some(expression) => decode_counter(&expression.nested()).is_some(),
    };
    let name = table.set(attributes.get(2)?.text()?);
    same.then_some(Set {
        name,
        key,
        value,
        interval: flags & SET_INTERVAL != 0,
        counter,
        timeout: flags & SET_TIMEOUT != 0,
    })
}

fn decode_element(attributes: &Attributes<'_>) -> Option<Element> {
    let flags = attributes.get(3).and_then(|a| a.u32()).unwrap_or(0);
    let bytes =
        |kind| -> Option<Vec<u8>> { Some(attributes.get(kind)?.nested().get(1)?.value.to_vec()) };
    let time = |kind| Some(Duration::from_millis(attributes.get(kind)?.u64()?));
    let data = match attributes.get(2) {
        None => None,
        Some(data) => Some(match data.nested().get(1) {
            Some(value) => Data::Bytes(value.value.to_vec()),
            None => Data::Verdict(Verdict::decode(&data.nested())?),
        }),
    };
    Some(Element {
        key: bytes(1)?,
        key_end: bytes(10),
        interval_end: flags & ELEMENT_INTERVAL_END != 0,
        data,
        counter: attributes.get(7).and_then(|e| decode_counter(&e.nested())),
        timeout: time(4),
        expires: time(5),
    })
}
