//! What can be changed in place, and what takes another load balancer, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use herald_core::Protocol;
use herald_provider::Outcome;
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider_aws::annotations::ACCEPT_DOWNTIME;
use herald_provider_aws::call::Change;
use herald_provider_aws::model::{State, Subnet, TargetType};
use memory::harness::{Cluster, annotate, config, port};
use memory::story::{cluster, code, index, only, pass, settle, web};

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
fn a_subnet_that_comes_later_ends_a_refusal_at_the_next_audit() {
    let cluster = cluster();
    let mut request = web();
    annotate(&mut request, "aws-load-balancer-subnets", "subnet-9");
    let session = block_on(Session::start(&cluster));
    let outcome = |request: &_| {
        block_on(session.ensure(request)).report.services[0]
            .outcome
            .clone()
    };
    assert_eq!(code(&outcome(&request)), "InvalidSubnet");
    cluster.aws.world().subnets.push(subnet(9, "c"));
    assert_eq!(
        code(&outcome(&request)),
        "InvalidSubnet",
        "not looked at yet"
    );
    session.doubt(&request.id);
    assert_eq!(code(&outcome(&request)), "Provisioning");
    block_on(session.settle(&mut request));
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
        block_on(cluster.advance(Duration::from_secs(20)));
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
fn elastic_addresses_are_given_to_found_subnets_too() {
    let cluster = cluster();
    let mut request = web();
    annotate(&mut request, "aws-load-balancer-scheme", "internet-facing");
    settle(&cluster, &mut request);
    annotate(
        &mut request,
        "aws-load-balancer-eip-allocations",
        "eip-1,eip-2",
    );
    let log = settle(&cluster, &mut request);
    let created = index(&log, |c| matches!(c, Change::CreateLoadBalancer { .. }));
    let deleted = index(&log, |c| matches!(c, Change::DeleteLoadBalancer { .. }));
    assert!(
        created < deleted,
        "the address of a zone never changes in place"
    );
    let allocated = |cluster: &Cluster| {
        only(cluster, |nlb, _| {
            let all = nlb.spec.mappings.iter();
            all.map(|m| m.allocation.clone().unwrap())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(allocated(&cluster), ["eip-1", "eip-2"]);
    // A zone that comes later has no address, and is left alone.
    let mut later = subnet(9, "c");
    later.public = true;
    cluster.aws.world().subnets.push(later);
    assert_eq!(pass(&cluster, &request), (Outcome::Ready, vec![]));
}

#[test]
fn a_subnet_without_ipv6_is_left_by_replacement() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let used = only(&cluster, |nlb, _| {
        nlb.spec.mappings.first().unwrap().subnet.clone()
    });
    let mut with = subnet(9, "a");
    with.nets.push("2001:db8:0:9::/64".parse().unwrap());
    cluster.aws.world().subnets.push(with);
    for subnet in &mut cluster.aws.world().subnets {
        if subnet.id == used {
            subnet.nets.truncate(1);
        }
    }
    annotate(
        &mut request,
        "aws-load-balancer-ip-address-type",
        "dualstack",
    );
    settle(&cluster, &mut request);
    let subnets = only(&cluster, |nlb, _| nlb.spec.mappings.clone());
    assert!(
        subnets.iter().any(|m| m.subnet == "subnet-9"),
        "{subnets:?}"
    );
}

#[test]
fn another_kind_of_targets_takes_another_load_balancer() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    block_on(cluster.advance(memory::REGISTRATION));
    annotate(&mut request, "aws-load-balancer-nlb-target-type", "ip");
    let session = block_on(Session::start(&cluster));
    let key = request.services[0].ports[0].key;
    block_on(session.settle_watched(&mut request, async |request| {
        let serving = cluster
            .serving(&request.services[0].published[0], key)
            .await;
        assert!(serving > 0, "clients are always served");
    }));
    only(&cluster, |_, groups| {
        assert_eq!(groups.len(), 1);
        assert!(
            groups
                .values()
                .all(|g| g.spec.target_type == TargetType::Ip)
        );
    });
}

#[test]
fn with_a_fixed_name_another_kind_of_targets_is_exchanged_in_place() {
    let cluster = cluster();
    let mut request = web();
    annotate(&mut request, "aws-load-balancer-name", "fixed");
    settle(&cluster, &mut request);
    annotate(&mut request, "aws-load-balancer-nlb-target-type", "ip");
    let (outcome, log) = pass(&cluster, &request);
    assert_eq!((code(&outcome), log.len()), ("ReplacementNeedsDowntime", 0));
    let accept = (ACCEPT_DOWNTIME.to_owned(), "true".to_owned());
    request.services[0].annotations.extend([accept]);
    let log = settle(&cluster, &mut request);
    assert!(
        !log.iter()
            .any(|c| matches!(c, Change::DeleteLoadBalancer { .. })),
        "{log:#?}"
    );
    only(&cluster, |_, groups| assert_eq!(groups.len(), 1));
}

#[test]
fn a_replacement_waits_for_no_health_that_the_old_one_does_not_have() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    // The pods answer no health check, here or there.
    cluster.aws.world().sick = true;
    let mut request = cluster.replaced(&request);
    let session = block_on(Session::start(&cluster));
    // It never settles, because health is awaited; but it is replaced.
    for _ in 0..40 {
        let done = block_on(session.ensure(&request));
        let report = &done.report.services[0];
        if !report.ingress.is_empty() {
            request.services[0].published.clone_from(&report.ingress);
        }
        block_on(cluster.advance(Duration::from_mins(1)));
    }
    only(&cluster, |nlb, _| {
        assert_eq!(nlb.spec.scheme.as_str(), "internet-facing");
    });
}

#[test]
fn a_load_balancer_that_could_not_be_made_gives_up_its_name() {
    for named in [true, false] {
        let cluster = cluster();
        let mut request = web();
        if named {
            annotate(&mut request, "aws-load-balancer-name", "fixed");
        }
        pass(&cluster, &request);
        for nlb in cluster.aws.world().load_balancers.values_mut() {
            nlb.spec.state = State::Failed;
        }
        settle(&cluster, &mut request);
        only(&cluster, |nlb, _| assert_ne!(nlb.spec.state, State::Failed));
    }
}
