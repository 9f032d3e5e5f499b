//! A cluster in that AWS: two zones, two nodes, and requests as the controller makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use herald_core::{IpFamily, Protocol, ServiceKey};
use herald_provider::testing::conformance::Harness;
use herald_provider::testing::fake::When;
use herald_provider::{
    EndpointPort, EndpointTarget, ErrorKind, Ingress, LoadBalancerId, LoadBalancerRequest,
    NodeTarget, PortKey, PortRequest, Readiness, ServiceRequest, TargetPort, UnixTime,
};
use herald_provider_aws::annotations::PREFIX;
use herald_provider_aws::model::{SecurityGroup, Subnet, Vpc};
use herald_provider_aws::{AwsProvider, Config};

use super::{Aws, Nlb, resources};

pub struct Cluster {
    pub aws: Aws,
    pub config: Config,
}

pub fn config() -> Config {
    let mut config = Config::new("prod", "cluster-uid", "vpc-1");
    config.node_groups = ["sg-nodes".to_owned()].into();
    config
}

/// A fresh world.
#[allow(clippy::unused_async, reason = "makers of worlds are async")]
pub async fn make() -> Cluster {
    Cluster::new(config())
}

/// A fresh world whose Services use pod addresses.
#[allow(clippy::unused_async, reason = "makers of worlds are async")]
pub async fn make_ip() -> Cluster {
    let mut config = config();
    config.target_type = herald_provider_aws::model::TargetType::Ip;
    config.pod_groups = ["sg-nodes".to_owned()].into();
    Cluster::new(config)
}

impl Cluster {
    pub fn new(config: Config) -> Self {
        let aws = Aws::default();
        {
            let world = &mut *aws.world();
            world.vpc = Vpc {
                id: "vpc-1".into(),
                nets: vec![
                    "10.0.0.0/16".parse().unwrap(),
                    "2001:db8::/56".parse().unwrap(),
                ],
            };
            for (n, (zone, public)) in [("a", true), ("b", true), ("a", false), ("b", false)]
                .into_iter()
                .enumerate()
            {
                world.subnets.push(Subnet {
                    id: format!("subnet-{n}"),
                    zone: format!("us-east-1{zone}"),
                    nets: vec![
                        format!("10.0.{n}.0/24").parse().unwrap(),
                        format!("2001:db8:0:{n}::/64").parse().unwrap(),
                    ],
                    free: 200,
                    public,
                    tags: BTreeMap::new(),
                });
            }
            let nodes = SecurityGroup {
                id: "sg-nodes".into(),
                name: "nodes".into(),
                tags: BTreeMap::new(),
                ingress: BTreeSet::new(),
            };
            world.security_groups.insert("sg-nodes".into(), nodes);
        }
        Self { aws, config }
    }

    fn own<'w>(world: &'w mut super::World, request: &LoadBalancerRequest) -> Vec<&'w mut Nlb> {
        let id = request.id.as_str().to_owned();
        let tag = herald_provider_aws::tags::LOAD_BALANCER;
        let all = world.load_balancers.values_mut();
        all.filter(|nlb| nlb.spec.tags.get(tag) == Some(&id))
            .collect()
    }
}

pub fn port(number: u16, protocol: Protocol) -> PortRequest {
    PortRequest {
        key: PortKey {
            port: number,
            protocol,
        },
        name: format!("{}{number}", protocol.to_string().to_lowercase()),
        target_port: TargetPort::Number(8000 + number % 1000),
        node_port: Some(30000 + number % 2000),
    }
}

pub fn node(name: &str, generation: u8) -> NodeTarget {
    NodeTarget {
        name: name.into(),
        provider_id: format!("aws:///us-east-1a/i-{generation}{name}"),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        ready: Readiness::Ready,
        deleting: false,
        addresses: Vec::new(),
    }
}

pub fn endpoints(ports: &[PortRequest], generation: u8) -> Arc<[EndpointTarget]> {
    let one = |host| EndpointTarget {
        address: format!("10.0.{generation}.{host}").parse().unwrap(),
        ports: ports
            .iter()
            .map(|p| EndpointPort {
                name: p.name.clone(),
                protocol: p.key.protocol,
                port: 8000 + p.key.port % 1000,
            })
            .collect(),
        ready: true,
        terminating: false,
        containers_ready: true,
        node: None,
    };
    [one(10), one(11)].into()
}

