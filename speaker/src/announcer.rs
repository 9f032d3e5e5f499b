//! Answers ARP and neighbour discovery for this node's addresses, and announces them.
//!
//! One thread owns the sockets and the [`Responder`](herald_speaker_core::announce::Responder) that decides; nothing is
//! shared with it but the latest [`Targets`], so answering takes no lock, and the rest of the speaker cannot delay it.
//!
//! ```text
//! AnnouncerHandle ── watch: Targets ──▶ announcer thread ── AF_PACKET, one ARP and one NDP socket for each interface
//!                 ◀─ watch: applied ──                   ── mpsc: AnnouncerReport, the latest of each claim ──▶ speaker
//! ```

mod driver;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use herald_speaker_core::LinkView;
use herald_speaker_core::announce::{Counts, Report};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What the announcer says of an address on an interface. Reports wait while the channel is full; then only the
/// latest state of each is sent.
pub type AnnouncerReport = Report;

/// What this node is to announce, and on which links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Each address with the indexes of its interfaces.
    pub addresses: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// The node's links by index. An address on a link that is not here, or down, is silent.
    pub links: BTreeMap<u32, LinkView>,
}

/// The announcer's thread has ended: the speaker must end too, and be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the announcer's thread has ended unexpectedly; restart the speaker")]
pub struct AnnouncerGone;

/// Controls the announcer; it stops, silent at once, when the handle goes.
#[derive(Debug)]
pub struct AnnouncerHandle {
    targets: watch::Sender<Arc<Numbered>>,
    applied: watch::Receiver<u64>,
    counts: mpsc::Sender<oneshot::Sender<BTreeMap<IpAddr, Counts>>>,
    again: Arc<Notify>,
}

/// The number of a call to [`AnnouncerHandle::set_targets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

#[derive(Debug, Default)]
struct Numbered {
    generation: u64,
    targets: Targets,
}

/// Starts the announcer, in the network namespace of the calling thread. It announces nothing until it has targets.
///
/// Sockets need CAP_NET_RAW; they are opened with the first address of an interface, and a failure is logged and tried
/// again, the address being reported as without a link.
pub fn spawn() -> io::Result<(AnnouncerHandle, mpsc::Receiver<AnnouncerReport>)> {
    let (targets, targets_receiver) = watch::channel(Arc::default());
    let (applied_sender, applied) = watch::channel(0);
    let (counts, counts_receiver) = mpsc::channel(4);
    let (reports, reports_receiver) = mpsc::channel(1024);
    let again = Arc::new(Notify::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inputs = driver::Inputs {
        targets: targets_receiver,
        counts: counts_receiver,
        again: again.clone(),
    };
    let outputs = driver::Outputs {
        applied: applied_sender,
        reports,
    };
    std::thread::Builder::new()
        .name("announcer".into())
        .spawn(move || runtime.block_on(driver::run(inputs, outputs)))?;
    Ok((
        AnnouncerHandle {
            targets,
            applied,
            counts,
            again,
        },
        reports_receiver,
    ))
}

impl AnnouncerHandle {
    /// Replaces the targets. Returns at once; [`AnnouncerHandle::applied`] tells when they hold.
    pub fn set_targets(&self, targets: Targets) -> Generation {
        let mut generation = 0;
        self.targets.send_modify(|current| {
            generation = current.generation + 1;
            *current = Arc::new(Numbered {
                generation,
                targets,
            });
        });
        Generation(generation)
    }

    /// Waits until the targets of that call, or later ones, hold: from then on nothing is answered or sent for an address
    /// that is not among them. Only then may its data path go.
    pub async fn applied(&self, generation: Generation) -> Result<(), AnnouncerGone> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|done| *done >= generation.0).await;
        reached.map(drop).map_err(|_| AnnouncerGone)
    }

    /// Has the announcer report every claim once more, in order with its other reports.
    pub fn report_again(&self) {
        self.again.notify_one();
    }

    /// The counters of every target address.
    pub async fn counts(&self) -> Result<BTreeMap<IpAddr, Counts>, AnnouncerGone> {
        let (answer, counts) = oneshot::channel();
        self.counts.send(answer).await.map_err(|_| AnnouncerGone)?;
        counts.await.map_err(|_| AnnouncerGone)
    }
}
