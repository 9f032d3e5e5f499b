//! What users ask for, step by step, on AWS in memory: the objects that result and the order of calls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::{BTreeMap, BTreeSet};

use herald_core::{IpFamily, Protocol};
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider::{LoadBalancerRequest, Outcome, Readiness, Taint};
use herald_provider_aws::annotations::ACCEPT_DOWNTIME;
use herald_provider_aws::call::Change;
use herald_provider_aws::model::{Probe, Source, Subnet, Wire};
use memory::harness::{Cluster, annotate, config, node, port, request};
use memory::{Group, Nlb};

fn cluster() -> Cluster {
    Cluster::new(config())
}

fn web() -> LoadBalancerRequest {
    request("web", vec![port(80, Protocol::Tcp)])
}

/// Settles in a fresh process and returns the changing calls, as shown.
fn settle(cluster: &Cluster, request: &mut LoadBalancerRequest) -> Vec<Change> {
    cluster.aws.world().log.clear();
    let session = block_on(Session::start(cluster));
    block_on(session.settle(request));
    cluster.aws.world().log.clone()
}

/// One pass in a fresh process: the outcome's code, and the changing calls.
fn pass(cluster: &Cluster, request: &LoadBalancerRequest) -> (Outcome, Vec<Change>) {
    cluster.aws.world().log.clear();
    let session = block_on(Session::start(cluster));
    let done = block_on(session.ensure(request));
    (
        done.report.services[0].outcome.clone(),
        cluster.aws.world().log.clone(),
    )
}

fn code(outcome: &Outcome) -> &str {
    outcome
        .reason()
        .map_or("Ready", |reason| reason.code.as_str())
}

fn only<T>(cluster: &Cluster, look: impl FnOnce(&Nlb, &BTreeMap<String, Group>) -> T) -> T {
    let world = cluster.aws.world();
    assert_eq!(world.load_balancers.len(), 1, "one load balancer");
    look(world.load_balancers.values().next().unwrap(), &world.groups)
}

fn index(log: &[Change], which: impl Fn(&Change) -> bool) -> usize {
    log.iter()
        .position(which)
        .unwrap_or_else(|| panic!("no such call in {log:#?}"))
}

#[test]
fn everything_is_made_in_order() {
    let cluster = cluster();
    let log = settle(&cluster, &mut web());
    let at = |which: fn(&Change) -> bool| index(&log, which);
    let order = [
        at(|c| matches!(c, Change::CreateSecurityGroup { .. })),
        at(|c| matches!(c, Change::AuthorizeIngress { .. })),
        at(|c| matches!(c, Change::CreateTargetGroup(_))),
        at(|c| matches!(c, Change::RegisterTargets { .. })),
        at(|c| matches!(c, Change::CreateLoadBalancer { .. })),
        at(|c| matches!(c, Change::CreateListener { .. })),
    ];
    assert!(order.is_sorted(), "{order:?} of {log:#?}");
}

#[test]
fn tcp_udp_and_tls_get_the_right_listeners_groups_and_health_checks() {
    let cluster = cluster();
    let ports = vec![
        port(80, Protocol::Tcp),
        port(443, Protocol::Tcp),
        port(53, Protocol::Udp),
    ];
    let mut request = request("web", ports);
    annotate(
        &mut request,
        "aws-load-balancer-ssl-cert",
        "arn:cert/1,arn:cert/2",
    );
    annotate(&mut request, "aws-load-balancer-ssl-ports", "443");
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        let of = |port: u16| {
            let spec = &nlb.listeners[&port].spec;
            let group = &groups[&spec.target_group.name].spec;
            (
                spec.protocol,
                group.protocol,
                group.health_check.protocol,
                group.health_check.port,
            )
        };
        assert_eq!(of(80), (Wire::Tcp, Wire::Tcp, Probe::Tcp, None));
        assert_eq!(of(443), (Wire::Tls, Wire::Tcp, Probe::Tcp, None));
        assert_eq!(of(53), (Wire::Udp, Wire::Udp, Probe::Http, Some(10256)));
        let tls = &nlb.listeners[&443];
        assert_eq!(tls.spec.certificate.as_deref(), Some("arn:cert/1"));
        assert_eq!(tls.certificates, BTreeSet::from(["arn:cert/2".to_owned()]));
    });
    annotate(&mut request, "aws-load-balancer-ssl-cert", "arn:cert/3");
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(
            log[..],
            [
                Change::ModifyListener { .. },
                Change::RemoveCertificates { .. }
            ]
        ),
        "{log:#?}"
    );
}

