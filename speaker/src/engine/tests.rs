//! The engine alone: recorded observations in, steps out.

mod convergence;
mod inputs;
mod order;
mod reserved;
mod soundness;

use std::time::Duration;

use herald_core::{IpFamily, Protocol};
use herald_speaker_core::announce::{ClaimKey, ClaimState, Report as AnnouncerReport};
use herald_speaker_core::{
    AdvertisementView, EndpointView, Interface, NodeView, PoolView, ServiceKind, ServicePort,
    ServiceProxy, ServiceView, SlicePort, SliceView, TrafficPolicy,
};
use ipnet::IpNet;

use super::*;
use crate::data_path::{DataPathReport, SyncedService};

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn web(name: &str, address: &str) -> ServiceView {
    ServiceView {
        key: key(name),
        labels: [].into(),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec!["10.96.0.9".parse().unwrap()],
        external_ips: vec![],
        load_balancer_ips: vec![address.parse().unwrap()],
        allocated_from: vec!["lan".into()],
        earlier_pools: Vec::new(),
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: vec![],
    }
}

fn slice_of(name: &str, node: &str) -> (SliceKey, SliceView) {
    let key = SliceKey {
        namespace: "default".into(),
        name: format!("{name}-1").into(),
    };
    let view = SliceView {
        name: key.name.clone(),
        service: ServiceKey::new("default", name),
        family: IpFamily::V4,
        ports: vec![SlicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: vec![EndpointView {
            address: "10.244.1.5".parse().unwrap(),
            node: Some(node.into()),
            ready: true,
            serving: true,
            terminating: false,
        }],
    };
    (key, view)
}

fn node_seen(name: &str, ready: bool) -> NodeSeen {
    NodeSeen {
        view: NodeView {
            name: name.into(),
            labels: [].into(),
            ready,
            network_unavailable: false,
            shutting_down: false,
            excluded: false,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            known_addresses: Vec::new(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        },
        silent: false,
        uid: format!("uid-{name}"),
        leaving: false,
    }
}

fn subnet() -> Vec<IpNet> {
    vec!["192.0.2.1/24".parse().unwrap()]
}

fn speaker_seen(name: &str, renewed: u32) -> SpeakerSeen {
    SpeakerSeen {
        node: name.into(),
        renewed: renewed.to_string(),
        willing: true,
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: subnet(),
            up: true,
            not_forwarding: [].into(),
        }],
        owned: vec![],
        macs: vec![],
        conflicts: vec![],
    }
}

fn links(up: bool) -> Observation {
    let link = LinkView {
        index: 2,
        name: "eth0".into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        up,
        gateways: Vec::new(),
        addresses: subnet(),
    };
    Observation::Links([(2, link)].into())
}

fn set_node(name: &str, ready: bool) -> Observation {
    Observation::Node(Change::Set(name.into(), node_seen(name, ready)))
}

fn set_service(view: ServiceView) -> Observation {
    Observation::Service(Change::Set(view.key.clone(), view))
}

fn set_slice(name: &str, node: &str) -> Observation {
    let (key, view) = slice_of(name, node);
    Observation::Slice(Change::Set(key, view))
}

fn set_speaker(name: &str, renewed: u32) -> Observation {
    Observation::Speaker(Change::Set(name.into(), speaker_seen(name, renewed)))
}

fn synced(name: &str, addresses: &[&str]) -> Observation {
    let service = SyncedService {
        key: key(name),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    Observation::DataPath(DataPathReport::Synced {
        services: vec![service],
    })
}

fn announcing(address: &str) -> Observation {
    let key = ClaimKey {
        interface: 2,
        address: address.parse().unwrap(),
    };
    Observation::Announcer(AnnouncerReport {
        key,
        state: ClaimState::Announcing,
        repeated: false,
    })
}

/// An engine with its clock and everything it has asked for.
struct Bench {
    engine: Engine,
    now: Instant,
    steps: Vec<Step>,
}

impl Bench {
    fn new(mode: ServiceProxy) -> Self {
        let now = Instant::now();
        let config = ForwardConfig {
            mode,
            ..ForwardConfig::default()
        };
        Self {
            engine: Engine::new("n1".into(), config, now),
            now,
            steps: Vec::new(),
        }
    }

    /// Node n1 alone, Service web with address 192.0.2.10, everything listed.
    fn listed(mode: ServiceProxy) -> Self {
        let mut bench = Self::new(mode);
        bench.see(web_cluster());
        bench
    }

    fn see(&mut self, observations: impl IntoIterator<Item = Observation>) -> Vec<Step> {
        for observation in observations {
            self.engine.observe(observation, self.now);
        }
        let steps = self.engine.plan(self.now);
        self.steps.extend(steps.clone());
        steps
    }

    fn pass(&mut self, seconds: u64) -> Vec<Step> {
        self.now += Duration::from_secs(seconds);
        self.see([Observation::Tick])
    }

    fn targets(&self) -> Vec<String> {
        self.engine
            .targets()
            .keys()
            .map(ToString::to_string)
            .collect()
    }
}

fn list<K, V>(items: Vec<(K, V)>, of: fn(Change<K, V>) -> Observation) -> Vec<Observation> {
    let mut all = vec![of(Change::Listing)];
    all.extend(
        items
            .into_iter()
            .map(|(key, value)| of(Change::Set(key, value))),
    );
    all.push(of(Change::Listed));
    all
}

fn pool() -> PoolView {
    PoolView {
        name: "lan".into(),
        labels: [].into(),
    }
}

fn advertisement() -> AdvertisementView {
    AdvertisementView {
        name: "lan".into(),
        pools: vec!["lan".into()],
        pool_selectors: vec![],
        node_selectors: vec![],
        interfaces: vec![],
        service_selectors: vec![],
    }
}

fn web_cluster() -> Vec<Observation> {
    let mut all = vec![links(true)];
    all.extend(list(
        vec![(key("web"), web("web", "192.0.2.10"))],
        Observation::Service,
    ));
    all.extend(list(vec![slice_of("web", "n1")], Observation::Slice));
    all.extend(list(
        vec![("n1".into(), node_seen("n1", true))],
        Observation::Node,
    ));
    all.extend(list(vec![("lan".into(), pool())], Observation::Pool));
    all.extend(list(
        vec![("lan".into(), advertisement())],
        Observation::Advertisement,
    ));
    all.extend(list(
        vec![("n1".into(), speaker_seen("n1", 0))],
        Observation::Speaker,
    ));
    all
}

fn replaced(steps: &[Step]) -> Option<usize> {
    steps.iter().find_map(|step| match step {
        Step::Replace(_, services) => Some(services.len()),
        _ => None,
    })
}

fn changed(steps: &[Step]) -> Vec<(String, usize)> {
    let changes = steps.iter().filter_map(|step| match step {
        Step::Change(services) => Some(services),
        _ => None,
    });
    changes
        .flatten()
        .map(|s| (s.key.to_string(), s.frontends.len()))
        .collect()
}
