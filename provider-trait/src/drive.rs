//! One pass over one load balancer: plan, take the first step, learn, plan again, until no step is left.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    Backoff, Doubt, ErrorKind, Gate, LoadBalancerId, LoadBalancerRequest, Outcome, Plan, PortKey,
    PortReport, Provider, ProviderError, Reason, Release, Report, Scope, ServiceReport, Step,
    UnixTime,
};

/// No load balancer needs more steps than this in one pass; a plan that does is going in circles.
const MAX_STEPS: usize = 1000;

/// When to look again at a load balancer whose changes are held back.
const HELD_BACK: Duration = Duration::from_mins(10);

/// What a pass is given besides the load balancer.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Asked before every step: a pass that may change nothing need not read either.
    pub gate: &'a dyn Gate,
    /// The time.
    pub now: UnixTime,
    /// Whether changes are made.
    pub mode: Mode,
    /// How many passes over this load balancer failed in a row before this one.
    pub failures: u32,
    /// A random number, uniform over all of `u64`, for the jitter of the next try.
    pub random: u64,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("mode", &self.mode)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// Whether a pass makes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does.
    Live,
    /// Only reads; the steps that would be taken are returned, for the whole program.
    DryRun,
    /// The same, for one load balancer that its user paused.
    Paused,
}

/// What came of a pass that made a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// How far each Service has come.
    pub report: Report,
    /// The changing steps taken.
    pub applied: Vec<String>,
    /// The steps held back by a dry run or a pause.
    pub held: Vec<String>,
    /// What failed; each is also the reason of the outcomes it touches.
    pub errors: Vec<ProviderError>,
}

/// What came of a pass that removed a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// How far the removal has come.
    pub release: Release,
    /// The changing steps taken.
    pub applied: Vec<String>,
    /// The steps held back by a dry run or a pause.
    pub held: Vec<String>,
    /// What failed.
    pub errors: Vec<ProviderError>,
}

/// Brings one load balancer as far towards `request` as it can be brought now.
///
/// Never fails: what goes wrong is in the report, and concerns this load balancer only. The inventory is locked
/// for planning and learning, never while a call is under way.
pub async fn ensure<P: Provider>(
    provider: &P,
    inventory: &Mutex<P::Inventory>,
    request: &LoadBalancerRequest,
    context: Context<'_>,
) -> Ensured {
    let paused = request.services.iter().any(|s| s.paused);
    let context = Context {
        mode: if paused { Mode::Paused } else { context.mode },
        ..context
    };
    let plan = |inventory: &P::Inventory| provider.plan(inventory, request, context.now);
    let awaits = |report: &Report| report.retry_after().is_some();
    let run = run(provider, inventory, &request.id, context, plan, awaits).await;
    let mut report = run.verdict;
    for failure in &run.failures {
        // A refusal may end without any change in Kubernetes: a quota is raised, a certificate is made.
        if failure.scope == Scope::Cleanup || failure.error.kind == ErrorKind::Terminal {
            let delay = delay(&failure.error, context);
            report.look_again = Some(report.look_again.map_or(delay, |other| other.min(delay)));
        }
    }
    for (service, asked) in report.services.iter_mut().zip(&request.services) {
        for failure in &run.failures {
            blame(service, failure, context);
        }
        // Clients are sent to a load balancer for the first time when all that can listen there listens.
        let waiting = |port: &PortReport| matches!(port.outcome, Outcome::Pending { .. });
        if service.ingress != asked.published && service.ports.iter().any(waiting) {
            service.ingress.clear();
        }
        if !run.held.is_empty() && run.failures.is_empty() {
            hold(service, context.mode, run.held.len());
        }
    }
    Ensured {
        report,
        applied: run.applied,
        held: run.held,
        errors: run.failures.into_iter().map(|f| f.error).collect(),
    }
}

