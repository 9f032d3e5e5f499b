//! The kernel's side: brings the wanted ruleset into nf_tables and keeps the account of what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use herald_core::{IpFamily, Protocol, ServiceKey};
use herald_nft::{
    Batch, CommitError, Family, Operation, ReadError, Socket, Table, TableName, table_flag,
};
use herald_speaker_core::ruleset::{Plan, Ruleset, SetId, table};
use tracing::{info, warn};

use super::AddressCounter;
use super::watching::Watching;

/// Above this many bytes a transaction is split, so that no single commit holds the kernel's lock for long.
const TRANSACTION: usize = 8 << 20;
/// Plans tried in a row before giving up until the next retry.
const ATTEMPTS: usize = 8;
const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Nothing can be applied for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error(
        "opening an nf_tables socket: {0}; the speaker needs CAP_NET_ADMIN and a kernel with nf_tables"
    )]
    Open(#[source] io::Error),
    #[error("watching for changes to nf_tables: {0}; the speaker needs CAP_NET_ADMIN")]
    Watch(#[source] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "{0}; the speaker needs CAP_NET_ADMIN, and no other process may own the tables \"ip herald\" and \"ip6 herald\""
    )]
    Permission(String),
    #[error("{0}")]
    Refused(String),
}

/// The socket.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: Socket,
    limit: usize,
    /// Only where others may change our tables.
    pub(super) watching: Option<Watching>,
    comparisons: Arc<AtomicU64>,
}

/// Services that the kernel refused, with its words.
pub(super) type Refused = HashMap<ServiceKey, String>;

impl Kernel {
    /// Opens the socket in this thread's network namespace, and says with which flags tables are made. Nothing is changed
    /// yet.
    pub(super) fn open(
        own_tables: bool,
        comparisons: Arc<AtomicU64>,
    ) -> Result<(Self, u32), Unavailable> {
        let mut socket = Socket::open().map_err(Unavailable::Open)?;
        let flags = table_flag::OWNER | table_flag::PERSIST;
        let owned = own_tables && can_persist(&mut socket, flags);
        if own_tables && !owned {
            warn!(
                "the kernel cannot keep owned nf_tables tables (Linux 6.9): others may change ours, which is noticed and mended"
            );
        }
        let watching = if owned {
            None
        } else {
            let own = socket.port().map_err(Unavailable::Watch)?;
            let tables = FAMILIES.map(table).to_vec();
            Some(Watching::start(tables, own).map_err(Unavailable::Watch)?)
        };
        let kernel = Self {
            socket,
            limit: TRANSACTION,
            watching,
            comparisons,
        };
        Ok((kernel, if owned { flags } else { 0 }))
    }

    /// Reads what the kernel holds; the next [`Self::apply`] sends the differences.
    pub(super) fn resync(&mut self, ruleset: &mut Ruleset) -> Result<(), Unavailable> {
        self.comparisons.fetch_add(1, Ordering::Relaxed);
        let mut listings = BTreeMap::new();
        for family in FAMILIES {
            listings.insert(family, self.socket.list(&table(family))?);
        }
        for (family, mismatch) in ruleset.observe(&listings) {
            info!(%family, %mismatch, "replacing a table of another version or configuration");
        }
        Ok(())
    }

