use super::asks;
use crate::pool::{PoolScope, PoolView};
use crate::service::ServiceView;
use crate::status::ConditionKind;
use crate::world::{World, ip, ips, pool, svc};

#[test]
fn one_service_costs_one_status_write() {
    let world = World::new(
        [pool("lan", &["192.0.2.0/24"])],
        (0..50).map(|n| svc(&format!("s{n}"))),
    );
    assert_eq!(world.writes, 50);
    assert_eq!(world.restart().writes, 0);
}

#[test]
fn a_restart_and_every_pool_edit_leave_working_addresses_alone() {
    let lan = pool("lan", &["192.0.2.10-192.0.2.20"]);
    let edits: [(&str, PoolView); 7] = [
        ("shrunk", pool("lan", &["192.0.2.15-192.0.2.20"])),
        ("moved", pool("lan", &["198.51.100.0/24"])),
        ("broken", pool("lan", &["192.0.2.20-192.0.2.10"])),
        (
            "disabled",
            PoolView {
                disabled: true,
                ..lan.clone()
            },
        ),
        (
            "manual",
            PoolView {
                auto_assign: false,
                ..lan.clone()
            },
        ),
        (
            "buggy",
            PoolView {
                exclude: vec!["192.0.2.10".into()],
                ..lan.clone()
            },
        ),
        (
            "scoped",
            PoolView {
                scope: PoolScope {
                    namespaces: vec!["other".into()],
                    ..PoolScope::default()
                },
                ..lan.clone()
            },
        ),
    ];
    for (name, edited) in edits {
        let mut world = World::new([lan.clone()], [svc("a"), asks("b", Some("lan"), None)]);
        let before = (world.addresses("a"), world.addresses("b"));
        world.set_pool(edited);
        assert_eq!(
            (world.addresses("a"), world.addresses("b")),
            before,
            "{name}"
        );
        let restarted = world.restart();
        assert_eq!(
            (restarted.addresses("a"), restarted.addresses("b")),
            before,
            "{name}, restarted"
        );
        world.delete_pool("lan");
        assert_eq!(
            (world.addresses("a"), world.addresses("b")),
            before,
            "{name}, deleted"
        );
        assert_eq!(
            world.reason("a", ConditionKind::AddressInPool),
            Some("PoolDeleted"),
            "{name}"
        );
    }
}

#[test]
fn an_address_its_pool_no_longer_holds_is_kept_and_marked_until_it_is_back() {
    let mut world = World::new([pool("lan", &["192.0.2.10-192.0.2.20"])], [svc("a")]);
    world.set_pool(pool("lan", &["192.0.2.15-192.0.2.20"]));
    assert_eq!(
        world.reason("a", ConditionKind::AddressInPool),
        Some("PoolChanged")
    );
    assert_eq!(world.allocated("a"), (true, "Allocated".into()));
    assert!(world.events.contains(&("a".into(), "PoolChanged")));
    world.set_pool(pool("lan", &["192.0.2.10-192.0.2.20"]));
    assert_eq!(world.reason("a", ConditionKind::AddressInPool), None);
    // A pool split: the address follows its range, and the mark says so.
    world.set_pool(pool("lan", &["192.0.2.15-192.0.2.20"]));
    world.set_pool(pool("other", &["192.0.2.8-192.0.2.12"]));
    assert_eq!(world.addresses("a"), ["192.0.2.10"]);
    assert_eq!(world.service("a").allocated_from.as_deref(), Some("other"));
}

/// A rename or a split is no unmet request; a new request is one.
#[test]
fn an_address_that_was_asked_from_a_pool_counts_as_its_own_wherever_an_edit_puts_it() {
    let mut world = World::new(
        [pool("lan", &["192.0.2.10-192.0.2.20"])],
        [asks("a", Some("lan"), None)],
    );
    world.set_pool(pool("lan", &["192.0.2.15-192.0.2.20"]));
    world.set_pool(pool("other", &["192.0.2.8-192.0.2.12"]));
    world.delete_pool("other");
    world.set_pool(pool("third", &["192.0.2.8-192.0.2.12"]));
    for world in [&world.restart(), &world] {
        assert_eq!(world.addresses("a"), ["192.0.2.10"]);
        assert_eq!(world.allocated("a"), (true, "Allocated".into()));
        let view = world.service("a");
        assert_eq!(view.allocated_from.as_deref(), Some("third"));
        assert_eq!(view.earlier_pools, [["other", "lan"]]);
        assert_eq!(view.requested_pool.as_deref(), Some("lan"));
    }
    world.edit("a", |view| view.request.pool = None);
    assert_eq!(world.service("a").requested_pool, None);
    world.edit("a", |view| view.request.pool = Some("lan".into()));
    assert_eq!(world.addresses("a"), ["192.0.2.15"]);
    assert_eq!(world.service("a").earlier_pools, [[""; 0]; 0]);
}

#[test]
fn of_two_services_with_one_address_the_older_keeps_it() {
    let holding = |name: &str, created| ServiceView {
        created,
        ingress: ips(&["192.0.2.1"]),
        allocated_from: Some("lan".into()),
        ..svc(name)
    };
    let lan = || pool("lan", &["192.0.2.1-192.0.2.2"]);
    let world = World::new([lan()], [holding("a-young", 20), holding("z-old", 10)]);
    assert_eq!(world.addresses("z-old"), ["192.0.2.1"]);
    assert_eq!(world.addresses("a-young"), ["192.0.2.2"]);
    assert!(world.events.contains(&("a-young".into(), "AddressTaken")));
    // With nothing left the younger has none, rather than both the same.
    let world = World::new(
        [pool("lan", &["192.0.2.1"])],
        [holding("a-young", 20), holding("z-old", 10)],
    );
    assert_eq!(world.addresses("a-young"), [""; 0]);
    assert_eq!(world.allocated("a-young"), (false, "PoolExhausted".into()));
    // One that arrives later never takes what works.
    let mut world = World::new([lan()], [holding("z-old", 10)]);
    world.add(holding("older-still", 1));
    assert_eq!(world.addresses("z-old"), ["192.0.2.1"]);
    assert_eq!(world.addresses("older-still"), ["192.0.2.2"]);
}

#[test]
fn a_stale_observation_changes_nothing() {
    let mut world = World::new([pool("lan", &["192.0.2.0/24"])], [svc("a")]);
    let writes = world.writes;
    world.index.observe_service(svc("a"));
    world.run();
    assert_eq!(world.writes, writes);
    assert_eq!(world.service("a").ingress, [ip("192.0.2.0")]);
}
