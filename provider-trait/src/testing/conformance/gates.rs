//! What pod readiness gates wait for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Harness, Session, settle};
use crate::{EndpointTarget, LoadBalancerRequest};

/// A gate that has just opened is looked at again within this time.
const SOON: Duration = Duration::from_secs(10);
/// However long it takes, it is looked at again within this time.
const SLOWEST: Duration = Duration::from_secs(30);
/// Time that is enough to become healthy.
const ENOUGH: Duration = Duration::from_mins(10);

/// Lets only the readiness gates of the Service's pods be open, or closes them.
fn gate(request: &mut LoadBalancerRequest, open: bool) -> BTreeSet<IpAddr> {
    let endpoints = request.services[0].endpoints.iter();
    let endpoints: Arc<[EndpointTarget]> = endpoints
        .map(|e| EndpointTarget {
            ready: !open,
            containers_ready: open,
            ..e.clone()
        })
        .collect();
    request.services[0].endpoints = endpoints;
    let endpoints = request.services[0].endpoints.iter();
    endpoints.map(|e| e.address).collect()
}

/// Endpoints whose pods wait for their gate become targets and are reported as waiting, with a reason, until they are
/// healthy; meanwhile passes are due, soon at first. With the gates closed nothing is awaited. A provider whose targets
/// are not the endpoints reports nothing of them.
pub async fn tells_which_endpoints_are_healthy<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    session.settle(&mut request).await;
    let mut request = harness.with_targets(&request, 2);
    let gated = gate(&mut request, true);
    let mut waited = Duration::ZERO;
    loop {
        let done = session.ensure(&request).await;
        let Some(endpoints) = &done.report.services[0].endpoints else {
            let done = session.settle(&mut request).await;
            assert_eq!(done.report.services[0].endpoints, None);
            return;
        };
        if endpoints.healthy == gated {
            assert_eq!(endpoints.waiting.len(), 0);
            break;
        }
        let waiting: BTreeSet<IpAddr> = endpoints.waiting.keys().copied().collect();
        assert_eq!(&waiting | &endpoints.healthy, gated, "{endpoints:#?}");
        assert!(waiting.is_disjoint(&endpoints.healthy), "{endpoints:#?}");
        assert!(endpoints.waiting.values().all(|r| !r.message.is_empty()));
        let wait = done.report.retry_after().expect("a pass is due");
        assert!(
            wait <= if waited.is_zero() { SOON } else { SLOWEST },
            "{wait:?}"
        );
        waited += wait;
        assert!(waited < ENOUGH, "never healthy: {endpoints:#?}");
        harness.advance(wait).await;
    }
    assert!(waited > Duration::ZERO, "healthy at once");
    gate(&mut request, false);
    let done = session.settle(&mut request).await;
    let endpoints = done.report.services[0].endpoints.as_ref();
    assert_eq!(endpoints.map(|e| &e.healthy), Some(&gated));
}

/// While one load balancer replaces another, a pod is healthy only where it is in both: clients use the old one still
/// and the new one from the switch on.
pub async fn a_replacement_counts_in_both_load_balancers<H: Harness>(make: impl AsyncFn() -> H) {
    let harness = make().await;
    let session = Session::start(&harness).await;
    let mut request = harness.request("web");
    let done = session.settle(&mut request).await;
    if done.report.services[0].endpoints.is_none() {
        return;
    }
    let old = request.services[0].published.clone();
    let mut request = harness.replaced(&request);
    let mut waited = Duration::ZERO;
    loop {
        let done = session.ensure(&request).await;
        let service = &done.report.services[0];
        let endpoints = service.endpoints.as_ref().expect("endpoints are targets");
        if service.ingress.iter().any(|ingress| !old.contains(ingress)) {
            assert_eq!(endpoints.healthy.len(), 2, "{endpoints:#?}");
            break;
        }
        if waited.is_zero() {
            assert_eq!(endpoints.healthy.len(), 0, "the new one was just made");
        }
        settle::publish(&mut request, &done);
        waited += Duration::from_secs(5);
        assert!(waited < ENOUGH, "not replaced: {service:#?}");
        harness.advance(Duration::from_secs(5)).await;
    }
}