    /// Commits everything wanted, all Services but those in `skip`. Returns the Services that the kernel refused; the others
    /// are in place.
    pub(super) fn apply(
        &mut self,
        ruleset: &mut Ruleset,
        skip: &HashSet<ServiceKey>,
    ) -> Result<Refused, Unavailable> {
        let mut refused = Refused::new();
        let mut resynced = false;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let left_out = skip.iter().chain(refused.keys()).cloned().collect();
            let mut plan = ruleset.plan(&left_out);
            let error = match self.commit(ruleset, &mut plan) {
                Ok(()) => {
                    ruleset.done(&plan);
                    return Ok(refused);
                }
                Err(error) => error,
            };
            last = error.to_string();
            match error {
                CommitError::TooLarge(_) => self.limit = self.socket.limit().max(4096),
                CommitError::Send(_) => return Err(Unavailable::Refused(last)),
                CommitError::Unknown(_) => self.resync(ruleset)?,
                CommitError::Refused(messages) => {
                    if messages.iter().any(|m| m.fault.errno == libc::EPERM) {
                        return Err(Unavailable::Permission(last));
                    }
                    if !resynced {
                        // Somebody else may have changed the tables: compare before blaming a Service.
                        resynced = true;
                        self.resync(ruleset)?;
                        continue;
                    }
                    let before = refused.len();
                    for message in messages {
                        if let Some(key) = message.tag.flatten() {
                            refused.insert(key, message.fault.to_string());
                        }
                    }
                    if refused.len() == before {
                        // Not one Service's fault: what is there cannot be changed into what is wanted.
                        ruleset.rebuild();
                    }
                }
            }
        }
        Err(Unavailable::Refused(last))
    }

    /// Renews the sign of life. `false` if the kernel refused it: the tables are not what they are thought to be.
    pub(super) fn show_life(&mut self, ruleset: &Ruleset) -> Result<bool, Unavailable> {
        let mut batch = Batch::new();
        for operation in ruleset.sign_of_life() {
            batch.push((), &operation);
        }
        if batch.is_empty() {
            return Ok(true);
        }
        let batch = batch
            .finish()
            .map_err(|e| Unavailable::Refused(e.to_string()))?;
        let Err(error) = self.socket.commit(&batch) else {
            return Ok(true);
        };
        let text = format!("renewing the sign of life: {error}");
        match error {
            CommitError::Refused(messages) => {
                if messages.iter().any(|m| m.fault.errno == libc::EPERM) {
                    return Err(Unavailable::Permission(text));
                }
                Ok(false)
            }
            CommitError::Unknown(_) => Ok(false),
            CommitError::TooLarge(_) | CommitError::Send(_) => Err(Unavailable::Refused(text)),
        }
    }

    /// Deletes both tables, those that are there.
    pub(super) fn delete_tables(&mut self) -> io::Result<()> {
        delete_tables_through(&mut self.socket)
    }

    /// Deletes pick chains that nothing leads to, if there are more than `spare`.
    pub(super) fn collect(
        &mut self,
        ruleset: &mut Ruleset,
        spare: usize,
    ) -> Result<(), Unavailable> {
        let mut plan = ruleset.plan_collect(spare);
        self.commit(ruleset, &mut plan)
            .map_err(|e| Unavailable::Refused(e.to_string()))
    }

    fn commit(
        &mut self,
        ruleset: &mut Ruleset,
        plan: &mut Plan,
    ) -> Result<(), CommitError<Option<ServiceKey>>> {
        for transaction in plan.transactions() {
            let parts = transaction
                .parts(self.limit)
                .map_err(|e| CommitError::Send(io::Error::other(e)))?;
            for part in &parts {
                self.socket.commit(part.batch())?;
                ruleset.commit(&transaction, part);
            }
        }
        Ok(())
    }

    /// Deletes flows that lead to a backend which a Service no longer has: UDP flows, whose clients would talk to nobody for
    /// as long as they go on talking, and of others those that nobody has answered, whose clients would try it again and
    /// again. Open connections are never touched.
    pub(super) fn clean_flows(&mut self, ruleset: &Ruleset) -> Result<usize, ReadError> {
        let mut stale = Vec::new();
        for family in [Family::Ipv4, Family::Ipv6] {
            self.socket.flows(family, |flow| {
                let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
                    .into_iter()
                    .find(|protocol| protocol.number() == flow.protocol);
                if let Some(protocol) = protocol
                    && (protocol == Protocol::Udp || flow.unanswered)
                    && ruleset.is_stale(protocol, flow.destination, flow.replier)
                {
                    stale.push(flow);
                }
            })?;
        }
        for flow in &stale {
            self.socket.delete_flow(flow)?;
        }
        Ok(stale.len())
    }

    /// The counter of every address.
    pub(super) fn counters(&mut self) -> Result<Vec<AddressCounter>, ReadError> {
        let mut counters = Vec::new();
        for family in FAMILIES {
            let set = table(family).set(SetId::Addresses.name());
            for element in self.socket.elements(&set)? {
                if let (Some(address), Some(counter)) = (address(&element.key), element.counter) {
                    counters.push(AddressCounter {
                        address,
                        connections: counter.packets,
                        bytes: counter.bytes,
                    });
                }
            }
        }
        counters.sort_unstable_by_key(|c| c.address);
        Ok(counters)
    }
}

fn address(key: &[u8]) -> Option<std::net::IpAddr> {
    let four = <[u8; 4]>::try_from(key).map(Into::into);
    four.or_else(|_| <[u8; 16]>::try_from(key).map(Into::into))
        .ok()
}

/// Whether the kernel knows these table flags: makes a table and deletes it in one transaction.
fn can_persist(socket: &mut Socket, flags: u32) -> bool {
    let name = TableName::new(Family::Ipv4, "herald-probe");
    let mut batch = Batch::new();
    batch.push(
        (),
        &Operation::AddTable(Table {
            name: name.clone(),
            flags,
        }),
    );
    batch.push((), &Operation::DeleteTable(name));
    batch
        .finish()
        .is_ok_and(|batch| socket.commit(&batch).is_ok())
}

/// Deletes both tables, those that are there.
pub(super) fn delete_tables() -> io::Result<()> {
    delete_tables_through(&mut Socket::open()?)
}

fn delete_tables_through(socket: &mut Socket) -> io::Result<()> {
    let mut batch = Batch::new();
    for family in FAMILIES {
        let name = table(family);
        let listing = socket.list(&name).map_err(io::Error::other)?;
        if listing.table.is_some() {
            batch.push((), &Operation::DeleteTable(name));
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    let batch = batch.finish().map_err(io::Error::other)?;
    socket.commit(&batch).map_err(io::Error::other)
}
