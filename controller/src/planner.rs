//! The owner of the index: takes observations in, plans what they made dirty, and starts the writes.
//!
//! Writes run beside each other, at most one for each Service and a bounded number at once, so that a slow one delays no other
//! (I7). What a write achieved comes back as an observation, like any other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use herald_controller_core::{
    AdvertisementView, AnnouncedStep, Index, Notice, Plan, PoolObserved, PoolView, ServiceView,
    plan, plan_announced, plan_pool,
};
use herald_core::{Labels, ServiceKey};
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::apply::{ApplyError, apply_announced, apply_pool, apply_service};
use crate::events::Events;
use crate::index::{SpeakerReport, service_view};
use crate::lease::Leadership;
use crate::metrics::{Health, Levels, Metrics};
use crate::retry::Retries;
use crate::watch::Change;

/// Allocations written at once.
const SERVICE_WRITES: usize = 8;
/// Conditions Announced written at once, and how many a second: they follow speakers, and whole nodes' worth at a time.
const ANNOUNCED_WRITES: usize = 2;
const ANNOUNCED_PER_SECOND: f64 = 50.0;
const ANNOUNCED_BURST: f64 = 100.0;
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
    service_writes: usize,
    announced_writes: usize,
    retries: Retries,
    tokens: f64,
    refilled: Instant,
    /// The term whose list of Services is in the index.
    listed_term: Option<u64>,
    /// The term in which the holdings were rebuilt.
    led_term: Option<u64>,
    /// Last renewal of each speaker, and when we saw it.
    renewals: HashMap<Arc<str>, (String, Instant)>,
    /// When Services without an address were first seen.
    waiting_since: HashMap<ServiceKey, Instant>,
    passed: Instant,
}

/// What a write was about.
#[derive(Debug)]
enum Subject {
    Service {
        view: ServiceView,
        notices: Vec<Notice>,
        allocates: bool,
    },
    Announced {
        view: ServiceView,
        notice: Option<Notice>,
    },
    Pool {
        name: Arc<str>,
    },
}

