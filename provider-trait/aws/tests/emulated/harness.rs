//! A cluster in one region of moto, for the conformance suite.

use std::cell::Cell;
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
use herald_tests::moto::{Fault, Scene, Settings};
use serde_json::{Value, json};

use super::{KEY, Region, text};
use crate::memory::harness::{annotate, node, port, request};

/// A cluster in a region of its own.
pub struct Cluster {
    pub region: Region,
    pub config: Config,
    pub client: AwsClient,
    pub made: Scene,
    pub now: Cell<UnixTime>,
}

/// Options for a region.
pub fn options(region: &Region, vpc: &str) -> Options {
    let fast = Rate {
        per_second: 10_000.0,
        burst: 1000,
    };
    Options {
        region: Some(region.name.to_owned()),
        vpc: Some(vpc.to_owned()),
        endpoint: Some(region.endpoint().to_owned()),
        credentials: Some(static_credentials(KEY, KEY)),
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
    pub async fn new(region: Region) -> Self {
        region.settings(&Settings {
            clock: Some("manual"),
            provisioning: Some(120.0),
            registration: Some(40.0),
            draining: Some(Some(300.0)),
            release: Some(20.0),
            subnet_removal: Some(false),
            ..Settings::default()
        });
        let made = region.cluster(&["n1-1", "n2-1", "n1-2", "n2-2"]);
        let client = AwsClient::connect(options(&region, &made.vpc))
            .await
            .unwrap();
        let mut config = Config::new("prod", "cluster-uid", made.vpc.clone());
        config.node_groups = [made.node_group.clone()].into();
        Self {
            region,
            config,
            client,
            made,
            now: Cell::new(UnixTime(1_000_000)),
        }
    }

    fn instance(&self, name: &str, generation: u8) -> herald_provider::NodeTarget {
        let id = &self.made.instances[&format!("{name}-{generation}")];
        let mut node = node(name, generation);
        node.provider_id = format!("aws:///us-east-1a/{id}");
        node
    }

    /// Load balancers of a request, by ARN.
    fn own(&self, request: &LoadBalancerRequest) -> Vec<String> {
        let tag =
            json!({"Key": herald_provider_aws::tags::LOAD_BALANCER, "Value": request.id.as_str()});
        let all = self
            .region
            .aws("elbv2", "describe_load_balancers", &json!({}));
        let arns = all["LoadBalancers"].as_array().unwrap().iter();
        let arns = arns.map(|lb| text(&lb["LoadBalancerArn"]));
        arns.filter(|arn| {
            let asked = json!({"ResourceArns": [arn]});
            let found = self.region.aws("elbv2", "describe_tags", &asked);
            let tags = &found["TagDescriptions"][0]["Tags"];
            tags.as_array().unwrap().contains(&tag)
        })
        .collect()
    }

    /// A load balancer that somebody else made, with everything that belongs to it.
    fn add_theirs(&self, name: &str, tags: &[(&str, &str)]) {
        let tags: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        let vpc = &self.made.vpc;
        let specification = [json!({"ResourceType": "security-group", "Tags": tags})];
        let group = self.region.aws(
            "ec2",
            "create_security_group",
            &json!({"GroupName": name, "Description": name, "VpcId": vpc, "TagSpecifications": specification}),
        );
        let lb = self.region.aws(
            "elbv2",
            "create_load_balancer",
            &json!({
                "Name": name, "Type": "network", "Scheme": "internal", "Subnets": self.made.subnets[2..],
                "SecurityGroups": [group["GroupId"]], "Tags": tags,
            }),
        );
        let targets = self.region.aws(
            "elbv2",
            "create_target_group",
            &json!({"Name": name, "Protocol": "TCP", "Port": 80, "VpcId": vpc, "TargetType": "ip", "Tags": tags}),
        );
        let action = json!({"Type": "forward", "TargetGroupArn": targets["TargetGroups"][0]["TargetGroupArn"]});
        self.region.aws(
            "elbv2",
            "create_listener",
            &json!({
                "LoadBalancerArn": lb["LoadBalancers"][0]["LoadBalancerArn"], "Port": 80, "Protocol": "TCP",
                "Tags": tags, "DefaultActions": [action],
            }),
        );
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

    fn now(&self) -> UnixTime {
        self.now.get()
    }

    async fn advance(&self, duration: Duration) {
        self.region.advance(duration);
        self.now
            .set(UnixTime(self.now.get().0 + duration.as_secs()));
    }

    async fn changes(&self) -> usize {
        let done = |call: &herald_tests::moto::Call| call.changing && call.code.is_empty();
        self.region.calls().iter().filter(|call| done(call)).count()
    }

    async fn resources(&self) -> BTreeSet<String> {
        let all = self.region.resources();
        // The one name that depends on the VPC, which AWS names at random.
        let backend = herald_provider_aws::names::backend_group(&self.config);
        all.iter()
            .map(|line| line.replace(&backend, "hld-traffic"))
            .collect()
    }

    async fn add_foreign(&self) {
        // aws-load-balancer-controller, for the same Service.
        self.add_theirs(
            "k8s-default-web-0123456789",
            &[("elbv2.k8s.aws/cluster", "prod")],
        );
        // The cloud provider's own controller.
        self.add_theirs(
            "a0123456789abcdef",
            &[("kubernetes.io/cluster/prod", "owned")],
        );
        // Herald in a cluster of the same name.
        self.add_theirs(
            "hld-default-web-0123456789",
            &[
                ("heraldlb.io/cluster", "prod"),
                ("heraldlb.io/cluster-uid", "another"),
                ("heraldlb.io/load-balancer", "uid-web"),
                ("heraldlb.io/role", "load-balancer"),
            ],
        );
    }

    async fn serving(&self, ingress: &Ingress, port: PortKey) -> usize {
        self.region.serving(&ingress.to_string(), port.port)
    }

    async fn fail(&self, kind: ErrorKind, times: usize) {
        let (code, status) = match kind {
            ErrorKind::Retryable => ("ServiceUnavailable", 503),
            ErrorKind::Throttled => ("Throttling", 400),
            ErrorKind::Permission => ("AccessDenied", 403),
            ErrorKind::Terminal => ("InvalidConfigurationRequest", 400),
        };
        self.region.faults([Fault {
            action: "changing".into(),
            // More than there are: all.
            count: u32::try_from(times).ok(),
            code: Some(code.into()),
            status: Some(status),
            ..Fault::default()
        }]);
    }

    async fn heal(&self) {
        self.region.heal();
    }

    async fn crash_at(&self, n: usize, when: When) {
        self.region.faults([Fault {
            action: "changing".into(),
            skip: u32::try_from(n).unwrap(),
            code: Some("InternalFailure".into()),
            status: Some(503),
            when: if when == When::Before {
                "before"
            } else {
                "after"
            }
            .into(),
            sticks: true,
            ..Fault::default()
        }]);
    }

    async fn crashed(&self) -> bool {
        // Once it has met its call, it meets every call.
        let left = self.region.faults_left();
        left.iter().any(|fault| fault.sticks && fault.action == "*")
    }

    async fn revive(&self) {
        self.region.heal();
    }

    async fn remove_a_listener(&self, request: &LoadBalancerRequest) {
        for arn in self.own(request) {
            let asked = json!({"LoadBalancerArn": arn});
            let found = self.region.aws("elbv2", "describe_listeners", &asked);
            let first = json!({"ListenerArn": found["Listeners"][0]["ListenerArn"]});
            self.region.aws("elbv2", "delete_listener", &first);
        }
    }

    async fn protect(&self, request: &LoadBalancerRequest, on: bool) {
        for arn in self.own(request) {
            let protection =
                json!([{"Key": "deletion_protection.enabled", "Value": on.to_string()}]);
            let asked = json!({"LoadBalancerArn": arn, "Attributes": protection});
            self.region
                .aws("elbv2", "modify_load_balancer_attributes", &asked);
        }
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
    let addresses = cluster.region.addresses(2).join(",");
    let certificates =
        ["a.example.com", "b.example.com"].map(|name| cluster.region.certificate(name));
    let certificates = certificates.join(",");
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
