//! One pass over one load balancer: the finalizer, the provider's calls, the status. Runs beside others and tells its owner what
//! came of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herald_controller_core::{
    GateTargets, ProvidedNotice, ProvidedPlan, ProvidedView, Want, plan_provided, plan_releasing,
    plan_unreachable, word,
};
use herald_provider::{
    Backoff, Context, Doubt, ErrorKind, Gate as _, LoadBalancerId, LoadBalancerRequest, Mode,
    Outcome, Provider, Reason, Release, UnixTime, ensure, lock, release,
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::gate::{LeaderGate, cut_off};
use super::write::Writer;
use crate::apply::ApplyError;
use crate::metrics::Metrics;

/// What a pass is given.
pub(super) struct Pass<P: Provider> {
    pub(super) provider: Arc<P>,
    pub(super) inventory: Arc<Mutex<P::Inventory>>,
    pub(super) gate: LeaderGate,
    pub(super) writer: Writer,
    pub(super) metrics: Metrics,
    pub(super) want: Want,
    pub(super) view: ProvidedView,
    pub(super) request: LoadBalancerRequest,
    pub(super) mode: Mode,
    pub(super) failures: u32,
    pub(super) audit: bool,
    /// Warnings that were told already.
    pub(super) warned: Vec<Reason>,
}

/// What came of a pass.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) id: LoadBalancerId,
    /// The Service as the pass knew it last, by the look it began with or by its own writes; it may be another's or gone by now.
    pub(super) view: ProvidedView,
    /// A word for the metrics.
    pub(super) outcome: &'static str,
    pub(super) retry_after: Option<Duration>,
    pub(super) failed: bool,
    /// Look again at once: what was published changed, and the provider waits for that.
    pub(super) again: bool,
    pub(super) notices: Vec<ProvidedNotice>,
    /// All warnings that hold.
    pub(super) warned: Vec<Reason>,
    /// What readiness gates wait for.
    pub(super) targets: Option<GateTargets>,
    pub(super) took: Duration,
}

impl<P: Provider> Pass<P> {
    pub(super) async fn run(mut self) -> Passed {
        let began = Instant::now();
        if self.view.request.paused && self.mode == Mode::Live {
            self.mode = Mode::Paused;
        }
        if self.audit {
            let mut inventory = lock(&self.inventory);
            let doubt = Doubt::Unclear(&[]);
            self.provider
                .forget(&mut inventory, &self.request.id, doubt);
        }
        let mut passed = match self.want {
            Want::Ensure => self.ensure().await,
            Want::Release => self.release().await,
            Want::Ignore => self.passed("ignored", None),
        };
        passed.view = self.view;
        passed.took = began.elapsed();
        passed
    }

    async fn ensure(&mut self) -> Passed {
        let finalizer = &self.provider.identity().finalizer;
        // Before the first call that changes anything; without changes there is nothing to come back for.
        if self.mode == Mode::Live && !self.view.holds(finalizer) {
            match self.finalize().await {
                Ok(view) => self.view = view,
                Err(error) => return self.unwritten("setting the finalizer", &error),
            }
        }
        let context = self.context();
        let ensured = ensure(&*self.provider, &self.inventory, &self.request, context).await;
        self.log(&ensured.applied, &ensured.held);
        let key = &self.view.request.key;
        let Some(report) = ensured.report.service(key).cloned() else {
            return self.passed("ignored", None);
        };
        let mut passed = self.passed(word_for(&report.outcome), ensured.report.retry_after());
        passed.failed = !ensured.errors.is_empty();
        if passed.failed && passed.retry_after.is_none() {
            // A person has to act, at the provider perhaps, where nothing tells us of it.
            let slow = Backoff::for_kind(ErrorKind::Terminal);
            passed.retry_after = Some(slow.delay(self.failures, random()));
        }
        let given = self.request.services.first();
        passed.targets = given.map(|given| GateTargets::of(&report, given));
        if cut_off(&ensured.errors) || !self.gate.may_write() {
            return unsaid(passed);
        }
        let mut plan = plan_provided(&self.view, &report, &ensured);
        let new = report.warnings.iter().filter(|w| !self.warned.contains(w));
        plan.notices.extend(new.map(|warning| ProvidedNotice {
            warning: true,
            reason: word(&warning.code),
            message: warning.message.clone(),
        }));
        passed.warned.clone_from(&report.warnings);
        let before = self.view.request.published.clone();
        self.say(plan, &mut passed).await;
        passed.again = self.view.request.published != before;
        passed
    }

    async fn release(&mut self) -> Passed {
        let released = release(
            &*self.provider,
            &self.inventory,
            &self.request.id,
            self.context(),
        )
        .await;
        self.log(&released.applied, &released.held);
        let (outcome, retry_after) = match &released.release {
            Release::Done => ("released", None),
            Release::Releasing { retry_after, .. } => ("releasing", Some(*retry_after)),
            Release::Blocked { retry_after, .. } => ("blocked", Some(*retry_after)),
        };
        let mut passed = self.passed(outcome, retry_after);
        passed.failed = !released.errors.is_empty();
        if cut_off(&released.errors) || !self.gate.may_write() {
            return unsaid(passed);
        }
        let plan = plan_releasing(&self.view, &released.release);
        self.say(plan, &mut passed).await;
        if released.release == Release::Done && !passed.failed {
            if !self.gate.may_write() {
                return unsaid(passed);
            }
            let began = Instant::now();
            let removed = self.writer.remove_finalizer(&self.view).await;
            self.wrote("finalizer", removed.as_ref().map(drop), began);
            match removed {
                Ok(view) => self.view = view,
                Err(error) => passed = self.unwritten("removing the finalizer", &error),
            }
        }
        passed
    }

