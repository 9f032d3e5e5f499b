//! The owner of a provider: knows the Services that are the provider's, their endpoints and the nodes, and keeps a pass going
//! over each load balancer that something is to be done about.
//!
//! ```text
//!  Service, Node, EndpointSlice, Pod ─ watch ─▶ Input ─▶ Provisioner ─▶ JoinSet of passes ─▶ provider, Service (finalizer, status)
//!                                                    │  ▲                │
//!                        Schedule ◀─ touch, done ────┘  └──── Passed ────┘
//!                        Inventory ◀─ listing: connect, observe (at each term, then every --…-resync-interval)
//! ```
//!
//! Passes run beside each other, one for each load balancer at a time and a bounded number at once; of these at most half are for
//! Services whose last pass failed, so that they delay no other (I7). Nothing is done before Services were listed in this term and
//! nodes, slices and pods are complete (I6), and nothing before the provider was listed anew by this leader.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use herald_api::names::SERVICE_NAME_LABEL;
use herald_controller_core::{PodView, ProvidedView};
use herald_core::ServiceKey;
use herald_provider::{
    Identity, LoadBalancerId, Mode, NodeTarget, Provider, ProviderError, Reason, Schedule, Work,
};
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{error, info};

use crate::events::Events;
use crate::lease::Leadership;
use crate::metrics::{Metrics, ProviderLevels};
use crate::watch::{Change, Watches};

mod dispatch;
mod endpoints;
mod explain;
mod gate;
mod listing;
mod observe;
mod pass;
mod pods;
pub(crate) mod view;
mod write;

use endpoints::Slices;
use listing::Listed;
use pass::Passed;
use pods::Gates;
use view::SliceView;
use write::Writer;

/// When a status that somebody else wrote is mended: not at once, so that two who disagree do not write without end.
const MENDED: Duration = Duration::from_secs(1);

/// What a provisioner is told.
#[derive(Debug)]
pub(crate) enum Input {
    Services(Change<ProvidedView>),
    Nodes(Change<NodeTarget>),
    Slices(Change<SliceView>),
    Pods(Change<Option<PodView>>),
    /// Somebody asks what is planned for a Service.
    Explain(ServiceKey, oneshot::Sender<String>),
}

/// How often which calls were made, for the metrics: operation, result, count.
pub(crate) type Calls = Box<dyn Fn() -> Vec<(&'static str, String, u64)> + Send + Sync>;

/// A provider that can be used.
pub(crate) struct Connected<P> {
    pub(crate) provider: Arc<P>,
    pub(crate) calls: Arc<Calls>,
}

impl<P> Clone for Connected<P> {
    fn clone(&self) -> Self {
        Self {
            provider: self.provider.clone(),
            calls: self.calls.clone(),
        }
    }
}

/// Reaches the provider; tried again when it fails.
pub(crate) type Connect<P> =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Connected<P>, ProviderError>> + Send + Sync>;

/// What the operator sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Passes at once.
    pub(crate) parallel: usize,
    /// One load balancer is read again this often, all in turn.
    pub(crate) audit: Duration,
    /// Everything is listed anew this often.
    pub(crate) resync: Duration,
    /// Whether changes are made.
    pub(crate) mode: Mode,
}

/// What a provisioner is given.
pub(crate) struct Parts<P> {
    pub(crate) identity: Identity,
    pub(crate) connect: Connect<P>,
    pub(crate) pace: Pace,
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) relist: watch::Sender<u64>,
    /// True when the program ends.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Watches what a provisioner has to know.
pub(crate) fn spawn_watches(watches: &Watches<Input>, relist: watch::Receiver<u64>) {
    // Only Services are listed anew at the start of a term.
    watches.relisted(relist, view::provided_view, Input::Services);
    watches.all(view::node_target, Input::Nodes);
    // Slices that somebody keeps by hand for other ends have no such label.
    watches.labelled(SERVICE_NAME_LABEL, view::slice_view, Input::Slices);
    watches.all(pods::pod_view, Input::Pods);
}

/// A Service of the provider's.
#[derive(Debug)]
struct Tracked {
    view: ProvidedView,
    /// Warnings told of it.
    warned: Vec<Reason>,
    /// What the last pass came to.
    outcome: Option<&'static str>,
}

/// A pass under way.
struct Running<I> {
    /// The last one before it failed.
    failing: bool,
    /// The inventory it works on.
    inventory: Option<Arc<Mutex<I>>>,
}

/// What ended beside us.
enum Done<P: Provider> {
    Passed(Box<Passed>),
    Listed(Box<Listed<P>>),
}

/// The owner of one provider.
pub(crate) struct Provisioner<P: Provider> {
    parts: Parts<P>,
    writer: Writer,
    start: Instant,
    services: HashMap<ServiceKey, Tracked>,
    keys: HashMap<LoadBalancerId, ServiceKey>,
    nodes: BTreeMap<String, NodeTarget>,
    /// The same, as passes take them.
    node_list: Arc<[NodeTarget]>,
    slices: Slices,
    /// The pods with a readiness gate, and what it waits for.
    gates: Gates,
    /// The term whose list of Services we have; nodes and slices are complete.
    listed_term: Option<u64>,
    nodes_listed: bool,
    slices_listed: bool,
    /// The term in which we began to work.
    term: Option<u64>,
    schedule: Schedule,
    running: HashMap<LoadBalancerId, Running<P::Inventory>>,
    /// Due, but too many that failed are under way.
    held: VecDeque<Work>,
    jobs: JoinSet<Done<P>>,
    connected: Option<Connected<P>>,
    inventory: Option<Arc<Mutex<P::Inventory>>>,
    /// A listing is under way; the passes that ran beside it.
    listing: Option<HashSet<LoadBalancerId>>,
    list_at: Instant,
    list_failures: u32,
    /// Why the provider cannot be used.
    unreachable: Option<Reason>,
    /// What the last listing found.
    found: BTreeSet<LoadBalancerId>,
}