#[derive(Debug)]
struct Done {
    subject: Subject,
    result: Result<Option<ServiceView>, ApplyError>,
    took: Duration,
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
            service_writes: 0,
            announced_writes: 0,
            retries: Retries::default(),
            tokens: ANNOUNCED_BURST,
            refilled: now,
            listed_term: None,
            led_term: None,
            renewals: HashMap::new(),
            waiting_since: HashMap::new(),
            passed: now,
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
            let now = Instant::now();
            let due = self
                .retries
                .next()
                .unwrap_or(now + Duration::from_secs(3600));
            let paced = self
                .waits_for_token()
                .unwrap_or(now + Duration::from_secs(3600));
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
                Some(input) = inputs.recv() => {
                    self.observe(input);
                    // What arrived together is planned together.
                    for _ in 0..ROUND {
                        let Ok(input) = inputs.try_recv() else { break };
                        self.observe(input);
                    }
                }
                _ = tick.tick() => self.tick(),
                () = sleep_until(due.min(paced)) => {}
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
            Some(term) => {
                let asked = self.parts.relist.send_if_modified(|asked| {
                    let modified = *asked != term;
                    *asked = term;
                    modified
                });
                if asked {
                    debug!(term, "listing Services for a new term");
                }
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

    /// Begins to plan once Services were listed in this term and everything else is known (I6).
    fn try_lead(&mut self) {
        let Some(term) = self.parts.leadership.borrow().term() else {
            return;
        };
        let complete = self.parts.health.synced.load(Ordering::Relaxed) == 0b1_1111;
        if complete && self.listed_term == Some(term) && self.led_term != Some(term) {
            self.led_term = Some(term);
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

    // === observations ===

    fn observe(&mut self, input: Input) {
        match input {
            Input::Services(change) => self.observe_services(change),
            Input::Pools(change) => self.observe_pools(change),
            Input::Namespaces(change) => {
                let index = &mut self.parts.index;
                match change {
                    Change::All {
                        views, unreadable, ..
                    } => {
                        let present = names(views.iter().map(|(name, _)| name), &unreadable);
                        let known: Vec<Arc<str>> = index.namespaces().cloned().collect();
                        for name in gone(known, &present) {
                            index.forget_namespace(&name);
                        }
                        for (name, labels) in views {
                            index.observe_namespace(name, labels);
                        }
                        self.synced(2);
                    }
                    Change::One((name, labels)) => index.observe_namespace(name, labels),
                    Change::Gone(key) => index.forget_namespace(&key.name),
                }
            }
            Input::Advertisements(change) => {
                let index = &mut self.parts.index;
                match change {
                    Change::All {
                        views, unreadable, ..
                    } => {
                        let present = names(views.iter().map(|view| &view.name), &unreadable);
                        let known: Vec<Arc<str>> = index
                            .advertisements()
                            .map(|view| view.name.clone())
                            .collect();
                        for name in gone(known, &present) {
                            index.forget_advertisement(&name);
                        }
                        for view in views {
                            index.observe_advertisement(view);
                        }
                        self.synced(3);
                    }
                    Change::One(view) => index.observe_advertisement(view),
                    Change::Gone(key) => index.forget_advertisement(&key.name),
                }
            }
            Input::Speakers(change) => match change {
                Change::All {
                    views, unreadable, ..
                } => {
                    let present = names(views.iter().map(|report| &report.view.node), &unreadable);
                    let known: Vec<Arc<str>> = self
                        .parts
                        .index
                        .speakers()
                        .map(|view| view.node.clone())
                        .collect();
                    for node in gone(known, &present) {
                        self.forget_speaker(&node);
                    }
                    for report in views {
                        self.observe_speaker(report);
                    }
                    self.synced(4);
                }
                Change::One(report) => self.observe_speaker(report),
                Change::Gone(key) => self.forget_speaker(&key.name),
            },
            Input::Explain(key, answer) => {
                let _ = answer.send(self.explain(&key));
            }
        }
    }

    fn observe_services(&mut self, change: Change<ServiceView>) {
        let now = Instant::now();
        let mut note = |view: &ServiceView| {
            if view.load_balancer && view.ingress.is_empty() {
                self.waiting_since.entry(view.key.clone()).or_insert(now);
            }
        };
        match change {
            Change::All {
                mut views,
                unreadable,
                term,
            } => {
                views.iter().for_each(note);
                let known = unreadable
                    .iter()
                    .filter_map(|key| self.parts.index.service(key));
                views.extend(known.cloned().collect::<Vec<_>>());
                self.parts.index.replace_services(views);
                self.listed_term = Some(term);
                self.synced(0);
            }
            Change::One(view) => {
                note(&view);
                self.parts.index.observe_service(view);
            }
            Change::Gone(key) => {
                self.waiting_since.remove(&key);
                self.retries.succeeded(&key);
                self.parts.index.forget_service(&key);
            }
        }
    }

    fn observe_pools(&mut self, change: Change<(PoolView, PoolObserved)>) {
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|(view, _)| &view.name), &unreadable);
                let pools = self.parts.index.allocator().pools();
                let known: Vec<Arc<str>> = pools.map(|view| view.name.clone()).collect();
                for name in gone(known, &present) {
                    self.forget_pool(&name);
                }
                for (view, observed) in views {
                    self.parts.index.observe_pool(view, observed);
                }
                self.synced(1);
            }
            Change::One((view, observed)) => self.parts.index.observe_pool(view, observed),
            Change::Gone(key) => self.forget_pool(&key.name),
        }
    }

    fn forget_pool(&mut self, name: &str) {
        self.parts.index.forget_pool(name);
        self.parts.metrics.forget_pool(name);
    }

    /// A renewal counts from when we saw it change: other nodes' clocks are not trusted.
    fn observe_speaker(&mut self, report: SpeakerReport) {
        let now = Instant::now();
        let SpeakerReport { mut view, renewal } = report;
        let seen = self
            .renewals
            .entry(view.node.clone())
            .or_insert_with(|| (renewal.clone(), now));
        if seen.0 != renewal {
            *seen = (renewal, now);
        }
        view.live = now.duration_since(seen.1) < SPEAKER_LIVE;
        self.parts.index.observe_speaker(view);
    }

    fn forget_speaker(&mut self, node: &str) {
        self.renewals.remove(node);
        self.parts.index.forget_speaker(node);
    }

    fn synced(&mut self, store: u32) {
        self.parts
            .health
            .synced
            .fetch_or(1 << store, Ordering::Relaxed);
        self.try_lead();
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let beat = now.duration_since(self.parts.start).as_millis();
        self.parts
            .health
            .beat
            .store(u64::try_from(beat).unwrap_or(u64::MAX), Ordering::Relaxed);
        for (node, (_, seen)) in &self.renewals {
            let live = now.duration_since(*seen) < SPEAKER_LIVE;
            self.parts.index.set_speaker_live(node, live);
        }
        if now.duration_since(self.passed) > FULL_PASS {
            self.passed = now;
            self.parts.index.mark_all();
        }
        if self.may_write() {
            self.plan_pools();
        }
        let leading = self.may_write();
        let index = &mut self.parts.index;
        self.parts.metrics.levels(Levels {
            leading,
            services: index.services().count(),
            waiting: index.hungry(),
            queued: index.dirty().services.len(),
            queued_announced: if leading {
                index.dirty().announced.len()
            } else {
                0
            },
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

    // === plans ===

    /// Plans what is dirty as far as writes may be started. Returns whether more could be done at once.
    fn dispatch(&mut self) -> bool {
        if !self.may_write() {
            return false;
        }
        let now = Instant::now();
        while let Some(key) = self.retries.pop_due(now) {
            self.parts.index.dirty().services.push(&key);
            self.parts.index.dirty().announced.push(&key);
        }
        for _ in 0..ROUND {
            if self.service_writes >= SERVICE_WRITES {
                break;
            }
            let Some(key) = self.parts.index.dirty().services.pop() else {
                break;
            };
            self.plan_service(key);
        }
        self.refill(now);
        for _ in 0..ROUND {
            if self.announced_writes >= ANNOUNCED_WRITES || self.tokens < 1.0 {
                break;
            }
            let Some(key) = self.parts.index.dirty().announced.pop() else {
                break;
            };
            self.plan_announced(key);
        }
        let can_allocate = self.service_writes < SERVICE_WRITES;
        let can_announce = self.announced_writes < ANNOUNCED_WRITES && self.tokens >= 1.0;
        let dirty = self.parts.index.dirty();
        (can_allocate && !dirty.services.is_empty())
            || (can_announce && !dirty.announced.is_empty())
    }

    fn plan_service(&mut self, key: ServiceKey) {
        if self.busy.contains(&key) {
            self.again.insert(key);
            return;
        }
        let plan: Plan = plan(&key, &self.parts.index);
        self.parts.metrics.planned();
        let refused = self.parts.index.commit(&plan);
        if !refused.is_empty() {
            // Cannot happen while plans are committed one by one; a new plan is the remedy all the same.
            error!(service = %key, ?refused, "planned addresses were taken meanwhile");
            self.parts.index.dirty().services.push(&key);
            return;
        }
        let (Some(write), Some(view)) = (plan.write, self.parts.index.service(&key).cloned())
        else {
            return;
        };
        let allocates = plan.hold.is_some_and(|addresses| !addresses.is_empty());
        let subject = Subject::Service {
            view: view.clone(),
            notices: plan.notices,
            allocates,
        };
        self.busy.insert(key);
        self.service_writes += 1;
        let client = self.parts.client.clone();
        self.start(subject, async move {
            apply_service(client, view, write)
                .await
                .map(|service| Some(service_view(&service)))
        });
    }

    fn plan_announced(&mut self, key: ServiceKey) {
        if self.busy.contains(&key) {
            self.again_announced.insert(key);
            return;
        }
        let step: AnnouncedStep = match plan_announced(&key, &self.parts.index) {
            Some(step) => step,
            None => return,
        };
        let Some(view) = self.parts.index.service(&key).cloned() else {
            return;
        };
        let subject = Subject::Announced {
            view: view.clone(),
            notice: step.notice.clone(),
        };
        self.busy.insert(key);
        self.announced_writes += 1;
        self.tokens -= 1.0;
        let client = self.parts.client.clone();
        self.start(subject, async move {
            apply_announced(client, view, step)
                .await
                .map(|service| Some(service_view(&service)))
        });
    }

    /// Pools' statuses are written at most once a second each, however many Services change.
    fn plan_pools(&mut self) {
        for name in std::mem::take(&mut self.parts.index.dirty().pools) {
            if let Some(counts) = self.parts.index.allocator().counts(&name) {
                let number = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
                let assigned = [number(counts.assigned.v4), number(counts.assigned.v6)];
                let available = [number(counts.available.v4), number(counts.available.v6)];
                self.parts.metrics.pool(&name, assigned, available);
            }
            if self.busy_pools.contains(&name) {
                self.parts.index.dirty().pools.insert(name);
                continue;
            }
            let plan = plan_pool(&name, &self.parts.index);
            let Some(observed) = self.parts.index.observed_pool(&name).cloned() else {
                continue;
            };
            if plan.status.is_none() && plan.finalizer.is_none() {
                continue;
            }
            self.busy_pools.insert(name.clone());
            let (client, object) = (self.parts.client.clone(), name.to_string());
            self.start(Subject::Pool { name }, async move {
                apply_pool(client, object, observed, plan)
                    .await
                    .map(|()| None)
            });
        }
    }

    fn start(
        &mut self,
        subject: Subject,
        write: impl Future<Output = Result<Option<ServiceView>, ApplyError>> + Send + 'static,
    ) {
        let began = Instant::now();
        self.writes.spawn(async move {
            let result = write.await;
            Done {
                subject,
                result,
                took: began.elapsed(),
            }
        });
    }

    fn written(&mut self, done: Done) {
        let Done {
            subject,
            result,
            took,
        } = done;
        let outcome = result.as_ref().map_or_else(ApplyError::outcome, |_| "ok");
        match subject {
            Subject::Pool { name } => {
                self.parts.metrics.wrote("addresspool", outcome, took);
                self.busy_pools.remove(&name);
                if let Err(error) = result
                    && !error.is_gone()
                {
                    warn!(pool = %name, error = &error as &dyn std::error::Error, "writing the status failed");
                    self.parts.index.dirty().pools.insert(name);
                }
            }
            Subject::Service {
                view,
                notices,
                allocates,
            } => {
                self.parts.metrics.wrote("service", outcome, took);
                self.service_writes -= 1;
                let written = self.finish(&view, result);
                if written {
                    for notice in notices {
                        self.parts.events.emit(&view, notice);
                    }
                    if allocates && let Some(since) = self.waiting_since.remove(&view.key) {
                        self.parts.metrics.allocated(since.elapsed());
                    }
                }
            }
            Subject::Announced { view, notice } => {
                self.parts.metrics.wrote("announced", outcome, took);
                self.announced_writes -= 1;
                if self.finish(&view, result)
                    && let Some(notice) = notice
                {
                    self.parts.events.emit(&view, notice);
                }
            }
        }
    }

    /// Feeds back what a write to a Service achieved. Returns whether it succeeded.
    fn finish(
        &mut self,
        view: &ServiceView,
        result: Result<Option<ServiceView>, ApplyError>,
    ) -> bool {
        let key = &view.key;
        self.busy.remove(key);
        if self.again.remove(key) {
            self.parts.index.dirty().services.push(key);
        }
        if self.again_announced.remove(key) {
            self.parts.index.dirty().announced.push(key);
        }
        match result {
            Ok(now) => {
                self.retries.succeeded(key);
                // Gone meanwhile, or another of that name: then the watch has said so and this answer is old.
                let known = self
                    .parts
                    .index
                    .service(key)
                    .is_some_and(|known| known.uid == view.uid);
                if let (true, Some(now)) = (known, now) {
                    self.parts.index.observe_service(now);
                }
                true
            }
            Err(error) if error.is_gone() => false,
            Err(error) => {
                let again = self.retries.failed(key, Instant::now());
                let error = &error as &dyn std::error::Error;
                warn!(service = %key, error, ?again, "writing the status failed, trying again");
                false
            }
        }
    }

    // === pace of the condition Announced ===

    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + passed * ANNOUNCED_PER_SECOND).min(ANNOUNCED_BURST);
    }

    fn waits_for_token(&mut self) -> Option<Instant> {
        let waits = self.tokens < 1.0 && !self.parts.index.dirty().announced.is_empty();
        waits.then(|| self.refilled + Duration::from_secs_f64(1.0 / ANNOUNCED_PER_SECOND))
    }
}

fn names<'a>(
    present: impl Iterator<Item = &'a Arc<str>>,
    unreadable: &'a [ServiceKey],
) -> HashSet<Arc<str>> {
    present
        .chain(unreadable.iter().map(|key| &key.name))
        .cloned()
        .collect()
}

fn gone(known: Vec<Arc<str>>, present: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
    known
        .into_iter()
        .filter(|name| !present.contains(name))
        .collect()
}
