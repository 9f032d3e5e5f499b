use herald_core::Labels;

use super::asks;
use crate::plan::plan;
use crate::pool::{PoolScope, PoolView};
use crate::service::ServiceView;
use crate::status::{ConditionKind, Reason};
use crate::world::{World, ips, key, pool, svc};

#[test]
fn each_bad_input_gives_its_reason_and_the_others_go_on() {
    let reversed = pool("reversed", &["192.0.2.99-192.0.2.90"]);
    let overlapping = PoolView {
        created: 2,
        ..pool("overlapping", &["192.0.2.1-192.0.2.200"])
    };
    let scope = PoolScope {
        namespaces: vec!["other".into()],
        ..PoolScope::default()
    };
    let scoped = PoolView {
        scope,
        ..pool("scoped", &["203.0.113.0/24"])
    };
    let off = PoolView {
        disabled: true,
        ..pool("off", &["198.51.100.0/30"])
    };
    let buggy = PoolView {
        avoid_buggy: true,
        auto_assign: false,
        ..pool("buggy", &["10.0.0.0/24"])
    };
    let six = PoolView {
        auto_assign: false,
        ..pool("six", &["2001:db8::/120"])
    };
    let pools = [
        pool("lan", &["192.0.2.1-192.0.2.3"]),
        reversed,
        overlapping,
        scoped,
        off,
        buggy,
        six,
    ];
    for (view, reason, part) in [
        (
            asks("x", Some("nope"), None),
            "PoolNotFound",
            "nope does not exist",
        ),
        (
            asks("x", Some("scoped"), None),
            "PoolNotAllowed",
            "not for namespace default",
        ),
        (
            asks("x", Some("off"), None),
            "PoolNotAllowed",
            "is disabled",
        ),
        (
            asks("x", Some("reversed"), None),
            "PoolNotAllowed",
            "not valid",
        ),
        (
            asks("x", Some("overlapping"), None),
            "PoolNotAllowed",
            "overlaps the older AddressPool lan",
        ),
        (
            asks("x", Some("six"), None),
            "FamilyNotAvailable",
            "six has no IPv4",
        ),
        (
            asks("x", None, Some("192.0.2.1")),
            "AddressTaken",
            "belongs to Service default/first",
        ),
        (
            asks("x", None, Some("192.0.2.77")),
            "PoolNotAllowed",
            "overlaps",
        ),
        (
            asks("x", None, Some("203.0.113.1")),
            "PoolNotAllowed",
            "not for namespace",
        ),
        (
            asks("x", None, Some("10.9.9.9")),
            "AddressNotInPool",
            "in no AddressPool",
        ),
        (
            asks("x", Some("lan"), Some("10.0.0.1")),
            "AddressNotInPool",
            "not in AddressPool lan",
        ),
        (
            asks("x", None, Some("10.0.0.255")),
            "AddressNotInPool",
            "avoidBuggyIPs",
        ),
        (asks("x", None, Some("web")), "InvalidRequest", "\"web\""),
        (
            asks("x", None, Some("192.0.2.2,192.0.2.3")),
            "InvalidRequest",
            "one address for each",
        ),
        (
            asks("x", None, Some("2001:db8::1")),
            "InvalidRequest",
            "has only IPv4",
        ),
    ] {
        let mut world = World::new(pools.clone(), [svc("first")]);
        world.add(view.clone());
        assert_eq!(
            world.allocated("x"),
            (false, reason.into()),
            "{:?}",
            view.request
        );
        let message = world.message("x", ConditionKind::Allocated);
        assert!(message.contains(part), "{:?}: {message}", view.request);
        assert!(
            world.events.contains(&(
                "x".into(),
                Reason::ALL
                    .iter()
                    .find(|r| r.as_str() == reason)
                    .unwrap()
                    .as_str()
            ))
        );
        world.add(svc("after"));
        assert_eq!(
            world.addresses("after"),
            ["192.0.2.2"],
            "{:?}",
            view.request
        );
        // Corrected, it gets its address.
        world.edit("x", |view| {
            view.request = crate::service::RequestText::default();
        });
        assert_eq!(world.addresses("x"), ["192.0.2.3"]);
    }
}

#[test]
fn a_service_with_no_address_left_waits_and_gets_the_next_that_is_freed() {
    let mut world = World::new(
        [pool("lan", &["192.0.2.1-192.0.2.2"])],
        [svc("a"), svc("b"), svc("c")],
    );
    let waiting = ["a", "b", "c"]
        .into_iter()
        .find(|name| world.addresses(name).is_empty())
        .unwrap();
    assert_eq!(waiting, "c");
    assert_eq!(world.allocated("c"), (false, "PoolExhausted".into()));
    world.delete("a");
    assert_eq!(world.addresses("c"), ["192.0.2.1"]);
    assert_eq!(world.allocated("c"), (true, "Allocated".into()));
}

