//! The thread's loop: coalesces commands, applies them, reports, and tries again what failed.

mod report;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use herald_core::ServiceKey;
use herald_nft::Changes;
use herald_speaker_core::ruleset::Ruleset;
use herald_speaker_core::{Mending, ServiceForwarding, ServiceProxy};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::kernel::{Kernel, Refused, Unavailable, delete_tables};
use super::sign_of_life::SignOfLife;
use super::watching::{changed, describe};
use super::{CleanupError, Command, DataPathConfig, DataPathReport};

/// How often the whole state is compared with the kernel, in case something changed it unheard.
const AUDIT: Duration = Duration::from_secs(300);
/// How long nothing must have happened before unused pick chains are deleted.
const IDLE: Duration = Duration::from_secs(30);
/// Unused pick chains that are kept even so, because Services scale back and forth.
const SPARE_CHAINS: usize = 32;
/// Between two looks for flows that lead nowhere.
const FLOWS_PAUSE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    delay: Duration,
}

impl Retry {
    fn after(previous: Option<Self>) -> Self {
        let delay = previous.map_or(FIRST_RETRY, |r| (r.delay * 2).min(LAST_RETRY));
        Self {
            at: Instant::now() + delay,
            delay,
        }
    }
}

/// How far the thread has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first full state has not come: nothing is written.
    Waiting,
    /// It has, but the kernel does not have all of it.
    Applying,
    /// Everything wanted is in the kernel, but for Services that it refused.
    Ready,
}

pub(super) struct Worker {
    config: DataPathConfig,
    reports: mpsc::Sender<DataPathReport>,
    /// Reports that found the channel full.
    outbox: VecDeque<DataPathReport>,
    ruleset: Ruleset,
    kernel: Option<Kernel>,
    phase: Phase,
    /// Something may have to be written.
    dirty: bool,
    /// Services whose latest forwarding has not been reported as applied.
    pending: BTreeSet<ServiceKey>,
    failed: HashMap<ServiceKey, Retry>,
    blocked: Option<Retry>,
    audit: Instant,
    sign_of_life: SignOfLife,
    /// What others do to the tables.
    mending: Mending,
    comparisons: Arc<AtomicU64>,
    idle: Option<Instant>,
    /// Flows may lead nowhere.
    stranded: bool,
    /// Not before this: reading the connection tracking table costs with its size.
    flows_at: Instant,
}

impl Worker {
    pub(super) fn new(
        config: DataPathConfig,
        reports: mpsc::Sender<DataPathReport>,
        comparisons: Arc<AtomicU64>,
    ) -> Self {
        Self {
            ruleset: Ruleset::new(&config.forward),
            sign_of_life: SignOfLife::new(config.forward.step_aside_after, Instant::now()),
            config,
            reports,
            outbox: VecDeque::new(),
            kernel: None,
            phase: Phase::Waiting,
            dirty: false,
            pending: BTreeSet::new(),
            failed: HashMap::new(),
            blocked: None,
            audit: Instant::now() + AUDIT,
            mending: Mending::new(Instant::now().into_std()),
            comparisons,
            idle: None,
            stranded: false,
            flows_at: Instant::now(),
        }
    }

