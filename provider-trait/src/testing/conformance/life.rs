//! From creation to removal, without faults.

use super::{Harness, Session};
use crate::{Doubt, Outcome, Provider};

/// A new load balancer becomes `Ready` on every port, is published, and has targets behind every port.
pub async fn creates_and_settles<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    let done = session.settle(&mut request).await;
    let service = &done.report.services[0];
    assert_eq!(&service.service, &request.services[0].key);
    assert_eq!(service.ports.len(), 2);
    assert!(
        service.ports.iter().all(|p| p.outcome == Outcome::Ready),
        "{service:#?}"
    );
    assert!(
        !service.ingress.is_empty(),
        "nothing to publish: {service:#?}"
    );
    for port in &request.services[0].ports {
        let serving = harness.serving(&service.ingress[0], port.key).await;
        assert_eq!(serving, 2, "targets behind {}", port.key);
    }
    let found = session.provider.found(&session.inventory.lock().unwrap());
    assert!(found.contains(&request.id), "{found:?}");
}

/// With nothing different, a pass makes no changing call.
pub async fn does_nothing_when_nothing_differs<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let before = harness.changes().await;
    session.provider.forget(
        &mut session.inventory.lock().unwrap(),
        &request.id,
        Doubt::Unclear(&[]),
    );
    let again = session.ensure(&request).await;
    assert_eq!(again.applied, Vec::<String>::new());
    assert_eq!(harness.changes().await, before);
}

/// A fresh instance over the same world finds nothing to do either: all memory is in the cloud.
pub async fn plans_the_same_after_a_restart<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let mut request = harness.request("web");
    let before = Session::start(&harness).await.settle(&mut request).await;
    let fresh = Session::start(&harness).await;
    let after = fresh.ensure(&request).await;
    assert_eq!(after.applied, Vec::<String>::new());
    assert_eq!(after.report, before.report);
}

/// Removal ends with the world as it was before the creation.
pub async fn removes_everything<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let empty = harness.resources().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    assert_ne!(
        harness.resources().await,
        empty,
        "the harness sees what was made"
    );
    session.remove(&request.id).await;
    assert_eq!(harness.resources().await, empty);
    let fresh = Session::start(&harness).await;
    let found = fresh.provider.found(&fresh.inventory.lock().unwrap());
    assert!(!found.contains(&request.id), "{found:?}");
}

/// Removing what never was, or is gone, is done at once.
pub async fn removing_nothing_is_done<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.remove(&request.id).await;
    assert_eq!(harness.changes().await, 0);
    session.settle(&mut request).await;
    session.remove(&request.id).await;
    let changes = harness.changes().await;
    session.remove(&request.id).await;
    assert_eq!(harness.changes().await, changes);
}

/// What somebody else made stays as it is through creation and removal.
pub async fn leaves_what_is_not_its_own<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    harness.add_foreign().await;
    let foreign = harness.resources().await;
    let session = Session::start(&harness).await;
    assert!(
        session
            .provider
            .found(&session.inventory.lock().unwrap())
            .is_empty()
    );
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let both = harness.resources().await;
    assert!(
        both.is_superset(&foreign),
        "{:?}",
        foreign.difference(&both)
    );
    session.remove(&request.id).await;
    assert_eq!(harness.resources().await, foreign);
}

/// Two load balancers do not touch each other.
pub async fn serves_two_load_balancers_apart<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let (mut web, mut api) = (harness.request("web"), harness.request("api"));
    session.settle(&mut web).await;
    let only_web = harness.resources().await;
    session.settle(&mut api).await;
    assert_eq!(session.ensure(&web).await.applied, Vec::<String>::new());
    session.remove(&api.id).await;
    assert_eq!(harness.resources().await, only_web);
}

/// What was made while everything was being listed, and so may be missing in the listing, is removed all the same.
pub async fn removes_what_an_older_listing_lacks<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let empty = harness.resources().await;
    let session = Session::start(&harness).await;
    let listed = session.provider.observe().await.expect("it can be listed");
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let session = session.relist(listed, &[&request.id]);
    session.remove(&request.id).await;
    assert_eq!(harness.resources().await, empty);
}

/// What was made while everything was being listed outlives the last load balancer that the listing knows of.
pub async fn leaves_what_an_older_listing_lacks<H: Harness>(make: impl AsyncFn() -> H) {
    let (harness, alone) = (make().await, make().await);
    let mut api = alone.request("api");
    let session = Session::start(&alone).await;
    session.settle(&mut api).await;
    let (mut web, mut api) = (harness.request("web"), harness.request("api"));
    let session = Session::start(&harness).await;
    session.settle(&mut web).await;
    let listed = session.provider.observe().await.expect("it can be listed");
    session.settle(&mut api).await;
    let session = session.relist(listed, &[&api.id]);
    session.remove(&web.id).await;
    assert_eq!(harness.resources().await, alone.resources().await);
}