/// Removes one load balancer as far as it can be removed now.
pub async fn release<P: Provider>(
    provider: &P,
    inventory: &Mutex<P::Inventory>,
    id: &LoadBalancerId,
    context: Context<'_>,
) -> Released {
    let plan = |inventory: &P::Inventory| provider.plan_release(inventory, id, context.now);
    let awaits = |release: &Release| *release != Release::Done;
    let run = run(provider, inventory, id, context, plan, awaits).await;
    let release = match run.failures.first() {
        Some(failure) => unfinished(&failure.error, context),
        None if !run.held.is_empty() => Release::Releasing {
            reason: held_reason(context.mode, run.held.len()),
            retry_after: HELD_BACK,
        },
        None => run.verdict,
    };
    Released {
        release,
        applied: run.applied,
        held: run.held,
        errors: run.failures.into_iter().map(|f| f.error).collect(),
    }
}

struct Failure {
    scope: Scope,
    error: ProviderError,
}

struct Run<V> {
    verdict: V,
    applied: Vec<String>,
    held: Vec<String>,
    failures: Vec<Failure>,
}

async fn run<P: Provider, V>(
    provider: &P,
    inventory: &Mutex<P::Inventory>,
    id: &LoadBalancerId,
    context: Context<'_>,
    plan: impl Fn(&P::Inventory) -> Plan<P::Step, V>,
    awaits: impl Fn(&V) -> bool,
) -> Run<V> {
    let mut taken: Vec<P::Step> = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    let mut failed: Vec<P::Step> = Vec::new();
    let mut unclear: Vec<P::Step> = Vec::new();
    let mut held = Vec::new();
    let verdict = loop {
        let planned = plan(&lock(inventory));
        let open = |step: &&P::Step| !failed.contains(step) && may_take(*step, &failures);
        let Some(step) = planned.steps.iter().find(open) else {
            break planned.verdict;
        };
        if step.changes() && context.mode != Mode::Live {
            held = planned.steps.iter().map(ToString::to_string).collect();
            break planned.verdict;
        }
        match take(provider, inventory, step, &taken, context.gate).await {
            Ok(()) => taken.push(step.clone()),
            Err(error) => {
                tracing::debug!(load_balancer = %id, %step, %error, "step failed");
                // Throttling is about the account, so going on with other ports would make it worse.
                let throttled = error.kind == ErrorKind::Throttled;
                let scope = if throttled {
                    Scope::LoadBalancer
                } else {
                    step.scope()
                };
                if matches!(error.kind, ErrorKind::Retryable | ErrorKind::Terminal) {
                    unclear.push(step.clone());
                }
                let all = scope == Scope::LoadBalancer;
                failed.push(step.clone());
                failures.push(Failure { scope, error });
                if all {
                    break planned.verdict;
                }
            }
        }
    };
    if !unclear.is_empty() {
        provider.forget(&mut lock(inventory), id, Doubt::Unclear(&unclear));
    } else if failures.is_empty() && awaits(&verdict) {
        provider.forget(&mut lock(inventory), id, Doubt::Awaiting);
    }
    let changing = taken.iter().filter(|s| s.changes());
    Run {
        verdict,
        applied: changing.map(ToString::to_string).collect(),
        held,
        failures,
    }
}

async fn take<P: Provider>(
    provider: &P,
    inventory: &Mutex<P::Inventory>,
    step: &P::Step,
    taken: &[P::Step],
    gate: &dyn Gate,
) -> Result<(), ProviderError> {
    if taken.contains(step) || taken.len() >= MAX_STEPS {
        let message = "the step came up again after it had succeeded; what it did does not show";
        let error = ProviderError::new(ErrorKind::Retryable, "plan", step.to_string(), message);
        return Err(error.with_code("NoProgress"));
    }
    // Reads too: whoever waits for the end of such a pass would wait for nothing.
    gate.check()?;
    let seen = provider.apply(step, gate).await?;
    provider.absorb(&mut lock(inventory), seen);
    Ok(())
}

