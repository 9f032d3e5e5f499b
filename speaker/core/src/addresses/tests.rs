//! What the data path takes and what it leaves alone, in both modes.

use herald_core::{IpFamily, Labels, Protocol};

use super::*;
use crate::{
    EndpointView, ForwardConfig, Frontend, Interface, NodeView, ServiceKind, ServicePort,
    ServiceProxy, SliceView, SpeakerView, TrafficPolicy, forward,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(text: &str) -> ServiceKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ServiceKey::new(namespace, name)
}

/// A Service without endpoints: what it takes it refuses, which is all the harm that is needed.
fn service(name: &str, cluster_ips: &[&str], balanced: &[&str], external: &[&str]) -> ServiceView {
    let addresses = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
    let port = |protocol, port| ServicePort {
        name: "".into(),
        protocol,
        port,
        node_port: Some(30053),
    };
    ServiceView {
        key: key(name),
        labels: Labels::default(),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: addresses(cluster_ips),
        external_ips: addresses(external),
        load_balancer_ips: addresses(balanced),
        allocated_from: Vec::new(),
        earlier_pools: Vec::new(),
        ports: vec![port(Protocol::Udp, 53), port(Protocol::Tcp, 6443)],
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

fn node(name: &str, known: &[&str]) -> NodeView {
    NodeView {
        name: name.into(),
        labels: Labels::default(),
        ready: true,
        network_unavailable: false,
        shutting_down: false,
        excluded: false,
        addresses: Vec::new(),
        known_addresses: known.iter().map(|text| ip(text)).collect(),
        pod_cidrs: Vec::new(),
    }
}

fn cluster() -> Snapshot {
    let mut snapshot = Snapshot {
        node: "n1".into(),
        ..Snapshot::default()
    };
    for view in [
        service("kube-system/dns", &["10.96.0.10", "fd00:96::a"], &[], &[]),
        service("default/kubernetes", &["10.96.0.1"], &[], &[]),
        service("shop/web", &["10.96.7.7"], &["192.0.2.100"], &[]),
    ] {
        snapshot.services.insert(view.key.clone(), view);
    }
    for view in [
        node("n1", &["192.0.2.1", "2001:db8::1"]),
        node("n2", &["192.0.2.2", "198.51.100.2"]),
    ] {
        snapshot.nodes.insert(view.name.clone(), view);
    }
    let api = SliceView {
        name: "kubernetes".into(),
        service: api_service(),
        family: IpFamily::V4,
        ports: Vec::new(),
        endpoints: vec![EndpointView {
            address: ip("192.0.2.200"),
            node: None,
            ready: true,
            serving: true,
            terminating: false,
        }],
    };
    let slices = snapshot.slices.entry(api_service()).or_default();
    slices.insert(api.name.clone(), api);
    let link = LinkView {
        index: 2,
        name: "eth0".into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: vec![
            "192.0.2.1/24".parse().unwrap(),
            "2001:db8::1/64".parse().unwrap(),
            "172.16.0.1/30".parse().unwrap(),
        ],
        gateways: vec![ip("192.0.2.254")],
    };
    snapshot.links.insert(2, link);
    let peer = SpeakerView {
        node: "n2".into(),
        live: true,
        interfaces: vec![Interface {
            name: "eth1".into(),
            addresses: vec!["203.0.113.2/28".parse().unwrap()],
            up: true,
            not_forwarding: [].into(),
        }],
    };
    snapshot.speakers.insert("n2".into(), peer);
    snapshot
}

/// The addresses that the data path takes for Service `view`.
fn taken(mut snapshot: Snapshot, view: &ServiceView, mode: ServiceProxy) -> Vec<IpAddr> {
    snapshot.services.insert(view.key.clone(), view.clone());
    let given = [ip("192.0.2.201")];
    snapshot.addresses = Addresses::of(&snapshot, &given);
    snapshot
        .addresses
        .set_conflicts([(ip("192.0.2.150"), Mac([6; 6]))].into());
    let config = ForwardConfig {
        mode,
        ..ForwardConfig::default()
    };
    let forwarding = forward(&view.key, &snapshot, &config);
    let node_ports = forwarding.frontends.iter();
    let node_ports = node_ports.filter(|f| matches!(f.frontend, Frontend::NodePort { .. }));
    assert!(node_ports.count() > 0, "the rest of the Service is carried");
    forwarding.external_addresses()
}

const MODES: [ServiceProxy; 2] = [ServiceProxy::External, ServiceProxy::All];

/// What no Service may take, however it came by it.
const SOMEBODYS: [&str; 26] = [
    "10.96.0.10",
    "fd00:96::a",
    "10.96.0.1",
    "10.96.9.9", // its own
    "192.0.2.1",
    "2001:db8::1",
    "192.0.2.2",
    "198.51.100.2",
    "172.16.0.1",
    "203.0.113.2",
    "192.0.2.200",
    "192.0.2.201",
    "192.0.2.254",
    "192.0.2.0",
    "192.0.2.255",
    "172.16.0.3",
    "203.0.113.15",
    "2001:db8::",
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "fe80::1",
    "ff02::1",
];

#[test]
fn what_is_somebodys_is_never_taken() {
    for mode in MODES {
        for address in SOMEBODYS {
            let external = service("tenant/evil", &["10.96.9.9"], &[], &[address]);
            assert!(taken(cluster(), &external, mode).is_empty(), "{address}");
            let balanced = service("tenant/evil", &["10.96.9.9"], &[address], &[]);
            assert!(taken(cluster(), &balanced, mode).is_empty(), "{address}");
        }
        for address in ["192.0.2.101", "198.51.100.1", "2001:db8::7", "203.0.113.14"] {
            let external = service("tenant/good", &["10.96.9.9"], &[], &[address]);
            assert_eq!(taken(cluster(), &external, mode), [ip(address)]);
        }
    }
}

#[test]
fn an_external_ip_takes_no_load_balancer_address_of_another_namespace() {
    for mode in MODES {
        let stranger = service("tenant/evil", &["10.96.9.9"], &[], &["192.0.2.100"]);
        assert!(taken(cluster(), &stranger, mode).is_empty());
        let neighbour = service("shop/dns", &["10.96.9.9"], &[], &["192.0.2.100"]);
        assert_eq!(taken(cluster(), &neighbour, mode), [ip("192.0.2.100")]);
        let shared = service("tenant/both", &[], &["192.0.2.100"], &["192.0.2.100"]);
        assert_eq!(taken(cluster(), &shared, mode), [ip("192.0.2.100")]);
    }
}

#[test]
fn an_address_that_another_host_answers_for_is_not_taken() {
    for mode in MODES {
        let balanced = service("shop/late", &["10.96.9.9"], &["192.0.2.150"], &[]);
        assert!(taken(cluster(), &balanced, mode).is_empty());
    }
}

/// Cluster IPs stay carried where that is the task.
#[test]
fn cluster_ips_are_their_own_services() {
    let mut snapshot = cluster();
    snapshot.addresses = Addresses::of(&snapshot, &[]);
    let config = ForwardConfig {
        mode: ServiceProxy::All,
        ..ForwardConfig::default()
    };
    let dns = forward(&key("kube-system/dns"), &snapshot, &config);
    let roles = dns.frontends.iter().filter(|f| f.role == Role::ClusterIp);
    assert_eq!(roles.count(), 4);
}

#[test]
fn a_change_names_the_services_it_is_about() {
    let user = service("tenant/web", &["10.96.9.9"], &[], &["192.0.2.7"]);
    let other = service("tenant/other", &["10.96.9.8"], &[], &["192.0.2.8"]);
    let mut addresses = Addresses::default();
    assert!(addresses.replace_service(None, Some(&user)).is_empty());
    assert!(addresses.replace_service(None, Some(&other)).is_empty());
    let about: BTreeSet<ServiceKey> = [user.key.clone()].into();
    let n1: Arc<str> = "n1".into();
    assert_eq!(addresses.set_node(&n1, &[ip("192.0.2.7")]), about);
    assert!(addresses.set_node(&n1, &[ip("192.0.2.7")]).is_empty());
    assert_eq!(addresses.set_node(&n1, &[]), about);
    let subnet = vec!["192.0.2.7/24".parse().unwrap()];
    assert_eq!(addresses.set_subnets(&n1, subnet), about);
    assert_eq!(addresses.set_subnets(&n1, Vec::new()), about);
    let rival = service("shop/web", &["10.96.9.7"], &["192.0.2.7"], &[]);
    let touched = addresses.replace_service(None, Some(&rival));
    assert!(touched.contains(&user.key), "{touched:?}");
    assert_eq!(addresses.replace_service(Some(&rival), None), about);
}
