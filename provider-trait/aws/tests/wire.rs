//! Over the wire against moto as strict as AWS: what is written is read back as it was meant, and errors as what they are.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod emulated;
mod memory;

use std::collections::BTreeSet;

use emulated::harness::{Cluster, options, ports, rich};
use emulated::{KEY, run};
use herald_core::Protocol;
use herald_provider::testing::conformance::{Harness, Session};
use herald_provider::{ErrorKind, Outcome};
use herald_provider_aws::Api;
use herald_provider_aws::client::{AwsClient, Options, static_credentials};
use herald_provider_aws::model::TargetType;
use herald_tests::moto::{self, Call, Moto, Settings};
use memory::harness::{annotate, endpoints};
use serde_json::json;

#[test]
fn what_is_written_is_read_back_as_it_was_meant() {
    run(|region| async {
        let cluster = Cluster::new(region).await;
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
    run(|region| async {
        let mut cluster = Cluster::new(region).await;
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
        let (net, _) = cluster.made.ipv6[2].split_once("/64").unwrap();
        for (n, pod) in pods.iter_mut().enumerate() {
            pod.address = format!("{net}{}", n + 1).parse().unwrap();
        }
        six.services[0].endpoints = pods.into();
        Session::start(&cluster).await.settle(&mut six).await;
        assert!(
            cluster
                .resources()
                .await
                .iter()
                .any(|line| line.contains(&format!("'{net}1'")))
        );
        let again = Session::start(&cluster).await.ensure(&six).await;
        assert_eq!((again.applied, again.errors), (vec![], vec![]));
    });
}

#[test]
fn many_load_balancers_are_listed_page_by_page() {
    run(|region| async {
        let cluster = Cluster::new(region).await;
        cluster.region.settings(&Settings {
            page_size: Some(20),
            load_balancers: Some(100),
            ..Settings::default()
        });
        for n in 0..55 {
            let name = format!("other-{n}");
            let theirs = json!({
                "Name": name, "Type": "network", "Scheme": "internal", "Subnets": [cluster.made.subnets[2]],
            });
            cluster.region.aws("elbv2", "create_load_balancer", &theirs);
            let theirs =
                json!({"Name": name, "Protocol": "TCP", "Port": 80, "VpcId": cluster.made.vpc});
            cluster.region.aws("elbv2", "create_target_group", &theirs);
        }
        let mut request = cluster.request("web");
        Session::start(&cluster).await.settle(&mut request).await;
        let listing = cluster.client.list().await.unwrap();
        assert_eq!(listing.load_balancers.len(), 56);
        let fresh = Session::start(&cluster).await.ensure(&request).await;
        assert_eq!(fresh.applied, Vec::<String>::new());
        for action in ["DescribeLoadBalancers", "DescribeTargetGroups"] {
            let calls = cluster.region.calls();
            let further =
                |call: &&Call| call.action == action && call.params.contains_key("Marker");
            assert!(calls.iter().filter(further).count() >= 2, "{action}");
        }
    });
}

#[test]
fn wrong_credentials_are_a_matter_of_permission_in_both_clients() {
    run(|region| async {
        let cluster = Cluster::new(region).await;
        let name = BTreeSet::from(["x".to_owned()]);
        let query = herald_provider_aws::call::Query::Names {
            id: herald_provider::LoadBalancerId::of_service("u"),
            load_balancers: BTreeSet::new(),
            target_groups: BTreeSet::new(),
            security_groups: name,
        };
        for (key, code) in [
            (KEY, "SignatureDoesNotMatch"),
            ("AKIA000000000000", "InvalidClientTokenId"),
        ] {
            let options = Options {
                credentials: Some(static_credentials(key, "guessed")),
                ..options(&cluster.region, &cluster.made.vpc)
            };
            let client = AwsClient::connect(options).await.unwrap();
            let elbv2 = client.list().await.unwrap_err();
            assert_eq!(elbv2.operation, "DescribeLoadBalancers");
            let ec2 = client.ask(&query).await.unwrap_err();
            assert_eq!(ec2.operation, "DescribeSecurityGroups");
            for error in [elbv2, ec2] {
                assert_eq!(
                    (error.kind, error.code.as_str()),
                    (ErrorKind::Permission, code)
                );
            }
        }
    });
}

#[test]
fn an_unreachable_endpoint_is_retryable_and_says_where() {
    run(|region| async move {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let endpoint = Some(format!("http://{free}"));
        let options = Options {
            endpoint,
            ..options(&region, "vpc-1")
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
    run(|region| async move {
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
        let moto = Moto::start_with(&moto::Options {
            tls: Some((&certificate, &key)),
            ..moto::Options::default()
        })
        .unwrap();
        assert!(moto.endpoint().starts_with("https://"));
        let connect = async |bundle: &std::path::PathBuf| {
            let (endpoint, ca_bundle) = (Some(moto.endpoint().to_owned()), Some(bundle.clone()));
            AwsClient::connect(Options {
                endpoint,
                ca_bundle,
                ..options(&region, "vpc-1")
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
