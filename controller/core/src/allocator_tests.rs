use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pool::is_buggy;

fn pool(name: &str, created: i64, addresses: &[&str]) -> PoolView {
    PoolView {
        name: name.into(),
        created,
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        auto_assign: true,
        ..PoolView::default()
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allocator(pools: impl IntoIterator<Item = PoolView>) -> Allocator {
    let mut allocator = Allocator::default();
    allocator.set_pools(pools);
    allocator
}

#[test]
fn gives_the_lowest_free_address_and_takes_it_back() {
    let mut a = allocator([pool(
        "p",
        1,
        &["192.0.2.5-192.0.2.6", "192.0.2.1", "2001:db8::/64"],
    )]);
    for (name, expected) in [("a", "192.0.2.1"), ("b", "192.0.2.5"), ("c", "192.0.2.6")] {
        let free = a.lowest_free("p", IpFamily::V4).unwrap();
        assert_eq!(free, ip(expected));
        assert!(a.hold(&key(name), &[free]).is_empty());
    }
    assert_eq!(a.lowest_free("p", IpFamily::V4), None);
    assert_eq!(a.lowest_free("p", IpFamily::V6), Some(ip("2001:db8::")));
    a.release(&key("b"));
    assert_eq!(a.lowest_free("p", IpFamily::V4), Some(ip("192.0.2.5")));
}

#[test]
fn an_address_has_one_holder() {
    let mut a = allocator([pool("p", 1, &["192.0.2.0/30"])]);
    assert!(a.hold(&key("a"), &[ip("192.0.2.1")]).is_empty());
    assert_eq!(
        a.hold(&key("b"), &[ip("192.0.2.1"), ip("192.0.2.2")]),
        [ip("192.0.2.1")]
    );
    assert_eq!(a.holders(ip("192.0.2.1")), [key("a")]);
    assert_eq!(a.held(&key("b")), [ip("192.0.2.2")]);
}

#[test]
fn an_exchanged_address_is_free_only_when_the_exchange_is_known_to_be_written() {
    let mut a = allocator([pool("p", 1, &["192.0.2.0/30"])]);
    a.hold(&key("a"), &[ip("192.0.2.0")]);
    a.hold(&key("a"), &[ip("192.0.2.3")]);
    assert_eq!(a.lowest_free("p", IpFamily::V4), Some(ip("192.0.2.1")));
    assert_eq!(a.taken_by(ip("192.0.2.0"), &key("b")), Some(&key("a")));
    assert!(a.settle(&key("a")));
    assert_eq!(a.lowest_free("p", IpFamily::V4), Some(ip("192.0.2.0")));
    assert!(!a.settle(&key("a")));
}

#[test]
fn the_younger_of_two_overlapping_pools_gives_nothing_and_its_addresses_stay_in_use() {
    let old = pool("z-old", 1, &["192.0.2.0/28"]);
    let young = pool("a-young", 2, &["192.0.2.8-192.0.2.20"]);
    let mut a = allocator([young.clone()]);
    a.hold(&key("web"), &[ip("192.0.2.18")]);
    a.set_pools([old.clone(), young.clone()]);
    assert_eq!(a.readiness("z-old"), Some(&Readiness::Valid));
    let overlap = Readiness::Overlap {
        with: "z-old".into(),
        at: ip("192.0.2.8"),
    };
    assert_eq!(a.readiness("a-young"), Some(&overlap));
    assert_eq!(a.lowest_free("a-young", IpFamily::V4), None);
    assert_eq!(a.pool_of(ip("192.0.2.18")).unwrap().as_ref(), "a-young");
    assert_eq!(a.pool_of(ip("192.0.2.9")).unwrap().as_ref(), "z-old");
    assert_eq!(a.held(&key("web")), [ip("192.0.2.18")]);
    assert_eq!(a.counts("a-young").unwrap().assigned.v4, 1);
    // A carve-out by exclude mends it.
    let carved = PoolView {
        exclude: vec!["192.0.2.0/28".into()],
        ..young
    };
    a.set_pools([old, carved]);
    assert_eq!(a.readiness("a-young"), Some(&Readiness::Valid));
    assert_eq!(
        a.lowest_free("a-young", IpFamily::V4),
        Some(ip("192.0.2.16"))
    );
}

#[test]
fn equal_ages_are_ordered_by_name() {
    let a = allocator([
        pool("b", 1, &["192.0.2.0/30"]),
        pool("a", 1, &["192.0.2.0/30"]),
    ]);
    assert_eq!(a.readiness("a"), Some(&Readiness::Valid));
    assert!(matches!(a.readiness("b"), Some(Readiness::Overlap { .. })));
}

#[test]
fn of_two_pools_of_one_second_the_one_that_works_already_stays() {
    let working = PoolView {
        ready: true,
        ..pool("z-working", 1, &["192.0.2.0/30"])
    };
    let mut a = allocator([working.clone()]);
    a.set_pools([working, pool("a-new", 1, &["192.0.2.0/30"])]);
    assert_eq!(a.readiness("z-working"), Some(&Readiness::Valid));
    assert!(matches!(
        a.readiness("a-new"),
        Some(Readiness::Overlap { .. })
    ));
}

#[test]
fn a_pool_being_deleted_yields_its_range_to_its_successor() {
    let leaving = PoolView {
        deleting: true,
        ..pool("old", 1, &["192.0.2.0/30"])
    };
    let mut a = allocator([leaving.clone()]);
    a.hold(&key("web"), &[ip("192.0.2.2")]);
    assert_eq!(a.counts("old").unwrap().assigned.v4, 1);
    assert_eq!(a.lowest_free("old", IpFamily::V4), None);
    a.set_pools([leaving, pool("new", 2, &["192.0.2.0/30"])]);
    assert_eq!(a.counts("old").unwrap().assigned.v4, 0);
    assert_eq!(a.counts("new").unwrap().assigned.v4, 1);
    assert_eq!(a.counts("new").unwrap().available.v4, 3);
}

#[test]
fn a_huge_pool_costs_nothing_and_its_counters_saturate() {
    let mut a = allocator([pool("all", 1, &["::/0"])]);
    // Less ff00::/8, fe80::/10 and the two small ones.
    let special = (1 << 120) + (1 << 118) + (1 << 32) + (1 << 32);
    let all = u128::MAX - special + 1;
    assert_eq!(a.counts("all").unwrap().available.v6, all);
    assert_eq!(a.left_out("all", 9).count, special);
    assert_eq!(a.lowest_free("all", IpFamily::V6), Some(ip("::1:0:0")));
    a.hold(&key("a"), &[ip("::1:0:0")]);
    assert_eq!(a.lowest_free("all", IpFamily::V6), Some(ip("::1:0:1")));
    assert_eq!(a.counts("all").unwrap().available.v6, all - 1);
}

#[test]
fn addresses_outside_every_pool_are_kept_too() {
    let mut a = allocator([]);
    assert!(a.hold(&key("a"), &[ip("192.0.2.1")]).is_empty());
    a.set_pools([pool("p", 1, &["192.0.2.0/30"])]);
    assert_eq!(a.counts("p").unwrap().assigned.v4, 1);
    a.hold(&key("b"), &[ip("192.0.2.0")]);
    assert_eq!(a.lowest_free("p", IpFamily::V4), Some(ip("192.0.2.2")));
}

// === against a model that lists every address ===

#[derive(Clone, Debug)]
enum Op {
    Pools(Vec<PoolView>),
    Hold(u8, Vec<u8>),
    HoldLowest(u8, usize),
    Settle(u8),
    Release(u8),
    Reserve(u8, Vec<u8>),
    ReserveRange(u8, u8),
}

/// The model's world: 10.0.0.246 to 10.0.1.9, so that .255 and .0 are inside.
fn address(n: u8) -> IpAddr {
    AddressRange::address(IpFamily::V4, 0x0a00_00f6 + u128::from(n % 20)).unwrap()
}

fn any_pools() -> impl Strategy<Value = Vec<PoolView>> {
    let one = (
        0i64..3,
        prop::collection::vec((0u8..20, 0u8..20), 1..3),
        (0u8..20, 0u8..20),
    )
        .prop_flat_map(|(created, spans, hole)| {
            (
                any::<bool>(),
                any::<bool>(),
                any::<bool>(),
                prop::bool::weighted(0.15),
                prop::bool::weighted(0.15),
            )
                .prop_map(move |(ready, avoid_buggy, holed, disabled, deleting)| {
                    let text =
                        |(a, b): (u8, u8)| format!("{}-{}", address(a.min(b)), address(a.max(b)));
                    PoolView {
                        created,
                        ready,
                        addresses: spans.iter().copied().map(text).collect(),
                        exclude: if holed { vec![text(hole)] } else { vec![] },
                        avoid_buggy,
                        disabled,
                        deleting,
                        ..PoolView::default()
                    }
                })
        });
    prop::collection::vec(one, 0..4).prop_map(|mut pools| {
        for (n, pool) in pools.iter_mut().enumerate() {
            pool.name = format!("p{n}").into();
        }
        pools
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => any_pools().prop_map(Op::Pools),
        3 => (0u8..6, prop::collection::vec(0u8..20, 0..3)).prop_map(|(k, a)| Op::Hold(k, a)),
        6 => (0u8..6, 0usize..4).prop_map(|(k, p)| Op::HoldLowest(k, p)),
        2 => (0u8..6).prop_map(Op::Settle),
        2 => (0u8..6).prop_map(Op::Release),
        2 => (0u8..3, prop::collection::vec(0u8..20, 0..4)).prop_map(|(n, a)| Op::Reserve(n, a)),
        1 => (0u8..20, 0u8..6).prop_map(|(first, count)| Op::ReserveRange(first, count)),
    ]
}

#[derive(Default)]
struct Model {
    pools: Vec<PoolView>,
    used: BTreeMap<IpAddr, u8>,
    current: BTreeMap<u8, Vec<IpAddr>>,
    reserved: BTreeMap<u8, Vec<IpAddr>>,
    reserved_range: Vec<IpAddr>,
}

impl Model {
    fn space(pool: &PoolView) -> BTreeSet<IpAddr> {
        let within = |texts: &[String], a: IpAddr| {
            texts
                .iter()
                .any(|text| text.parse::<AddressRange>().unwrap().contains(a))
        };
        (0..20)
            .map(address)
            .filter(|a| within(&pool.addresses, *a) && !within(&pool.exclude, *a))
            .collect()
    }

    /// Names of the pools that claim their space, oldest first.
    fn claiming(&self) -> Vec<&PoolView> {
        let mut by_age: Vec<&PoolView> = self.pools.iter().filter(|p| !p.deleting).collect();
        by_age.sort_by_key(|p| (p.created, !p.ready, p.name.clone()));
        let mut claiming: Vec<&PoolView> = Vec::new();
        for pool in by_age {
            if claiming
                .iter()
                .all(|old| Self::space(old).is_disjoint(&Self::space(pool)))
            {
                claiming.push(pool);
            }
        }
        claiming
    }

    fn pool_of(&self, a: IpAddr) -> Option<Arc<str>> {
        let claimed = self
            .claiming()
            .into_iter()
            .find(|p| Self::space(p).contains(&a));
        let mut by_age: Vec<&PoolView> = self.pools.iter().collect();
        by_age.sort_by_key(|p| (p.created, !p.ready, p.name.clone()));
        claimed
            .or_else(|| by_age.into_iter().find(|p| Self::space(p).contains(&a)))
            .map(|p| p.name.clone())
    }

    fn free(&self, pool: &PoolView) -> BTreeSet<IpAddr> {
        let gives = !pool.disabled && self.claiming().iter().any(|p| p.name == pool.name);
        let space = Self::space(pool);
        space
            .into_iter()
            .filter(|a| gives && !self.used.contains_key(a) && !(pool.avoid_buggy && is_buggy(*a)))
            .filter(|a| !self.reserved(a))
            .collect()
    }

    fn reserved(&self, a: &IpAddr) -> bool {
        let mut all = self.reserved.values().flatten().chain(&self.reserved_range);
        all.any(|reserved| reserved == a)
    }

    fn hold(&mut self, k: u8, addresses: &[IpAddr]) {
        let mine =
            |used: &BTreeMap<IpAddr, u8>, a: &IpAddr| used.get(a).is_none_or(|holder| *holder == k);
        let granted: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|a| mine(&self.used, a))
            .collect();
        for a in &granted {
            self.used.insert(*a, k);
        }
        self.current.insert(k, granted);
    }
}

#[test]
fn what_is_somebodys_is_never_free_and_never_counted() {
    let mut a = allocator([
        pool(
            "four",
            1,
            &[
                "192.0.2.0/28",
                "0.0.0.0/30",
                "224.0.0.1",
                "255.255.255.254-255.255.255.255",
            ],
        ),
        pool(
            "six",
            2,
            &[
                "::/126",
                "::ffff:10.0.0.1",
                "ff02::1",
                "fe80::/10",
                "2001:db8::/126",
            ],
        ),
        pool("none", 3, &["127.0.0.0/8", "ff02::/64"]),
    ]);
    let n1: Arc<str> = "n1".into();
    a.reserve(|reserved| {
        reserved.change_node(&n1, |node| {
            node.named = vec![ip("192.0.2.2")];
            node.interfaces = vec![
                "192.0.2.2/28".parse().unwrap(),
                "2001:db8::2/64".parse().unwrap(),
            ];
        })
    });
    let dns = Reservation::ClusterIp(key("dns"));
    a.reserve(|reserved| reserved.set(&dns, [ip("192.0.2.10")]));
    a.reserve(|reserved| reserved.set(&Reservation::ApiServer, [ip("192.0.2.12")]));
    let mut given = Vec::new();
    for (pool, family) in [("four", IpFamily::V4), ("six", IpFamily::V6)] {
        let available = *a.counts(pool).unwrap().available.get(family);
        let before = given.len();
        while let Some(address) = a.lowest_free(pool, family) {
            given.push(address);
            assert!(a.hold(&key("web"), &given).is_empty());
        }
        assert_eq!(available, (given.len() - before) as u128, "{pool}");
        assert_eq!(*a.counts(pool).unwrap().available.get(family), 0);
    }
    let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
    let expected = "192.0.2.1 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9 192.0.2.11 192.0.2.13 \
                    192.0.2.14 255.255.255.254 2001:db8::1 2001:db8::3";
    assert_eq!(texts.join(" "), expected);
    let left_out = a.left_out("four", 3);
    let first: Vec<String> = left_out
        .first
        .iter()
        .map(|(span, what)| format!("{span} {what}"))
        .collect();
    assert_eq!(left_out.count, 4 + 5 + 1 + 1);
    assert_eq!(
        first,
        [
            "0.0.0.0-0.0.0.3 an address of \"this network\" (0.0.0.0/8)",
            "192.0.2.0 the first address of a subnet of node n1",
            "192.0.2.2 an address of node n1",
        ]
    );
    assert!(!left_out.all && a.left_out("none", 3).all);
    assert_eq!(a.left_out("none", 3).first.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn agrees_with_a_model_that_lists_every_address(ops in prop::collection::vec(any_op(), 1..60)) {
        let (mut a, mut model) = (Allocator::default(), Model::default());
        let name = |k: u8| key(&format!("s{k}"));
        for op in ops {
            match op {
                Op::Pools(pools) => {
                    a.set_pools(pools.clone());
                    model.pools = pools;
                }
                Op::Hold(k, numbers) => {
                    let mut addresses: Vec<IpAddr> = numbers.into_iter().map(address).collect();
                    addresses.dedup();
                    a.hold(&name(k), &addresses);
                    model.hold(k, &addresses);
                }
                Op::HoldLowest(k, pool) => {
                    let Some(view) = model.pools.get(pool).cloned() else { continue };
                    let lowest = a.lowest_free(&view.name, IpFamily::V4);
                    prop_assert_eq!(lowest, model.free(&view).first().copied());
                    let Some(lowest) = lowest else { continue };
                    prop_assert!(a.hold(&name(k), &[lowest]).is_empty());
                    model.hold(k, &[lowest]);
                }
                Op::Settle(k) => {
                    a.settle(&name(k));
                    let current = model.current.get(&k).cloned().unwrap_or_default();
                    model.used.retain(|a, holder| *holder != k || current.contains(a));
                }
                Op::Release(k) => {
                    a.release(&name(k));
                    model.used.retain(|_, holder| *holder != k);
                    model.current.remove(&k);
                }
                Op::Reserve(n, numbers) => {
                    let what = Reservation::Node(format!("n{n}").into());
                    let addresses: Vec<IpAddr> = numbers.into_iter().map(address).collect();
                    a.reserve(|reserved| reserved.set(&what, addresses.clone()));
                    model.reserved.insert(n, addresses);
                }
                Op::ReserveRange(first, count) => {
                    let last = (first + count).min(19);
                    let what = Reservation::ClusterIpRange("c".into());
                    let range = AddressRange::new(address(first), address(last)).unwrap();
                    a.reserve_ranges(&what, vec![range]);
                    model.reserved_range = (first..=last).map(address).collect();
                }
            }
            let used: BTreeMap<IpAddr, Vec<ServiceKey>> =
                model.used.iter().map(|(a, k)| (*a, vec![name(*k)])).collect();
            prop_assert_eq!(&a.used, &used);
            for pool in &model.pools {
                let counts = a.counts(&pool.name).unwrap();
                let free = model.free(pool);
                prop_assert_eq!(counts.available.v4, free.len() as u128, "{:?}", pool);
                prop_assert_eq!(a.lowest_free(&pool.name, IpFamily::V4), free.first().copied());
                let assigned = model.used.keys().filter(|a| model.pool_of(**a).as_ref() == Some(&pool.name));
                prop_assert_eq!(counts.assigned.v4, assigned.count() as u128);
                if model.claiming().iter().any(|p| p.name == pool.name) {
                    let left_out = Model::space(pool).into_iter().filter(|a| model.reserved(a));
                    prop_assert_eq!(a.left_out(&pool.name, 3).count, left_out.count() as u128);
                }
            }
            for n in 0..20 {
                prop_assert_eq!(a.pool_of(address(n)).cloned(), model.pool_of(address(n)));
            }
        }
    }
}