#[test]
fn tcp_and_udp_on_one_number_are_merged_or_refused_never_dropped() {
    let cluster = cluster();
    let mut request = request(
        "dns",
        vec![port(53, Protocol::Tcp), port(53, Protocol::Udp)],
    );
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert!(
        matches!(service.outcome, Outcome::Partial { .. }),
        "{service:#?}"
    );
    assert_eq!(service.ports[0].outcome, Outcome::Ready);
    assert_eq!(code(&service.ports[1].outcome), "PortConflict");

    annotate(
        &mut request,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        assert_eq!(nlb.listeners[&53].spec.protocol, Wire::TcpUdp);
        assert_eq!(groups.len(), 1, "the group of the TCP listener is gone");
    });
    let mut other = memory::harness::request(
        "odd",
        vec![port(53, Protocol::Tcp), port(53, Protocol::Udp)],
    );
    annotate(
        &mut other,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    other.services[0].ports[1].node_port = Some(31000);
    let (outcome, _) = pass(&cluster, &other);
    assert_ne!(
        outcome,
        Outcome::Ready,
        "different node ports cannot be one listener"
    );
}

#[test]
fn policy_local_uses_the_services_health_port() {
    let cluster = cluster();
    let mut request = web();
    request.services[0].local_traffic = true;
    request.services[0].health_check_node_port = Some(32111);
    settle(&cluster, &mut request);
    only(&cluster, |_, groups| {
        let check = &groups.values().next().unwrap().spec.health_check;
        assert_eq!((check.protocol, check.port), (Probe::Http, Some(32111)));
        assert_eq!(check.path.as_deref(), Some("/healthz"));
        assert_eq!(
            (
                check.interval,
                check.timeout,
                check.healthy,
                check.unhealthy
            ),
            (10, 6, 2, 2)
        );
    });
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "*");
    let (outcome, log) = pass(&cluster, &request);
    assert_eq!(code(&outcome), "ProxyProtocolHealthCheck");
    assert_eq!(log, [], "what works stays");
    annotate(
        &mut request,
        "aws-load-balancer-healthcheck-port",
        "traffic-port",
    );
    annotate(
        &mut request,
        "aws-load-balancer-healthcheck-protocol",
        "tcp",
    );
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        let group = &groups[&nlb.listeners[&80].spec.target_group.name];
        assert_eq!(group.attributes["proxy_protocol_v2.enabled"], "true");
    });
}

#[test]
fn attributes_are_set_reset_and_otherwise_left_alone() {
    let cluster = cluster();
    let mut request = web();
    annotate(
        &mut request,
        "aws-load-balancer-attributes",
        "load_balancing.cross_zone.enabled=true",
    );
    annotate(
        &mut request,
        "aws-load-balancer-target-group-attributes",
        "stickiness.enabled=true",
    );
    annotate(
        &mut request,
        "aws-load-balancer-listener-attributes.TCP-80",
        "tcp.idle_timeout.seconds=60",
    );
    settle(&cluster, &mut request);
    for nlb in cluster.aws.world().load_balancers.values_mut() {
        // Somebody else protects it.
        nlb.attributes
            .insert("deletion_protection.enabled".into(), "true".into());
    }
    request.services[0].annotations.clear();
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        assert_eq!(nlb.attributes["load_balancing.cross_zone.enabled"], "false");
        assert_eq!(
            nlb.attributes["deletion_protection.enabled"], "true",
            "not ours to end"
        );
        let group = groups.values().next().unwrap();
        assert_eq!(group.attributes["stickiness.enabled"], "false");
        let listener = nlb.listeners[&80].attributes.as_ref().unwrap();
        assert_eq!(listener["tcp.idle_timeout.seconds"], "350");
        let noted =
            |tags: &BTreeMap<String, String>| tags.contains_key(herald_provider_aws::tags::MANAGED);
        assert!(!noted(&nlb.spec.tags) && !noted(&group.spec.tags));
    });
    assert_eq!(pass(&cluster, &request), (Outcome::Ready, vec![]));
}

