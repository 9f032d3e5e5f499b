//! The thread's loop: coalesces commands, applies them, reports, and tries again what failed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use herald_core::{Protocol, ServiceKey};
use herald_speaker_core::ruleset::Ruleset;
use herald_speaker_core::{Frontend, FrontendForwarding, Role, ServiceForwarding, ServiceProxy};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::kernel::{Kernel, Refused, Unavailable, delete_tables};
use super::sign_of_life::SignOfLife;
use super::{Command, DataPathConfig, DataPathReport, SyncedService};

/// How often the whole state is compared with the kernel, in case something changed it.
const AUDIT: Duration = Duration::from_secs(300);
/// How long nothing must have happened before unused pick chains are deleted.
const IDLE: Duration = Duration::from_secs(30);
/// Unused pick chains that are kept even so, because Services scale back and forth.
const SPARE_CHAINS: usize = 32;
/// Between two looks for stale UDP flows.
const UDP_PAUSE: Duration = Duration::from_secs(1);
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
    idle: Option<Instant>,
    /// A UDP frontend has changed: flows may be stale.
    udp: bool,
    /// Not before this: reading the connection tracking table costs with its size.
    udp_at: Instant,
}

impl Worker {
    pub(super) fn new(config: DataPathConfig, reports: mpsc::Sender<DataPathReport>) -> Self {
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
            idle: None,
            udp: false,
            udp_at: Instant::now(),
        }
    }

    /// Until every handle is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let reports = self.reports.clone();
        loop {
            let deadline = self.deadline();
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
        let retries = self.failed.values().map(|retry| retry.at);
        let udp = self.udp.then_some(self.udp_at);
        retries
            .chain(self.idle)
            .chain(udp)
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

    fn want(&mut self, service: ServiceForwarding) {
        self.dirty = true;
        self.failed.remove(&service.key);
        self.pending.insert(service.key.clone());
        let udp = |f: &FrontendForwarding| f.frontend.protocol() == Protocol::Udp;
        self.udp |= service.frontends.iter().any(udp)
            && self.ruleset.service(&service.key) != Some(&service);
        self.ruleset.want(service);
    }

    fn work(&mut self) {
        let now = Instant::now();
        if self.phase == Phase::Waiting || self.blocked.is_some_and(|retry| now < retry.at) {
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
            Err(error) => {
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
        }
    }

    /// Another proxy carries the Services: what an earlier run left must not stand in its way.
    fn stay_off(&mut self) -> Result<Refused, Unavailable> {
        if self.phase != Phase::Ready {
            delete_tables().map_err(|e| Unavailable::Refused(e.to_string()))?;
        }
        self.audit = Instant::now() + AUDIT;
        (self.dirty, self.udp) = (false, false);
        Ok(Refused::new())
    }

    fn apply(&mut self, now: Instant) -> Result<Refused, Unavailable> {
        let ruleset = &mut self.ruleset;
        let kernel = if let Some(kernel) = &mut self.kernel {
            kernel
        } else {
            let (mut kernel, flags) = Kernel::open(self.config.own_tables)?;
            ruleset.set_table_flags(flags);
            kernel.resync(ruleset)?;
            self.dirty = true;
            self.kernel.insert(kernel)
        };
        if self.audit <= now {
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
        } else if self.idle.is_some_and(|at| at <= now) {
            self.idle = None;
            kernel.collect(ruleset, SPARE_CHAINS)?;
        }
        if self.udp && self.udp_at <= now {
            self.udp = false;
            self.udp_at = now + UDP_PAUSE;
            match kernel.clean_udp(ruleset) {
                Ok(0) => {}
                Ok(flows) => debug!(flows, "deleted stale UDP flows"),
                // Forwarding works without: only flows that outlive their backend suffer.
                Err(error) => warn!(%error, "cannot delete stale UDP flows"),
            }
        }
        if self.shows_life() && self.sign_of_life.due() <= Instant::now() {
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

    fn report(&mut self, refused: Refused) {
        let mut by_error: BTreeMap<String, Vec<ServiceKey>> = BTreeMap::new();
        for (key, error) in refused {
            let previous = self.failed.get(&key).copied();
            self.failed.insert(key.clone(), Retry::after(previous));
            self.pending.insert(key.clone());
            by_error.entry(error).or_default().push(key);
        }
        for (error, keys) in by_error {
            warn!(?keys, %error, "the kernel refused Services");
            self.outbox
                .push_back(DataPathReport::Failed { keys, error });
        }
        let failed = &self.failed;
        let pending = std::mem::take(&mut self.pending);
        let (waiting, synced) = pending.into_iter().partition(|k| failed.contains_key(k));
        self.pending = waiting;
        let synced: BTreeSet<ServiceKey> = synced;
        if !synced.is_empty() {
            let services = synced.iter().map(|key| self.synced(key)).collect();
            self.push_synced(&synced, services);
        }
        if self.phase != Phase::Ready {
            self.phase = Phase::Ready;
            self.outbox.push_back(DataPathReport::Ready);
        }
    }

    /// The addresses of a Service that lead to it: not those where another Service came first on every port.
    fn synced(&self, key: &ServiceKey) -> SyncedService {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let frontends = self.ruleset.service(key).map(|s| s.frontends.as_slice());
        for forwarding in frontends.unwrap_or_default() {
            let external = matches!(forwarding.role, Role::LoadBalancer | Role::ExternalIp);
            if let Frontend::Address { address, .. } = forwarding.frontend
                && external
                && self.ruleset.owner(&forwarding.frontend) == Some(key)
            {
                addresses.push(address);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        SyncedService {
            key: key.clone(),
            addresses,
        }
    }

    /// Reports that wait unread are merged, so that the outbox holds a Service once.
    fn push_synced(&mut self, keys: &BTreeSet<ServiceKey>, new: Vec<SyncedService>) {
        if let Some(DataPathReport::Synced { services }) = self.outbox.back_mut() {
            services.retain(|s| !keys.contains(&s.key));
            services.extend(new);
        } else {
            self.outbox
                .push_back(DataPathReport::Synced { services: new });
        }
    }
}
