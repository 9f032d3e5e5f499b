//! Over the wire against the AWS emulator: what is written is read back as it was meant, and how many calls it takes.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod emulated;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use emulated::Account;
use emulated::harness::{Cluster, options};
use herald_core::Protocol;
use herald_provider::testing::conformance::{Harness, Session};
use herald_provider::{ErrorKind, LoadBalancerRequest, Outcome, PortRequest};
use herald_provider_aws::Api;
use herald_provider_aws::client::{AwsClient, Limits, Options, Rate, static_credentials};
use herald_provider_aws::model::TargetType;
use memory::harness::{annotate, endpoints, port};
use serde_json::{Value, json};

fn run<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Account) -> F) {
    let Some(emulator) = emulated::emulator() else {
        return emulated::skipped(test);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(body(Account::new(emulator)));
}

fn ports(all: &[(u16, Protocol)]) -> Vec<PortRequest> {
    all.iter()
        .map(|(number, protocol)| port(*number, *protocol))
        .collect()
}

/// Everything at once that is set through annotations.
fn rich(cluster: &Cluster) -> LoadBalancerRequest {
    let mut request = cluster.request("rich");
    request.services[0].ports = ports(&[
        (80, Protocol::Tcp),
        (443, Protocol::Tcp),
        (53, Protocol::Tcp),
        (53, Protocol::Udp),
        (90, Protocol::Udp),
    ]);
    let ask = |verb: &str, count: u32| -> Vec<String> {
        let made = cluster.account.ask(verb, json!({ "count": count }));
        made.as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect()
    };
    let addresses = ask("allocate", 2).join(",");
    let certificates = ask("certificates", 2).join(",");
    for (name, value) in [
        ("aws-load-balancer-scheme", "internet-facing"),
        ("aws-load-balancer-eip-allocations", &addresses),
        ("aws-load-balancer-ssl-cert", &certificates),
        ("aws-load-balancer-ssl-ports", "443"),
        ("aws-load-balancer-alpn-policy", "HTTP2Preferred"),
        ("aws-load-balancer-enable-tcp-udp-listener", "true"),
        ("aws-load-balancer-proxy-protocol-per-target-group", "80"),
        (
            "aws-load-balancer-target-group-attributes",
            "deregistration_delay.timeout_seconds=30",
        ),
        (
            "aws-load-balancer-attributes",
            "load_balancing.cross_zone.enabled=true",
        ),
        (
            "aws-load-balancer-listener-attributes.TCP-80",
            "tcp.idle_timeout.seconds=60",
        ),
        ("aws-load-balancer-healthcheck-interval", "15"),
        (
            "aws-load-balancer-additional-resource-tags",
            "team=net,app=a b",
        ),
    ] {
        annotate(&mut request, name, value);
    }
    request.services[0].source_ranges = vec![
        "192.0.2.0/24".parse().unwrap(),
        "198.51.100.7/32".parse().unwrap(),
    ];
    request
}

#[test]
fn what_is_written_is_read_back_as_it_was_meant() {
    run("reading back", |account| async {
        let cluster = Cluster::new(account).await;
        let mut request = rich(&cluster);
        let done = Session::start(&cluster).await.settle(&mut request).await;
        assert_eq!(done.report.services[0].outcome, Outcome::Ready);
        // Any field that does not come back as it was sent shows as a difference here.
        let again = Session::start(&cluster).await.ensure(&request).await;
        assert_eq!((again.applied, again.errors), (vec![], vec![]));
        let resources = cluster.resources().await;
        let has = |part: &str| resources.iter().any(|line| line.contains(part));
        assert!(
            has(" 53 TCP_UDP ") && has(" 443 TLS ") && has(" 90 UDP "),
            "{resources:#?}"
        );
        assert!(
            has("192.0.2.0/24") && has("198.51.100.7/32") && !has("0.0.0.0/0"),
            "{resources:#?}"
        );

        // And everything that was set goes back.
        let keep = [
            "aws-load-balancer-scheme",
            "aws-load-balancer-eip-allocations",
        ];
        request.services[0]
            .annotations
            .retain(|key, _| keep.iter().any(|name| key.ends_with(name)));
        request.services[0].ports = ports(&[(80, Protocol::Tcp), (443, Protocol::Tcp)]);
        Session::start(&cluster).await.settle(&mut request).await;
        let again = Session::start(&cluster).await.ensure(&request).await;
        assert_eq!((again.applied, again.errors), (vec![], vec![]));
        let session = Session::start(&cluster).await;
        session.remove(&request.id).await;
        assert_eq!(
            cluster.resources().await,
            BTreeSet::from(["security group nodes".to_owned()])
        );
    });
}

#[test]
fn pods_are_targets_in_both_families() {
    run("pod targets", |account| async {
        let mut cluster = Cluster::new(account).await;
        cluster.config.target_type = TargetType::Ip;
        cluster.config.pod_groups = std::mem::take(&mut cluster.config.node_groups);
        let mut request = cluster.request("pods");
        request.services[0].endpoints = endpoints(&request.services[0].ports, 1);
        Session::start(&cluster).await.settle(&mut request).await;
        let targets =
            |all: &BTreeSet<String>| all.iter().filter(|l| l.contains("10.0.1.10")).count();
        assert_eq!(targets(&cluster.resources().await), 2);

        // An address outside of the VPC is registered for all zones.
        let mut outside = request.services[0].endpoints.to_vec();
        outside[0].address = "192.168.7.7".parse().unwrap();
        request.services[0].endpoints = outside.into();
        Session::start(&cluster).await.settle(&mut request).await;
        assert!(
            cluster
                .resources()
                .await
                .iter()
                .any(|line| line.contains("192.168.7.7"))
        );

        let mut six = cluster.request("six");
        annotate(&mut six, "aws-load-balancer-ip-address-type", "dualstack");
        six.services[0].families = vec![herald_core::IpFamily::V6];
        let mut pods = endpoints(&six.services[0].ports, 1).to_vec();
        for (n, pod) in pods.iter_mut().enumerate() {
            pod.address = format!("2001:db8::{}", n + 1).parse().unwrap();
        }
        six.services[0].endpoints = pods.into();
        Session::start(&cluster).await.settle(&mut six).await;
        assert!(
            cluster
                .resources()
                .await
                .iter()
                .any(|line| line.contains("2001:db8::1"))
        );
        let again = Session::start(&cluster).await.ensure(&six).await;
        assert_eq!((again.applied, again.errors), (vec![], vec![]));
    });
}

#[test]
fn a_resync_takes_the_calls_the_documentation_says() {
    run("the resync", |account| async {
        const SERVICES: usize = 25;
        let cluster = Cluster::new(account).await;
        let session = Session::start(&cluster).await;
        let mut requests: Vec<_> = (0..SERVICES)
            .map(|n| cluster.request(&format!("s{n}")))
            .collect();
        for request in &mut requests {
            session.settle(request).await;
        }
        cluster.account.forget_calls();
        let fresh = Session::start(&cluster).await;
        for request in &requests {
            let done = fresh.ensure(request).await;
            assert_eq!(done.report.services[0].outcome, Outcome::Ready);
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (action, changes, result) in cluster.account.calls() {
            assert!(!changes, "{action} changes something");
            assert_eq!(result, "ok", "{action}");
            *counts.entry(action).or_default() += 1;
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
fn many_load_balancers_are_listed_page_by_page() {
    run("paging", |account| async {
        let cluster = Cluster::new(account).await;
        let subnets = json!([cluster.made["subnets"][2]]);
        for n in 0..55 {
            let foreign = json!({
                "name": format!("other-{n}"), "tags": {"a": "b"}, "subnets": subnets, "vpc": cluster.made["vpc"],
            });
            cluster.account.ask("foreign", foreign);
        }
        let mut request = cluster.request("web");
        Session::start(&cluster).await.settle(&mut request).await;
        let listing = cluster.client.list().await.unwrap();
        assert_eq!(listing.load_balancers.len(), 56);
        let fresh = Session::start(&cluster).await.ensure(&request).await;
        assert_eq!(fresh.applied, Vec::<String>::new());
        let pages = cluster.account.calls();
        assert!(
            pages
                .iter()
                .filter(|(action, ..)| action == "DescribeLoadBalancers")
                .count()
                > 2
        );
    });
}

#[test]
fn many_services_at_once_under_throttling_all_arrive_and_keep_to_the_limit() {
    run("throttling", |account| async {
        const SERVICES: usize = 20;
        let cluster = Cluster::new(account).await;
        let throttle = |action: &str, count: u32| json!({ "action": action, "count": count, "code": "Throttling", "status": 400 });
        let faults = [
            throttle("CreateTargetGroup", 9),
            throttle("CreateLoadBalancer", 7),
            throttle("DescribeTargetHealth", 4),
        ];
        cluster.account.ask("faults", json!({ "faults": faults }));
        let limit = Rate {
            per_second: 40.0,
            burst: 5,
        };
        let vpc = cluster.made["vpc"].as_str().unwrap();
        let limits = Limits {
            read: limit,
            change: limit,
            targets: limit,
        };
        let client = AwsClient::connect(Options {
            limits,
            ..options(&cluster.account, vpc)
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

#[test]
fn wrong_credentials_are_a_matter_of_permission_in_both_clients() {
    run("wrong credentials", |account| async {
        let cluster = Cluster::new(account).await;
        let vpc = cluster.made["vpc"].as_str().unwrap();
        let wrong = Some(static_credentials("AKIA000000000000", "guessed"));
        let options = Options {
            credentials: wrong,
            ..options(&cluster.account, vpc)
        };
        let client = AwsClient::connect(options).await.unwrap();
        let error = client.list().await.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Permission, "SignatureDoesNotMatch")
        );
        let name = BTreeSet::from(["x".to_owned()]);
        let query = herald_provider_aws::call::Query::Names {
            id: herald_provider::LoadBalancerId::of_service("u"),
            load_balancers: BTreeSet::new(),
            target_groups: BTreeSet::new(),
            security_groups: name,
        };
        let error = client.ask(&query).await.unwrap_err();
        assert_eq!(error.operation, "DescribeSecurityGroups");
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Permission, "SignatureDoesNotMatch")
        );
    });
}

#[test]
fn an_unreachable_endpoint_is_retryable_and_says_where() {
    run("an unreachable endpoint", |account| async move {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let endpoint = Some(format!("http://{free}"));
        let options = Options {
            endpoint,
            ..options(&account, "vpc-1")
        };
        let client = AwsClient::connect(options).await.unwrap();
        let error = client.list().await.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Retryable, "ConnectionFailed")
        );
        assert_eq!(error.operation, "DescribeLoadBalancers");
    });
}

#[test]
fn tls_is_checked_against_the_given_authorities() {
    run("TLS", |account| async move {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = write("certificate.pem", made.cert.pem());
        let key = write("key.pem", made.signing_key.serialize_pem());
        let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let stranger = write("stranger.pem", other.cert.pem());
        let empty = write("empty.pem", String::new());
        let tls = [
            "--tls-certificate",
            certificate.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ];
        let emulator = emulated::start_with(&tls).unwrap();
        assert!(emulator.url.starts_with("https://"));
        let connect = async |bundle: &std::path::PathBuf| {
            let (endpoint, ca_bundle) = (Some(emulator.url.clone()), Some(bundle.clone()));
            AwsClient::connect(Options {
                endpoint,
                ca_bundle,
                ..options(&account, "vpc-1")
            })
            .await
        };
        let name = BTreeSet::from(["x".to_owned()]);
        let query = herald_provider_aws::call::Query::Names {
            id: herald_provider::LoadBalancerId::of_service("u"),
            load_balancers: name.clone(),
            target_groups: BTreeSet::new(),
            security_groups: name,
        };
        connect(&certificate)
            .await
            .unwrap()
            .ask(&query)
            .await
            .unwrap();
        let error = connect(&stranger)
            .await
            .unwrap()
            .ask(&query)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Retryable, "ConnectionFailed")
        );
        let error = connect(&empty).await.unwrap_err().to_string();
        assert!(
            error.contains("empty.pem") && error.contains("no PEM certificate"),
            "{error}"
        );
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
    run("the IAM policy", |account| async {
        let cluster = Cluster::new(account).await;
        let session = Session::start(&cluster).await;
        let mut request = rich(&cluster);
        session.settle(&mut request).await;
        let session = Session::start(&cluster).await;
        // Every kind of change that the rich request did not need.
        let annotation = |request: &mut LoadBalancerRequest, name: &str, value: &str| {
            annotate(request, name, value);
        };
        let third = cluster.account.ask("certificates", json!({ "count": 1 }));
        annotation(
            &mut request,
            "aws-load-balancer-ssl-cert",
            third[0].as_str().unwrap(),
        );
        annotation(&mut request, "aws-load-balancer-healthcheck-interval", "20");
        annotation(
            &mut request,
            "aws-load-balancer-additional-resource-tags",
            "team=net",
        );
        request.services[0].ports.remove(4);
        session.settle(&mut cluster.with_targets(&request, 2)).await;
        let mut inner = cluster.request("inner");
        annotate(
            &mut inner,
            "aws-load-balancer-subnets",
            cluster.made["subnets"][2].as_str().unwrap(),
        );
        session.settle(&mut inner).await;
        let both = format!(
            "{},{}",
            cluster.made["subnets"][2].as_str().unwrap(),
            cluster.made["subnets"][3].as_str().unwrap()
        );
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

        let called: BTreeSet<String> = cluster.account.ask("state", json!({}))["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "{}:{}",
                    c["service"].as_str().unwrap(),
                    c["action"].as_str().unwrap()
                )
            })
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