#[test]
fn a_users_tags_go_with_their_annotation_and_others_stay() {
    let cluster = cluster();
    let mut request = web();
    annotate(
        &mut request,
        "aws-load-balancer-additional-resource-tags",
        "team=a,app=web",
    );
    settle(&cluster, &mut request);
    for nlb in cluster.aws.world().load_balancers.values_mut() {
        nlb.spec.tags.insert("billing".into(), "theirs".into());
    }
    annotate(
        &mut request,
        "aws-load-balancer-additional-resource-tags",
        "team=b",
    );
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        let group = groups.values().next().unwrap();
        for tags in [&nlb.spec.tags, &group.spec.tags, &nlb.listeners[&80].tags] {
            assert_eq!(tags["team"], "b");
            assert!(!tags.contains_key("app"), "{tags:?}");
        }
        assert_eq!(nlb.spec.tags["billing"], "theirs");
    });
}

#[test]
fn source_ranges_are_opened_before_the_old_ones_are_closed() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    request.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(
            log[..],
            [
                Change::AuthorizeIngress { .. },
                Change::RevokeIngress { .. }
            ]
        ),
        "{log:#?}"
    );
    only(&cluster, |_, _| ());
}

#[test]
fn nodes_are_opened_for_the_backend_group_only_and_closed_with_the_last_load_balancer() {
    let cluster = cluster();
    let ingress = |cluster: &Cluster| {
        cluster.aws.world().security_groups["sg-nodes"]
            .ingress
            .clone()
    };
    let (mut one, mut two) = (web(), request("api", vec![port(81, Protocol::Tcp)]));
    settle(&cluster, &mut one);
    settle(&cluster, &mut two);
    let rules = ingress(&cluster);
    assert_eq!(rules.len(), 3, "{rules:?}");
    assert!(
        rules
            .iter()
            .all(|rule| matches!(rule.source, Source::Group(_))),
        "{rules:?}"
    );
    let session = block_on(Session::start(&cluster));
    block_on(session.remove(&one.id));
    assert_eq!(ingress(&cluster), rules, "another load balancer needs them");
    block_on(session.remove(&two.id));
    assert!(ingress(&cluster).is_empty());
    let world = cluster.aws.world();
    assert_eq!(
        world.security_groups.keys().collect::<Vec<_>>(),
        ["sg-nodes"]
    );
}

#[test]
fn given_groups_are_used_as_they_are() {
    let cluster = cluster();
    let mut request = web();
    annotate(
        &mut request,
        "aws-load-balancer-security-groups",
        "sg-nodes",
    );
    let log = settle(&cluster, &mut request);
    assert!(
        !log.iter()
            .any(|c| matches!(c, Change::AuthorizeIngress { .. })),
        "{log:#?}"
    );
    only(&cluster, |nlb, _| {
        assert_eq!(
            nlb.spec.security_groups,
            BTreeSet::from(["sg-nodes".to_owned()])
        );
    });
}

