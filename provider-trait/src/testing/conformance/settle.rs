use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::Harness;
use crate::testing::fake::When;
use crate::{
    Context, Doubt, Ensured, Gate, LoadBalancerId, LoadBalancerRequest, Mode, OpenGate, Outcome,
    Provider, Release, Released, ensure, release,
};

/// More passes than any provider needs.
const PASSES: usize = 400;
/// The longest step of the world's time; long waits are cut so that nothing is missed in between.
const STEP: Duration = Duration::from_secs(30);

/// A running controller: one provider instance with its inventory.
pub struct Session<'h, H: Harness> {
    pub(super) harness: &'h H,
    pub(super) provider: H::Provider,
    pub(super) inventory: Mutex<<H::Provider as Provider>::Inventory>,
    pub(super) mode: Mode,
}

impl<H: Harness> std::fmt::Debug for Session<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<'h, H: Harness> Session<'h, H> {
    /// Starts: a fresh provider observes what exists.
    pub async fn start(harness: &'h H) -> Self {
        let provider = harness.connect();
        let inventory = provider.observe().await.expect("the world can be observed");
        Self {
            harness,
            provider,
            inventory: Mutex::new(inventory),
            mode: Mode::Live,
        }
    }

    /// Goes on with a listing that was begun before the last passes over these load balancers, as the controller does.
    pub(super) fn relist(
        self,
        listed: <H::Provider as Provider>::Inventory,
        beside: &[&LoadBalancerId],
    ) -> Self {
        let older = self.inventory.into_inner().expect("no pass panics");
        let mut listed = listed;
        for id in beside {
            self.provider.carry_over(&mut listed, &older, id);
        }
        Self {
            inventory: Mutex::new(listed),
            ..self
        }
    }

    fn context<'a>(&self, gate: &'a dyn Gate) -> Context<'a> {
        Context {
            gate,
            now: self.harness.now(),
            mode: self.mode,
            failures: 0,
            random: 1 << 63,
        }
    }

    /// One pass towards `request`.
    pub async fn ensure(&self, request: &LoadBalancerRequest) -> Ensured {
        self.ensure_through(request, &OpenGate).await
    }

    /// One pass, through a gate.
    pub async fn ensure_through(&self, request: &LoadBalancerRequest, gate: &dyn Gate) -> Ensured {
        ensure(&self.provider, &self.inventory, request, self.context(gate)).await
    }

    /// What an audit begins with: the next pass reads everything of the load balancer again.
    pub fn doubt(&self, id: &LoadBalancerId) {
        let mut inventory = self.inventory.lock().expect("no pass panics");
        let doubt = Doubt::Unclear(&[]);
        self.provider.forget(&mut inventory, id, doubt);
    }

    /// One pass towards removal.
    pub async fn release(&self, id: &LoadBalancerId) -> Released {
        release(&self.provider, &self.inventory, id, self.context(&OpenGate)).await
    }

    /// Passes until nothing is left to do, publishing as the controller does. Returns the last pass.
    ///
    /// `watch` is called between passes.
    pub async fn settle_watched(
        &self,
        request: &mut LoadBalancerRequest,
        watch: impl AsyncFn(&LoadBalancerRequest),
    ) -> Ensured {
        let mut last = None;
        for _ in 0..PASSES {
            let done = self.ensure(request).await;
            let switched = publish(request, &done);
            watch(request).await;
            let ready = !switched
                && done
                    .report
                    .services
                    .iter()
                    .all(|s| s.outcome == Outcome::Ready);
            match done.report.retry_after() {
                None if ready => return done,
                wait => self.harness.advance(pause(wait)).await,
            }
            last = Some(done);
        }
        panic!("{} does not settle: {last:#?}", request.id);
    }

    /// Passes until nothing is left to do.
    pub async fn settle(&self, request: &mut LoadBalancerRequest) -> Ensured {
        self.settle_watched(request, async |_| ()).await
    }

    /// Passes until nothing is left of the load balancer.
    pub async fn remove(&self, id: &LoadBalancerId) {
        let mut last = None;
        for _ in 0..PASSES {
            let released = self.release(id).await;
            match &released.release {
                Release::Done => return,
                Release::Releasing { retry_after, .. } | Release::Blocked { retry_after, .. } => {
                    self.harness.advance(pause(Some(*retry_after))).await;
                }
            }
            last = Some(released);
        }
        panic!("{id} is not removed: {last:#?}");
    }
}

/// What the controller does after a pass: the status follows the report, never to nothing. Whether it changed.
pub(super) fn publish(request: &mut LoadBalancerRequest, done: &Ensured) -> bool {
    let mut changed = false;
    for service in &mut request.services {
        if let Some(report) = done.report.service(&service.key)
            && !report.ingress.is_empty()
            && service.published != report.ingress
        {
            service.published.clone_from(&report.ingress);
            changed = true;
        }
    }
    changed
}

fn pause(wait: Option<Duration>) -> Duration {
    wait.unwrap_or(STEP).clamp(Duration::from_secs(1), STEP)
}

/// What a crash test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Makes the request true.
    Ensure,
    /// Removes its load balancer.
    Remove,
}

/// Runs `work` in a world, letting the process die at changing call `n`; then again in a new process to the end.
///
/// Returns whether the process died, that is, whether there was a call number `n`, and what exists at the end.
pub async fn crashed_and_restarted<H: Harness>(
    harness: &H,
    request: &mut LoadBalancerRequest,
    work: Work,
    (n, when): (usize, When),
) -> (bool, BTreeSet<String>) {
    let first = Session::start(harness).await;
    harness.crash_at(n, when).await;
    let mut died = false;
    for _ in 0..PASSES {
        let settled = match work {
            Work::Ensure => {
                let done = first.ensure(request).await;
                // A dead process writes no status.
                let switched = done.errors.is_empty() && publish(request, &done);
                let ready = !switched
                    && done
                        .report
                        .services
                        .iter()
                        .all(|s| s.outcome == Outcome::Ready);
                ready && done.report.retry_after().is_none()
            }
            Work::Remove => first.release(&request.id).await.release == Release::Done,
        };
        died = harness.crashed().await;
        if died || settled {
            break;
        }
        harness.advance(Duration::from_secs(15)).await;
    }
    harness.revive().await;
    drop(first);
    let second = Session::start(harness).await;
    match work {
        Work::Ensure => {
            second.settle(request).await;
        }
        Work::Remove => second.remove(&request.id).await,
    }
    (died, harness.resources().await)
}
