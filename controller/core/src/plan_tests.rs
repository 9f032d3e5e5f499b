use herald_core::{IpFamily, Labels};

use super::*;
use crate::family::FamilyRequest;
use crate::pool::{PoolScope, PoolView};
use crate::world::{World, dual, ip, ips, key, pool, svc};

fn asks(name: &str, pool: Option<&str>, addresses: Option<&str>) -> ServiceView {
    let mut view = svc(name);
    view.request.pool = pool.map(Into::into);
    view.request.addresses = addresses.map(Into::into);
    view
}

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
            view.request = crate::service::RequestText::default()
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
        view.request = asks("a", Some("tiny"), None).request
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

#[test]
fn dual_stack_follows_the_families_and_the_policy() {
    let four = || pool("four", &["192.0.2.1"]);
    let six = || pool("six", &["2001:db8::1"]);
    let both = || pool("z-both", &["192.0.2.9", "2001:db8::9"]);
    let v6 = ServiceView {
        families: FamilyRequest::single(IpFamily::V6),
        ..svc("a")
    };
    let reversed = FamilyRequest {
        order: vec![IpFamily::V6, IpFamily::V4],
        all: true,
    };
    let reversed = ServiceView {
        families: reversed,
        ..svc("a")
    };
    for (name, pools, view, expected, reason) in [
        (
            "single v6 from a dual pool",
            vec![both()],
            v6,
            vec!["2001:db8::9"],
            "Allocated",
        ),
        (
            "one pool is preferred",
            vec![four(), six(), both()],
            dual("a", true),
            vec!["192.0.2.9", "2001:db8::9"],
            "Allocated",
        ),
        (
            "two pools are combined",
            vec![four(), six()],
            dual("a", true),
            vec!["192.0.2.1", "2001:db8::1"],
            "Allocated",
        ),
        (
            "the primary family comes first",
            vec![both()],
            reversed,
            vec!["2001:db8::9", "192.0.2.9"],
            "Allocated",
        ),
        (
            "required and missing",
            vec![four()],
            dual("a", true),
            vec![],
            "FamilyNotAvailable",
        ),
        (
            "preferred and missing",
            vec![four()],
            dual("a", false),
            vec!["192.0.2.1"],
            "Allocated",
        ),
        (
            "preferred, only the other",
            vec![six()],
            dual("a", false),
            vec!["2001:db8::1"],
            "Allocated",
        ),
        (
            "preferred, none",
            vec![],
            dual("a", false),
            vec![],
            "NoPool",
        ),
    ] {
        let world = World::new(pools, [view]);
        assert_eq!(world.addresses("a"), expected, "{name}");
        assert_eq!(world.allocated("a").1, reason, "{name}");
    }
}

#[test]
fn a_second_family_is_added_later_and_the_first_is_not_touched() {
    let mut world = World::new([pool("p", &["192.0.2.1"])], [dual("a", false), svc("b")]);
    world.set_pool(pool("p", &["192.0.2.1", "2001:db8::/64"]));
    assert_eq!(world.addresses("a"), ["192.0.2.1", "2001:db8::"]);
    // And a Service that asks for two later keeps the one it has.
    world.set_pool(pool("p", &["192.0.2.1-192.0.2.2", "2001:db8::/64"]));
    assert_eq!(world.addresses("b"), ["192.0.2.2"]);
    world.edit("b", |view| view.families = dual("b", true).families);
    assert_eq!(world.addresses("b"), ["192.0.2.2", "2001:db8::1"]);
    // Asked for one family only, it gives the other back.
    world.edit("a", |view| {
        view.families = FamilyRequest::single(IpFamily::V4)
    });
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
    world.add(ServiceView {
        families: FamilyRequest::single(IpFamily::V6),
        ..svc("c")
    });
    assert_eq!(world.addresses("c"), ["2001:db8::"]);
}