#[test]
fn a_load_balancer_without_groups_stays_so_until_it_is_replaced() {
    let cluster = cluster();
    let mut request = web();
    annotate(&mut request, "aws-load-balancer-disable-nlb-sg", "true");
    settle(&cluster, &mut request);
    only(&cluster, |nlb, _| {
        assert!(nlb.spec.security_groups.is_empty());
    });
    request.services[0].annotations.clear();
    let log = settle(&cluster, &mut request);
    let created = index(&log, |c| matches!(c, Change::CreateLoadBalancer { .. }));
    let deleted = index(&log, |c| matches!(c, Change::DeleteLoadBalancer { .. }));
    assert!(created < deleted);
    only(&cluster, |nlb, _| {
        assert_eq!(nlb.spec.security_groups.len(), 2);
    });
}

fn subnet(n: u8, zone: &str) -> Subnet {
    Subnet {
        id: format!("subnet-{n}"),
        zone: format!("us-east-1{zone}"),
        nets: vec![format!("10.0.{n}.0/24").parse().unwrap()],
        free: 200,
        public: false,
        tags: BTreeMap::new(),
    }
}

#[test]
fn found_subnets_grow_with_the_vpc_and_never_shrink() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let mappings = |cluster: &Cluster| only(cluster, |nlb, _| nlb.spec.mappings.len());
    assert_eq!(mappings(&cluster), 2, "one in each zone");
    cluster.aws.world().subnets.push(subnet(9, "c"));
    let log = settle(&cluster, &mut request);
    assert!(matches!(log[..], [Change::SetSubnets { .. }]), "{log:#?}");
    assert_eq!(mappings(&cluster), 3);
    for subnet in &mut cluster.aws.world().subnets {
        subnet.free = 0;
    }
    assert_eq!(pass(&cluster, &request), (Outcome::Ready, vec![]));
    let role = ("kubernetes.io/role/elb".to_owned(), "1".to_owned());
    cluster.aws.world().subnets[0].tags.extend([role]);
    let mut public = memory::harness::request("public", vec![port(80, Protocol::Tcp)]);
    annotate(&mut public, "aws-load-balancer-scheme", "internet-facing");
    let (outcome, _) = pass(&cluster, &public);
    assert_eq!(code(&outcome), "NoSubnet");
    let message = &outcome.reason().unwrap().message;
    assert!(
        message.contains("1 with fewer than 8 free addresses"),
        "{message}"
    );
    assert!(message.contains("4 without the role tag"), "{message}");
}

#[test]
fn taking_a_named_subnet_away_takes_a_replacement() {
    let cluster = cluster();
    let mut request = web();
    annotate(
        &mut request,
        "aws-load-balancer-subnets",
        "subnet-2,subnet-3",
    );
    settle(&cluster, &mut request);
    annotate(&mut request, "aws-load-balancer-subnets", "subnet-2");
    let log = settle(&cluster, &mut request);
    assert!(
        log.iter()
            .any(|c| matches!(c, Change::CreateLoadBalancer { .. }))
    );
    assert_eq!(only(&cluster, |nlb, _| nlb.spec.mappings.len()), 1);
    annotate(
        &mut request,
        "aws-load-balancer-subnets",
        "subnet-0,subnet-2",
    );
    let (outcome, log) = pass(&cluster, &request);
    assert_eq!(
        (code(&outcome), log.len()),
        ("InvalidSubnet", 0),
        "two in one zone: {outcome:?}"
    );
}

#[test]
fn what_cannot_coexist_is_refused_unless_a_downtime_is_accepted() {
    for address in [true, false] {
        let cluster = cluster();
        let mut request = web();
        if address {
            annotate(&mut request, "aws-load-balancer-scheme", "internet-facing");
            annotate(
                &mut request,
                "aws-load-balancer-eip-allocations",
                "eip-1,eip-2",
            );
        } else {
            annotate(&mut request, "aws-load-balancer-name", "fixed");
        }
        settle(&cluster, &mut request);
        annotate(&mut request, "aws-load-balancer-disable-nlb-sg", "true");
        let (outcome, log) = pass(&cluster, &request);
        assert_eq!(code(&outcome), "ReplacementNeedsDowntime");
        assert_eq!(log, []);
        let accept = (ACCEPT_DOWNTIME.to_owned(), "true".to_owned());
        request.services[0].annotations.extend([accept]);
        let log = settle(&cluster, &mut request);
        let deleted = index(&log, |c| matches!(c, Change::DeleteLoadBalancer { .. }));
        let created = index(&log, |c| matches!(c, Change::CreateLoadBalancer { .. }));
        assert!(deleted < created, "{log:#?}");
        only(&cluster, |nlb, _| {
            assert!(nlb.spec.security_groups.is_empty());
        });
    }
}

