use std::collections::BTreeMap;

use herald_core::{IpFamily, Protocol};
use herald_provider::{
    EndpointHealth, EndpointPort, EndpointTarget, Ingress, Outcome, PortKey, PortRequest, Reason,
    ServiceReport, ServiceRequest, TargetPort, UnixTime,
};

use super::*;

mod index;

const FOUR: &str = "10.0.1.10";
const SIX: &str = "2001:db8:0:1::10";

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

/// A pod whose containers are ready and whose gate has never been judged.
fn pod(name: &str) -> PodView {
    PodView {
        key: key(name),
        uid: format!("uid-{name}").into(),
        version: 1,
        labels: labels("web"),
        addresses: vec![FOUR.parse().unwrap()],
        containers_ready: true,
        ended: false,
        others: Vec::new(),
        beside: false,
        gate: None,
    }
}

fn service(name: &str) -> GateService {
    GateService {
        uid: format!("uid-{name}").into(),
        selector: labels("web"),
        held: false,
    }
}

fn request(name: &str, endpoints: &[EndpointTarget]) -> ServiceRequest {
    ServiceRequest {
        key: key(name),
        uid: format!("uid-{name}").into(),
        created: UnixTime(1),
        annotations: BTreeMap::new(),
        ports: vec![PortRequest {
            key: PortKey {
                port: 80,
                protocol: Protocol::Tcp,
            },
            name: String::new(),
            target_port: TargetPort::Number(8080),
            node_port: None,
        }],
        families: vec![IpFamily::V4],
        local_traffic: false,
        health_check_node_port: None,
        source_ranges: Vec::new(),
        endpoints: endpoints.into(),
        endpoints_known: true,
        published: Vec::new(),
        paused: false,
    }
}