#[test]
fn named_addresses_one_or_one_of_each_family() {
    let p = || pool("p", &["192.0.2.0/24", "2001:db8::/64"]);
    let mut both = dual("a", true);
    both.request.addresses = Some("2001:db8::7, 192.0.2.7".into());
    let mut one = dual("a", true);
    one.request.addresses = Some("2001:db8::7".into());
    let mut field = svc("a");
    field.request.load_balancer_ip = Some("192.0.2.7".into());
    let mut agree = field.clone();
    agree.request.addresses = Some("192.0.2.7".into());
    for (view, expected) in [
        (both, vec!["192.0.2.7", "2001:db8::7"]),
        (one, vec!["192.0.2.0", "2001:db8::7"]),
        (field.clone(), vec!["192.0.2.7"]),
        (agree, vec!["192.0.2.7"]),
    ] {
        assert_eq!(World::new([p()], [view]).addresses("a"), expected);
    }
    field.request.addresses = Some("192.0.2.8".into());
    assert_eq!(
        World::new([p()], [field]).allocated("a"),
        (false, "InvalidRequest".into())
    );
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
fn a_foreign_status_is_left_alone_and_its_address_given_to_nobody() {
    let host = ServiceView {
        foreign_ingress: true,
        ..svc("host")
    };
    let elsewhere = ServiceView {
        ingress: ips(&["203.0.113.9"]),
        ..svc("elsewhere")
    };
    let others = ServiceView {
        class: Some("example.com/lb".into()),
        ingress: ips(&["192.0.2.1"]),
        ..svc("others")
    };
    let mut world = World::new(
        [pool("lan", &["192.0.2.1-192.0.2.9"])],
        [host, elsewhere, others],
    );
    for name in ["host", "elsewhere"] {
        assert_eq!(world.allocated(name), (false, "ForeignStatus".into()));
        assert_eq!(world.service(name).allocated_from, None);
    }
    assert_eq!(world.addresses("elsewhere"), ["203.0.113.9"]);
    assert!(world.service("others").conditions.is_empty());
    world.add(svc("new"));
    assert_eq!(world.addresses("new"), ["192.0.2.2"]);
    // A pool that has the address makes it ours, unchanged.
    world.set_pool(pool("more", &["203.0.113.0/24"]));
    assert_eq!(world.addresses("elsewhere"), ["203.0.113.9"]);
    assert_eq!(
        world.service("elsewhere").allocated_from.as_deref(),
        Some("more")
    );
    assert!(world.events.contains(&("elsewhere".into(), "Adopted")));
}

#[test]
fn type_change_and_deletion_free_the_address() {
    let mut world = World::new(
        [pool("lan", &["192.0.2.1-192.0.2.2"])],
        [svc("a"), svc("b"), svc("c"), svc("d")],
    );
    world.edit("a", |view| view.load_balancer = false);
    assert!(world.service("a").conditions.is_empty() && !world.service("a").is_marked());
    assert!(world.events.contains(&("a".into(), "Released")));
    assert_eq!(world.addresses("c"), ["192.0.2.1"]);
    world.delete("b");
    assert_eq!(world.addresses("d"), ["192.0.2.2"]);
    // Recreated under the same name: another Service, without a claim.
    let mut again = svc("d");
    again.uid = "other".into();
    world.add(again);
    assert_eq!(world.allocated("d"), (true, "Allocated".into()));
}

#[test]
fn classes_decide_whose_a_service_is() {
    for (class, claim, expected) in [
        (None, true, true),
        (None, false, false),
        (Some("heraldlb.io/pool"), false, true),
        (Some("heraldlb.io/aws-nlb"), true, false),
    ] {
        let mut index = Index::new(crate::index::Settings {
            claim_classless: claim,
            ..crate::world::settings()
        });
        index.observe_pool(
            pool("lan", &["192.0.2.1"]),
            crate::plan_pool::PoolObserved::default(),
        );
        index.observe_service(ServiceView {
            class: class.map(Into::into),
            ..svc("a")
        });
        index.lead();
        let held = plan(&key("a"), &index).hold;
        assert_eq!(
            held,
            expected.then(|| ips(&["192.0.2.1"])),
            "{class:?} {claim}"
        );
    }
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

#[test]
fn a_service_being_deleted_keeps_its_address_and_gets_no_new_one() {
    let mut world = World::new([pool("lan", &["192.0.2.1-192.0.2.2"])], [svc("a")]);
    world.edit("a", |view| view.deleting = true);
    world.add(ServiceView {
        deleting: true,
        ..svc("b")
    });
    world.add(svc("c"));
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
    assert_eq!(world.addresses("b"), [""; 0]);
    assert_eq!(world.addresses("c"), ["192.0.2.2"]);
}
