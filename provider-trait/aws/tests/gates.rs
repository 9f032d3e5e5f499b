//! Endpoints as targets: what pod readiness gates wait for, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::BTreeSet;
use std::time::Duration;

use herald_core::Protocol;
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider::{
    EndpointHealth, EndpointTarget, Ensured, LoadBalancerRequest, Outcome, UnixTime,
};
use memory::harness::{Cluster, annotate, config, endpoints, make, make_ip, port, request};
use memory::story::settle;

fn cluster() -> Cluster {
    block_on(make_ip())
}

fn web() -> LoadBalancerRequest {
    request(
        "web",
        vec![port(80, Protocol::Tcp), port(443, Protocol::Tcp)],
    )
}

fn gated(request: &mut LoadBalancerRequest, generation: u8) {
    let service = &mut request.services[0];
    let all = endpoints(&service.ports, generation);
    let gated = all.iter().map(|e| EndpointTarget {
        ready: false,
        ..e.clone()
    });
    service.endpoints = gated.collect();
}

fn of(done: &Ensured) -> &EndpointHealth {
    done.report.services[0].endpoints.as_ref().unwrap()
}

fn codes(health: &EndpointHealth) -> BTreeSet<&str> {
    health.waiting.values().map(|r| r.code.as_str()).collect()
}

#[test]
fn a_rollout_of_pods_with_gates_never_leaves_the_load_balancer_without_a_healthy_target() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    block_on(cluster.advance(memory::REGISTRATION));
    let session = block_on(Session::start(&cluster));
    block_on(session.settle(&mut request));
    // The new pods' gates are open; the Deployment keeps the old ones until they are closed.
    let old = request.services[0].endpoints.clone();
    gated(&mut request, 2);
    let new = request.services[0].endpoints.clone();
    request.services[0].endpoints = old.iter().chain(new.iter()).cloned().collect();
    let done = block_on(session.ensure(&request));
    assert_eq!(done.applied.len(), 2, "{:?}", done.applied);
    assert_eq!(of(&done).healthy, old.iter().map(|e| e.address).collect());
    assert_eq!(codes(of(&done)), BTreeSet::from(["Initial"]));
    assert_eq!(done.report.services[0].outcome, Outcome::Ready);
    block_on(cluster.advance(memory::REGISTRATION));
    let done = block_on(session.ensure(&request));
    assert_eq!(of(&done).healthy.len(), 4);
    assert_eq!(of(&done).waiting.len(), 0);
    assert_eq!(done.report.retry_after(), None, "nothing is awaited");
}

#[test]
fn one_that_never_becomes_healthy_is_looked_at_ever_more_rarely() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    block_on(cluster.advance(memory::REGISTRATION));
    let session = block_on(Session::start(&cluster));
    block_on(session.settle(&mut request));
    gated(&mut request, 2);
    block_on(session.ensure(&request));
    for group in cluster.aws.world().groups.values_mut() {
        for target in group.targets.values_mut() {
            target.since = UnixTime(u64::MAX / 2);
        }
    }
    let mut waits = Vec::new();
    cluster.aws.world().reads = 0;
    for _ in 0..40 {
        let done = block_on(session.ensure(&request));
        waits.push(done.report.retry_after().unwrap());
        block_on(cluster.advance(*waits.last().unwrap()));
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits[0] <= Duration::from_secs(5), "{waits:?}");
    assert_eq!(waits[39], Duration::from_secs(30));
    // The load balancer's state, and the two target groups.
    assert_eq!(cluster.aws.world().reads, 40 * 3);
    // New pods are looked at soon again.
    gated(&mut request, 3);
    let done = block_on(session.ensure(&request));
    assert!(done.report.retry_after().unwrap() <= Duration::from_secs(5));
}

#[test]
fn nothing_is_read_when_no_gate_is_open() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let session = block_on(Session::start(&cluster));
    block_on(session.settle(&mut request));
    cluster.aws.world().reads = 0;
    for _ in 0..10 {
        let done = block_on(session.ensure(&request));
        assert_eq!(done.report.retry_after(), None);
        assert_eq!(of(&done).healthy.len(), 2);
    }
    assert_eq!(cluster.aws.world().reads, 0);
}

