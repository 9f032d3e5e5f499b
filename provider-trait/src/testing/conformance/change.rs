//! Changes of what is wanted, and of what exists.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::{Harness, Session, settle};
use crate::{Doubt, Outcome, Provider};

/// Ports come and go with the Service's; the others stay.
pub async fn adds_and_removes_ports<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    let both = request.services[0].ports.clone();
    request.services[0].ports.truncate(1);
    session.settle(&mut request).await;
    let with_one = harness.resources().await;
    let published = request.services[0].published.clone();

    request.services[0].ports.clone_from(&both);
    session.settle(&mut request).await;
    assert_ne!(harness.resources().await, with_one);
    assert_eq!(harness.serving(&published[0], both[1].key).await, 2);

    request.services[0].ports.truncate(1);
    session.settle(&mut request).await;
    assert_eq!(harness.resources().await, with_one);
    assert_eq!(
        request.services[0].published, published,
        "the address is the same throughout"
    );
}

/// Targets are exchanged without a moment in which there is none.
pub async fn never_without_a_target_while_targets_change<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let mut request = harness.with_targets(&request, 2);
    // Every call boundary is looked at: the process dies at each in turn and is replaced.
    for n in 0.. {
        harness.crash_at(n, super::When::After).await;
        let done = session.ensure(&request).await;
        let died = harness.crashed().await;
        harness.revive().await;
        for port in &request.services[0].ports {
            let serving = harness
                .serving(&request.services[0].published[0], port.key)
                .await;
            assert!(
                serving > 0,
                "no target behind {} after {:?}",
                port.key,
                done.applied
            );
        }
        if !died {
            break;
        }
    }
    session.settle(&mut request).await;
    let port = request.services[0].ports[0].key;
    assert_eq!(
        harness
            .serving(&request.services[0].published[0], port)
            .await,
        2
    );
}

/// A listener that somebody removed comes back with the next audit.
pub async fn repairs_what_somebody_removed<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let whole = harness.resources().await;
    harness.remove_a_listener(&request).await;
    assert_ne!(harness.resources().await, whole);
    session.provider.forget(
        &mut session.inventory.lock().unwrap(),
        &request.id,
        Doubt::Unclear(&[]),
    );
    session.settle(&mut request).await;
    assert_eq!(harness.resources().await, whole);
}

/// What cannot be changed in place is replaced: the new one serves before the status names it, and the old one
/// serves for a grace after that.
pub async fn replaces_without_a_gap<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let old = request.services[0].published[0].clone();
    let port = request.services[0].ports[0].key;
    let mut request = harness.replaced(&request);
    let switched = Cell::new(None);
    let gone = Cell::new(None);
    let seen = RefCell::new(Vec::new());
    session
        .settle_watched(&mut request, async |request| {
            let published = &request.services[0].published[0];
            assert!(
                harness.serving(published, port).await > 0,
                "{published} has no target"
            );
            let old_serves = harness.serving(&old, port).await > 0;
            if *published == old {
                assert!(
                    old_serves,
                    "the old one went before the status was switched"
                );
            } else if switched.get().is_none() {
                switched.set(Some(harness.now()));
            }
            if !old_serves && gone.get().is_none() {
                gone.set(Some(harness.now()));
            }
            seen.borrow_mut().push(published.clone());
        })
        .await;
    let switched = switched.get().expect("the status was switched");
    let gone = gone.get().expect("the old one went");
    let grace = switched.until(gone);
    assert!(
        grace >= Duration::from_mins(5),
        "the old one went {grace:?} after the switch"
    );
    assert_ne!(request.services[0].published[0], old);
    let fresh = Session::start(&harness).await;
    assert_eq!(fresh.ensure(&request).await.applied, Vec::<String>::new());
}

/// A paused load balancer is not changed, and says so; the pause over, it catches up.
pub async fn a_paused_load_balancer_stays_as_it_is<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    request.services[0].ports.truncate(1);
    session.settle(&mut request).await;
    let before = harness.changes().await;
    let mut request = harness.request("web");
    request.services[0].paused = true;
    let done = session.ensure(&request).await;
    settle::publish(&mut request, &done);
    assert_eq!(harness.changes().await, before);
    assert!(!done.held.is_empty());
    let reason = done.report.services[0]
        .outcome
        .reason()
        .map(|r| r.code.clone());
    assert_eq!(reason.as_deref(), Some("Paused"));
    request.services[0].paused = false;
    let done = session.settle(&mut request).await;
    assert_eq!(done.report.services[0].outcome, Outcome::Ready);
}
