//! The owner of the index: takes observations in, plans what they made dirty, and starts the writes.
//!
//! Writes run beside each other, at most one for each Service and a bounded number at once, so that a slow one delays no other
//! (I7). What a write achieved comes back as an observation, like any other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use herald_controller_core::{
    AdvertisementView, Index, PoolObserved, PoolView, ServiceView, plan, plan_announced,
};
use herald_core::{AddressRange, Labels, ServiceKey};
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info};

use crate::events::Events;
use crate::index::{SpeakerReport, SpeakerSeen};
use crate::lease::Leadership;
use crate::metrics::{ALL_STORES, Health, Levels, Metrics};
use crate::outage::Outage;
use crate::retry::Retries;
use crate::watch::Change;

mod observe;
mod reserved;
mod write;

use write::{ANNOUNCED_BURST, Done};

/// Plans made before inputs are looked at again.
const ROUND: usize = 500;
/// A speaker that did not renew for this long, by our clock, is not live.
const SPEAKER_LIVE: Duration = Duration::from_secs(30);
/// Everything is planned anew this often; it should find nothing to do.
const FULL_PASS: Duration = Duration::from_secs(600);

/// What the planner is told.
#[derive(Debug)]
pub(crate) enum Input {
    Services(Change<ServiceView>),
    Pools(Change<(PoolView, PoolObserved)>),
    Namespaces(Change<(Arc<str>, Labels)>),
    Advertisements(Change<AdvertisementView>),
    Speakers(Change<SpeakerReport>),
    Nodes(Change<(Arc<str>, Vec<IpAddr>)>),
    ApiServers(Change<(ServiceKey, Vec<IpAddr>)>),
    ServiceCidrs(Change<(Arc<str>, Vec<AddressRange>)>),
    /// Somebody asks what is planned for a Service.
    Explain(ServiceKey, oneshot::Sender<String>),
}

/// What the planner is given.
pub(crate) struct Parts {
    pub(crate) index: Index,
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<Health>,
    pub(crate) start: Instant,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) relist: watch::Sender<u64>,
    /// Addresses of API servers that were given by flag.
    pub(crate) api_servers: Vec<IpAddr>,
}

/// The last renewal of a speaker.
#[derive(Debug)]
struct Renewal {
    /// The mark by which renewals are told apart.
    mark: String,
    /// When we saw it change, or saw the speaker for the first time; `None` for one that was marked as silent then.
    at: Option<Instant>,
    seen: SpeakerSeen,
}

impl Renewal {
    fn is_live(&self, now: Instant) -> bool {
        self.at
            .is_some_and(|at| now.duration_since(at) < SPEAKER_LIVE)
    }
}

/// The owner of the index.
pub(crate) struct Planner {
    parts: Parts,
    writes: JoinSet<Done>,
    busy: HashSet<ServiceKey>,
    /// Keys that became dirty while a write for them was under way.
    again: HashSet<ServiceKey>,
    again_announced: HashSet<ServiceKey>,
    busy_pools: HashSet<Arc<str>>,
    /// Pools seen without our finalizer since the last dispatch.
    new_pools: BTreeSet<Arc<str>>,
    service_writes: usize,
    announced_writes: usize,
    retries: Retries,
    outage: Outage,
    tokens: f64,
    refilled: Instant,
    /// The term whose list of Services is in the index.
    listed_term: Option<u64>,
    /// The term in which the holdings were rebuilt.
    led_term: Option<u64>,
    /// Last renewal of each speaker.
    renewals: HashMap<Arc<str>, Renewal>,
    /// Speakers that are being marked as silent.
    busy_speakers: HashSet<Arc<str>>,
    /// When Services without an address were first seen.
    waiting_since: HashMap<ServiceKey, Instant>,
    passed: Instant,
    /// The API servers' addresses by EndpointSlice.
    api_servers: BTreeMap<ServiceKey, Vec<IpAddr>>,
    service_cidrs: BTreeSet<Arc<str>>,
}

