//! The netlink socket: commits transactions, reads dumps. Blocking; the kernel commits within the send itself.

#[allow(unsafe_code)]
mod raw;
mod watch;

use std::fmt;
use std::io;

use crate::batch::Encoded;
use crate::conntrack::{Flow, decode_flows, flows_request};
use crate::dump::{Decoded, Fault, Listing, Malformed, decode};
use crate::message::Request;
use crate::object::{Element, Family, SetName, TableName};

pub use watch::Watch;

/// What the receive buffer is raised to: thousands of errors of one refused transaction fit.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The kernel asks for this much room above the datagram.
const SEND_SLACK: usize = 4096;
/// How often an interrupted dump is tried again.
const DUMP_ATTEMPTS: usize = 20;

/// A socket to nf_tables in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    raw: raw::Netlink,
    sequence: u32,
    send_buffer: usize,
}

/// One message of a transaction that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<T> {
    /// What the message was for; `None` when the transaction as a whole was refused.
    pub tag: Option<T>,
    /// Why.
    pub fault: Fault,
}

/// Why a transaction is not known to be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<T> {
    /// Nothing was changed: the kernel refused these messages.
    #[error("the kernel refused {}", list(.0))]
    Refused(Vec<Refusal<T>>),
    /// Nothing was changed: the transaction does not fit into the socket's send buffer.
    #[error(
        "a transaction of {0} bytes exceeds the socket's send buffer; split it, or grant CAP_NET_ADMIN"
    )]
    TooLarge(usize),
    /// It may or may not have been committed: read the state back.
    #[error("the outcome of the transaction is unknown: {0}")]
    Unknown(#[source] io::Error),
    /// Nothing was changed: it could not be sent.
    #[error("sending the transaction: {0}")]
    Send(#[source] io::Error),
}

fn list<T>(refusals: &[Refusal<T>]) -> String {
    let mut text = refusals
        .iter()
        .take(3)
        .map(|r| r.fault.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    if refusals.len() > 3 {
        text.push_str(", …");
    }
    format!("{} message(s): {text}", refusals.len())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        if let Some(text) = &self.text {
            write!(f, " ({text})")?;
        }
        Ok(())
    }
}

/// Why a dump could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The socket failed.
    #[error("reading from netfilter: {0}")]
    Io(#[from] io::Error),
    /// The kernel refused the request.
    #[error("netfilter refused a request: {0}")]
    Refused(Fault),
    /// Other programs kept changing what was dumped.
    #[error("nf_tables kept changing during {DUMP_ATTEMPTS} dumps; it is tried again")]
    Interrupted,
    /// The answer is no netlink message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Socket {
    /// Opens the socket.
    pub fn open() -> io::Result<Self> {
        let raw = raw::Netlink::open(0)?;
        raw.grow_receive_buffer(RECEIVE_BUFFER)?;
        let send_buffer = raw.send_buffer()?;
        Ok(Self {
            raw,
            sequence: 0,
            send_buffer,
        })
    }

    /// The port that names this socket as the author of changes.
    pub fn port(&self) -> io::Result<u32> {
        self.raw.port()
    }

    /// The largest transaction that fits once the buffer is as large as the kernel lets this process have; for splitting
    /// after [`CommitError::TooLarge`].
    pub fn limit(&self) -> usize {
        self.send_buffer.saturating_sub(SEND_SLACK)
    }

    /// Commits a transaction: all of it or nothing.
    pub fn commit<T: Clone>(&mut self, batch: &Encoded<T>) -> Result<(), CommitError<T>> {
        let length = batch.bytes().len();
        if length + SEND_SLACK > self.send_buffer {
            self.raw
                .grow_send_buffer(length + SEND_SLACK)
                .and_then(|()| self.raw.send_buffer())
                .map(|size| self.send_buffer = size)
                .map_err(CommitError::Send)?;
        }
        // Answers to an earlier transaction whose outcome was left unknown must not be taken for this one's.
        self.raw.discard();
        match self.raw.send(batch.bytes()) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                return Err(CommitError::TooLarge(length));
            }
            other => other.map_err(CommitError::Send)?,
        }
        let mut acknowledged = false;
        let mut refusals = Vec::new();
        // Every answer was queued before the send returned.
        while let Some(datagram) = self.raw.receive_now().map_err(CommitError::Unknown)? {
            let messages = decode(datagram)
                .map_err(|e| CommitError::Unknown(io::Error::new(io::ErrorKind::InvalidData, e)))?;
            for message in messages {
                match message {
                    Decoded::Answer { fault: None, .. } => acknowledged = true,
                    Decoded::Answer {
                        sequence,
                        fault: Some(fault),
                    } => refusals.push(Refusal {
                        tag: batch.tag(sequence).cloned(),
                        fault,
                    }),
                    _ => {}
                }
            }
        }
        if !refusals.is_empty() {
            return Err(CommitError::Refused(refusals));
        }
        if !acknowledged {
            return Err(CommitError::Unknown(io::Error::other(
                "the kernel did not answer",
            )));
        }
        Ok(())
    }

    /// Dumps what `request` asks for, again where other programs' changes interrupt it.
    pub fn dump(&mut self, request: Request<'_>) -> Result<Vec<Decoded>, ReadError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(messages) = self.dump_once(request)? {
                return Ok(messages);
            }
        }
        Err(ReadError::Interrupted)
    }

    /// `None` when the dump was interrupted.
    fn dump_once(&mut self, request: Request<'_>) -> Result<Option<Vec<Decoded>>, ReadError> {
        self.raw.discard();
        self.sequence = self.sequence.wrapping_add(1);
        self.raw.send(&request.encode(self.sequence))?;
        let mut dumped = Vec::new();
        let mut interrupted = false;
        loop {
            for message in decode(self.raw.receive()?)? {
                match message {
                    Decoded::Done => return Ok((!interrupted).then_some(dumped)),
                    Decoded::Interrupted => interrupted = true,
                    Decoded::Answer {
                        fault: Some(fault), ..
                    } => {
                        return match fault.errno {
                            // A table or set that is gone has nothing to show.
                            libc::ENOENT => Ok(Some(Vec::new())),
                            libc::EINTR | libc::EAGAIN => Ok(None),
                            _ => Err(ReadError::Refused(fault)),
                        };
                    }
                    other => dumped.push(other),
                }
            }
        }
    }

    /// Everything in a table.
    pub fn list(&mut self, table: &TableName) -> Result<Listing, ReadError> {
        let mut listing = Listing::default();
        for decoded in self.dump(Request::Tables(table.family))? {
            listing.add(table, decoded);
        }
        if listing.table.is_none() {
            return Ok(listing);
        }
        for request in [
            Request::Chains(table.family),
            Request::Rules(table),
            Request::Sets(table),
        ] {
            for decoded in self.dump(request)? {
                listing.add(table, decoded);
            }
        }
        let sets: Vec<SetName> = listing.sets.iter().map(|s| s.name.clone()).collect();
        for set in &sets {
            for decoded in self.dump(Request::Elements(set))? {
                listing.add(table, decoded);
            }
        }
        Ok(listing)
    }

    /// Calls `take` with every connection tracking entry of a family. The table changes all the while, so that entries made
    /// or gone meanwhile may or may not be among them.
    pub fn flows(&mut self, family: Family, mut take: impl FnMut(Flow)) -> Result<(), ReadError> {
        self.raw.discard();
        self.sequence = self.sequence.wrapping_add(1);
        self.raw.send(&flows_request(family, self.sequence))?;
        loop {
            let datagram = self.raw.receive()?;
            decode_flows(datagram)?.into_iter().for_each(&mut take);
            for message in decode(datagram)? {
                match message {
                    Decoded::Done => return Ok(()),
                    Decoded::Answer {
                        fault: Some(fault), ..
                    } => return Err(ReadError::Refused(fault)),
                    _ => {}
                }
            }
        }
    }

    /// Deletes a connection tracking entry; the next packet of the flow is translated anew. No error if it is gone.
    pub fn delete_flow(&mut self, flow: &Flow) -> Result<(), ReadError> {
        self.raw.discard();
        self.sequence = self.sequence.wrapping_add(1);
        self.raw.send(&flow.delete_request(self.sequence))?;
        while let Some(datagram) = self.raw.receive_now()? {
            for message in decode(datagram)? {
                if let Decoded::Answer {
                    fault: Some(fault), ..
                } = message
                    && fault.errno != libc::ENOENT
                {
                    return Err(ReadError::Refused(fault));
                }
            }
        }
        Ok(())
    }

    /// The elements of one set; none when it is not there.
    pub fn elements(&mut self, set: &SetName) -> Result<Vec<Element>, ReadError> {
        let mut listing = Listing::default();
        for decoded in self.dump(Request::Elements(set))? {
            listing.add(&set.table, decoded);
        }
        Ok(listing.elements.remove(&set.name).unwrap_or_default())
    }
}