    /// Writes what the plan says, if anything, and keeps its Events for when that succeeded.
    async fn say(&mut self, plan: ProvidedPlan, passed: &mut Passed) {
        if let Some(desired) = &plan.write {
            let began = Instant::now();
            let result = self.writer.write_status(&self.view, desired).await;
            self.wrote("provided", result.as_ref().map(drop), began);
            match result {
                Ok(view) => self.view = view,
                Err(error) => {
                    let unwritten = self.unwritten("writing the status", &error);
                    passed.retry_after =
                        passed.retry_after.map_or(unwritten.retry_after, |other| {
                            unwritten.retry_after.map(|own| own.min(other))
                        });
                    passed.failed = true;
                    passed.warned.clone_from(&self.warned);
                    return;
                }
            }
        }
        passed.notices.extend(plan.notices);
    }

    async fn finalize(&self) -> Result<ProvidedView, ApplyError> {
        if !self.gate.may_write() {
            return Err(ApplyError::NotLeading);
        }
        let began = Instant::now();
        let result = self.writer.add_finalizer(&self.view).await;
        self.wrote("finalizer", result.as_ref().map(drop), began);
        result
    }

    fn wrote(&self, object: &'static str, result: Result<(), &ApplyError>, began: Instant) {
        let outcome = result.map_or_else(ApplyError::outcome, |()| "ok");
        self.metrics.wrote(object, outcome, began.elapsed());
    }

    fn unwritten(&self, what: &str, error: &ApplyError) -> Passed {
        let service = &self.view.request.key;
        let delay = Backoff::for_kind(ErrorKind::Retryable).delay(self.failures, random());
        let error = error as &dyn std::error::Error;
        warn!(%service, error, again = ?delay, "{what} failed, trying again");
        let mut passed = self.passed("unwritten", Some(delay));
        passed.failed = true;
        passed
    }

    fn passed(&self, outcome: &'static str, retry_after: Option<Duration>) -> Passed {
        Passed {
            id: self.request.id.clone(),
            view: self.view.clone(),
            outcome,
            retry_after,
            failed: false,
            again: false,
            notices: Vec::new(),
            warned: self.warned.clone(),
            targets: None,
            took: Duration::ZERO,
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            gate: &self.gate,
            now: now(),
            mode: self.mode,
            failures: self.failures,
            random: random(),
        }
    }

    fn log(&self, applied: &[String], held: &[String]) {
        let service = &self.view.request.key;
        for step in applied {
            info!(%service, "{step}");
        }
        for step in held {
            if self.mode == Mode::DryRun {
                info!(%service, "held back by --aws-dry-run: {step}");
            } else {
                debug!(%service, "held back: {step}");
            }
        }
        if let Err(error) = self.gate.check() {
            warn!(%service, %error, "the pass ends");
        }
    }
}

/// Says on a Service why nothing can be done for it.
pub(super) async fn say_unreachable(
    (writer, gate, metrics): (Writer, LeaderGate, Metrics),
    want: Want,
    view: ProvidedView,
    reason: Reason,
) -> Passed {
    let began = Instant::now();
    let plan = plan_unreachable(&view, want, &reason);
    let mut passed = Passed {
        id: view.id(),
        view,
        outcome: "unreachable",
        retry_after: None,
        failed: false,
        again: false,
        notices: Vec::new(),
        warned: Vec::new(),
        targets: None,
        took: Duration::ZERO,
    };
    if let Some(desired) = plan.write.filter(|_| gate.may_write()) {
        let result = writer.write_status(&passed.view, &desired).await;
        let outcome = result.as_ref().map_or_else(ApplyError::outcome, |_| "ok");
        metrics.wrote("provided", outcome, began.elapsed());
        match result {
            Ok(view) => {
                passed.view = view;
                passed.notices = plan.notices;
            }
            Err(error) => {
                passed.failed = true;
                passed.retry_after =
                    Some(Backoff::for_kind(ErrorKind::Retryable).delay(2, random()));
                warn!(service = %passed.view.key(), %error, "writing the status failed, trying again");
            }
        }
    }
    passed.took = began.elapsed();
    passed
}

/// A pass whose result is not written, because the lease was not renewed or we are to stop: soon again, if we still lead then.
fn unsaid(mut passed: Passed) -> Passed {
    passed.retry_after = Some(Duration::from_secs(2));
    // It may have stopped before it had looked at them.
    passed.targets = None;
    passed
}

fn word_for(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ready => "ready",
        Outcome::Partial { .. } => "partial",
        Outcome::Pending { .. } => "pending",
        Outcome::Refused { .. } => "refused",
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

/// A number good enough to spread tries.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
