use std::collections::BTreeSet;

use herald_core::{Labels, Operator, Requirement, Selector};

use super::*;
use crate::plan_pool::{PoolObserved, plan_pool};
use crate::pool::PoolView;
use crate::world::{World, dual, ip, key, pool, svc};

fn speaker(node: &str, owned: &[&str]) -> SpeakerView {
    SpeakerView {
        node: node.into(),
        live: true,
        speaks: true,
        owned: owned.iter().map(|text| ip(text)).collect(),
        conflicts: Vec::new(),
        interfaces: vec![("eth0".into(), vec!["192.0.2.77/24".parse().unwrap()])],
        doubt: None,
    }
}

fn advert(pools: &[&str]) -> AdvertisementView {
    let pools = pools.iter().map(|name| (*name).to_owned()).collect();
    AdvertisementView {
        name: "l2".into(),
        pools,
        ..AdvertisementView::default()
    }
}

fn lan() -> World {
    World::new(
        [pool("lan", &["192.0.2.0/24", "2001:db8::/64"])],
        [svc("web")],
    )
}

fn reason(world: &World) -> &str {
    world.reason("web", ConditionKind::Announced).unwrap()
}

#[test]
fn says_why_nobody_announces() {
    let mut world = lan();
    assert_eq!(reason(&world), "NoAdvertisement");
    world.index.observe_advertisement(advert(&["lan"]));
    world.run();
    assert_eq!(reason(&world), "NoEligibleNode");
    let elsewhere = SpeakerView {
        interfaces: vec![("eth0".into(), vec!["198.51.100.7/24".parse().unwrap()])],
        ..speaker("n1", &[])
    };
    world.index.observe_speaker(&elsewhere);
    world.run();
    assert!(
        world
            .message("web", ConditionKind::Announced)
            .contains("no interface that is up for it: n1")
    );
    world.index.observe_speaker(&speaker("n1", &[]));
    world.run();
    assert_eq!(reason(&world), "Pending");
    let other = AdvertisementView {
        interfaces: vec!["eth9".into()],
        ..advert(&["lan"])
    };
    world.index.observe_advertisement(other);
    world.run();
    assert_eq!(reason(&world), "NoEligibleNode");
    world.index.forget_advertisement("l2");
    world.run();
    assert_eq!(reason(&world), "NoAdvertisement");
    assert!(
        !world
            .events
            .iter()
            .any(|(_, reason)| *reason == "NoAdvertisement")
    );
}

#[test]
fn interfaces_named_by_the_advertisement_need_no_subnet() {
    let mut world = lan();
    let bare = SpeakerView {
        interfaces: vec![("vlan7".into(), vec![])],
        ..speaker("n1", &[])
    };
    world.index.observe_speaker(&bare);
    world.index.observe_advertisement(advert(&[]));
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "no node may announce 192.0.2.0; no interface that is up for it: n1"
    );
    let named = AdvertisementView {
        interfaces: vec!["vlan7".into()],
        ..advert(&[])
    };
    world.index.observe_advertisement(named);
    world.run();
    assert_eq!(reason(&world), "Pending");
}

#[test]
fn says_that_the_node_which_announces_is_not_ready() {
    let mut world = lan();
    world.index.observe_advertisement(advert(&[]));
    let well = speaker("n1", &["192.0.2.0"]);
    world.index.observe_speaker(&well);
    world.run();
    let told = world.events.len();
    let doubted = SpeakerView {
        doubt: Some("node is not Ready; it stays for now".into()),
        ..well.clone()
    };
    world.index.observe_speaker(&doubted);
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "announced by node n1 (node is not Ready; it stays for now)"
    );
    assert_eq!(reason(&world), "Announced");
    world.index.observe_speaker(&well);
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "announced by node n1"
    );
    assert_eq!(world.events.len(), told, "no Event tells of it");
}

#[test]
fn names_the_node_and_follows_it() {
    let mut world = lan();
    world.index.observe_advertisement(advert(&[]));
    world.index.observe_speaker(&speaker("n1", &["192.0.2.0"]));
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "announced by node n1"
    );
    let writes = world.writes;
    world.index.observe_speaker(&speaker("n2", &["192.0.2.0"]));
    world.index.observe_speaker(&speaker("n1", &[]));
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "announced by node n2"
    );
    assert_eq!(world.writes, writes, "the allocation is not written again");
    // A speaker that fell silent owns nothing, whatever it last said.
    world.index.set_speaker_live("n2", false);
    world.run();
    assert_eq!(reason(&world), "Pending");
    world.index.set_speaker_live("n2", true);
    world.run();
    assert_eq!(reason(&world), "Announced");
    world.index.forget_speaker("n2");
    world.run();
    assert_eq!(reason(&world), "Pending");
}

#[test]
fn both_families_are_needed_and_may_be_on_two_nodes() {
    let mut world = World::new(
        [pool("lan", &["192.0.2.0/24", "2001:db8::/64"])],
        [dual("web", true)],
    );
    world.index.observe_advertisement(advert(&["lan"]));
    let mut one = speaker("n1", &["192.0.2.0"]);
    one.interfaces[0].1.push("2001:db8::7/64".parse().unwrap());
    world.index.observe_speaker(&one);
    world.run();
    assert_eq!(reason(&world), "Pending");
    world.index.observe_speaker(&speaker("n2", &["2001:db8::"]));
    world.run();
    assert_eq!(
        world.message("web", ConditionKind::Announced),
        "192.0.2.0 announced by node n1, 2001:db8:: announced by node n2"
    );
}

