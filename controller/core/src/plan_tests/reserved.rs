//! Addresses that are somebody's: given to nobody, kept by whoever has one, and said where it matters.

use herald_core::ServiceKey;

use super::asks;
use crate::plan_pool::{PoolObserved, plan_pool};
use crate::service::ServiceView;
use crate::status::ConditionKind;
use crate::world::{World, ip, ips, pool, svc};

/// A Service with a cluster IP that no pool serves.
fn plain(namespace: &str, name: &str, cluster_ip: &str, external: &[&str]) -> ServiceView {
    ServiceView {
        key: ServiceKey::new(namespace, name),
        load_balancer: false,
        cluster_ips: ips(&[cluster_ip]),
        external_ips: ips(external),
        ..svc(name)
    }
}

fn ready(world: &World, name: &str) -> (bool, String, String) {
    let mut index = world.index.clone();
    let view = index.allocator().pool(name).unwrap().clone();
    let observed = PoolObserved {
        finalizer: true,
        ..PoolObserved::default()
    };
    index.observe_pool(view, observed);
    let ready = plan_pool(name, &index).status.unwrap().ready;
    (ready.status, ready.reason, ready.message)
}

#[test]
fn what_is_somebodys_is_not_given_on_request_nor_by_itself() {
    let all = [
        "10.77.0.0/29",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "10.96.0.10",
    ];
    let mut world = World::new([pool("lan", &all)], []);
    world.index.observe_node(&"n1".into(), ips(&["10.77.0.1"]));
    world.index.observe_api_servers(ips(&["10.77.0.2"]));
    world.index.observe_speaker(&crate::SpeakerView {
        node: "n1".into(),
        interfaces: vec![("eth0".into(), vec!["10.77.0.1/29".parse().unwrap()])],
        ..crate::SpeakerView::default()
    });
    world.add(plain("kube-system", "dns", "10.96.0.10", &[]));
    for (name, address, part) in [
        ("a", "0.0.0.0", "this network"),
        ("b", "127.0.0.1", "loopback"),
        ("c", "224.0.0.1", "multicast"),
        ("d", "255.255.255.255", "limited broadcast"),
        ("e", "10.77.0.1", "an address of node n1"),
        ("f", "10.77.0.2", "API server"),
        ("g", "10.77.0.0", "first address of a subnet of node n1"),
        ("h", "10.77.0.7", "broadcast address of a subnet of node n1"),
        ("i", "10.96.0.10", "cluster IP of Service kube-system/dns"),
    ] {
        world.add(asks(name, None, Some(address)));
        assert_eq!(
            world.allocated(name),
            (false, "AddressReserved".into()),
            "{address}"
        );
        let message = world.message(name, ConditionKind::Allocated);
        assert!(
            message.contains(part) && message.contains("ask for another"),
            "{message}"
        );
        assert!(world.events.contains(&(name.into(), "AddressReserved")));
    }
    let available = world.index.allocator().counts("lan").unwrap().available.v4;
    assert_eq!(available, 4);
    for (n, address) in ["10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6"]
        .into_iter()
        .enumerate()
    {
        let name = format!("s{n}");
        world.add(svc(&name));
        assert_eq!(world.addresses(&name), [address]);
    }
    world.add(svc("late"));
    assert_eq!(world.allocated("late"), (false, "PoolExhausted".into()));
    let (status, reason, message) = ready(&world, "lan");
    assert!(status && reason == "Valid", "{reason}");
    assert_eq!(
        message,
        "gives addresses, but not 0.0.0.0 (an address of \"this network\" (0.0.0.0/8)), 10.77.0.0 (the first address of a \
         subnet of node n1), 10.77.0.1 (an address of node n1), and 6 more"
    );
    // The node leaves, and its address is free.
    world.index.forget_node(&"n1".into());
    world.index.forget_speaker("n1");
    world.run();
    assert_eq!(
        world.addresses("e"),
        ["10.77.0.1"],
        "who asked for it is served"
    );
    assert_eq!(world.index.nodes().count(), 0);
}

#[test]
fn a_pool_of_nothing_else_is_not_ready() {
    let world = World::new([pool("loop", &["127.0.0.0/8", "::1"])], []);
    let (status, reason, message) = ready(&world, "loop");
    assert!(!status);
    assert_eq!(reason, "Reserved");
    assert!(
        message.contains("127.0.0.0-127.255.255.255 (a loopback address)"),
        "{message}"
    );
}