#[test]
fn a_name_that_is_not_ours_is_not_touched() {
    let cluster = cluster();
    let mut first = web();
    annotate(&mut first, "aws-load-balancer-name", "shared");
    settle(&cluster, &mut first);
    let mut theirs = config();
    theirs.cluster_uid = "another".into();
    let other = Cluster {
        aws: cluster.aws.clone(),
        config: theirs,
    };
    let (outcome, log) = pass(&other, &first);
    assert_eq!((code(&outcome), log.len()), ("NameTaken", 0));
}

#[test]
fn a_change_that_is_undone_in_time_keeps_the_old_load_balancer() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let name = only(&cluster, |nlb, _| nlb.spec.name.clone());
    let session = block_on(Session::start(&cluster));
    let mut changed = cluster.replaced(&request);
    // Long enough for the switch, too short for the end of the grace.
    for _ in 0..12 {
        let done = block_on(session.ensure(&changed));
        changed.services[0].published = done.report.services[0].ingress.clone();
        block_on(cluster.advance(std::time::Duration::from_secs(20)));
    }
    assert_ne!(
        changed.services[0].published, request.services[0].published,
        "it was switched"
    );
    request.services[0]
        .published
        .clone_from(&changed.services[0].published);
    // Without the annotation the scheme would stay what it is by now.
    annotate(&mut request, "aws-load-balancer-scheme", "internal");
    settle(&cluster, &mut request);
    assert_eq!(only(&cluster, |nlb, _| nlb.spec.name.clone()), name);
    let retires = only(&cluster, |nlb, _| {
        nlb.spec
            .tags
            .contains_key(herald_provider_aws::tags::RETIRE_AT)
    });
    assert!(!retires);
}

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
fn ports_beyond_the_limit_are_refused_one_by_one() {
    let cluster = cluster();
    let ports: Vec<_> = (1..=52).map(|n| port(9000 + n, Protocol::Tcp)).collect();
    let request = request("many", ports);
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    let ready = ports.iter().filter(|p| p.outcome == Outcome::Ready).count();
    assert_eq!(ready, 50);
    assert!(
        ports
            .iter()
            .filter(|p| code(&p.outcome) == "TooManyListeners")
            .count()
            == 2
    );
}

#[test]
fn ipv6_needs_dualstack_and_sctp_is_refused() {
    let cluster = cluster();
    let mut request = request(
        "six",
        vec![port(80, Protocol::Tcp), port(5000, Protocol::Sctp)],
    );
    request.services[0].families = vec![IpFamily::V6];
    let session = block_on(Session::start(&cluster));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    assert_eq!(code(&ports[0].outcome), "NeedsDualstack");
    assert_eq!(code(&ports[1].outcome), "UnsupportedProtocol");
    annotate(
        &mut request,
        "aws-load-balancer-ip-address-type",
        "dualstack",
    );
    request.services[0].ports.truncate(1);
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        assert_eq!(nlb.listeners.len(), 1);
        assert!(groups.values().all(|g| g.spec.family == IpFamily::V6));
    });
    let world = cluster.aws.world();
    let front = world
        .security_groups
        .values()
        .find(|g| g.name.starts_with("hld-default"));
    assert_eq!(front.unwrap().ingress.len(), 2, "both families are let in");
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