fn may_take(step: &impl Step, failures: &[Failure]) -> bool {
    match step.scope() {
        Scope::LoadBalancer | Scope::Part(_) => true,
        Scope::Cleanup => failures.iter().all(|f| matches!(f.scope, Scope::Part(_))),
        Scope::Ports(ports) => !failures.iter().any(|f| match &f.scope {
            Scope::Ports(failed) => !failed.is_disjoint(&ports),
            Scope::LoadBalancer | Scope::Part(_) | Scope::Cleanup => false,
        }),
    }
}

/// Locks an inventory. A panic elsewhere while it was locked leaves it whole: it only ever takes in complete answers.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters a failure into the outcomes it touches. What already works stays published and becomes `Partial`.
fn blame(service: &mut ServiceReport, failure: &Failure, context: Context<'_>) {
    if matches!(service.outcome, Outcome::Refused { .. }) {
        return;
    }
    let none = BTreeSet::<PortKey>::new();
    let outcome = outcome_of(&failure.error, context);
    let part = matches!(failure.scope, Scope::Part(_));
    let (all, ports) = match &failure.scope {
        Scope::LoadBalancer => (true, &none),
        Scope::Ports(ports) | Scope::Part(ports) => (false, ports),
        // What the user asked for works; that something old is still there is a warning.
        Scope::Cleanup => {
            service.warnings.extend(outcome.reason().cloned());
            return;
        }
    };
    for port in &mut service.ports {
        match port.outcome {
            Outcome::Ready if ports.contains(&port.port) => port.outcome = partial(&outcome),
            Outcome::Pending { .. } if all || (ports.contains(&port.port) && !part) => {
                port.outcome = outcome.clone();
            }
            _ => {}
        }
    }
    service.outcome = match Outcome::of_ports(&service.ports) {
        Outcome::Ready if service.ingress.is_empty() => outcome,
        Outcome::Ready => partial(&outcome),
        other => other,
    };
}

fn partial(outcome: &Outcome) -> Outcome {
    outcome
        .reason()
        .map_or(Outcome::Ready, |reason| Outcome::Partial {
            reason: reason.clone(),
            retry_after: outcome.retry_after(),
        })
}

fn outcome_of(error: &ProviderError, context: Context<'_>) -> Outcome {
    let reason = Reason::new(error.code.clone(), error.to_string());
    if error.kind == ErrorKind::Terminal {
        return Outcome::Refused { reason };
    }
    Outcome::Pending {
        reason,
        retry_after: delay(error, context),
    }
}

fn unfinished(error: &ProviderError, context: Context<'_>) -> Release {
    let reason = Reason::new(error.code.clone(), error.to_string());
    let retry_after = delay(error, context);
    match error.kind {
        ErrorKind::Retryable | ErrorKind::Throttled => Release::Releasing {
            reason,
            retry_after,
        },
        ErrorKind::Permission | ErrorKind::Terminal => Release::Blocked {
            reason,
            retry_after,
        },
    }
}

fn delay(error: &ProviderError, context: Context<'_>) -> Duration {
    let delay = Backoff::for_kind(error.kind).delay(context.failures, context.random);
    delay.max(error.retry_after.unwrap_or_default())
}

fn hold(service: &mut ServiceReport, mode: Mode, steps: usize) {
    if matches!(service.outcome, Outcome::Refused { .. }) {
        return;
    }
    let reason = held_reason(mode, steps);
    service.outcome = if service.ingress.is_empty() {
        Outcome::Pending {
            reason,
            retry_after: HELD_BACK,
        }
    } else {
        Outcome::Partial {
            reason,
            retry_after: Some(HELD_BACK),
        }
    };
}

fn held_reason(mode: Mode, steps: usize) -> Reason {
    match mode {
        Mode::Paused => Reason::new(
            "Paused",
            format!("{steps} changes are held back until the pause annotation is removed"),
        ),
        Mode::DryRun | Mode::Live => Reason::new(
            "DryRun",
            format!("{steps} changes are held back because the controller runs dry"),
        ),
    }
}
