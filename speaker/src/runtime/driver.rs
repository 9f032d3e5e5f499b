//! Feeds the engine and carries its steps out.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_speaker_core::ForwardConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::outbox::Outbox;
use crate::admin::Shown;
use crate::announcer::{AnnouncerHandle, AnnouncerReport, Targets};
use crate::data_path::{DataPathHandle, DataPathReport, Stopped};
use crate::engine::{Engine, Observation, Report, Step};
use crate::metrics::Metrics;
use crate::own_daemonset::OwnDaemonSet;

const TICK: Duration = Duration::from_secs(1);
const FULL_PASS_EVERY: Duration = Duration::from_secs(300);
/// Between two questions to the announcer about what it has not been heard of.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// Between two writes of the Speaker object, and for figures that are worth none of their own.
const REPORT_EVERY: Duration = Duration::from_millis(200);
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// For giving addresses away when the node goes: less than the 5 s that the manifests grant.
const LEAVE_WITHIN: Duration = Duration::from_millis(3500);
const BATCH: usize = 1024;

/// Where observations come from.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) observations: mpsc::Receiver<Observation>,
    pub(super) data_path: mpsc::Receiver<DataPathReport>,
    pub(super) announcer: mpsc::Receiver<AnnouncerReport>,
}

/// Where steps go.
pub(super) struct Outputs {
    pub(super) data_path: DataPathHandle,
    pub(super) announcer: Arc<AnnouncerHandle>,
    /// For answers to steps.
    pub(super) observations: mpsc::Sender<Observation>,
    pub(super) reports: watch::Sender<Option<Arc<Report>>>,
    pub(super) metrics: Metrics,
    /// Who is asked on a signal whether rules are to be removed; `None` where they stay.
    pub(super) daemonset: Option<OwnDaemonSet>,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send>>;

/// What a signal leads to.
enum Ending {
    /// A restart in place.
    Now,
    /// Addresses are given away first, by this time.
    Leave(Instant),
    /// It depends.
    Ask(Asked),
}

/// Whether this node is left out is being asked.
struct Asked {
    answer: oneshot::Receiver<bool>,
    /// By when to have ended.
    until: Instant,
}

/// The engine's one owner.
pub(super) struct Driver {
    engine: Engine,
    outputs: Outputs,
    shown: watch::Sender<Shown>,
    outbox: Outbox,
    sending: Option<Sending>,
    report_at: Instant,
}

impl Driver {
    pub(super) fn new(
        node: Arc<str>,
        config: ForwardConfig,
        outputs: Outputs,
    ) -> (Self, watch::Receiver<Shown>) {
        let engine = Engine::new(node, config, Instant::now());
        let (shown, seen) = watch::channel(shown(&engine));
        let driver = Self {
            engine,
            outputs,
            shown,
            outbox: Outbox::default(),
            sending: None,
            report_at: Instant::now(),
        };
        (driver, seen)
    }

