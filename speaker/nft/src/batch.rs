//! The bytes of one transaction, and which intent each of its messages serves.

use crate::attribute::Writer;
use crate::message::{ACK, BATCH_BEGIN, BATCH_END, HEADERS, SUBSYSTEM, message};
use crate::object::Elements;
use crate::operation::{Operation, encode_element};

/// Elements of one message stay below this many bytes: the list's length is a 16-bit number.
const CHUNK: usize = 60_000;

/// An attribute or message would be longer than netlink can say: a name or rule of absurd length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an nf_tables object is too long for a netlink attribute")]
pub struct TooLong;

/// A transaction being written. `T` tells what a message is for, so that a refusal can name it.
#[derive(Debug)]
pub struct Batch<T> {
    writer: Writer,
    tags: Vec<T>,
    /// For each message the index of its tag.
    messages: Vec<u32>,
    elements: usize,
    last: usize,
}

impl<T: PartialEq> Batch<T> {
    /// A transaction that changes nothing.
    pub fn new() -> Self {
        let mut writer = Writer::default();
        message(&mut writer, BATCH_BEGIN, 0, 0, (0, SUBSYSTEM), |_| {});
        Self {
            writer,
            tags: Vec::new(),
            messages: Vec::new(),
            elements: 0,
            last: 0,
        }
    }

    /// Appends an operation on behalf of `tag`. Elements are split over as many messages as they need.
    pub fn push(&mut self, tag: T, operation: &Operation) {
        if self.tags.last() != Some(&tag) {
            self.tags.push(tag);
        }
        match operation {
            Operation::AddElements(elements) => self.push_elements(operation, elements, true),
            Operation::DeleteElements(elements) => self.push_elements(operation, elements, false),
            _ => {
                let sequence = self.start();
                let address = (operation.family().number(), 0);
                let (kind, flags) = (operation.kind().number(), operation.flags());
                message(&mut self.writer, kind, flags, sequence, address, |w| {
                    operation.encode(w, sequence);
                });
            }
        }
    }

    fn push_elements(&mut self, operation: &Operation, elements: &Elements, with_data: bool) {
        let mut rest = elements.elements.iter().peekable();
        while rest.peek().is_some() {
            let sequence = self.start();
            let address = (operation.family().number(), 0);
            let (kind, flags) = (operation.kind().number(), operation.flags());
            let mut written = 0;
            message(&mut self.writer, kind, flags, sequence, address, |w| {
                w.text(1, &elements.set.table.name);
                w.text(2, &elements.set.name);
                w.nest(3, |w| {
                    let start = w.bytes.len();
                    while w.bytes.len() - start < CHUNK
                        && let Some(element) = rest.next()
                    {
                        encode_element(w, element, with_data);
                        written += 1;
                    }
                });
            });
            self.elements += written;
        }
    }

    /// Notes where a message starts and returns its sequence number: 1 for the first.
    fn start(&mut self) -> u32 {
        self.last = self.writer.bytes.len();
        let tag = self.tags.len().saturating_sub(1);
        self.messages.push(u32::try_from(tag).unwrap_or(u32::MAX));
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX)
    }

    /// Messages so far, begin and end aside.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Elements added or deleted so far.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Bytes so far.
    pub fn length(&self) -> usize {
        self.writer.bytes.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The finished transaction.
    ///
    /// Acknowledgement is asked for on the last message and on the end of the batch: kernels before 6.10 answer only the
    /// former. More than that would overflow the receive buffer of a large transaction.
    pub fn finish(mut self) -> Result<Encoded<T>, TooLong> {
        let end = u32::try_from(self.messages.len() + 1).map_err(|_| TooLong)?;
        if let Some(flags) = self.writer.bytes.get_mut(self.last + 6..self.last + 8)
            && !self.messages.is_empty()
        {
            let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
        message(
            &mut self.writer,
            BATCH_END,
            ACK,
            end,
            (0, SUBSYSTEM),
            |_| {},
        );
        if self.writer.too_long {
            return Err(TooLong);
        }
        Ok(Encoded {
            bytes: self.writer.bytes,
            tags: self.tags,
            messages: self.messages,
        })
    }
}

impl<T: PartialEq> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes of a transaction: one datagram.
#[derive(Debug)]
pub struct Encoded<T> {
    bytes: Vec<u8>,
    tags: Vec<T>,
    messages: Vec<u32>,
}

impl<T> Encoded<T> {
    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the message with this sequence number is for; `None` for begin, end and numbers beyond.
    pub fn tag(&self, sequence: u32) -> Option<&T> {
        let message = usize::try_from(sequence).ok()?.checked_sub(1)?;
        let tag = *self.messages.get(message)?;
        self.tags.get(usize::try_from(tag).ok()?)
    }

    /// Messages, begin and end aside.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Whether the transaction changes nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= 2 * HEADERS
    }
}
