use herald_core::{IpFamily, Operator, Requirement, Selector};

use super::asks;
use crate::family::FamilyRequest;
use crate::pool::{PoolScope, PoolView};
use crate::service::ServiceView;
use crate::world::{World, dual, pool, svc};

fn born(name: &str, created: i64) -> ServiceView {
    ServiceView {
        created,
        ..svc(name)
    }
}

#[test]
fn who_waits_longest_is_served_first() {
    let waiting = [born("holder", 1), born("a-young", 30), born("z-old", 20)];
    let mut world = World::new([pool("lan", &["192.0.2.1"])], waiting);
    world.delete("holder");
    assert_eq!(world.addresses("z-old"), ["192.0.2.1"]);
    assert!(world.addresses("a-young").is_empty());
    // The same when it is a pool that brings the address, with a newcomer already in the queue.
    world.observe(born("0-newcomer", 40));
    world.set_pool(pool("more", &["192.0.2.2"]));
    assert_eq!(world.addresses("a-young"), ["192.0.2.2"]);
    // And when one goes in the moment in which a newcomer comes.
    world.observe(born("00-newcomer", 50));
    world.index.forget_service(&crate::world::key("z-old"));
    world.run();
    assert_eq!(world.addresses("0-newcomer"), ["192.0.2.1"]);
    assert!(world.addresses("00-newcomer").is_empty());
}

#[test]
fn who_waits_longest_is_served_first_when_a_namespace_may_use_a_pool() {
    let selector = Selector {
        requirements: vec![Requirement {
            key: "team".into(),
            operator: Operator::Exists,
            values: vec![],
        }],
    };
    let scoped = PoolView {
        scope: PoolScope {
            namespace_selectors: vec![selector],
            ..PoolScope::default()
        },
        ..pool("lan", &["192.0.2.1"])
    };
    let mut world = World::new([scoped], [born("a-young", 30), born("z-old", 20)]);
    let labels = [("team".to_owned(), "web".to_owned())].into();
    world.index.observe_namespace("default".into(), labels);
    world.run();
    assert_eq!(world.addresses("z-old"), ["192.0.2.1"]);
    assert!(world.addresses("a-young").is_empty());
}

#[test]
fn a_family_that_is_lost_is_an_event() {
    let both = pool("lan", &["192.0.2.1", "2001:db8::1"]);
    let mut world = World::new([both], [dual("web", true)]);
    assert_eq!(world.addresses("web"), ["192.0.2.1", "2001:db8::1"]);
    world.events.clear();
    world.edit("web", |view| {
        view.families = FamilyRequest::single(IpFamily::V4);
    });
    assert_eq!(world.addresses("web"), ["192.0.2.1"]);
    assert_eq!(world.events, [("web".to_owned(), "Released")]);
}

fn named(name: &str, address: &str) -> ServiceView {
    asks(name, None, Some(address))
}

/// The Services `from` with these addresses, then each asking for the one in `to`.
fn after_asking(from: &[(&str, &str)], to: &[(&str, &str)]) -> World {
    let range: PoolView = pool("lan", &["192.0.2.1-192.0.2.9", "2001:db8::1-2001:db8::9"]);
    let views = from.iter().map(|(name, address)| ServiceView {
        families: dual("x", true).families,
        ..named(name, address)
    });
    let mut world = World::new([range], views);
    world.events.clear();
    for (name, address) in to {
        let asking = named(name, address).request;
        world.edit(name, |view| view.request = asking);
    }
    world
}

#[test]
fn services_that_ask_for_each_others_addresses_change_in_one_step() {
    let world = after_asking(
        &[
            ("a", "192.0.2.1,2001:db8::1"),
            ("b", "192.0.2.2,2001:db8::2"),
        ],
        &[
            ("a", "192.0.2.2,2001:db8::2"),
            ("b", "192.0.2.1,2001:db8::1"),
        ],
    );
    assert_eq!(world.addresses("a"), ["192.0.2.2", "2001:db8::2"]);
    assert_eq!(world.addresses("b"), ["192.0.2.1", "2001:db8::1"]);
    for name in ["a", "b"] {
        assert_eq!(world.allocated(name), (true, "Allocated".into()));
    }
    // A asked first and was told why not; the rest is the change.
    let reasons: Vec<_> = world.events.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, ["RequestNotMet", "Allocated", "Allocated"]);

    let world = after_asking(
        &[("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")],
        &[("a", "192.0.2.2"), ("b", "192.0.2.3"), ("c", "192.0.2.1")],
    );
    let first = |name| world.addresses(name).remove(0);
    assert_eq!(
        [first("a"), first("b"), first("c")],
        ["192.0.2.2", "192.0.2.3", "192.0.2.1"]
    );
}

#[test]
fn nobody_is_moved_who_does_not_ask_for_it() {
    // B asks for what C keeps: neither A nor B moves.
    let world = after_asking(
        &[("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")],
        &[("a", "192.0.2.2"), ("b", "192.0.2.3")],
    );
    let first = |name| world.addresses(name).remove(0);
    assert_eq!(
        [first("a"), first("b"), first("c")],
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    );
    // One of the two families is in the way of a third: the other is not exchanged alone.
    let world = after_asking(
        &[
            ("a", "192.0.2.1,2001:db8::1"),
            ("b", "192.0.2.2,2001:db8::2"),
            ("c", "192.0.2.3,2001:db8::3"),
        ],
        &[
            ("a", "192.0.2.2,2001:db8::3"),
            ("b", "192.0.2.1,2001:db8::1"),
        ],
    );
    assert_eq!(world.addresses("a"), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(world.addresses("b"), ["192.0.2.2", "2001:db8::2"]);
}

#[test]
fn a_restart_between_the_writes_of_an_exchange_ends_in_the_same() {
    let mut world = after_asking(
        &[("a", "192.0.2.1"), ("b", "192.0.2.2")],
        &[("a", "192.0.2.2")],
    );
    let mut asking = world.service("b").clone();
    asking.request = named("b", "192.0.2.1").request;
    world.observe(asking);
    // The first of the two writes, then the controller is gone.
    let key = world.index.dirty().services.pop().unwrap();
    let plan = crate::plan::plan(&key, &world.index);
    assert_eq!(plan.exchange.len(), 2);
    world.index.commit(&plan);
    world.write(plan);
    let world = world.restart();
    assert_eq!(world.addresses("a").remove(0), "192.0.2.2");
    assert_eq!(world.addresses("b").remove(0), "192.0.2.1");
}