    /// Until every handle is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let reports = self.reports.clone();
        loop {
            let deadline = self.deadline();
            let watching = self.kernel.as_mut().and_then(|k| k.watching.as_mut());
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    self.take(command);
                    while let Ok(command) = commands.try_recv() {
                        self.take(command);
                    }
                }
                permit = reports.reserve(), if !self.outbox.is_empty() => {
                    match (permit, self.outbox.pop_front()) {
                        (Ok(permit), Some(report)) => permit.send(report),
                        // Nobody listens any more.
                        _ => self.outbox.clear(),
                    }
                    continue;
                }
                changes = changed(watching) => match changes {
                    Ok(changes) if changes.is_empty() => continue,
                    Ok(changes) => self.noticed(&changes),
                    Err(error) => {
                        self.fail(&Unavailable::Watch(error));
                        continue;
                    }
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
            if self.sign_of_life.overslept(deadline, Instant::now()) {
                warn!("the speaker was paused, and its rules stepped aside");
                self.audit = Instant::now();
            }
            self.work();
        }
    }

    fn deadline(&self) -> Instant {
        if let Some(blocked) = self.blocked {
            return blocked.at;
        }
        if self.phase == Phase::Waiting {
            return Instant::now() + AUDIT;
        }
        let mend = self.mending.wake_at().map(Instant::from_std);
        if self.mending.damaged() {
            // Nothing else is done before that.
            return mend.unwrap_or_else(Instant::now);
        }
        let retries = self.failed.values().map(|retry| retry.at);
        let flows = self.stranded.then_some(self.flows_at);
        retries
            .chain(self.idle)
            .chain(mend)
            .chain(flows)
            .chain(self.shows_life().then_some(self.sign_of_life.due()))
            .fold(self.audit, Instant::min)
    }

    /// Where there is no other proxy there is nobody to step aside for.
    fn shows_life(&self) -> bool {
        self.config.forward.mode == ServiceProxy::External
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Replace(node, services) => {
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Applying;
                }
                self.dirty = true;
                self.ruleset.want_node(node);
                let kept: HashSet<&ServiceKey> = services.iter().map(|s| &s.key).collect();
                let known = self.ruleset.services().map(|s| &s.key);
                let gone: Vec<_> = known.filter(|k| !kept.contains(k)).cloned().collect();
                for key in gone {
                    self.want(ServiceForwarding::empty(key));
                }
                for service in services {
                    self.want(service);
                }
            }
            Command::Change(services) => {
                for service in services {
                    self.want(service);
                }
            }
            Command::Node(node) => {
                self.dirty = true;
                self.ruleset.want_node(node);
            }
            Command::Remove(answer) => {
                let removed = match &mut self.kernel {
                    Some(kernel) => kernel.delete_tables(),
                    None => delete_tables(),
                };
                self.phase = Phase::Waiting;
                self.kernel = None;
                // Whoever asked may have given up waiting.
                let _ = answer.send(removed.map_err(CleanupError));
            }
            Command::Counters(answer) => {
                let counters = self.kernel.as_mut().map(Kernel::counters);
                let counters = counters.unwrap_or_else(|| Ok(Vec::new()));
                // Whoever asked may have given up waiting.
                let _ = answer.send(counters.unwrap_or_else(|error| {
                    debug!(%error, "reading counters");
                    Vec::new()
                }));
            }
        }
    }

    /// Others changed our tables, or may have.
    fn noticed(&mut self, changes: &Changes) {
        self.mending.damage(Instant::now().into_std());
        // One report and one line, however often it happens before all is well again.
        if self.phase == Phase::Ready && !changes.tables.is_empty() {
            let what = describe(changes);
            warn!("{what}");
            self.phase = Phase::Applying;
            self.outbox.push_back(DataPathReport::Damaged { what });
        }
    }

    fn want(&mut self, service: ServiceForwarding) {
        self.dirty = true;
        self.failed.remove(&service.key);
        self.pending.insert(service.key.clone());
        self.stranded |= match self.ruleset.service(&service.key) {
            Some(known) => known.strands(&service),
            None => !service.frontends.is_empty(),
        };
        self.ruleset.want(service);
    }

    fn work(&mut self) {
        let now = Instant::now();
        if self.phase == Phase::Waiting || self.blocked.is_some_and(|retry| now < retry.at) {
            return;
        }
        if self.mending.damaged() && now.into_std() < self.mending.due_at() {
            return;
        }
        let result = if self.config.forward.mode == ServiceProxy::Off {
            self.stay_off()
        } else {
            self.apply(now)
        };
        match result {
            Ok(refused) => {
                self.blocked = None;
                self.report(refused);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &Unavailable) {
        let told = self.blocked.is_some();
        self.blocked = Some(Retry::after(self.blocked));
        self.phase = Phase::Applying;
        self.dirty = true;
        // The socket may be what is broken.
        self.kernel = None;
        if told {
            debug!(%error, "the data path is still unavailable");
        } else {
            warn!(%error, "the data path is unavailable");
            let error = error.to_string();
            self.outbox.push_back(DataPathReport::Unavailable { error });
        }
    }

    /// Another proxy carries the Services: what an earlier run left must not stand in its way.
    fn stay_off(&mut self) -> Result<Refused, Unavailable> {
        if self.phase != Phase::Ready {
            delete_tables().map_err(|e| Unavailable::Refused(e.to_string()))?;
        }
        self.audit = Instant::now() + AUDIT;
        (self.dirty, self.stranded) = (false, false);
        Ok(Refused::new())
    }

    fn apply(&mut self, now: Instant) -> Result<Refused, Unavailable> {
        let ruleset = &mut self.ruleset;
        let kernel = if let Some(kernel) = &mut self.kernel {
            kernel
        } else {
            let (mut kernel, flags) =
                Kernel::open(self.config.own_tables, self.comparisons.clone())?;
            ruleset.set_table_flags(flags);
            kernel.resync(ruleset)?;
            self.dirty = true;
            self.kernel.insert(kernel)
        };
        let damaged = self.mending.damaged();
        if self.audit <= now || damaged {
            kernel.resync(ruleset)?;
            self.audit = now + AUDIT;
            self.dirty = true;
        }
        self.dirty |= self.failed.values().any(|retry| retry.at <= now);
        let mut refused = Refused::new();
        if self.dirty {
            let waiting = self.failed.iter().filter(|(_, retry)| retry.at > now);
            let skip = waiting.map(|(key, _)| key.clone()).collect();
            refused = kernel.apply(ruleset, &skip)?;
            self.dirty = false;
            self.idle = Some(Instant::now() + IDLE);
            let tried = |key: &ServiceKey| !skip.contains(key) && !refused.contains_key(key);
            self.failed.retain(|key, _| !tried(key));
            if damaged {
                let took = now.elapsed();
                self.mending.mended(Instant::now().into_std(), took);
                info!(?took, "mended the rules");
                // What came meanwhile was translated by nobody.
                self.stranded = true;
            }
        } else if self.idle.is_some_and(|at| at <= now) {
            self.idle = None;
            kernel.collect(ruleset, SPARE_CHAINS)?;
        }
        if self.stranded && self.flows_at <= now {
            self.stranded = false;
            self.flows_at = now + FLOWS_PAUSE;
            match kernel.clean_flows(ruleset) {
                Ok(0) => {}
                Ok(flows) => debug!(flows, "deleted flows that led nowhere"),
                // Forwarding works without: only flows that outlive their backend suffer.
                Err(error) => warn!(%error, "cannot delete flows that lead nowhere"),
            }
        }
        // The sign itself may be what was damaged.
        if self.shows_life() && (damaged || self.sign_of_life.due() <= Instant::now()) {
            let again = self.show_life(&refused)?;
            refused.extend(again);
        }
        Ok(refused)
    }

    /// Everything wanted was committed, but for what was `refused` just now or before. A refusal of the sign itself means
    /// that somebody changed the tables: they are compared and mended first.
    fn show_life(&mut self, refused: &Refused) -> Result<Refused, Unavailable> {
        let start = Instant::now();
        let mut again = Refused::new();
        if let Some(kernel) = &mut self.kernel
            && !kernel.show_life(&self.ruleset)?
        {
            info!("another program changed the tables; comparing");
            kernel.resync(&mut self.ruleset)?;
            let skip = self.failed.keys().chain(refused.keys()).cloned().collect();
            again = kernel.apply(&mut self.ruleset, &skip)?;
            if !kernel.show_life(&self.ruleset)? {
                return Err(Unavailable::Refused(
                    "the kernel refuses the sign of life, so the rules step aside".into(),
                ));
            }
        }
        self.sign_of_life.renewed(start);
        Ok(again)
    }
}
