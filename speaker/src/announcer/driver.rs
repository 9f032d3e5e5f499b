//! The announcer's thread: moves frames between sockets and the [`Responder`], and time into it. No decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use herald_speaker_core::announce::{Counts, Report, Responder};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::port::Port;
use super::{Numbered, Targets};
use crate::packet_socket::boot_time;

/// Most frames read from a socket before anything else gets its turn.
const BATCH: usize = 256;
/// When sockets could not be opened.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Inputs {
    pub(super) targets: watch::Receiver<Arc<Numbered>>,
    pub(super) counts: mpsc::Receiver<oneshot::Sender<BTreeMap<IpAddr, Counts>>>,
    pub(super) again: Arc<Notify>,
}

pub(super) struct Outputs {
    pub(super) applied: watch::Sender<u64>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Runs until the handle is gone.
pub(super) async fn run(mut inputs: Inputs, outputs: Outputs) {
    let mut driver = Driver::default();
    let mut all_read = true;
    loop {
        tokio::select! {
            biased;
            changed = inputs.targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let targets = Arc::clone(&inputs.targets.borrow_and_update());
                driver.apply(&targets.targets);
                outputs.applied.send_replace(targets.generation);
                driver.targets = targets;
            }
            () = std::future::ready(()), if !all_read => {}
            () = driver.readable() => {}
            () = tokio::time::sleep(driver.sleep()) => {}
            () = inputs.again.notified() => driver.responder.report_all(),
            Some(answer) = inputs.counts.recv() => {
                // Whoever asked may have gone.
                drop(answer.send(driver.responder.counts()));
            }
            permit = outputs.reports.reserve(), if driver.responder.has_reports() => {
                // A receiver that is gone wants no reports.
                let report = driver.responder.poll_report();
                if let (Ok(permit), Some(report)) = (permit, report) {
                    permit.send(report);
                }
            }
        }
        all_read = driver.turn();
        while driver.responder.has_reports() {
            let Ok(permit) = outputs.reports.try_reserve() else {
                break;
            };
            if let Some(report) = driver.responder.poll_report() {
                permit.send(report);
            }
        }
    }
}

#[derive(Default)]
struct Driver {
    responder: Responder,
    ports: BTreeMap<u32, Port>,
    targets: Arc<Numbered>,
    /// When to try again to open what failed.
    retry_at: Option<Duration>,
}

impl Driver {
    /// Opens what the targets need, then makes them the responder's. A link without its sockets counts as down.
    fn apply(&mut self, targets: &Targets) {
        let mut by_link: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        for (address, interfaces) in &targets.addresses {
            for interface in interfaces
                .iter()
                .filter(|index| targets.links.contains_key(index))
            {
                by_link.entry(*interface).or_default().insert(*address);
            }
        }
        let mut links = targets.links.clone();
        self.retry_at = None;
        for (interface, addresses) in &by_link {
            let port = self
                .ports
                .entry(*interface)
                .or_insert_with(|| Port::new(*interface));
            if let Err(error) = port.listen(addresses) {
                let name = links.remove(interface).map(|link| link.name);
                tracing::warn!(interface = ?name, %error,
                    "cannot listen for ARP or neighbour discovery; does the speaker have CAP_NET_RAW?");
                self.retry_at = Some(boot_time() + RETRY);
            }
        }
        self.responder
            .set_targets(&targets.addresses, &links, boot_time());
        // After that: until then they were in use.
        self.ports
            .retain(|interface, _| by_link.contains_key(interface));
    }

    /// Reads, answers and sends what is due; true when nothing is left to read.
    fn turn(&mut self) -> bool {
        if self.retry_at.is_some_and(|at| at <= boot_time()) {
            let targets = Arc::clone(&self.targets);
            self.apply(&targets.targets);
        }
        let began = boot_time();
        let mut all_read = true;
        let responder = &mut self.responder;
        for port in self.ports.values() {
            all_read &= port.drain(BATCH, |socket, interface, frame| {
                let reply = responder.handle_frame(interface, frame, boot_time());
                if let Some(reply) = reply
                    && let Err(error) = socket.send(reply.as_bytes())
                {
                    // The asker asks again.
                    tracing::debug!(interface, %error, "reply");
                }
            });
        }
        if all_read {
            // What was lost while nobody read may have been the claim of another.
            if responder.is_deaf_at(began) {
                for (interface, _) in self.ports.iter().filter(|(_, port)| port.lost()) {
                    responder.handle_loss(*interface, began);
                }
            }
            responder.handle_caught_up(began);
        }
        while let Some(transmit) = responder.poll_transmit(boot_time()) {
            let port = self.ports.get(&transmit.key.interface);
            let address = transmit.key.address;
            let sent = port.map(|port| port.send(address, transmit.frame.as_bytes()));
            if let Some(Err(error)) = sent {
                tracing::debug!(%address, interface = transmit.key.interface, %error, "send");
                responder.handle_send_failure(&transmit, boot_time());
            }
        }
        all_read
    }

    async fn readable(&self) {
        std::future::poll_fn(|cx| {
            let mut ready = Poll::Pending;
            for port in self.ports.values() {
                if port.poll_readable(cx).is_ready() {
                    ready = Poll::Ready(());
                }
            }
            ready
        })
        .await;
    }

    fn sleep(&self) -> Duration {
        let deadlines = [self.responder.next_deadline(), self.retry_at];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_sub(boot_time())
        })
    }
}