impl<P: Provider + 'static> Provisioner<P>
where
    P::Inventory: 'static,
{
    pub(crate) fn new(parts: Parts<P>) -> Self {
        let (name, finalizer) = (parts.identity.name, &parts.identity.finalizer);
        let start = Instant::now();
        Self {
            writer: Writer::new(parts.client.clone(), name, finalizer),
            schedule: Schedule::new(parts.pace.audit),
            start,
            services: HashMap::new(),
            keys: HashMap::new(),
            nodes: BTreeMap::new(),
            node_list: Arc::new([]),
            slices: Slices::default(),
            gates: Gates::new(parts.client.clone(), parts.metrics.clone()),
            listed_term: None,
            nodes_listed: false,
            slices_listed: false,
            term: None,
            running: HashMap::new(),
            held: VecDeque::new(),
            jobs: JoinSet::new(),
            connected: None,
            inventory: None,
            listing: None,
            list_at: start,
            list_failures: 0,
            unreachable: None,
            found: BTreeSet::new(),
            parts,
        }
    }

    /// Runs until it is told to stop, then until the passes under way have ended.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.next_due();
            let leads = self.leads().is_some();
            tokio::select! {
                biased;
                // Its only value to come is true.
                _ = self.parts.stop.changed() => break,
                changed = self.parts.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.leadership_changed();
                }
                Some(done) = self.jobs.join_next() => match done {
                    Ok(Done::Passed(passed)) => self.passed(*passed),
                    Ok(Done::Listed(listed)) => self.listed(*listed),
                    Err(failure) => error!(%failure, "a pass ended without a result"),
                },
                _ = tick.tick() => self.levels(),
                touched = self.gates.turn(leads) => self.touch(touched),
                Some(input) = inputs.recv() => self.observe(input),
                () = sleep_until(due) => {}
            }
            self.list_if_due();
            self.dispatch();
            self.gates.dispatch(self.leads().is_some());
        }
        self.gates.end().await;
        // A listing changes nothing and may take long; a pass ends before its next call, because the gate closes.
        self.term = None;
        while !self.running.is_empty()
            && let Some(done) = self.jobs.join_next().await
        {
            if let Ok(Done::Passed(passed)) = done {
                self.passed(*passed);
            }
        }
    }

    // === leadership ===

    fn leadership_changed(&mut self) {
        let leadership = *self.parts.leadership.borrow_and_update();
        let term = leadership.term();
        if self.term.is_some() && self.term != term {
            info!(
                provider = self.parts.identity.name,
                "not leading: load balancers are left to the leader"
            );
            self.rest();
        }
        if let Some(term) = term {
            self.parts.relist.send_if_modified(|asked| {
                let modified = *asked != term;
                *asked = term;
                modified
            });
            self.try_work();
        }
    }

    /// Forgets what was to be done, and what is known of the provider: the next leader changes it.
    fn rest(&mut self) {
        self.term = None;
        self.inventory = None;
        self.schedule = Schedule::new(self.parts.pace.audit);
        self.held.clear();
        self.unreachable = None;
        self.found.clear();
        self.gates.follow();
    }

    /// Begins to work once everything is known (I6).
    fn try_work(&mut self) {
        let Some(term) = self.parts.leadership.borrow().term() else {
            return;
        };
        let complete = self.nodes_listed
            && self.slices_listed
            // A pod that waits for its gate is a target, though its endpoint is not ready.
            && self.gates.listed()
            && self.listed_term == Some(term);
        if complete && self.term != Some(term) {
            self.rest();
            self.term = Some(term);
            self.list_at = Instant::now();
            self.list_failures = 0;
        }
    }

    /// The term in which we may act at this instant.
    fn leads(&self) -> Option<u64> {
        self.term
            .filter(|term| self.parts.leadership.borrow().term() == Some(*term))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When there is something to do that no input tells of.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let longest = Duration::from_hours(1);
        let far = now + longest;
        if self.leads().is_none() {
            return far;
        }
        let list = (self.listing.is_none() && self.may_list()).then_some(self.list_at);
        let room = self.running.len() < self.parts.pace.parallel;
        let works = self.inventory.is_some() || self.unreachable.is_some();
        let pass = self.schedule.wait(self.now()).filter(|_| room && works);
        let pass = pass.map(|wait| now + wait.min(longest));
        list.into_iter().chain(pass).min().unwrap_or(far)
    }

    fn levels(&self) {
        let provider = self.parts.identity.name;
        let tracked = |id: &&LoadBalancerId| !self.keys.contains_key(*id);
        let mut outcomes: BTreeMap<&'static str, usize> = BTreeMap::new();
        for tracked in self.services.values() {
            *outcomes
                .entry(tracked.outcome.unwrap_or("waiting"))
                .or_default() += 1;
        }
        self.parts.metrics.provider().levels(
            provider,
            &ProviderLevels {
                outcomes,
                running: self.running.len(),
                held: self.held.len(),
                unwanted: self.found.iter().filter(tracked).count(),
                open_gates: self.gates.open(),
            },
        );
        if let Some(connected) = &self.connected {
            let calls = (connected.calls)();
            self.parts.metrics.provider().calls(provider, calls);
        }
    }
}

#[cfg(test)]
mod tests;