#[test]
fn an_address_in_use_that_becomes_somebodys_is_kept_and_marked() {
    let mut world = World::new([pool("lan", &["10.77.0.2-10.77.0.9"])], [svc("web")]);
    assert_eq!(world.addresses("web"), ["10.77.0.2"]);
    world.index.observe_node(&"n1".into(), ips(&["10.77.0.2"]));
    world.run();
    assert_eq!(world.addresses("web"), ["10.77.0.2"]);
    let marked = |world: &World| {
        let reason = world.reason("web", ConditionKind::AddressInPool);
        reason.map(str::to_owned)
    };
    assert_eq!(marked(&world).as_deref(), Some("AddressReserved"));
    let message = world.message("web", ConditionKind::AddressInPool);
    assert!(
        message.starts_with("10.77.0.2 is an address of node n1: kept"),
        "{message}"
    );
    assert!(world.events.contains(&("web".into(), "AddressReserved")));
    let counts = world.index.allocator().counts("lan").unwrap();
    assert_eq!((counts.assigned.v4, counts.available.v4), (1, 7));
    // A restart that sees the node first keeps it too.
    let mut again = crate::index::Index::new(crate::world::settings());
    again.observe_node(&"n1".into(), ips(&["10.77.0.2"]));
    again.observe_pool(
        pool("lan", &["10.77.0.2-10.77.0.9"]),
        PoolObserved::default(),
    );
    again.observe_service(world.service("web").clone());
    again.lead();
    assert_eq!(crate::plan(&world.service("web").key, &again).write, None);
    world.index.forget_node(&"n1".into());
    world.run();
    assert_eq!(marked(&world), None);
    assert_eq!(world.addresses("web"), ["10.77.0.2"]);
}

#[test]
fn a_service_cidr_is_given_from_only_where_it_goes() {
    let mut world = World::new([pool("wrong", &["10.96.0.0/30"])], []);
    let range = "10.96.0.0/16".parse().unwrap();
    world
        .index
        .observe_service_cidr("kubernetes".into(), vec![range]);
    world.add(svc("web"));
    assert_eq!(world.allocated("web"), (false, "PoolExhausted".into()));
    let (_, reason, message) = ready(&world, "wrong");
    assert_eq!(reason, "Reserved");
    assert!(
        message.contains("10.96.0.0-10.96.0.3 (in the range of ServiceCIDR kubernetes)"),
        "{message}"
    );
    world
        .index
        .observe_service_cidr("kubernetes".into(), vec![]);
    world.run();
    assert_eq!(world.addresses("web"), ["10.96.0.0"]);
}

#[test]
fn external_ips_that_are_somebodys_are_told_on_their_service_whatever_it_is() {
    let dns = plain("kube-system", "dns", "10.96.0.10", &[]);
    let mut world = World::new(
        [pool("lan", &["10.77.0.100-10.77.0.109"])],
        [dns, svc("web")],
    );
    world.index.observe_node(&"n1".into(), ips(&["10.77.0.11"]));
    let evil = [
        "10.96.0.10",
        "10.77.0.11",
        "127.0.0.1",
        "224.0.0.1",
        "10.77.0.50",
    ];
    world.add(plain("default", "evil", "10.96.0.77", &evil));
    let condition = |world: &World, name: &str| {
        let view = world.service(name);
        let condition = view.condition(ConditionKind::ExternalIps);
        condition.map(|c| (c.status, c.reason.to_string(), c.message.clone()))
    };
    let (status, reason, message) = condition(&world, "evil").unwrap();
    assert!(!status && reason == "ExternalIPRefused");
    assert_eq!(
        message,
        "10.96.0.10 is the cluster IP of Service kube-system/dns, 10.77.0.11 is an address of node n1, 127.0.0.1 is a loopback \
         address, and 1 more: Herald takes no traffic for it. Remove it from spec.externalIPs"
    );
    assert_eq!(
        world
            .events
            .iter()
            .filter(|(name, _)| name == "evil")
            .count(),
        1
    );
    world.edit("evil", |view| view.external_ips = ips(&["10.77.0.50"]));
    assert_eq!(condition(&world, "evil"), None);
    // One that a pool serves says it too, and keeps its address.
    world.edit("web", |view| view.external_ips = ips(&["10.77.0.11"]));
    assert!(condition(&world, "web").is_some());
    assert_eq!(world.addresses("web"), ["10.77.0.100"]);
    world.index.forget_node(&"n1".into());
    world.run();
    assert_eq!(condition(&world, "web"), None);
    // So does another controller's; its status stays its own.
    world.edit("evil", |view| {
        view.load_balancer = true;
        view.class = Some("other/class".into());
        view.ingress = ips(&["203.0.113.9"]);
        view.external_ips = ips(&["0.0.0.0"]);
    });
    assert!(condition(&world, "evil").is_some());
    assert_eq!(world.addresses("evil"), ["203.0.113.9"]);
}

#[test]
fn another_namespaces_load_balancer_address_is_told_when_it_is_given_and_when_it_goes() {
    let mut world = World::new([pool("lan", &["10.77.0.100-10.77.0.109"])], []);
    let key = ServiceKey::new("tenant", "evil");
    world.add(plain("tenant", "evil", "10.96.0.77", &["10.77.0.100"]));
    world.add(plain("default", "own", "10.96.0.78", &["10.77.0.100"]));
    let refused = |world: &World, key: &ServiceKey| {
        let view = world.index.service(key).unwrap();
        view.condition(ConditionKind::ExternalIps).is_some()
    };
    assert!(!refused(&world, &key));
    world.add(svc("web"));
    assert_eq!(world.service("web").ingress, [ip("10.77.0.100")]);
    assert!(refused(&world, &key));
    assert!(
        !refused(&world, &ServiceKey::new("default", "own")),
        "its namespace's own"
    );
    world.delete("web");
    assert!(!refused(&world, &key));
}
