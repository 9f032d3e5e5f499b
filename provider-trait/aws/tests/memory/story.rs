//! Telling a story step by step: settle, look, change, settle again.

use std::collections::BTreeMap;

use herald_core::Protocol;
use herald_provider::testing::conformance::{Session, block_on};
use herald_provider::{LoadBalancerRequest, Outcome};
use herald_provider_aws::call::Change;

use super::harness::{Cluster, config, port, request};
use super::{Group, Nlb};

pub fn cluster() -> Cluster {
    Cluster::new(config())
}

pub fn web() -> LoadBalancerRequest {
    request("web", vec![port(80, Protocol::Tcp)])
}

/// Settles in a fresh process and returns the changing calls, as shown.
pub fn settle(cluster: &Cluster, request: &mut LoadBalancerRequest) -> Vec<Change> {
    cluster.aws.world().log.clear();
    let session = block_on(Session::start(cluster));
    block_on(session.settle(request));
    cluster.aws.world().log.clone()
}

/// One pass in a fresh process: the outcome's code, and the changing calls.
pub fn pass(cluster: &Cluster, request: &LoadBalancerRequest) -> (Outcome, Vec<Change>) {
    cluster.aws.world().log.clear();
    let session = block_on(Session::start(cluster));
    let done = block_on(session.ensure(request));
    (
        done.report.services[0].outcome.clone(),
        cluster.aws.world().log.clone(),
    )
}

pub fn code(outcome: &Outcome) -> &str {
    outcome
        .reason()
        .map_or("Ready", |reason| reason.code.as_str())
}

pub fn only<T>(cluster: &Cluster, look: impl FnOnce(&Nlb, &BTreeMap<String, Group>) -> T) -> T {
    let world = cluster.aws.world();
    assert_eq!(world.load_balancers.len(), 1, "one load balancer");
    look(world.load_balancers.values().next().unwrap(), &world.groups)
}

pub fn index(log: &[Change], which: impl Fn(&Change) -> bool) -> usize {
    log.iter()
        .position(which)
        .unwrap_or_else(|| panic!("no such call in {log:#?}"))
}