pub fn request(name: &str, ports: Vec<PortRequest>) -> LoadBalancerRequest {
    let uid = format!("uid-{name}");
    let service = ServiceRequest {
        key: ServiceKey::new("default", name),
        uid: uid.as_str().into(),
        created: UnixTime(1),
        annotations: BTreeMap::new(),
        endpoints: endpoints(&ports, 1),
        endpoints_known: true,
        ports,
        families: vec![IpFamily::V4],
        local_traffic: false,
        health_check_node_port: None,
        source_ranges: Vec::new(),
        published: Vec::new(),
        paused: false,
    };
    LoadBalancerRequest {
        id: LoadBalancerId::of_service(&uid),
        services: vec![service],
        nodes: [node("n1", 1), node("n2", 1)].into(),
    }
}

pub fn annotate(request: &mut LoadBalancerRequest, name: &str, value: &str) {
    let annotation = (format!("{PREFIX}{name}"), value.to_owned());
    request.services[0].annotations.extend([annotation]);
}

impl Harness for Cluster {
    type Provider = AwsProvider<Aws>;

    fn connect(&self) -> Self::Provider {
        AwsProvider::new(self.aws.clone(), self.config.clone())
    }

    fn request(&self, name: &str) -> LoadBalancerRequest {
        request(
            name,
            vec![port(80, Protocol::Tcp), port(443, Protocol::Tcp)],
        )
    }

    fn with_targets(&self, request: &LoadBalancerRequest, generation: u8) -> LoadBalancerRequest {
        let mut request = request.clone();
        request.nodes = [node("n1", generation), node("n2", generation)].into();
        request.services[0].endpoints = endpoints(&request.services[0].ports, generation);
        request
    }

    fn replaced(&self, request: &LoadBalancerRequest) -> LoadBalancerRequest {
        let mut request = request.clone();
        annotate(&mut request, "aws-load-balancer-scheme", "internet-facing");
        request
    }

    fn now(&self) -> UnixTime {
        self.aws.world().now
    }

    async fn advance(&self, duration: Duration) {
        self.aws.advance(duration);
    }

    async fn changes(&self) -> usize {
        self.aws.world().log.len()
    }

    async fn resources(&self) -> BTreeSet<String> {
        resources(&self.aws.world())
    }

    async fn add_foreign(&self) {
        // A cluster of the same name, told apart by its UID only.
        let theirs = Config {
            cluster_uid: "another-uid".into(),
            ..self.config.clone()
        };
        let other = Self {
            aws: self.aws.clone(),
            config: theirs,
        };
        let session = herald_provider::testing::conformance::Session::start(&other).await;
        let mut request = other.request("web");
        session.settle(&mut request).await;
        // And what another controller made for the same Service.
        let world = &mut *self.aws.world();
        let tag = (
            "elbv2.k8s.aws/cluster".to_owned(),
            self.config.cluster.clone(),
        );
        let Some(model) = world.load_balancers.values().next() else {
            return;
        };
        let mut spec = model.spec.clone();
        spec.name = "k8s-default-web-0123456789".into();
        spec.arn = "arn:nlb/theirs".into();
        spec.tags = [tag].into();
        let (active_at, attributes) = (world.now, BTreeMap::new());
        let nlb = Nlb {
            active_at,
            attributes,
            listeners: BTreeMap::new(),
            spec,
        };
        world.load_balancers.insert(nlb.spec.name.clone(), nlb);
        world.log.clear();
    }

    async fn serving(&self, ingress: &Ingress, port: PortKey) -> usize {
        let world = self.aws.world();
        let nlb = world
            .load_balancers
            .values()
            .find(|nlb| nlb.spec.dns_name == ingress.to_string() && nlb.active_at <= world.now);
        let listener = nlb.and_then(|nlb| nlb.listeners.get(&port.port));
        let arn = listener.and_then(|l| l.spec.target_group.id.as_ref());
        let group = world.groups.values().find(|group| Some(&group.arn) == arn);
        let live = group.iter().flat_map(|g| g.targets.values());
        live.filter(|t| t.draining.is_none()).count()
    }

    async fn fail(&self, kind: ErrorKind, times: usize) {
        self.aws.fail(kind, times);
    }

    async fn heal(&self) {
        self.aws.heal();
    }

    async fn crash_at(&self, n: usize, when: When) {
        self.aws.crash_at(n, when);
    }

    async fn crashed(&self) -> bool {
        self.aws.crashed()
    }

    async fn revive(&self) {
        self.aws.revive();
    }

    async fn remove_a_listener(&self, request: &LoadBalancerRequest) {
        let world = &mut *self.aws.world();
        for nlb in Self::own(world, request) {
            nlb.listeners.pop_first();
        }
    }

    async fn protect(&self, request: &LoadBalancerRequest, on: bool) {
        let world = &mut *self.aws.world();
        for nlb in Self::own(world, request) {
            let key = "deletion_protection.enabled".to_owned();
            nlb.attributes.insert(key, on.to_string());
        }
    }
}