#[test]
fn an_impossible_new_request_keeps_the_address_and_says_why() {
    let pools = [
        pool("lan", &["192.0.2.1-192.0.2.9"]),
        pool("tiny", &["198.51.100.1"]),
    ];
    let mut world = World::new(pools, [svc("a"), svc("b"), asks("c", Some("tiny"), None)]);
    for (request, part) in [
        (
            asks("a", None, Some("192.0.2.2")),
            "belongs to Service default/b",
        ),
        (asks("a", Some("nope"), None), "does not exist"),
        (
            asks("a", Some("tiny"), None),
            "no IPv4 address is left in AddressPool tiny",
        ),
        (asks("a", None, Some("rubbish")), "not an IP address"),
    ] {
        world.edit("a", |view| view.request = request.request);
        assert_eq!(world.addresses("a"), ["192.0.2.1"]);
        assert_eq!(world.allocated("a"), (true, "RequestNotMet".into()));
        let message = world.message("a", ConditionKind::Allocated);
        assert!(
            message.starts_with("keeps 192.0.2.1: ") && message.contains(part),
            "{message}"
        );
    }
    // Once it becomes possible, it is met.
    world.edit("a", |view| {
        view.request = asks("a", Some("tiny"), None).request;
    });
    world.delete("c");
    assert_eq!(world.addresses("a"), ["198.51.100.1"]);
    world.add(svc("d"));
    assert_eq!(
        world.addresses("d"),
        ["192.0.2.1"],
        "the old address is free once the new one is written"
    );
}

#[test]
fn an_address_given_up_is_not_given_away_before_the_new_status_is_written() {
    let mut world = World::new([pool("lan", &["192.0.2.1-192.0.2.9"])], [svc("a")]);
    let mut view = world.service("a").clone();
    view.request.addresses = Some("192.0.2.5".into());
    view.version += 1000;
    world.index.observe_service(view);
    let pending = plan(&key("a"), &world.index);
    world.index.commit(&pending);
    let other = ServiceView {
        version: 5000,
        ..svc("b")
    };
    world.index.observe_service(other);
    assert_eq!(
        plan(&key("b"), &world.index).hold,
        Some(ips(&["192.0.2.2"]))
    );
}

#[test]
fn pools_are_tried_scoped_first_by_priority_then_by_name() {
    let scoped = |name: &str, priority, range: &str| PoolView {
        scope: PoolScope {
            priority,
            namespaces: vec!["default".into()],
            ..PoolScope::default()
        },
        ..pool(name, &[range])
    };
    let mut pools = vec![
        pool("b-open", &["10.0.1.1"]),
        pool("a-open", &["10.0.2.1"]),
        PoolView {
            auto_assign: false,
            ..pool("0-manual", &["10.0.9.1"])
        },
        scoped("zero", 0, "10.0.3.1"),
        scoped("ten", 10, "10.0.4.1"),
        scoped("five", 5, "10.0.5.1"),
    ];
    for _ in 0..2 {
        let names = ["s1", "s2", "s3", "s4", "s5", "s6"];
        let mut world = World::new(pools.clone(), []);
        for name in names {
            world.add(svc(name));
        }
        let given: Vec<_> = names
            .iter()
            .flat_map(|name| world.addresses(name))
            .collect();
        assert_eq!(
            given,
            ["10.0.5.1", "10.0.4.1", "10.0.3.1", "10.0.2.1", "10.0.1.1"]
        );
        pools.reverse();
    }
}

#[test]
fn namespace_labels_open_a_pool_when_they_arrive() {
    let team = herald_core::Requirement {
        key: "team".into(),
        operator: herald_core::Operator::Exists,
        values: vec![],
    };
    let selector = herald_core::Selector {
        requirements: vec![team],
    };
    let scope = PoolScope {
        namespace_selectors: vec![selector],
        ..PoolScope::default()
    };
    let mut world = World::new(
        [PoolView {
            scope,
            ..pool("p", &["10.0.0.1"])
        }],
        [svc("a")],
    );
    assert_eq!(world.allocated("a"), (false, "NoPool".into()));
    world.index.observe_namespace(
        "default".into(),
        Labels::from([("team".into(), "x".into())]),
    );
    world.run();
    assert_eq!(world.addresses("a"), ["10.0.0.1"]);
}
