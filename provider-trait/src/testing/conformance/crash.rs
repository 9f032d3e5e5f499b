//! The process dies at each call boundary in turn; a new one brings everything to the same end.

use std::collections::BTreeSet;

use super::{Harness, Session, Work, crashed_and_restarted};
use crate::LoadBalancerRequest;
use crate::testing::fake::When;

/// More calls than one small load balancer takes.
const CALLS: usize = 200;

/// Runs `work` once without a crash and then with one at every boundary, before and after each call's effect.
async fn at_every_boundary<H: Harness>(
    make: impl AsyncFn() -> H,
    prepare: impl AsyncFn(&H) -> LoadBalancerRequest,
    work: Work,
) {
    let mut crashes = 0;
    for when in [When::Before, When::After] {
        let mut expected: Option<BTreeSet<String>> = None;
        for n in 0..CALLS {
            let harness = make().await;
            if expected.is_none() {
                expected = Some(uncrashed(&make, &prepare, work).await);
            }
            let mut request = prepare(&harness).await;
            let (died, exists) =
                crashed_and_restarted(&harness, &mut request, work, (n, when)).await;
            assert_eq!(
                Some(&exists),
                expected.as_ref(),
                "crash {when:?} call {n}: leaked or missing"
            );
            assert_settled(&harness, &request, work).await;
            if !died {
                assert!(n > 1, "{work:?} makes only {n} calls: nothing was tested");
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 2, "only {crashes} boundaries");
}

async fn uncrashed<H: Harness>(
    make: &impl AsyncFn() -> H,
    prepare: &impl AsyncFn(&H) -> LoadBalancerRequest,
    work: Work,
) -> BTreeSet<String> {
    let harness = make().await;
    let mut request = prepare(&harness).await;
    let session = Session::start(&harness).await;
    match work {
        Work::Ensure => {
            session.settle(&mut request).await;
        }
        Work::Remove => session.remove(&request.id).await,
    }
    harness.resources().await
}

async fn assert_settled<H: Harness>(harness: &H, request: &LoadBalancerRequest, work: Work) {
    if work == Work::Remove {
        return;
    }
    let fresh = Session::start(harness).await;
    assert_eq!(fresh.ensure(request).await.applied, Vec::<String>::new());
    let published = &request.services[0].published[0];
    for port in &request.services[0].ports {
        assert_eq!(
            harness.serving(published, port.key).await,
            2,
            "behind {}",
            port.key
        );
    }
}

/// Creation.
pub async fn converges_from_every_crash_of_a_creation<H: Harness>(make: impl AsyncFn() -> H) {
    at_every_boundary(
        make,
        async |harness: &H| harness.request("web"),
        Work::Ensure,
    )
    .await;
}

/// Other targets and one port more.
pub async fn converges_from_every_crash_of_an_update<H: Harness>(make: impl AsyncFn() -> H) {
    let prepare = async |harness: &H| {
        let mut request = harness.request("web");
        let ports = request.services[0].ports.clone();
        request.services[0].ports.truncate(1);
        Session::start(harness).await.settle(&mut request).await;
        request.services[0].ports = ports;
        harness.with_targets(&request, 2)
    };
    at_every_boundary(make, prepare, Work::Ensure).await;
}

/// A replacement, including the grace after the switch.
pub async fn converges_from_every_crash_of_a_replacement<H: Harness>(make: impl AsyncFn() -> H) {
    let prepare = async |harness: &H| {
        let mut request = harness.request("web");
        Session::start(harness).await.settle(&mut request).await;
        harness.replaced(&request)
    };
    at_every_boundary(make, prepare, Work::Ensure).await;
}

/// Removal.
pub async fn converges_from_every_crash_of_a_removal<H: Harness>(make: impl AsyncFn() -> H) {
    let prepare = async |harness: &H| {
        let mut request = harness.request("web");
        Session::start(harness).await.settle(&mut request).await;
        request
    };
    at_every_boundary(make, prepare, Work::Remove).await;
}
