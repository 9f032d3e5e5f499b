//! Over the wire against moto as strict as AWS: which calls are made, how many, and how fast.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod emulated;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emulated::harness::{Cluster, options, rich};
use emulated::run;
use herald_provider::testing::conformance::{Harness, Session};
use herald_provider::{LoadBalancerRequest, Outcome};
use herald_provider_aws::client::{AwsClient, Limits, Options, Rate};
use herald_tests::moto::Fault;
use memory::harness::annotate;
use serde_json::Value;

#[test]
fn a_resync_takes_the_calls_the_documentation_says() {
    run(|region| async {
        const SERVICES: usize = 25;
        let cluster = Cluster::new(region).await;
        let session = Session::start(&cluster).await;
        let mut requests: Vec<_> = (0..SERVICES)
            .map(|n| cluster.request(&format!("s{n}")))
            .collect();
        for request in &mut requests {
            session.settle(request).await;
        }
        cluster.region.forget_calls();
        let fresh = Session::start(&cluster).await;
        for request in &requests {
            let done = fresh.ensure(request).await;
            assert_eq!(done.report.services[0].outcome, Outcome::Ready);
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for call in cluster.region.calls() {
            assert!(!call.changing, "{call:?} changes something");
            assert_eq!(call.code, "", "{call:?}");
            *counts.entry(call.action).or_default() += 1;
        }
        let groups = 2 * SERVICES;
        let expected = [
            ("DescribeListeners", SERVICES),
            ("DescribeLoadBalancers", 1),
            ("DescribeRouteTables", 1),
            ("DescribeSecurityGroups", 1),
            ("DescribeSubnets", 1),
            // Load balancers and target groups twenty at a time; listeners with their load balancer.
            (
                "DescribeTags",
                SERVICES.div_ceil(20) + groups.div_ceil(20) + SERVICES,
            ),
            ("DescribeTargetGroups", 1),
            ("DescribeTargetHealth", groups),
            ("DescribeVpcs", 1),
        ];
        let expected: BTreeMap<String, usize> = expected
            .into_iter()
            .map(|(name, n)| (name.to_owned(), n))
            .collect();
        assert_eq!(counts, expected);
    });
}

#[test]
fn many_services_at_once_under_throttling_all_arrive_and_keep_to_the_limit() {
    run(|region| async {
        const SERVICES: usize = 20;
        let cluster = Cluster::new(region).await;
        let throttle = |action: &str, count: u32| Fault {
            action: action.into(),
            count: Some(count),
            code: Some("Throttling".into()),
            ..Fault::default()
        };
        cluster.region.faults([
            throttle("CreateTargetGroup", 9),
            throttle("CreateLoadBalancer", 7),
            throttle("DescribeTargetHealth", 4),
        ]);
        let limit = Rate {
            per_second: 40.0,
            burst: 5,
        };
        let limits = Limits {
            read: limit,
            change: limit,
            targets: limit,
        };
        let client = AwsClient::connect(Options {
            limits,
            ..options(&cluster.region, &cluster.made.vpc)
        })
        .await;
        let limited = Cluster {
            client: client.unwrap(),
            ..cluster
        };
        let session = Session::start(&limited).await;
        let started = std::time::Instant::now();
        let mut requests: Vec<_> = (0..SERVICES)
            .map(|n| limited.request(&format!("s{n}")))
            .collect();
        // All at once: they share the inventory, the limiter, and the one backend group that all of them want to make.
        futures::future::join_all(requests.iter_mut().map(|request| session.settle(request))).await;
        let took = started.elapsed();
        let counts = limited.client.metrics().counts();
        let of = |result: &str| -> u64 {
            counts
                .iter()
                .filter(|c| c.result == result)
                .map(|c| c.count)
                .sum()
        };
        assert_eq!(of("Throttling"), 20, "{counts:?}");
        let changes = [
            "CreateTargetGroup",
            "CreateLoadBalancer",
            "CreateListener",
            "CreateSecurityGroup",
        ];
        let sent: u64 = counts
            .iter()
            .filter(|c| changes.contains(&c.operation))
            .map(|c| c.count)
            .sum();
        let least = Duration::from_secs_f64((f64::from(u32::try_from(sent).unwrap()) - 5.0) / 40.0);
        assert!(
            took >= least,
            "{sent} changing calls in {took:?}, at least {least:?} at this rate"
        );
        let resources = limited.resources().await;
        let balancers = resources
            .iter()
            .filter(|line| line.starts_with("nlb "))
            .count();
        let groups = resources
            .iter()
            .filter(|line| line.starts_with("target group "))
            .count();
        assert_eq!((balancers, groups), (SERVICES, 2 * SERVICES), "none twice");
    });
}

/// The actions of the documented IAM policy, as `service:Action`.
fn policy() -> BTreeSet<String> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/aws/iam-policy.json"
    );
    let policy: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|s| match &s["Action"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    });
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_iam_policy_allows_what_is_called_and_nothing_else() {
    run(|region| async {
        let cluster = Cluster::new(region).await;
        let session = Session::start(&cluster).await;
        let mut request = rich(&cluster);
        session.settle(&mut request).await;
        let session = Session::start(&cluster).await;
        // Every kind of change that the rich request did not need.
        let annotation = |request: &mut LoadBalancerRequest, name: &str, value: &str| {
            annotate(request, name, value);
        };
        let third = cluster.region.certificate("c.example.com");
        annotation(&mut request, "aws-load-balancer-ssl-cert", &third);
        annotation(&mut request, "aws-load-balancer-healthcheck-interval", "20");
        annotation(
            &mut request,
            "aws-load-balancer-additional-resource-tags",
            "team=net",
        );
        request.services[0].ports.remove(4);
        session.settle(&mut cluster.with_targets(&request, 2)).await;
        let mut inner = cluster.request("inner");
        let private = &cluster.made.subnets[2..];
        annotate(&mut inner, "aws-load-balancer-subnets", &private[0]);
        session.settle(&mut inner).await;
        let both = private.join(",");
        annotate(&mut inner, "aws-load-balancer-subnets", &both);
        session.settle(&mut inner).await;
        annotate(&mut inner, "aws-load-balancer-ip-address-type", "dualstack");
        annotate(
            &mut inner,
            "aws-load-balancer-security-groups",
            cluster.config.node_groups.first().unwrap(),
        );
        session.settle(&mut inner).await;
        remove_all(&session, &[&request, &inner]).await;

        let called: BTreeSet<String> = cluster
            .region
            .calls()
            .iter()
            .map(|call| format!("{}:{}", call.service, call.action))
            .collect();
        let mut allowed = policy();
        // Implied by tags in the creating call, never called by itself.
        assert!(allowed.remove("ec2:CreateTags"));
        assert_eq!(
            called.difference(&allowed).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "not allowed"
        );
        assert_eq!(
            allowed.difference(&called).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "not needed"
        );
    });
}

async fn remove_all(session: &Session<'_, Cluster>, requests: &[&LoadBalancerRequest]) {
    for request in requests {
        session.remove(&request.id).await;
    }
}