#[test]
fn a_foreign_host_that_answers_is_named() {
    let mut world = lan();
    world.index.observe_advertisement(advert(&["lan"]));
    let conflicts = vec![(ip("192.0.2.0"), "02:00:00:00:00:99".to_owned())];
    world.index.observe_speaker(&SpeakerView {
        conflicts,
        ..speaker("n1", &[])
    });
    world.run();
    assert_eq!(reason(&world), "AddressConflict");
    assert!(
        world
            .message("web", ConditionKind::Announced)
            .contains("02:00:00:00:00:99")
    );
    world.index.observe_speaker(&speaker("n1", &["192.0.2.0"]));
    world.run();
    assert_eq!(reason(&world), "Announced");
}

#[test]
fn advertisements_select_by_pool_label_and_service_label() {
    let has = |key: &str| Selector {
        requirements: vec![Requirement {
            key: key.into(),
            operator: Operator::Exists,
            values: vec![],
        }],
    };
    let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
    let labelled = PoolView {
        labels,
        ..pool("lan", &["192.0.2.0/24"])
    };
    let mut world = World::new([labelled], [svc("web")]);
    let by_label = AdvertisementView {
        pool_selectors: vec![has("zone")],
        ..advert(&["other"])
    };
    world.index.observe_advertisement(by_label.clone());
    world.run();
    assert_eq!(reason(&world), "NoEligibleNode");
    world.index.observe_advertisement(AdvertisementView {
        service_selectors: vec![has("edge")],
        ..by_label
    });
    world.run();
    assert_eq!(reason(&world), "NoAdvertisement");
    world.edit("web", |view| {
        view.labels.insert("edge".into(), String::new());
    });
    assert_eq!(reason(&world), "NoEligibleNode");
}

#[test]
fn one_speaker_marks_only_the_services_whose_addresses_changed_hands() {
    let services = (0..50).map(|n| svc(&format!("s{n:02}")));
    let mut world = World::new([pool("lan", &["192.0.2.0/24"])], services);
    world.index.observe_advertisement(advert(&["lan"]));
    world.index.observe_speaker(&speaker("n1", &["192.0.2.0"]));
    world.run();
    world
        .index
        .observe_speaker(&speaker("n1", &["192.0.2.0", "192.0.2.7"]));
    assert_eq!(world.index.dirty().announced.len(), 1);
    assert!(world.index.dirty().services.is_empty());
}

#[test]
fn a_pool_says_what_it_gives_and_is_held_while_in_use() {
    let mut world = lan();
    world
        .index
        .observe_pool(pool("idle", &["198.51.100.0/30"]), PoolObserved::default());
    let younger = PoolView {
        created: 9,
        ..pool("young", &["192.0.2.200-192.0.2.210"])
    };
    world.index.observe_pool(younger, PoolObserved::default());
    let status = |world: &World, name: &str| plan_pool(name, &world.index);
    // The finalizer first.
    let protected = PoolObserved {
        finalizer: true,
        ..PoolObserved::default()
    };
    for name in ["lan", "idle", "young"] {
        let plan = status(&world, name);
        assert_eq!((plan.finalizer, plan.status), (Some(true), None), "{name}");
        let view = world.index.allocator().pool(name).unwrap().clone();
        world.index.observe_pool(view, protected.clone());
        assert_eq!(status(&world, name).finalizer, None, "{name}");
    }
    let plan = status(&world, "lan");
    let wanted = plan.status.unwrap();
    assert_eq!(
        (wanted.assigned.v4, wanted.available.v4, wanted.available.v6),
        (1, 255, i64::MAX)
    );
    assert_eq!(
        (wanted.ready.status, wanted.ready.reason.as_str()),
        (true, "Valid")
    );
    let overlap = status(&world, "young").status.unwrap();
    assert_eq!(
        (overlap.ready.status, overlap.ready.reason.as_str()),
        (false, "Overlap")
    );
    assert!(
        overlap
            .ready
            .message
            .contains("AddressPool lan is older and has 192.0.2.200")
    );
    assert_eq!(overlap.available.v4, 0);
    // Written, it is at rest; deleted and without users the finalizer goes.
    let written = PoolObserved {
        assigned: wanted.assigned,
        available: wanted.available,
        ready: Some((wanted.ready, "2026-01-01T00:00:00Z".into())),
        finalizer: true,
        has_status: true,
        ..PoolObserved::default()
    };
    let lan = world.index.allocator().pool("lan").unwrap().clone();
    world.index.observe_pool(lan.clone(), written.clone());
    assert_eq!(status(&world, "lan"), crate::plan_pool::PoolPlan::default());
    let deleting = PoolView {
        deleting: true,
        ..lan
    };
    world.index.observe_pool(deleting, written);
    assert_eq!(status(&world, "lan").finalizer, None);
    world.index.dirty().pools.clear();
    world.index.forget_service(&key("web"));
    assert_eq!(world.index.dirty().pools, BTreeSet::from(["lan".into()]));
    assert_eq!(status(&world, "lan").finalizer, Some(false));
}
