use crate::index::Index;
use crate::plan::plan;
use crate::service::ServiceView;
use crate::status::ConditionKind;
use crate::world::{World, dual, ips, key, pool, svc};

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

/// `kubectl replace` and the like take the annotation off. A write without the address would take the address off too: we own it.
#[test]
fn an_allocated_service_that_lost_its_mark_and_its_pool_keeps_its_address() {
    let mut world = World::new([pool("lan", &["192.0.2.1"])], [svc("a")]);
    world.delete_pool("lan");
    world.edit("a", |view| view.allocated_from = None);
    for world in [world.restart(), world] {
        assert_eq!(world.addresses("a"), ["192.0.2.1"]);
        assert_eq!(world.allocated("a"), (true, "Allocated".into()));
        // Without a mark no speaker announces it.
        let mark = world.service("a").allocated_from.as_deref();
        assert!(mark.is_some_and(|mark| !mark.is_empty()), "{mark:?}");
    }
}

/// An annotation that came with a copied manifest is its author's: no write of ours takes it off.
#[test]
fn a_copied_mark_on_a_plain_service_is_left_alone() {
    let copied = ServiceView {
        load_balancer: false,
        allocated_from: Some("lan".into()),
        ..svc("a")
    };
    let world = World::new([pool("lan", &["192.0.2.1"])], [copied]);
    assert_eq!((world.writes, world.events.len()), (0, 0));
}

#[test]
fn after_a_restart_another_ones_older_service_does_not_take_the_address_of_ours() {
    let mut world = World::new([pool("lan", &["192.0.2.1-192.0.2.2"])], [svc("a")]);
    let others = ServiceView {
        created: 1,
        class: Some("example.com/lb".into()),
        ingress: ips(&["192.0.2.1"]),
        ..svc("others")
    };
    world.index.observe_service(others);
    let unmarked = ServiceView {
        created: 2,
        version: 2,
        ingress: ips(&["192.0.2.1"]),
        ..svc("unmarked")
    };
    let mut index = world.index.clone();
    index.observe_service(unmarked);
    index.lead();
    assert_eq!(plan(&key("a"), &index).hold, Some(ips(&["192.0.2.1"])));
    assert_eq!(plan(&key("a"), &index).write, None);
}

/// Only a leader empties the queues.
#[test]
fn a_follower_queues_nothing() {
    let mut index = Index::new(crate::world::settings());
    let queued = |index: &mut Index| {
        let dirty = index.dirty();
        dirty.services.len() + dirty.announced.len()
    };
    index.observe_service(svc("a"));
    index.observe_advertisement(crate::announce::AdvertisementView::default());
    index.mark_all();
    assert_eq!(queued(&mut index), 0);
    index.lead();
    assert_eq!(queued(&mut index), 2);
    let waiting = plan(&key("a"), &index);
    assert!(waiting.hungry);
    index.commit(&waiting);
    index.follow();
    index.observe_namespace("default".into(), herald_core::Labels::new());
    assert_eq!((queued(&mut index), index.hungry()), (0, 0));
}

#[test]
fn an_address_that_another_ones_service_shows_too_is_given_to_nobody_when_ours_gives_it_up() {
    let mut world = World::new([pool("lan", &["192.0.2.1-192.0.2.2"])], [svc("a")]);
    world.index.observe_service(ServiceView {
        class: Some("example.com/lb".into()),
        ingress: ips(&["192.0.2.1"]),
        ..svc("others")
    });
    world.delete("a");
    world.add(svc("b"));
    assert_eq!(world.addresses("b"), ["192.0.2.2"]);
    world.delete("others");
    world.add(svc("c"));
    assert_eq!(world.addresses("c"), ["192.0.2.1"]);
}

#[test]
fn a_foreign_status_that_is_cleared_is_not_written_back() {
    for shown in [&["203.0.113.9"] as &[&str], &["203.0.113.9", "2001:db8::9"]] {
        let elsewhere = ServiceView {
            ingress: ips(shown),
            ..dual("a", false)
        };
        let lan = pool("lan", &["192.0.2.1", "2001:db8:1::1"]);
        for host in [false, true] {
            let elsewhere = ServiceView {
                foreign_ingress: host,
                ..elsewhere.clone()
            };
            let mut world = World::new([lan.clone()], [elsewhere]);
            assert_eq!(world.allocated("a"), (false, "ForeignStatus".into()));
            world.edit("a", |view| {
                view.ingress.clear();
                view.foreign_ingress = false;
            });
            assert_eq!(world.addresses("a"), ["192.0.2.1", "2001:db8:1::1"]);
            assert_eq!(
                world.service("a").allocated_from.as_deref(),
                Some("lan,lan")
            );
        }
    }
    // Without a pool it has none, and the old one is free again.
    let elsewhere = ServiceView {
        ingress: ips(&["203.0.113.9"]),
        ..svc("a")
    };
    let mut world = World::new([], [elsewhere]);
    world.edit("a", |view| view.ingress.clear());
    assert_eq!(world.addresses("a"), [""; 0]);
    assert_eq!(world.allocated("a"), (false, "NoPool".into()));
    world.set_pool(pool("lan", &["203.0.113.9"]));
    world.delete("a");
    world.add(svc("b"));
    assert_eq!(world.addresses("b"), ["203.0.113.9"]);
}

/// Services that came from a load balancer that lets them share an address.
#[test]
fn services_of_one_sharing_key_keep_the_address_they_came_with() {
    let sharing = |name: &str, key: &str, address: &str| {
        let mut view = ServiceView {
            ingress: ips(&[address]),
            ..svc(name)
        };
        view.request.share_key = Some(key.into());
        view
    };
    let mut world = World::new(
        [pool("lan", &["192.0.2.1-192.0.2.9"])],
        [
            sharing("a", "k", "192.0.2.1"),
            sharing("b", "k", "192.0.2.1"),
            sharing("other", "o", "192.0.2.1"),
        ],
    );
    world.add(sharing("late", "k", "192.0.2.1"));
    for world in [&world.restart(), &world] {
        for (name, others) in [
            ("a", "default/b, default/late"),
            ("b", "default/a, default/late"),
            ("late", "default/a, default/b"),
        ] {
            assert_eq!(world.addresses(name), ["192.0.2.1"], "{name}");
            assert_eq!(world.allocated(name), (true, "SharedAddress".into()));
            let message = world.message(name, ConditionKind::Allocated);
            assert!(
                message.contains(&format!("shared with {others} ")),
                "{message}"
            );
        }
        assert_eq!(world.addresses("other"), ["192.0.2.2"]);
    }
    // A key is no key to what others have: only who shows the address already may stay on it.
    let mut guess = svc("guess");
    guess.request.share_key = Some("k".into());
    guess.request.addresses = Some("192.0.2.1".into());
    world.add(guess);
    assert_eq!(world.allocated("guess"), (false, "AddressTaken".into()));
    // It is free when the last of them goes.
    world.delete("a");
    world.delete("late");
    assert_eq!(world.allocated("b"), (true, "Allocated".into()));
    world.delete("b");
    assert_eq!(world.addresses("guess"), ["192.0.2.1"]);
}