impl Planner {
    pub(crate) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        Self {
            parts,
            writes: JoinSet::new(),
            busy: HashSet::new(),
            again: HashSet::new(),
            again_announced: HashSet::new(),
            busy_pools: HashSet::new(),
            new_pools: BTreeSet::new(),
            service_writes: 0,
            announced_writes: 0,
            retries: Retries::default(),
            outage: Outage::default(),
            tokens: ANNOUNCED_BURST,
            refilled: now,
            listed_term: None,
            led_term: None,
            renewals: HashMap::new(),
            busy_speakers: HashSet::new(),
            waiting_since: HashMap::new(),
            passed: now,
            api_servers: BTreeMap::new(),
            service_cidrs: BTreeSet::new(),
        }
    }

    /// Runs until `stop` is true, then until the writes under way have ended.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = false;
        loop {
            let due = self.next_due();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                biased;
                // Its only value to come is true.
                _ = stop.changed() => break,
                changed = self.parts.leadership.changed() => {
                    // The driver ends after us; should it end before, its last word counts.
                    if changed.is_err() {
                        break;
                    }
                    self.leadership_changed();
                }
                Some(done) = self.writes.join_next() => match done {
                    Ok(done) => self.written(done),
                    Err(failure) => error!(%failure, "a write ended without a result"),
                },
                // Before the inputs: a flood of them must not make us look stuck.
                _ = tick.tick() => self.tick(),
                Some(input) = inputs.recv() => {
                    self.observe(input);
                    // What arrived together is planned together.
                    for _ in 0..ROUND {
                        let Ok(input) = inputs.try_recv() else { break };
                        self.observe(input);
                    }
                }
                () = sleep_until(due) => {}
                () = std::future::ready(()), if more => tokio::task::yield_now().await,
            }
            more = self.dispatch();
        }
        while self.writes.join_next().await.is_some() {}
    }

    // === leadership ===

    fn leadership_changed(&mut self) {
        let leadership = *self.parts.leadership.borrow_and_update();
        match leadership.term() {
            Some(_) => {
                self.ask_for_list();
                self.try_lead();
            }
            None if self.parts.index.is_leading() => {
                self.parts.index.follow();
                self.retries.clear();
                self.led_term = None;
            }
            None => {}
        }
    }

    /// Asks for a list of Services at the start of a term, when no write of an earlier term is under way any more: what it may
    /// still do would be in no list, and its address would look free (I2).
    fn ask_for_list(&mut self) {
        let Some(term) = self.parts.leadership.borrow().term() else {
            return;
        };
        if self.service_writes > 0 {
            return;
        }
        let asked = self.parts.relist.send_if_modified(|asked| {
            let modified = *asked != term;
            *asked = term;
            modified
        });
        if asked {
            debug!(term, "listing Services for a new term");
        }
    }

    /// Begins to plan once Services were listed in this term and everything else is known (I6).
    fn try_lead(&mut self) {
        let Some(term) = self.parts.leadership.borrow().term() else {
            return;
        };
        let complete = self.parts.health.synced.load(Ordering::Relaxed) == ALL_STORES;
        if complete && self.listed_term == Some(term) && self.led_term != Some(term) {
            self.led_term = Some(term);
            // While nobody could write, nobody could renew either: everyone has the whole time again.
            let now = Instant::now();
            for renewal in self.renewals.values_mut() {
                renewal.at = renewal.at.map(|_| now);
            }
            self.parts.index.lead();
            let services = self.parts.index.services().count();
            info!(
                term,
                services, "addresses in use rebuilt from the status of all Services"
            );
        }
    }

    fn may_write(&self) -> bool {
        self.led_term.is_some() && self.parts.leadership.borrow().term() == self.led_term
    }

    /// When there is something to do that no input tells of; never while it could not be done.
    fn next_due(&mut self) -> Option<Instant> {
        if !self.may_write() {
            return None;
        }
        let retry = self.retries.next().filter(|_| self.room_for_retries() > 0);
        retry.into_iter().chain(self.waits_for_token()).min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let beat = now.duration_since(self.parts.start).as_millis();
        self.parts
            .health
            .beat
            .store(u64::try_from(beat).unwrap_or(u64::MAX), Ordering::Relaxed);
        for (node, renewal) in &self.renewals {
            self.parts
                .index
                .set_speaker_live(node, renewal.is_live(now));
        }
        if now.duration_since(self.passed) > FULL_PASS {
            self.passed = now;
            self.parts.index.mark_all();
        }
        if self.may_write() {
            self.plan_pools();
            self.mark_silent_speakers();
        }
        let leading = self.may_write();
        let index = &mut self.parts.index;
        self.parts.metrics.levels(Levels {
            leading,
            services: index.services().count(),
            waiting: index.hungry(),
            queued: index.dirty().services.len(),
            queued_announced: index.dirty().announced.len(),
            live_speakers: index.speakers().filter(|speaker| speaker.live).count(),
        });
    }

    fn explain(&self, key: &ServiceKey) -> String {
        let index = &self.parts.index;
        let role = if self.may_write() {
            "leads".to_owned()
        } else {
            "does not lead and does not know who holds what: ask the leader".to_owned()
        };
        format!(
            "this replica {role}\nheld: {:?}\nservice: {:#?}\nplan: {:#?}\nannounced: {:#?}\n",
            index.allocator().held(key),
            index.service(key),
            plan(key, index),
            plan_announced(key, index),
        )
    }
}

#[cfg(test)]
mod tests;
