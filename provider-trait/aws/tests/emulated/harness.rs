//! A cluster in the emulator, for the conformance suite.

use std::collections::BTreeSet;
use std::time::Duration;

use herald_core::Protocol;
use herald_provider::testing::conformance::Harness;
use herald_provider::testing::fake::When;
use herald_provider::{
    Backoff, ErrorKind, Ingress, LoadBalancerRequest, PortKey, PortRequest, UnixTime,
};
use herald_provider_aws::client::{AwsClient, Limits, Options, Rate, static_credentials};
use herald_provider_aws::{AwsProvider, Config};
use serde_json::{Value, json};

use super::Account;
use crate::memory::harness::{annotate, node, port, request};

/// A cluster in an account of its own.
pub struct Cluster {
    pub account: Account,
    pub config: Config,
    pub client: AwsClient,
    pub made: Value,
}

/// Options for an account.
pub fn options(account: &Account, vpc: &str) -> Options {
    let fast = Rate {
        per_second: 10_000.0,
        burst: 1000,
    };
    Options {
        region: Some(account.region.clone()),
        vpc: Some(vpc.to_owned()),
        endpoint: Some(account.url.clone()),
        credentials: Some(static_credentials(
            &format!("AKIA{}", account.number),
            "secret",
        )),
        limits: Limits {
            read: fast,
            change: fast,
            targets: fast,
        },
        backoff: Backoff {
            base: Duration::from_millis(2),
            cap: Duration::from_millis(20),
        },
        ..Options::default()
    }
}

impl Cluster {
    pub async fn new(account: Account) -> Self {
        let delays = json!({
            "virtual": true, "provisioning": 120, "registration": 40, "draining": 300,
        });
        account.ask("world", delays);
        let names = ["n1-1", "n2-1", "n1-2", "n2-2"];
        let made = account.ask("cluster", json!({ "instances": names }));
        let vpc = made["vpc"].as_str().unwrap().to_owned();
        let client = AwsClient::connect(options(&account, &vpc)).await.unwrap();
        let mut config = Config::new("prod", "cluster-uid", vpc);
        config.node_groups = [made["node_group"].as_str().unwrap().to_owned()].into();
        Self {
            account,
            config,
            client,
            made,
        }
    }

    fn instance(&self, name: &str, generation: u8) -> herald_provider::NodeTarget {
        let id = self.made["instances"][format!("{name}-{generation}")]
            .as_str()
            .unwrap();
        let mut node = node(name, generation);
        node.provider_id = format!("aws:///us-east-1a/{id}");
        node
    }

    fn tagged(request: &LoadBalancerRequest) -> Value {
        json!({ "key": herald_provider_aws::tags::LOAD_BALANCER, "value": request.id.as_str() })
    }
}

impl Harness for Cluster {
    type Provider = AwsProvider<AwsClient>;

    fn connect(&self) -> Self::Provider {
        AwsProvider::new(self.client.clone(), self.config.clone())
    }

    fn request(&self, name: &str) -> LoadBalancerRequest {
        let request = request(
            name,
            vec![port(80, Protocol::Tcp), port(443, Protocol::Tcp)],
        );
        self.with_targets(&request, 1)
    }

    fn with_targets(&self, request: &LoadBalancerRequest, generation: u8) -> LoadBalancerRequest {
        let mut request = request.clone();
        request.nodes = [
            self.instance("n1", generation),
            self.instance("n2", generation),
        ]
        .into();
        request
    }

    fn replaced(&self, request: &LoadBalancerRequest) -> LoadBalancerRequest {
        let mut request = request.clone();
        annotate(&mut request, "aws-load-balancer-scheme", "internet-facing");
        request
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds"
    )]
    fn now(&self) -> UnixTime {
        let state = self.account.ask("world", json!({}));
        UnixTime(state["now"].as_f64().unwrap() as u64)
    }

    async fn advance(&self, duration: Duration) {
        self.account
            .ask("advance", json!({ "seconds": duration.as_secs() }));
    }

    async fn changes(&self) -> usize {
        let state = self.account.ask("state", json!({}));
        usize::try_from(state["changed"].as_u64().unwrap()).unwrap()
    }

    async fn resources(&self) -> BTreeSet<String> {
        let all = self.account.ask("resources", json!({}));
        // The one name that depends on the VPC, which AWS names at random.
        let backend = herald_provider_aws::names::backend_group(&self.config);
        let line = |line: &Value| line.as_str().unwrap().replace(&backend, "hld-traffic");
        all.as_array().unwrap().iter().map(line).collect()
    }

    async fn add_foreign(&self) {
        let subnets = json!([self.made["subnets"][2], self.made["subnets"][3]]);
        for (name, tags) in [
            // aws-load-balancer-controller, for the same Service.
            (
                "k8s-default-web-0123456789",
                json!({ "elbv2.k8s.aws/cluster": "prod" }),
            ),
            // The cloud provider's own controller.
            (
                "a0123456789abcdef",
                json!({ "kubernetes.io/cluster/prod": "owned" }),
            ),
            // Herald in a cluster of the same name.
            (
                "hld-default-web-0123456789",
                json!({
                    "heraldlb.io/cluster": "prod",
                    "heraldlb.io/cluster-uid": "another",
                    "heraldlb.io/load-balancer": "uid-web",
                    "heraldlb.io/role": "load-balancer",
                }),
            ),
        ] {
            let vpc = &self.made["vpc"];
            let foreign = json!({ "name": name, "tags": tags, "subnets": subnets, "vpc": vpc });
            self.account.ask("foreign", foreign);
        }
    }

    async fn serving(&self, ingress: &Ingress, port: PortKey) -> usize {
        let asked = json!({ "hostname": ingress.to_string(), "port": port.port });
        usize::try_from(self.account.ask("serving", asked).as_u64().unwrap()).unwrap()
    }

    async fn fail(&self, kind: ErrorKind, times: usize) {
        let (code, status) = match kind {
            ErrorKind::Retryable => ("ServiceUnavailable", 503),
            ErrorKind::Throttled => ("Throttling", 400),
            ErrorKind::Permission => ("AccessDenied", 403),
            ErrorKind::Terminal => ("InvalidConfigurationRequest", 400),
        };
        let count = times.min(1_000_000);
        let fault = json!({ "action": "", "count": count, "code": code, "status": status });
        self.account.ask("faults", json!({ "faults": [fault] }));
    }

    async fn heal(&self) {
        self.account.ask("faults", json!({ "faults": [] }));
    }

    async fn crash_at(&self, n: usize, when: When) {
        let when = if when == When::Before {
            "before"
        } else {
            "after"
        };
        self.account.ask("crash", json!({ "at": n, "when": when }));
    }

    async fn crashed(&self) -> bool {
        self.account.ask("state", json!({}))["dead"]
            .as_bool()
            .unwrap()
    }

    async fn revive(&self) {
        self.account.ask("crash", json!({ "at": null }));
    }

    async fn remove_a_listener(&self, request: &LoadBalancerRequest) {
        self.account.ask("remove-listener", Self::tagged(request));
    }

    async fn protect(&self, request: &LoadBalancerRequest, on: bool) {
        let mut asked = Self::tagged(request);
        asked["attributes"] = json!({ "deletion_protection.enabled": on.to_string() });
        self.account.ask("attributes", asked);
    }
}

pub fn ports(all: &[(u16, Protocol)]) -> Vec<PortRequest> {
    all.iter()
        .map(|(number, protocol)| port(*number, *protocol))
        .collect()
}

/// Everything at once that is set through annotations.
pub fn rich(cluster: &Cluster) -> LoadBalancerRequest {
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
