//! Targets that come and go, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use herald_core::Protocol;
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider::{Outcome, Readiness, Taint};
use herald_provider_aws::call::Change;
use memory::harness::{annotate, make_ip, node, port, request};
use memory::story::{cluster, code, only, pass, settle, web};

#[test]
fn a_node_that_is_about_to_go_leaves_and_a_cordoned_one_stays() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let taint = |key: &str| Taint {
        key: key.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    };
    let ids = |log: &[Change]| -> Vec<String> {
        let targets = log.iter().filter_map(|c| match c {
            Change::DeregisterTargets { targets, .. } => Some(targets),
            _ => None,
        });
        targets.flatten().map(|t| t.id.clone()).collect()
    };
    let with = |n1: herald_provider::NodeTarget| [n1, node("n2", 1)].into();
    let mut cordoned = node("n1", 1);
    cordoned.taints = vec![taint("node.kubernetes.io/unschedulable")];
    request.nodes = with(cordoned);
    assert_eq!(settle(&cluster, &mut request), []);
    for key in [
        "karpenter.sh/disrupted",
        "ToBeDeletedByClusterAutoscaler",
        "aws-node-termination-handler/spot-itn",
    ] {
        let mut leaving = node("n1", 1);
        leaving.taints = vec![taint(key)];
        request.nodes = with(leaving);
        assert_eq!(ids(&settle(&cluster, &mut request)), ["i-1n1"], "{key}");
        request.nodes = with(node("n1", 1));
        settle(&cluster, &mut request);
    }
    // Nothing known of any node: nothing is taken away.
    request.nodes = [].into();
    assert_eq!(settle(&cluster, &mut request), []);
    let unknown = |name| herald_provider::NodeTarget {
        ready: Readiness::Unknown,
        ..node(name, 1)
    };
    request.nodes = [unknown("n1"), unknown("n2")].into();
    assert_eq!(settle(&cluster, &mut request), []);
}

#[test]
fn pods_stay_targets_while_no_slice_was_seen() {
    let cluster = block_on(make_ip());
    let mut request = web();
    settle(&cluster, &mut request);
    request.services[0].endpoints = [].into();
    request.services[0].endpoints_known = false;
    assert_eq!(settle(&cluster, &mut request), []);
    request.services[0].endpoints_known = true;
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(log[..], [Change::DeregisterTargets { .. }]),
        "scaled to zero: {log:#?}"
    );
}

#[test]
fn new_targets_are_registered_first_and_healthy_before_the_last_old_one_goes() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    block_on(cluster.advance(memory::REGISTRATION));
    let mut request = cluster.with_targets(&request, 2);
    let session = block_on(Session::start(&cluster));
    cluster.aws.world().log.clear();
    let done = block_on(session.ensure(&request));
    let log = cluster.aws.world().log.clone();
    assert!(
        matches!(log[..], [Change::RegisterTargets { .. }]),
        "{log:#?}"
    );
    assert!(done.report.look_again.is_some());
    block_on(session.settle(&mut request));
    let log = cluster.aws.world().log.clone();
    assert!(
        matches!(log[1..], [Change::DeregisterTargets { .. }]),
        "{log:#?}"
    );
}

#[test]
fn a_mistake_in_an_annotation_keeps_what_works_and_its_targets_follow() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    annotate(&mut request, "aws-load-balancer-scheme", "public");
    request.nodes = [node("n1", 1), node("n2", 1), node("n3", 1)].into();
    let session = block_on(Session::start(&cluster));
    cluster.aws.world().log.clear();
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert!(
        matches!(service.outcome, Outcome::Refused { .. }),
        "{service:#?}"
    );
    assert_eq!(service.ports[0].targets.registered, 3, "they are counted");
    let log = cluster.aws.world().log.clone();
    assert!(
        matches!(log[..], [Change::RegisterTargets { .. }]),
        "{log:#?}"
    );
    only(&cluster, |nlb, _| assert_eq!(nlb.listeners.len(), 1));
}

