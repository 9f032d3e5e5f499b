use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use herald_core::{IpFamily, Protocol, ServiceKey};

use super::cloud::{Cloud, Fault, LoadBalancer, TargetSet, When};
use super::provider::{FakeProvider, SCHEME};
use crate::testing::conformance::Harness;
use crate::{
    EndpointPort, EndpointTarget, ErrorKind, Ingress, LoadBalancerId, LoadBalancerRequest, PortKey,
    PortRequest, ServiceRequest, TargetPort, UnixTime,
};

/// The conformance harness of the in-memory provider.
#[derive(Clone, Debug, Default)]
pub struct FakeHarness {
    /// The world.
    pub cloud: Cloud,
}

impl FakeHarness {
    /// A fresh world.
    #[allow(clippy::unused_async, reason = "makers of worlds are async")]
    pub async fn make() -> Self {
        Self::default()
    }

    fn own(&self, request: &LoadBalancerRequest) -> Vec<String> {
        let all = self.cloud.load_balancers();
        let own = all
            .into_iter()
            .filter(|(_, lb)| lb.owner.as_ref() == Some(&request.id));
        own.map(|(name, _)| name).collect()
    }
}

fn port(number: u16) -> PortRequest {
    PortRequest {
        key: PortKey {
            port: number,
            protocol: Protocol::Tcp,
        },
        name: format!("p{number}"),
        target_port: TargetPort::Number(8000 + number),
        node_port: Some(30000 + number),
    }
}

fn endpoints(generation: u8) -> Arc<[EndpointTarget]> {
    let endpoint = |host| EndpointTarget {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, generation, host)),
        ports: [80, 443]
            .map(|n| EndpointPort {
                name: format!("p{n}"),
                protocol: Protocol::Tcp,
                port: 8000 + n,
            })
            .into(),
        ready: true,
        terminating: false,
        containers_ready: true,
        node: None,
    };
    [endpoint(1), endpoint(2)].into()
}

impl Harness for FakeHarness {
    type Provider = FakeProvider;

    fn connect(&self) -> FakeProvider {
        FakeProvider::new(self.cloud.clone())
    }

    fn request(&self, name: &str) -> LoadBalancerRequest {
        let uid = format!("uid-{name}");
        let service = ServiceRequest {
            key: ServiceKey::new("default", name),
            uid: uid.as_str().into(),
            created: UnixTime(1),
            annotations: BTreeMap::new(),
            ports: vec![port(80), port(443)],
            families: vec![IpFamily::V4],
            local_traffic: false,
            health_check_node_port: None,
            source_ranges: Vec::new(),
            endpoints: endpoints(1),
            endpoints_known: true,
            published: Vec::new(),
            paused: false,
        };
        LoadBalancerRequest {
            id: LoadBalancerId::of_service(&uid),
            services: vec![service],
            nodes: Arc::new([]),
        }
    }

    fn with_targets(&self, request: &LoadBalancerRequest, generation: u8) -> LoadBalancerRequest {
        let mut request = request.clone();
        request.services[0].endpoints = endpoints(generation);
        request
    }

    fn replaced(&self, request: &LoadBalancerRequest) -> LoadBalancerRequest {
        let mut request = request.clone();
        let scheme = (SCHEME.to_owned(), "internet-facing".to_owned());
        request.services[0].annotations.extend([scheme]);
        request
    }

    fn now(&self) -> UnixTime {
        self.cloud.now()
    }

    async fn advance(&self, duration: Duration) {
        self.cloud.advance(duration);
    }

    async fn changes(&self) -> usize {
        self.cloud.log().len()
    }

    async fn resources(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (name, lb) in self.cloud.load_balancers() {
            for (port, set) in &lb.listeners {
                all.insert(format!("listener {name} {port} -> {set}"));
            }
            all.insert(format!("load balancer {name} {:?}", lb.owner));
        }
        for (name, set) in self.cloud.sets() {
            let targets: Vec<_> = set.targets.keys().collect();
            all.insert(format!("set {name} {:?} {targets:?}", set.owner));
        }
        all
    }

    async fn add_foreign(&self) {
        self.cloud.meddle(|load_balancers, sets| {
            let key = PortKey {
                port: 80,
                protocol: Protocol::Tcp,
            };
            let lb = LoadBalancer {
                owner: None,
                scheme: "internal".into(),
                active_at: UnixTime(0),
                listeners: BTreeMap::from([(key, "uid-web-foreign".into())]),
                protected: false,
                retire_at: Some(UnixTime(0)),
            };
            load_balancers.insert("uid-web-foreign".into(), lb);
            let set = TargetSet {
                owner: None,
                targets: BTreeMap::new(),
            };
            sets.insert("uid-web-foreign".into(), set);
        });
    }

    async fn serving(&self, ingress: &Ingress, port: PortKey) -> usize {
        let text = ingress.to_string();
        let name = text.trim_end_matches(".fake.test");
        let now = self.now();
        let load_balancers = self.cloud.load_balancers();
        let active = load_balancers.get(name).filter(|lb| lb.active_at <= now);
        let set = active.and_then(|lb| lb.listeners.get(&port));
        let sets = self.cloud.sets();
        set.and_then(|set| sets.get(set))
            .map_or(0, |set| set.targets.len())
    }

    async fn fail(&self, kind: ErrorKind, times: usize) {
        self.cloud.fail(Fault {
            operation: String::new(),
            kind,
            times,
        });
    }

    async fn heal(&self) {
        self.cloud.heal();
    }

    async fn crash_at(&self, n: usize, when: When) {
        self.cloud.crash_at(n, when);
    }

    async fn crashed(&self) -> bool {
        self.cloud.crashed()
    }

    async fn revive(&self) {
        self.cloud.revive();
    }

    async fn remove_a_listener(&self, request: &LoadBalancerRequest) {
        let own = self.own(request);
        self.cloud.meddle(|load_balancers, _| {
            for name in own {
                let lb = load_balancers.get_mut(&name);
                lb.and_then(|lb| lb.listeners.pop_first());
            }
        });
    }

    async fn protect(&self, request: &LoadBalancerRequest, on: bool) {
        let own = self.own(request);
        self.cloud.meddle(|load_balancers, _| {
            for name in own {
                if let Some(lb) = load_balancers.get_mut(&name) {
                    lb.protected = on;
                }
            }
        });
    }
}