#[test]
fn every_port_an_endpoint_serves_counts_and_no_other() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let session = block_on(Session::start(&cluster));
    block_on(session.settle(&mut request));
    gated(&mut request, 2);
    // One of the two pods does not serve the second port.
    let mut all = request.services[0].endpoints.to_vec();
    all[0].ports.truncate(1);
    request.services[0].endpoints = all.into();
    block_on(session.ensure(&request));
    let late = "443/TCP";
    for group in cluster.aws.world().groups.values_mut() {
        let tag = &group.spec.tags[herald_provider_aws::tags::PORT];
        if tag == late {
            for target in group.targets.values_mut() {
                target.since = UnixTime(u64::MAX / 2);
            }
        }
    }
    block_on(cluster.advance(memory::REGISTRATION));
    let done = block_on(session.ensure(&request));
    let all = &request.services[0].endpoints;
    assert_eq!(of(&done).healthy, BTreeSet::from([all[0].address]));
    let waiting: Vec<_> = of(&done).waiting.iter().collect();
    assert_eq!(*waiting[0].0, all[1].address);
    assert!(
        waiting[0]
            .1
            .message
            .starts_with("port 443/TCP, target group hld-default-web-"),
        "{}",
        waiting[0].1
    );
}

#[test]
fn a_replacement_is_awaited_and_nodes_as_targets_are_not() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let session = block_on(Session::start(&cluster));
    block_on(session.settle(&mut request));
    gated(&mut request, 1);
    annotate(&mut request, "aws-load-balancer-scheme", "internet-facing");
    let done = block_on(session.ensure(&request));
    assert_eq!(of(&done).healthy.len(), 0, "healthy in the old one only");
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    assert_eq!(codes(of(&done)), BTreeSet::from(["Initial"]));
    block_on(cluster.advance(memory::REGISTRATION));
    let done = block_on(session.ensure(&request));
    assert_eq!(of(&done).healthy.len(), 2);

    let nodes = Cluster::new(config());
    let mut request = web();
    let session = block_on(Session::start(&nodes));
    let done = block_on(session.settle(&mut request));
    assert_eq!(done.report.services[0].endpoints, None);
}

#[test]
fn a_refused_service_is_judged_by_what_it_has() {
    let cluster = cluster();
    let mut request = web();
    annotate(&mut request, "aws-load-balancer-scheme", "public");
    let session = block_on(Session::start(&cluster));
    let done = block_on(session.ensure(&request));
    assert!(matches!(
        done.report.services[0].outcome,
        Outcome::Refused { .. }
    ));
    assert_eq!(
        done.report.services[0].endpoints, None,
        "nothing can be awaited of a load balancer that is not going to be"
    );
    request.services[0].annotations.clear();
    block_on(session.settle(&mut request));
    annotate(&mut request, "aws-load-balancer-scheme", "public");
    gated(&mut request, 2);
    let done = block_on(session.ensure(&request));
    assert_eq!(
        of(&done).waiting.len(),
        2,
        "the load balancer it has serves"
    );
    block_on(cluster.advance(memory::REGISTRATION));
    let done = block_on(session.ensure(&request));
    assert_eq!(of(&done).healthy.len(), 2);
}

#[test]
fn a_failing_target_is_looked_at_again_ever_more_slowly_until_it_is_healthy() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    cluster.aws.world().sick = true;
    let session = block_on(Session::start(&cluster));
    let waits: Vec<_> = (0..10)
        .map(|_| block_on(session.ensure(&request)).report.retry_after())
        .collect();
    let seconds = [2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    let wanted = seconds.map(|s| Some(Duration::from_secs(s)));
    assert_eq!(waits, wanted);
    cluster.aws.world().sick = false;
    let done = block_on(session.ensure(&request));
    assert_eq!(done.report.retry_after(), None);
    let targets = &done.report.services[0].ports[0].targets;
    assert_eq!(targets.healthy, targets.registered);
}

#[test]
fn nodes_without_a_pod_under_policy_local_are_not_awaited() {
    let cluster = block_on(make());
    let mut request = web();
    request.services[0].local_traffic = true;
    request.services[0].health_check_node_port = Some(32_000);
    settle(&cluster, &mut request);
    cluster.aws.world().sick = true;
    let session = block_on(Session::start(&cluster));
    let done = block_on(session.ensure(&request));
    assert_eq!(done.report.retry_after(), None);
    let targets = &done.report.services[0].ports[0].targets;
    assert!(targets.healthy < targets.registered, "{targets:?}");
}