#[test]
fn a_resync_of_many_services_changes_nothing_and_reads_once() {
    let cluster = cluster();
    let session = block_on(Session::start(&cluster));
    let mut requests: Vec<_> = (0..40)
        .map(|n| request(&format!("s{n}"), vec![port(80, Protocol::Tcp)]))
        .collect();
    for request in &mut requests {
        block_on(session.settle(request));
    }
    let fresh = block_on(Session::start(&cluster));
    cluster.aws.world().log.clear();
    cluster.aws.world().reads = 0;
    for request in &requests {
        let done = block_on(fresh.ensure(request));
        assert_eq!(done.report.services[0].outcome, Outcome::Ready);
    }
    assert_eq!(cluster.aws.world().log, []);
    // What AWS tells per object only: listeners once per load balancer, targets once per target group.
    assert_eq!(cluster.aws.world().reads, 40 * 2);
    for request in &requests {
        block_on(fresh.ensure(request));
    }
    assert_eq!(
        cluster.aws.world().reads,
        40 * 2,
        "nothing is read again without a reason"
    );
}

#[test]
fn labels_that_cannot_be_understood_let_no_other_node_in() {
    let cluster = cluster();
    let mut request = web();
    let mut chosen = node("n1", 1);
    chosen.labels = [("pool".to_owned(), "web".to_owned())].into();
    request.nodes = [chosen, node("n2", 1)].into();
    annotate(
        &mut request,
        "aws-load-balancer-target-node-labels",
        "pool=web",
    );
    settle(&cluster, &mut request);
    annotate(
        &mut request,
        "aws-load-balancer-target-node-labels",
        "pool=web,zone",
    );
    let (outcome, log) = pass(&cluster, &request);
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(log, []);
}

#[test]
fn an_instance_that_is_gone_stops_no_other() {
    let cluster = cluster();
    let mut request = web();
    request.nodes = [node("gone", 1), node("n2", 1)].into();
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert_eq!(service.ingress.len(), 1, "{service:#?}");
    assert_eq!(code(&service.ports[0].outcome), "InvalidTarget");
    assert!(matches!(service.outcome, Outcome::Partial { .. }));
    only(&cluster, |nlb, _| assert_eq!(nlb.listeners.len(), 1));
}

#[test]
fn a_group_takes_as_many_targets_as_aws_allows_and_the_rest_is_named() {
    let cluster = cluster();
    let mut request = web();
    let nodes = |generation, n: u32| {
        (0..n)
            .map(|n| node(&format!("n{n:04}"), generation))
            .collect()
    };
    request.nodes = nodes(1, 1001);
    let session = block_on(Session::start(&cluster));
    let pass = |request: &herald_provider::LoadBalancerRequest| {
        let done = block_on(session.ensure(request));
        block_on(cluster.advance(memory::PROVISIONING));
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        done.report.services[0].clone()
    };
    let live = || {
        only(&cluster, |_, groups| {
            let group = groups.values().next().unwrap();
            let live = group.targets.iter().filter(|(_, t)| t.draining.is_none());
            let ids: Vec<_> = live.map(|(t, _)| t.id.clone()).collect();
            (
                ids.len(),
                ids.iter().filter(|id| id.starts_with("i-2")).count(),
            )
        })
    };
    pass(&request);
    let service = pass(&request);
    assert_eq!(code(&service.outcome), "TooManyTargets");
    assert_eq!(service.ingress.len(), 1, "{:?}", service.outcome);
    let message = service.outcome.reason().unwrap().message.clone();
    assert!(
        message.contains("1001 targets") && message.contains("1 are left out"),
        "{message}"
    );
    assert_eq!(live(), (1000, 0));
    // All of them are exchanged although the group is full.
    request.nodes = nodes(2, 1000);
    pass(&request);
    assert_eq!(
        live(),
        (1000, 200),
        "most of the old ones serve until a new one is healthy"
    );
    pass(&request);
    assert_eq!(pass(&request).outcome, Outcome::Ready);
    assert_eq!(live(), (1000, 1000));
}