/// An endpoint whose pod waits for its gate.
fn gated(address: &str) -> EndpointTarget {
    EndpointTarget {
        address: address.parse().unwrap(),
        ports: vec![EndpointPort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        ready: false,
        terminating: false,
        containers_ready: true,
        node: None,
    }
}

fn report(
    name: &str,
    outcome: Outcome,
    endpoints: impl Into<Option<EndpointHealth>>,
) -> ServiceReport {
    ServiceReport {
        service: key(name),
        outcome,
        ports: Vec::new(),
        ingress: Vec::new(),
        endpoints: endpoints.into(),
        warnings: Vec::new(),
    }
}

fn health(healthy: &[&str], waiting: &[&str]) -> EndpointHealth {
    let reason = Arc::new(Reason::new("Initial", "port 80/TCP: first checks"));
    EndpointHealth {
        healthy: healthy.iter().map(|a| a.parse().unwrap()).collect(),
        waiting: waiting
            .iter()
            .map(|a| (a.parse().unwrap(), reason.clone()))
            .collect(),
    }
}

fn refused() -> Outcome {
    Outcome::Refused {
        reason: Reason::new("InvalidScheme", "public is no scheme"),
    }
}

/// One pod, one Service of its labels, and a pass over its load balancer.
fn world(
    pod: PodView,
    service: GateService,
    found: &ServiceReport,
    given: &ServiceRequest,
) -> GateIndex {
    let mut index = GateIndex::default();
    index.observe_service(&found.service, Some(service));
    index.observe_pod(pod);
    report_to(&mut index, found, given);
    index
}

fn report_to(index: &mut GateIndex, found: &ServiceReport, given: &ServiceRequest) {
    index.observe_targets(&found.service, &given.uid, GateTargets::of(found, given));
}

/// What the pod's condition is to become, as `True Reason`; `-` when it is left alone.
fn says(index: &GateIndex) -> String {
    index.decide(&key("a")).map_or_else(
        || "-".into(),
        |gate| {
            assert!(!gate.message.is_empty());
            let status = if gate.status { "True" } else { "False" };
            format!("{status} {}", gate.reason)
        },
    )
}

#[test]
fn one_service_decides_by_what_its_last_pass_found() {
    let ready = Outcome::Ready;
    let given = [gated(FOUR)];
    let cases = [
        (
            "healthy",
            &ready,
            Some(health(&[FOUR], &[])),
            &given[..],
            "True Healthy",
        ),
        (
            "waiting",
            &ready,
            Some(health(&[], &[FOUR])),
            &given[..],
            "False Initial",
        ),
        (
            "not yet an endpoint",
            &ready,
            Some(health(&[], &[])),
            &[][..],
            "False NotRegistered",
        ),
        // The pass was made for an earlier pod with this address.
        (
            "of an earlier pod",
            &ready,
            Some(health(&[FOUR], &[])),
            &[][..],
            "False NotRegistered",
        ),
        ("nodes", &ready, None, &given[..], "True NoLoadBalancer"),
        (
            "refused",
            &refused(),
            None,
            &given[..],
            "True NoLoadBalancer",
        ),
        (
            "refused by the cloud",
            &refused(),
            Some(health(&[], &[FOUR])),
            &given[..],
            "True NoLoadBalancer",
        ),
    ];
    for (case, outcome, endpoints, given, expected) in cases {
        let found = report("web", outcome.clone(), endpoints);
        let index = world(pod("a"), service("web"), &found, &request("web", given));
        assert_eq!(says(&index), expected, "{case}");
    }
    // A load balancer that serves is waited for, whatever is wrong with what is asked for now.
    let mut given = request("web", &[gated(FOUR)]);
    given.published = vec![Ingress::Hostname("lb.example".into())];
    let found = report("web", refused(), health(&[], &[FOUR]));
    let index = world(pod("a"), service("web"), &found, &given);
    let gate = index.decide(&key("a")).unwrap();
    assert_eq!(
        gate.message,
        "Service web: port 80/TCP: first checks (InvalidScheme)"
    );
    assert!(!gate.status);
}

#[test]
fn a_pod_is_judged_when_nothing_else_keeps_it_from_being_ready() {
    let found = report("web", Outcome::Ready, health(&[FOUR], &[]));
    let given = request("web", &[gated(FOUR)]);
    let judge = |change: fn(&mut PodView)| {
        let mut one = pod("a");
        change(&mut one);
        says(&world(one, service("web"), &found, &given))
    };
    assert_eq!(judge(|_| ()), "True Healthy");
    assert_eq!(judge(|pod| pod.containers_ready = false), "-");
    assert_eq!(judge(|pod| pod.ended = true), "-");
    assert_eq!(
        judge(|pod| pod.others = vec!["x.io/y".into()]),
        "False OtherReadinessGates"
    );
    let gate = |status| {
        let (reason, message) = ("Healthy".into(), "a healthy target of Service web".into());
        Some((
            GateCondition {
                status,
                reason,
                message,
            },
            "2026-11-21T15:00:00Z".into(),
        ))
    };
    let mut same = pod("a");
    same.gate = gate(true);
    assert_eq!(
        says(&world(same.clone(), service("web"), &found, &given)),
        "-"
    );
    // Once True it stays True.
    let sick = report("web", Outcome::Ready, health(&[], &[FOUR]));
    assert_eq!(says(&world(same, service("web"), &sick, &given)), "-");
    let mut wrong = pod("a");
    wrong.gate = gate(false);
    assert_eq!(
        says(&world(wrong, service("web"), &found, &given)),
        "True Healthy"
    );
}

#[test]
fn without_a_service_in_front_of_it_a_pod_waits_for_nothing() {
    let mut index = GateIndex::default();
    index.observe_pod(pod("a"));
    assert_eq!(says(&index), "True NoLoadBalancer");
    let mut other = service("web");
    other.selector = labels("other");
    index.observe_service(&key("web"), Some(other));
    assert_eq!(says(&index), "True NoLoadBalancer");
    // A Service without a selector has endpoints that somebody else writes.
    let mut none = service("web");
    none.selector.clear();
    index.observe_service(&key("web"), Some(none));
    assert_eq!(says(&index), "True NoLoadBalancer");
    index.observe_service(&ServiceKey::new("elsewhere", "web"), Some(service("web")));
    assert_eq!(says(&index), "True NoLoadBalancer");
    index.observe_service(&key("web"), Some(service("web")));
    assert_eq!(says(&index), "False NotObserved");
    index.observe_service(&key("web"), None);
    assert_eq!(says(&index), "True NoLoadBalancer");
}

#[test]
fn a_service_whose_changes_are_held_back_blocks_no_pod_and_the_others_count() {
    let found = report("web", Outcome::Ready, health(&[], &[FOUR]));
    let mut paused = service("web");
    paused.held = true;
    let mut index = world(pod("a"), paused, &found, &request("web", &[gated(FOUR)]));
    let gate = index.decide(&key("a")).unwrap();
    assert_eq!(
        (gate.status, gate.reason.as_str()),
        (true, "NoLoadBalancer")
    );
    assert!(
        gate.message
            .ends_with("changes to Service web are held back"),
        "{}",
        gate.message
    );
    index.observe_service(&key("more"), Some(service("more")));
    assert_eq!(says(&index), "False NotObserved");
    let more = report("more", Outcome::Ready, health(&[FOUR], &[]));
    report_to(&mut index, &more, &request("more", &[gated(FOUR)]));
    assert_eq!(says(&index), "True Healthy");
}

#[test]
fn every_service_and_every_address_of_a_pod_counts() {
    let mut both = pod("a");
    both.addresses.push(SIX.parse().unwrap());
    let four = report("four", Outcome::Ready, health(&[FOUR], &[]));
    let six = |healthy: &[&str], waiting: &[&str]| {
        report("six", Outcome::Ready, health(healthy, waiting))
    };
    let endpoints = [gated(FOUR), gated(SIX)];
    let mut index = world(both, service("four"), &four, &request("four", &endpoints));
    assert_eq!(
        says(&index),
        "True Healthy",
        "the other family is no target"
    );
    index.observe_service(&key("six"), Some(service("six")));
    report_to(&mut index, &six(&[], &[SIX]), &request("six", &endpoints));
    assert_eq!(says(&index), "False Initial");
    report_to(
        &mut index,
        &six(&[FOUR], &[SIX]),
        &request("six", &endpoints),
    );
    assert_eq!(says(&index), "False Initial", "both families are targets");
    report_to(&mut index, &six(&[SIX], &[]), &request("six", &endpoints));
    assert_eq!(says(&index), "True Healthy");
}

#[test]
fn a_message_names_a_few_services_and_counts_the_others() {
    let mut index = GateIndex::default();
    index.observe_pod(pod("a"));
    for n in 0..5 {
        index.observe_service(&key(&format!("s{n}")), Some(service(&format!("s{n}"))));
    }
    let message = index.decide(&key("a")).unwrap().message;
    assert!(
        message.starts_with("Service s0: its load balancer has not been"),
        "{message}"
    );
    assert!(message.ends_with("; and 2 more"), "{message}");
}

#[test]
fn a_list_counts_also_when_the_history_went_back() {
    let mut index = GateIndex::default();
    let mut late = pod("a");
    late.version = 9;
    late.ended = true;
    index.observe_pod(late);
    // As the watch may tell what an answer to a write overtook.
    index.observe_pod(pod("a"));
    assert!(index.pod(&key("a")).unwrap().ended);
    index.observe_pods(vec![pod("a")], &[]);
    assert!(!index.pod(&key("a")).unwrap().ended);
}
