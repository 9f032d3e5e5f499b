//! What users ask for, step by step, on AWS in memory: the objects that result and the order of calls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::BTreeMap;

use herald_provider::Outcome;
use herald_provider::testing::conformance::{Session, block_on};
use herald_provider_aws::call::Change;
use memory::harness::annotate;
use memory::story::{cluster, index, only, pass, settle, web};

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
        "stickiness.enabled=true,preserve_client_ip.enabled=false",
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
        assert_eq!(group.attributes["preserve_client_ip.enabled"], "true");
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
fn what_is_without_effect_is_said() {
    let cluster = cluster();
    let warnings = |annotations: &[(&str, &str)]| -> Vec<String> {
        let mut request = web();
        request.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
        for (name, value) in annotations {
            annotate(&mut request, name, value);
        }
        let session = block_on(Session::start(&cluster));
        let done = block_on(session.ensure(&request));
        let service = &done.report.services[0];
        assert!(
            !matches!(service.outcome, Outcome::Refused { .. }),
            "{service:#?}"
        );
        service.warnings.iter().map(|r| r.code.clone()).collect()
    };
    assert_eq!(warnings(&[]), Vec::<String>::new());
    assert_eq!(
        warnings(&[("aws-load-balancer-name", "later")]),
        ["NameKept"]
    );
    let given = ("aws-load-balancer-security-groups", "sg-nodes");
    assert_eq!(warnings(&[given]), ["SourceRangesIgnored"]);
    let group = "aws-load-balancer-target-group-attributes.81";
    assert_eq!(warnings(&[(group, "a=b")]), ["UnusedAnnotation"]);
    for listener in ["UDP-80", "TCP-81"] {
        let name = format!("aws-load-balancer-listener-attributes.{listener}");
        assert_eq!(warnings(&[(&name, "a=b")]), ["UnusedAnnotation"]);
    }
    let path = ("aws-load-balancer-healthcheck-path", "/ready");
    assert_eq!(warnings(&[path]), ["UnusedAnnotation"]);
    let http = ("aws-load-balancer-healthcheck-protocol", "http");
    assert_eq!(warnings(&[path, http]), Vec::<String>::new());
    let port = "aws-load-balancer-healthcheck-port";
    assert_eq!(warnings(&[(port, "9000")]), ["NothingOpened"]);
    assert_eq!(warnings(&[(port, "30001")]), Vec::<String>::new());
    assert_eq!(
        warnings(&[("aws-load-balancer-nlb-target-type", "ip")]),
        ["NothingOpened"]
    );
    let mut request = web();
    request.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    annotate(&mut request, "aws-load-balancer-disable-nlb-sg", "true");
    let (outcome, _) = pass(&cluster, &request);
    assert!(
        matches!(outcome, Outcome::Refused { .. }),
        "nobody enforces the ranges"
    );
}
