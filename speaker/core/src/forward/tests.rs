use std::net::IpAddr;

use herald_core::{Labels, Protocol};

use super::*;
use crate::{EndpointView, NodeView, ServiceKind, ServicePort, SlicePort, SliceView};

fn key() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn web() -> ServiceView {
    ServiceView {
        key: key(),
        labels: Labels::default(),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec!["10.96.0.10".parse().unwrap()],
        external_ips: Vec::new(),
        load_balancer_ips: vec!["203.0.113.10".parse().unwrap()],
        allocated_from: Vec::new(),
        earlier_pools: Vec::new(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

/// `address@node` with letters for what it is not: `r` unready, `t` terminating, `s` not serving.
fn endpoint(text: &str) -> EndpointView {
    let (address, rest) = text.split_once('@').unwrap();
    let (node, not) = rest.split_once('-').unwrap_or((rest, ""));
    EndpointView {
        address: address.parse().unwrap(),
        node: (!node.is_empty()).then(|| node.into()),
        ready: !not.contains('r'),
        serving: !not.contains('s'),
        terminating: not.contains('t'),
    }
}

fn slice(name: &str, ports: &[(&str, u16)], endpoints: &[&str]) -> SliceView {
    let endpoints: Vec<_> = endpoints.iter().map(|e| endpoint(e)).collect();
    SliceView {
        name: name.into(),
        service: key(),
        family: endpoints
            .first()
            .map_or(IpFamily::V4, |e| IpFamily::of(e.address)),
        ports: ports
            .iter()
            .map(|(name, port)| SlicePort {
                name: (*name).into(),
                protocol: Protocol::Tcp,
                port: *port,
            })
            .collect(),
        endpoints,
    }
}

fn snapshot(service: ServiceView, slices: Vec<SliceView>) -> Snapshot {
    let node = NodeView {
        name: "n1".into(),
        labels: Labels::default(),
        ready: true,
        network_unavailable: false,
        shutting_down: false,
        excluded: false,
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        known_addresses: Vec::new(),
        pod_cidrs: vec![
            "10.244.1.7/24".parse().unwrap(),
            "10.244.1.0/25".parse().unwrap(),
        ],
    };
    Snapshot {
        node: "n1".into(),
        services: [(key(), service)].into(),
        slices: [(
            key(),
            slices.into_iter().map(|s| (s.name.clone(), s)).collect(),
        )]
        .into(),
        nodes: [(node.name.clone(), node)].into(),
        ..Snapshot::default()
    }
}

fn all() -> ForwardConfig {
    ForwardConfig {
        mode: ServiceProxy::All,
        ..ForwardConfig::default()
    }
}

fn plan(service: ServiceView, slices: Vec<SliceView>) -> ServiceForwarding {
    forward(&key(), &snapshot(service, slices), &all())
}

fn of(forwarding: &ServiceForwarding, role: Role) -> &FrontendForwarding {
    let mut found = forwarding.frontends.iter().filter(|f| f.role == role);
    let first = found.next().unwrap();
    assert!(found.next().is_none(), "two of {role:?}");
    first
}

fn addresses(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(|b| b.address.to_string()).collect()
}

/// The seam between index and plan: one Service, written out.
#[test]
fn a_small_service_becomes_this_plan() {
    let slices = vec![slice(
        "a",
        &[("http", 8080)],
        &["10.244.2.5@n2", "10.244.1.5@n1"],
    )];
    let backend = |address: &str, node: &str, local| Backend {
        address: address.parse().unwrap(),
        node: Some(node.into()),
        local,
    };
    let cluster: Arc<[Backend]> = [
        backend("10.244.1.5:8080", "n1", true),
        backend("10.244.2.5:8080", "n2", false),
    ]
    .into();
    let expected = |frontend, role| FrontendForwarding {
        frontend,
        role,
        policy: TrafficPolicy::Cluster,
        cluster: cluster.clone(),
        local: Arc::default(),
        draining: Arc::default(),
        sources: None,
        ours: false,
    };
    let address = |address: &str| Frontend::Address {
        address: address.parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 80,
    };
    let node_port = Frontend::NodePort {
        family: IpFamily::V4,
        protocol: Protocol::Tcp,
        port: 30080,
    };
    assert_eq!(
        plan(web(), slices),
        ServiceForwarding {
            key: key(),
            frontends: vec![
                expected(address("10.96.0.10"), Role::ClusterIp),
                expected(address("203.0.113.10"), Role::LoadBalancer),
                expected(node_port, Role::NodePort),
            ],
        }
    );
}

#[test]
fn modes_choose_the_frontends() {
    let snapshot = snapshot(web(), vec![slice("a", &[("http", 80)], &["10.244.1.5@n1"])]);
    let roles = |mode| -> Vec<Role> {
        let config = ForwardConfig {
            mode,
            ..ForwardConfig::default()
        };
        let forwarding = forward(&key(), &snapshot, &config);
        forwarding.frontends.iter().map(|f| f.role).collect()
    };
    let external = [Role::LoadBalancer, Role::NodePort];
    assert_eq!(roles(ServiceProxy::External), external);
    assert_eq!(
        roles(ServiceProxy::All),
        [Role::ClusterIp, Role::LoadBalancer, Role::NodePort]
    );
    assert_eq!(roles(ServiceProxy::Off), []);
}

#[test]
fn another_proxys_or_an_absent_service_has_no_frontend() {
    let mut other = web();
    other.proxied = false;
    assert!(plan(other, Vec::new()).frontends.is_empty());
    let absent = forward(&key(), &Snapshot::default(), &all());
    assert_eq!(absent, ServiceForwarding::empty(key()));
}

#[test]
fn endpoints_are_ready_ones_or_else_those_that_still_serve() {
    for (endpoints, cluster, local, draining) in [
        (
            &["10.1.0.1@n1", "10.1.0.2@n2"][..],
            &["10.1.0.1:80", "10.1.0.2:80"][..],
            &["10.1.0.1:80"][..],
            &[][..],
        ),
        // Unready and terminating ones are out while others are ready; the local set decides for itself.
        (
            &["10.1.0.1@n1-rt", "10.1.0.2@n2", "10.1.0.3@n2-r"],
            &["10.1.0.2:80"],
            &["10.1.0.1:80"],
            &[],
        ),
        (
            &["10.1.0.1@n1", "10.1.0.2@n2-rt", "10.1.0.3@n1-rts"],
            &["10.1.0.1:80"],
            &["10.1.0.1:80"],
            &["10.1.0.2:80"],
        ),
        (
            &["10.1.0.1@n1-rt", "10.1.0.2@n2-rt", "10.1.0.3@n2-rts"],
            &["10.1.0.1:80", "10.1.0.2:80"],
            &["10.1.0.1:80"],
            &[],
        ),
        (&["10.1.0.1@n1-r", "10.1.0.2@-rts"], &[], &[], &[]),
        // Without a node it is nobody's local endpoint.
        (&["10.1.0.1@"], &["10.1.0.1:80"], &[], &[]),
    ] {
        let mut service = web();
        service.external_policy = TrafficPolicy::Local;
        let plan = plan(service, vec![slice("a", &[("http", 80)], endpoints)]);
        let frontend = of(&plan, Role::LoadBalancer);
        assert_eq!(addresses(&frontend.cluster), cluster, "{endpoints:?}");
        assert_eq!(addresses(&frontend.local), local, "{endpoints:?}");
        let left: Vec<_> = frontend.draining.iter().map(ToString::to_string).collect();
        assert_eq!(left, draining, "{endpoints:?}");
    }
}

#[test]
fn slices_are_merged_by_port_name_and_address() {
    let slices = vec![
        slice(
            "a",
            &[("http", 8080), ("other", 9)],
            &["10.1.0.1@n1", "10.1.0.2@n2-rt"],
        ),
        slice("b", &[("http", 9090)], &["10.1.0.1@n1"]),
        // The same address again, remote and ready: the local entry of slice a stays, the better condition wins.
        slice("c", &[("http", 8080)], &["10.1.0.1@n2", "10.1.0.2@n2"]),
        slice("d", &[("http", 0)], &["10.1.0.9@n1"]),
        slice("e", &[("grpc", 80)], &["10.1.0.8@n1"]),
        slice("f", &[("http", 8080)], &["fd00::1@n1"]),
    ];
    let plan = plan(web(), slices);
    let frontend = of(&plan, Role::LoadBalancer);
    assert_eq!(
        addresses(&frontend.cluster),
        ["10.1.0.1:8080", "10.1.0.1:9090", "10.1.0.2:8080"]
    );
    assert!(frontend.cluster[0].local);
}

#[test]
fn families_are_independent() {
    let mut dual = web();
    dual.cluster_ips.push("fd00:96::10".parse().unwrap());
    dual.load_balancer_ips
        .push("2001:db8:2::10".parse().unwrap());
    let plan = plan(dual, vec![slice("a", &[("http", 80)], &["10.1.0.1@n1"])]);
    let outcomes: Vec<_> = plan
        .frontends
        .iter()
        .map(|f| (f.frontend.family(), f.outcome()))
        .collect();
    let (four, six) = (IpFamily::V4, IpFamily::V6);
    assert_eq!(
        outcomes,
        [
            (four, Outcome::Forward),
            (four, Outcome::Forward),
            (six, Outcome::Reject),
            (six, Outcome::Reject),
            (four, Outcome::Forward),
            (six, Outcome::Reject),
        ]
    );
}

#[test]
fn policies_decide_between_reject_and_drop() {
    use TrafficPolicy::{Cluster, Local};
    for (endpoints, policy, outcome) in [
        (&["10.1.0.1@n1"][..], Local, Outcome::Forward),
        (&["10.1.0.1@n2"], Local, Outcome::Drop),
        (&["10.1.0.1@n2"], Cluster, Outcome::Forward),
        (&["10.1.0.1@n2-rts"], Local, Outcome::Reject),
        (&[], Local, Outcome::Reject),
        (&[], Cluster, Outcome::Reject),
    ] {
        let mut service = web();
        (service.external_policy, service.internal_policy) = (policy, policy);
        let plan = plan(service, vec![slice("a", &[("http", 80)], endpoints)]);
        for role in [Role::ClusterIp, Role::LoadBalancer, Role::NodePort] {
            assert_eq!(
                of(&plan, role).outcome(),
                outcome,
                "{endpoints:?} {policy:?} {role:?}"
            );
        }
    }
}

#[test]
fn each_policy_governs_its_own_traffic() {
    let mut service = web();
    service.internal_policy = TrafficPolicy::Local;
    service.external_ips = vec!["198.51.100.1".parse().unwrap()];
    let plan = plan(
        service,
        vec![slice("a", &[("http", 80)], &["10.1.0.1@n1", "10.1.0.2@n2"])],
    );
    assert_eq!(
        addresses(of(&plan, Role::ClusterIp).backends()),
        ["10.1.0.1:80"]
    );
    for role in [Role::LoadBalancer, Role::NodePort, Role::ExternalIp] {
        assert_eq!(of(&plan, role).backends().len(), 2, "{role:?}");
    }
    let external: Vec<IpAddr> = plan.external_addresses();
    assert_eq!(
        external,
        ["198.51.100.1", "203.0.113.10"].map(|a| a.parse::<IpAddr>().unwrap())
    );
}

#[test]
fn source_ranges_hold_for_load_balancer_addresses_of_their_family() {
    let mut service = web();
    service.external_ips = vec!["198.51.100.1".parse().unwrap()];
    service
        .load_balancer_ips
        .push("2001:db8:2::10".parse().unwrap());
    service.source_ranges = [
        "10.0.0.9/8",
        "10.1.0.0/16",
        "192.0.2.0/25",
        "192.0.2.128/25",
    ]
    .map(|net| net.parse().unwrap())
    .into();
    let plan = plan(service, Vec::new());
    for forwarding in &plan.frontends {
        let sources: Option<Vec<String>> = forwarding
            .sources
            .as_ref()
            .map(|s| s.iter().map(ToString::to_string).collect());
        let four = forwarding.frontend.family() == IpFamily::V4;
        let expected = (forwarding.role == Role::LoadBalancer && four)
            .then(|| vec!["10.0.0.0/8".to_owned(), "192.0.2.0/24".to_owned()]);
        assert_eq!(sources, expected, "{:?}", forwarding.frontend);
    }
}

#[test]
fn an_address_with_two_roles_is_one_frontend() {
    let mut service = web();
    service.external_ips = service.load_balancer_ips.clone();
    let plan = plan(service, Vec::new());
    assert_eq!(plan.frontends.len(), 3);
    of(&plan, Role::LoadBalancer);
}

#[test]
fn the_node_answers_on_its_first_addresses_and_knows_its_pods() {
    let forwarding = forward_node(&snapshot(web(), Vec::new()), &all());
    let ranges: Vec<_> = forwarding
        .nodeport_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(forwarding.pod_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    assert_eq!(
        forward_node(&Snapshot::default(), &all()),
        NodeForwarding::default()
    );
}

#[test]
fn node_port_prefixes_are_joined_and_spare_loopback() {
    let with = |nets: &[&str]| -> Vec<String> {
        let config = ForwardConfig {
            nodeport_addresses: Some(nets.iter().map(|n| n.parse().unwrap()).collect()),
            ..ForwardConfig::default()
        };
        let forwarding = forward_node(&snapshot(web(), Vec::new()), &config);
        forwarding
            .nodeport_ranges
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        with(&["0.0.0.0/0"]),
        ["0.0.0.0-126.255.255.255", "128.0.0.0-255.255.255.255"]
    );
    assert_eq!(with(&["127.0.0.0/8", "::1/128"]), [""; 0]);
    assert_eq!(with(&["127.1.2.0/24"]), [""; 0]);
    assert_eq!(with(&["::/127"]), ["::"]);
    assert_eq!(
        with(&[
            "10.0.1.0/24",
            "10.0.0.0/24",
            "10.0.0.128/25",
            "192.0.2.0/24"
        ]),
        ["10.0.0.0-10.0.1.255", "192.0.2.0-192.0.2.255"]
    );
}

#[test]
fn cluster_cidrs_replace_the_nodes_own() {
    let config = ForwardConfig {
        cluster_cidrs: Some(vec!["10.244.0.0/16".parse().unwrap()]),
        ..ForwardConfig::default()
    };
    let forwarding = forward_node(&snapshot(web(), Vec::new()), &config);
    assert_eq!(forwarding.pod_cidrs, ["10.244.0.0/16".parse().unwrap()]);
}
