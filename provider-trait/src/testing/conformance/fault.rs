//! Errors, a lost lease, a dry run.

use std::time::Duration;

use super::{Harness, Session, settle};
use crate::{ErrorKind, Gate, Mode, Outcome, ProviderError, Reason, Release};

async fn fails_then_recovers<H: Harness>(
    make: impl AsyncFn() -> H,
    kind: ErrorKind,
    check: impl Fn(&Outcome),
) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let (mut web, mut api) = (harness.request("web"), harness.request("api"));
    session.settle(&mut api).await;
    harness.fail(kind, usize::MAX).await;
    let done = session.ensure(&web).await;
    check(&done.report.services[0].outcome);
    assert!(!done.errors.is_empty());
    assert!(
        done.errors.iter().all(|e| e.kind == kind),
        "{:?}",
        done.errors
    );
    let other = session.ensure(&api).await;
    assert_eq!(
        other.report.services[0].outcome,
        Outcome::Ready,
        "another load balancer"
    );
    harness.heal().await;
    session.settle(&mut web).await;
}

/// A throttled call leaves the Service `Pending` with a time to come back, and others alone.
pub async fn throttled_is_pending_and_recovers<H: Harness>(make: impl AsyncFn() -> H) {
    fails_then_recovers(make, ErrorKind::Throttled, |outcome| {
        let wait = outcome.retry_after().expect("a time to come back");
        assert!(wait > Duration::ZERO, "{outcome:?}");
        assert!(matches!(outcome, Outcome::Pending { .. }), "{outcome:?}");
    })
    .await;
}

/// So does a call that our credentials do not allow, and the reason says what is missing.
pub async fn forbidden_is_pending_and_recovers<H: Harness>(make: impl AsyncFn() -> H) {
    fails_then_recovers(make, ErrorKind::Permission, |outcome| {
        assert!(matches!(outcome, Outcome::Pending { .. }), "{outcome:?}");
        let message = outcome.reason().map(Reason::to_string).unwrap_or_default();
        assert!(!message.is_empty());
    })
    .await;
}

/// A call that cannot succeed leaves the Service `Refused`, until something changes.
pub async fn refused_is_refused_and_recovers<H: Harness>(make: impl AsyncFn() -> H) {
    fails_then_recovers(make, ErrorKind::Terminal, |outcome| {
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    })
    .await;
}

/// One lost call anywhere is made up for in the next pass.
pub async fn one_failed_call_is_made_up_for<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    for _ in 0..3 {
        harness.fail(ErrorKind::Retryable, 1).await;
        let done = session.ensure(&request).await;
        settle::publish(&mut request, &done);
        harness.heal().await;
        harness.advance(Duration::from_secs(5)).await;
    }
    session.settle(&mut request).await;
}

struct Closed;

impl Gate for Closed {
    fn check(&self) -> Result<(), ProviderError> {
        let message = "the lease has run out";
        let error = ProviderError::new(ErrorKind::Retryable, "lease", "the leader", message);
        Err(error.with_code("NotLeader"))
    }
}

/// An old leader that wakes changes nothing.
pub async fn a_closed_gate_changes_nothing<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.ensure_through(&request, &Closed).await;
    assert_eq!(harness.changes().await, 0);
    session.settle(&mut request).await;
    let before = (harness.changes().await, harness.resources().await);
    let changed = harness.with_targets(&request, 2);
    let done = session.ensure_through(&changed, &Closed).await;
    assert_eq!(
        done.errors.first().map(|e| e.code.as_str()),
        Some("NotLeader")
    );
    assert_eq!((harness.changes().await, harness.resources().await), before);
}

/// A dry run changes nothing and names every step it would take.
pub async fn a_dry_run_changes_nothing<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let mut session = Session::start(&harness).await;
    session.mode = Mode::DryRun;
    let mut request = harness.request("web");
    let done = session.ensure(&request).await;
    assert!(done.held.len() > 2, "{:?}", done.held);
    let reason = done.report.services[0]
        .outcome
        .reason()
        .map(|r| r.code.clone());
    assert_eq!(reason.as_deref(), Some("DryRun"));
    assert_eq!(harness.changes().await, 0);
    session.mode = Mode::Live;
    session.settle(&mut request).await;
    let before = harness.changes().await;
    session.mode = Mode::DryRun;
    let released = session.release(&request.id).await;
    assert!(
        matches!(released.release, Release::Releasing { .. }),
        "{released:?}"
    );
    assert!(!released.held.is_empty());
    assert_eq!(harness.changes().await, before);
}

/// A load balancer protected by somebody is not forced away: the removal is `Blocked`, says why, and ends when it may.
pub async fn a_protected_load_balancer_blocks_until_it_may_go<H: Harness>(
    make: impl AsyncFn() -> H,
) {
    let harness = make().await;
    let empty = harness.resources().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    harness.protect(&request, true).await;
    let whole = harness.resources().await;
    for _ in 0..3 {
        let released = session.release(&request.id).await;
        assert!(
            matches!(released.release, Release::Blocked { .. }),
            "{released:?}"
        );
    }
    assert_eq!(harness.resources().await, whole, "it serves as before");
    harness.protect(&request, false).await;
    session.remove(&request.id).await;
    assert_eq!(harness.resources().await, empty);
}