    /// Runs until a signal says that the speaker ends.
    ///
    /// A speaker that ends while its node stays is restarted in place: its rules go on forwarding, neighbours keep their
    /// entries, and nobody is told. Where the node goes too, addresses are given away first. Where the speaker is taken away
    /// from its node and another proxy carries on, its rules go as well.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut full_pass_at, mut figures_at) = (Instant::now(), Instant::now());
        let mut asked_at = Instant::now();
        let mut leave_until: Option<Instant> = None;
        let mut asked: Option<Asked> = None;
        let mut removed = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if self.sending.is_none()
                && let Some(message) = self.outbox.pop()
            {
                self.sending = Some(Box::pin(message.send(self.outputs.data_path.clone())));
            }
            let mut signalled = false;
            let ending = leave_until.is_some() || asked.is_some();
            let sending = async {
                match &mut self.sending {
                    Some(sending) => sending.await,
                    None => std::future::pending().await,
                }
            };
            let answer = async {
                match &mut asked {
                    Some(asked) => (&mut asked.answer).await.unwrap_or(false),
                    None => std::future::pending().await,
                }
            };
            let report_at = self.report_at.into();
            tokio::select! {
                sent = sending => {
                    self.sending = None;
                    sent?;
                    continue;
                }
                _ = inputs.observations.recv_many(&mut batch, BATCH) => {}
                report = inputs.data_path.recv() => {
                    batch.push(Observation::DataPath(report.ok_or(Stopped)?));
                    while let Ok(report) = inputs.data_path.try_recv() {
                        batch.push(Observation::DataPath(report));
                    }
                }
                report = inputs.announcer.recv() => {
                    let report = report.context("the announcer's thread has ended")?;
                    batch.push(Observation::Announcer(report));
                    while let Ok(report) = inputs.announcer.try_recv() {
                        batch.push(Observation::Announcer(report));
                    }
                }
                () = sleep_until(report_at), if self.engine.wants_report() => {}
                _ = tick.tick() => {
                    batch.push(Observation::Tick);
                    self.show();
                    if full_pass_at.elapsed() > FULL_PASS_EVERY {
                        full_pass_at = Instant::now();
                        self.engine.full_pass();
                        self.outputs.announcer.report_again();
                    } else if self.engine.is_unheard() && asked_at.elapsed() > ASK_AGAIN_EVERY {
                        asked_at = Instant::now();
                        self.outputs.announcer.report_again();
                    }
                }
                left_out = answer => {
                    let until = asked.take().map_or_else(Instant::now, |asked| asked.until);
                    if !left_out {
                        tracing::info!("ending; rules and addresses stay for the next speaker on this node");
                        return Ok(());
                    }
                    tracing::info!("no speaker is meant to run on this node: giving its addresses away and removing its rules");
                    (leave_until, removed) = (Some(until), true);
                    batch.push(Observation::Leave);
                }
                _ = terminate.recv(), if !ending => {
                    signalled = true;
                }
                _ = interrupt.recv(), if !ending => {
                    signalled = true;
                }
            }
            if signalled {
                match self.end() {
                    Ending::Now => return Ok(()),
                    Ending::Leave(until) => {
                        leave_until = Some(until);
                        batch.push(Observation::Leave);
                    }
                    Ending::Ask(question) => asked = Some(question),
                }
            }
            self.step(&mut batch);
            let figures = figures_at.elapsed() > FIGURES_EVERY;
            if figures {
                figures_at = Instant::now();
            }
            self.report(figures);
            if let Some(until) = leave_until {
                let has_left = self.engine.has_left();
                if has_left {
                    tracing::info!("gave all addresses away");
                } else if Instant::now() > until {
                    tracing::warn!(
                        "ending before the API server knows that the addresses are free"
                    );
                } else {
                    continue;
                }
                if removed {
                    self.outputs.data_path.remove().await??;
                    tracing::info!("removed Herald's nf_tables tables from this node");
                }
                return Ok(());
            }
        }
    }

    /// What to do on a signal.
    fn end(&self) -> Ending {
        let until = Instant::now() + LEAVE_WITHIN;
        if self.engine.node_leaving() {
            tracing::info!("ending, and the node goes too: giving its addresses away");
            return Ending::Leave(until);
        }
        let snapshot = self.engine.snapshot();
        let node = snapshot.nodes.get(&snapshot.node);
        // A Node that was not listed yet has no known labels.
        let (Some(daemonset), Some(node)) = (self.outputs.daemonset.clone(), node) else {
            tracing::info!("ending; rules and addresses stay for the next speaker on this node");
            return Ending::Now;
        };
        let labels = node.labels.clone();
        let (sender, answer) = oneshot::channel();
        tokio::spawn(async move {
            // The driver may have ended for another reason.
            let _ = sender.send(daemonset.leaves_out(labels).await);
        });
        Ending::Ask(Asked { answer, until })
    }

    /// Takes the batch in, plans, and hands the steps out.
    fn step(&mut self, batch: &mut Vec<Observation>) {
        let started = Instant::now();
        let (count, was_ready) = (batch.len(), self.engine.ready());
        for observation in batch.drain(..) {
            self.engine.observe(observation, started);
        }
        for step in self.engine.plan(started) {
            let Some(Step::Announce {
                generation,
                targets,
                links,
            }) = self.outbox.push(step)
            else {
                continue;
            };
            self.announce(
                generation,
                Targets {
                    addresses: targets,
                    links,
                },
            );
        }
        self.outputs.metrics.planned(count, started.elapsed());
        if self.engine.ready() != was_ready {
            tracing::info!("ready: everything listed, the first state is in the kernel");
            self.show();
        }
    }

    fn announce(&self, generation: u64, targets: Targets) {
        tracing::debug!(
            generation,
            addresses = targets.addresses.len(),
            "new targets"
        );
        let call = self.outputs.announcer.set_targets(targets);
        let announcer = self.outputs.announcer.clone();
        let observations = self.outputs.observations.clone();
        tokio::spawn(async move {
            // An announcer that is gone ends the driver by its reports.
            if announcer.applied(call).await.is_ok() {
                let _ = observations
                    .send(Observation::Announcing { generation })
                    .await;
            }
        });
    }

    fn report(&mut self, figures: bool) {
        let now = Instant::now();
        if now < self.report_at || !(figures || self.engine.wants_report()) {
            return;
        }
        if let Some(report) = self.engine.report(figures) {
            self.report_at = now + REPORT_EVERY;
            self.outputs.reports.send_replace(Some(Arc::new(report)));
        }
    }

    fn show(&self) {
        self.outputs.metrics.show(&self.engine);
        self.shown.send_replace(shown(&self.engine));
    }
}

fn shown(engine: &Engine) -> Shown {
    let speakers = engine.snapshot().speakers.values();
    Shown {
        at: Instant::now(),
        ready: engine.ready(),
        unlisted: engine.unlisted(),
        announced: engine.owned().keys().map(ToString::to_string).collect(),
        waiting: engine
            .waiting()
            .map(|(claim, state)| {
                let state =
                    state.map_or_else(|| "unknown".to_owned(), |state| format!("{state:?}"));
                (claim.address.to_string(), claim.interface, state)
            })
            .collect(),
        live: speakers
            .filter(|s| s.live)
            .map(|s| s.node.to_string())
            .collect(),
        backlog: engine.backlog(),
    }
}
