//! Objects for the tests of ownership.

use std::sync::Arc;

use herald_core::{IpFamily, Labels, Operator, Requirement, Selector, ServiceKey};

use crate::{
    AdvertisementView, EndpointView, Interface, NodeView, PoolView, ServiceKind, ServiceView,
    SliceView, Snapshot, SpeakerView, TrafficPolicy,
};

pub(super) fn key() -> ServiceKey {
    ServiceKey::new("default", "web")
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

pub(super) fn label(name: &str, value: &str) -> Selector {
    let requirement = Requirement {
        key: name.into(),
        operator: Operator::In,
        values: vec![value.into()],
    };
    Selector {
        requirements: vec![requirement],
    }
}

pub(super) fn advert(name: &str) -> AdvertisementView {
    AdvertisementView {
        name: name.into(),
        pools: Vec::new(),
        pool_selectors: Vec::new(),
        node_selectors: Vec::new(),
        interfaces: Vec::new(),
        service_selectors: Vec::new(),
    }
}

pub(super) fn interface(name: &str, nets: &[&str]) -> Interface {
    let addresses = nets.iter().map(|net| net.parse().unwrap()).collect();
    Interface {
        name: name.into(),
        addresses,
        up: true,
        not_forwarding: [].into(),
    }
}

/// Three good nodes in 192.0.2.0/24 and 2001:db8::/64, pool "lan", and Service default/web with an address of each family.
pub(super) fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        node: "n1".into(),
        ..Snapshot::default()
    };
    for n in 1..=3 {
        let name: Arc<str> = format!("n{n}").into();
        let node = NodeView {
            name: name.clone(),
            labels: labels(&[("zone", if n == 1 { "a" } else { "b" })]),
            ready: true,
            network_unavailable: false,
            shutting_down: false,
            excluded: false,
            addresses: Vec::new(),
            known_addresses: Vec::new(),
            pod_cidrs: Vec::new(),
        };
        snapshot.nodes.insert(name.clone(), node);
        let lan = interface(
            "lan",
            &[&format!("192.0.2.{n}/24"), &format!("2001:db8::{n}/64")],
        );
        let storage = interface("storage", &[&format!("198.51.100.{n}/24")]);
        let interfaces = vec![lan, storage];
        snapshot.speakers.insert(
            name.clone(),
            SpeakerView {
                node: name,
                live: true,
                interfaces,
            },
        );
    }
    let pool = PoolView {
        name: "lan".into(),
        labels: labels(&[("tier", "gold")]),
    };
    snapshot.pools.insert("lan".into(), pool);
    snapshot.advertisements.insert("all".into(), advert("all"));
    let service = ServiceView {
        key: key(),
        labels: labels(&[("app", "web")]),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: vec![
            "192.0.2.100".parse().unwrap(),
            "2001:db8::100".parse().unwrap(),
        ],
        allocated_from: vec!["lan".into()],
        earlier_pools: Vec::new(),
        ports: Vec::new(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    };
    snapshot.services.insert(key(), service);
    snapshot
}

pub(super) fn change(snapshot: &mut Snapshot, change: impl FnOnce(&mut ServiceView)) {
    change(snapshot.services.get_mut(&key()).unwrap());
}

/// An endpoint's node and its conditions ready, serving, terminating.
pub(super) type Endpoint = (&'static str, bool, bool, bool);

pub(super) fn endpoints(snapshot: &mut Snapshot, family: IpFamily, endpoints: &[Endpoint]) {
    let endpoint = |(node, ready, serving, terminating): &Endpoint| EndpointView {
        address: "10.0.0.1".parse().unwrap(),
        node: Some((*node).into()),
        ready: *ready,
        serving: *serving,
        terminating: *terminating,
    };
    let name: Arc<str> = format!("web-{family}").into();
    let slice = SliceView {
        name: name.clone(),
        service: key(),
        family,
        ports: Vec::new(),
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    snapshot
        .slices
        .entry(key())
        .or_default()
        .insert(name, slice);
}
