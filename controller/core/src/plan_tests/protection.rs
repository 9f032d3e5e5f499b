use crate::plan::plan;
use crate::plan_pool::{PoolObserved, plan_pool};
use crate::pool::PoolView;
use crate::status::ConditionKind;
use crate::world::{World, dual, key, pool, svc};

fn unprotected(name: &str, addresses: &[&str]) -> PoolView {
    PoolView {
        unprotected: true,
        ..pool(name, addresses)
    }
}

/// Deleted in the moment after its first use, a pool would be gone before a finalizer that follows the address.
#[test]
fn a_pool_gives_nothing_before_its_finalizer_is_there_and_nobody_is_told() {
    let mut world = World::new([unprotected("lan", &["192.0.2.1"])], [svc("a")]);
    assert_eq!((world.writes, world.events.len()), (0, 0));
    assert!(plan(&key("a"), &world.index).hungry);
    let first = plan_pool("lan", &world.index);
    assert_eq!((first.finalizer, first.status), (Some(true), None));
    world.set_pool(pool("lan", &["192.0.2.1"]));
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
    assert_eq!(world.writes, 1);
    // Somebody takes it off: what is in use stays, and nothing new is given.
    world.set_pool(unprotected("lan", &["192.0.2.1-192.0.2.2"]));
    world.add(svc("b"));
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
    assert_eq!(world.addresses("b"), [""; 0]);
}

#[test]
fn what_a_waiting_service_has_is_left_as_it_is() {
    let v4 = pool("four", &["192.0.2.1"]);
    let mut world = World::new([v4], [dual("a", false)]);
    world.set_pool(unprotected("six", &["2001:db8::1"]));
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
    assert_eq!(world.allocated("a"), (true, "Allocated".into()));
    world.set_pool(pool("six", &["2001:db8::1"]));
    assert_eq!(world.addresses("a"), ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn a_finalizer_that_cannot_be_written_is_said_on_pool_and_service() {
    let mut world = World::new([unprotected("lan", &["192.0.2.1"])], [svc("a")]);
    world.index.protection_failed(&"lan".into());
    world.run();
    assert_eq!(world.allocated("a"), (false, "NoPool".into()));
    let again = plan_pool("lan", &world.index);
    assert_eq!(again.finalizer, Some(true));
    assert_eq!(again.status.unwrap().ready.reason, "Unprotected");
    world.edit("a", |view| view.request.pool = Some("lan".into()));
    assert_eq!(world.allocated("a"), (false, "PoolNotAllowed".into()));
    let message = world.message("a", ConditionKind::Allocated);
    assert!(message.contains("finalizer"), "{message}");
    let view = pool("lan", &["192.0.2.1"]);
    world.index.observe_pool(view, PoolObserved::default());
    world.run();
    assert_eq!(world.addresses("a"), ["192.0.2.1"]);
}
