//! The node's data path: one thread that owns the nf_tables socket and what is known to be applied.
//!
//! How to drive it:
//!
//! ```text
//! let (handle, mut reports) = DataPath::spawn(config)?;
//! handle.replace(node, services).await?;      // once, after every store has synced: the first full state
//! handle.change(vec![forwarding]).await?;     // then changes; an empty ServiceForwarding removes the Service
//! handle.node(node).await?;                   // when the node's addresses or pod CIDRs change
//! while let Some(report) = reports.recv().await { … } // observations: back into the index
//! ```
//!
//! Nothing is written before the first `replace`; rules of an earlier run go on forwarding until then, and that `replace`
//! sends only the differences. Changes are coalesced by Service. A report is sent after the kernel has committed: announce
//! an address only while the latest [`DataPathReport::Synced`] of its Service lists it, and withdraw it before sending the
//! change that takes it away.
//!
//! In mode `External` the thread also renews a sign of life in the kernel, after everything was committed. When it stays
//! away, because the speaker is gone or can commit no more, the rules step aside for another proxy's.

mod kernel;
mod sign_of_life;
mod watching;
mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use herald_core::ServiceKey;
use herald_speaker_core::{ForwardConfig, NodeForwarding, ServiceForwarding};
use tokio::sync::{mpsc, oneshot};

use kernel::delete_tables;
use worker::Worker;

/// How the data path is run.
#[derive(Clone, Debug)]
pub struct DataPathConfig {
    /// What is carried, and the mark bit. With mode `Off` tables of an earlier run are removed, and announcing has nothing to
    /// wait for.
    pub forward: ForwardConfig,
    /// Own the tables (`NFT_TABLE_F_OWNER|PERSIST`), so that no other program can change them, where the kernel can.
    pub own_tables: bool,
}

/// What the data path achieved: an observation for the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPathReport {
    /// These Services are forwarded as last asked.
    Synced {
        /// Each Service with the addresses that are now in the kernel.
        services: Vec<SyncedService>,
    },
    /// The kernel refused these Services; they are tried again, and the others are not held up.
    Failed {
        /// The Services.
        keys: Vec<ServiceKey>,
        /// What the kernel refused, for a condition or an Event.
        error: String,
    },
    /// Nothing can be applied at all (no permission, tables owned by another process); tried again with back-off.
    Unavailable {
        /// Why, with the remedy.
        error: String,
    },
    /// Another program changed our tables. They are mended at once, and `Ready` follows; where it does not, the program
    /// damages them again and again, and they are not to be relied on.
    Damaged {
        /// Which tables, and by whom.
        what: String,
    },
    /// The whole state was compared with the kernel and is in place; also ends `Unavailable` and `Damaged`.
    Ready,
}

/// A Service whose forwarding has been committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedService {
    /// The Service.
    pub key: ServiceKey,
    /// Its load-balancer addresses and external IPs that the kernel now forwards, sorted; empty after a removal.
    pub addresses: Vec<IpAddr>,
}

/// What one address of the data path has seen since its element was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressCounter {
    /// The load-balancer address or external IP.
    pub address: IpAddr,
    /// New connections, repeated first packets included.
    pub connections: u64,
    /// Bytes of those first packets.
    pub bytes: u64,
}

/// The thread is gone: only after a panic or at shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data path thread has stopped")]
pub struct Stopped;

/// Starts the data path thread.
#[derive(Clone, Copy, Debug)]
pub struct DataPath;

/// Sends work to the data path thread. Clones are handles to the same thread; it ends when the last one is dropped, and
/// the rules stay in the kernel.
#[derive(Clone, Debug)]
pub struct DataPathHandle {
    commands: mpsc::Sender<Command>,
    comparisons: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Command {
    Replace(NodeForwarding, Vec<ServiceForwarding>),
    Change(Vec<ServiceForwarding>),
    Node(NodeForwarding),
    Counters(oneshot::Sender<Vec<AddressCounter>>),
    Remove(oneshot::Sender<Result<(), CleanupError>>),
}

/// Commands waiting while the thread commits; the sender waits beyond that.
const COMMANDS: usize = 64;
/// Reports waiting to be read; beyond that they are merged by Service.
const REPORTS: usize = 64;

impl DataPath {
    /// Starts the thread. Reports that are not read are merged, and hold nothing up.
    pub fn spawn(
        config: DataPathConfig,
    ) -> std::io::Result<(DataPathHandle, mpsc::Receiver<DataPathReport>)> {
        // Commits block, so the loop has a thread and a runtime of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .enable_io()
            .build()?;
        let (commands, received) = mpsc::channel(COMMANDS);
        let (reports, read) = mpsc::channel(REPORTS);
        let comparisons = Arc::new(AtomicU64::new(0));
        let worker = Worker::new(config, reports, comparisons.clone());
        std::thread::Builder::new()
            .name("data-path".into())
            .spawn(move || runtime.block_on(worker.run(received)))?;
        let handle = DataPathHandle {
            commands,
            comparisons,
        };
        Ok((handle, read))
    }

    /// Removes everything the data path ever made on this node: for uninstalling.
    pub fn cleanup() -> Result<(), CleanupError> {
        delete_tables().map_err(CleanupError)
    }
}

/// Why the tables could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("removing the nf_tables tables \"ip herald\" and \"ip6 herald\": {0}")]
pub struct CleanupError(#[source] std::io::Error);

impl DataPathHandle {
    /// The first full state. Sent again, it replaces everything known.
    pub async fn replace(
        &self,
        node: NodeForwarding,
        services: Vec<ServiceForwarding>,
    ) -> Result<(), Stopped> {
        self.send(Command::Replace(node, services)).await
    }

    /// Services whose forwarding may have changed; an empty forwarding removes its Service.
    pub async fn change(&self, services: Vec<ServiceForwarding>) -> Result<(), Stopped> {
        self.send(Command::Change(services)).await
    }

    /// The node's own facts changed.
    pub async fn node(&self, node: NodeForwarding) -> Result<(), Stopped> {
        self.send(Command::Node(node)).await
    }

    /// How often everything in our tables was read and compared with what is wanted.
    pub fn comparisons(&self) -> u64 {
        self.comparisons.load(Ordering::Relaxed)
    }

    /// Reads the counters from the kernel; empty before the first `replace` was applied.
    pub async fn counters(&self) -> Result<Vec<AddressCounter>, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Counters(sender)).await?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Removes the tables, which may be owned by this thread's socket. Nothing is written until the next `replace`.
    pub async fn remove(&self) -> Result<Result<(), CleanupError>, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Remove(sender)).await?;
        receiver.await.map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
