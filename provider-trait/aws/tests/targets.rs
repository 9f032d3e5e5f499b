//! Targets that come and go, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use herald_core::Protocol;
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider::{Outcome, Readiness, Taint};
use herald_provider_aws::call::Change;
use memory::harness::{annotate, node, port, request};
use memory::story::{cluster, only, pass, settle, web};

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
    let (outcome, log) = pass(&cluster, &request);
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
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
