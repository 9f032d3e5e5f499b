use herald_core::IpFamily;

use crate::family::FamilyRequest;
use crate::service::ServiceView;
use crate::world::{World, dual, pool, svc};

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
        view.families = FamilyRequest::single(IpFamily::V4);
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
