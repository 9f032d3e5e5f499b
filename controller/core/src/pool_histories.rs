//! Pool histories, as random as operators: whatever happens to pools, an address that is kept stays announced. The controller's
//! plans go into the record on the Service, and the speakers' own election reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{Labels, Operator, Requirement, Selector};
use herald_speaker_core as speaker;
use proptest::prelude::*;

use crate::announce::AdvertisementView;
use crate::plan_pool::{PoolObserved, plan_pool};
use crate::pool::PoolView;
use crate::status::ConditionKind;
use crate::world::{World, dual, key, pool, svc};

#[derive(Clone, Debug)]
enum Op {
    /// Create or edit pool `name`; the label is that of its creation.
    Pool {
        name: usize,
        first: u8,
        last: u8,
        gold: bool,
        exclude: Option<u8>,
        disabled: bool,
    },
    /// `kubectl delete`: held back by the finalizer where it is on the pool.
    Delete(usize),
    /// The same with the finalizer taken off by force.
    Force(usize),
    Service {
        name: usize,
        asks: Option<usize>,
        dual: bool,
    },
    /// A new controller, or a full pass.
    Restart,
    /// An L2Advertisement that selects pools by name, by label, or all.
    Advertise { names: Vec<usize>, gold: bool },
}

const POOLS: [&str; 4] = ["a", "b", "c", "d"];

fn op() -> impl Strategy<Value = Op> {
    let name = 0..POOLS.len();
    let edit = (
        name.clone(),
        1u8..12,
        0u8..8,
        any::<bool>(),
        proptest::option::of(1u8..12),
        prop::bool::weighted(0.1),
    );
    let edit = edit.prop_map(|(name, first, more, gold, exclude, disabled)| Op::Pool {
        name,
        first,
        last: first + more,
        gold,
        exclude,
        disabled,
    });
    let ask = (0usize..4, proptest::option::of(name.clone()), any::<bool>());
    let ask = ask.prop_map(|(name, asks, dual)| Op::Service { name, asks, dual });
    let advertise = (prop::collection::vec(name.clone(), 1..3), any::<bool>());
    let advertise = advertise.prop_map(|(names, gold)| Op::Advertise { names, gold });
    prop_oneof![
        6 => edit,
        3 => name.clone().prop_map(Op::Delete),
        1 => name.prop_map(Op::Force),
        3 => ask,
        1 => Just(Op::Restart),
        1 => advertise,
    ]
}

fn labels(gold: bool) -> Labels {
    let pairs = gold.then(|| ("tier".to_owned(), "gold".to_owned()));
    pairs.into_iter().collect()
}

fn gold() -> Selector {
    Selector {
        requirements: vec![Requirement {
            key: "tier".into(),
            operator: Operator::In,
            values: vec!["gold".into()],
        }],
    }
}

/// Does `op` to the objects; what the controller does about it comes later.
fn apply(world: &mut World, op: &Op) {
    let index = &mut world.index;
    match op {
        Op::Pool {
            name,
            first,
            last,
            gold,
            exclude,
            disabled,
        } => {
            let name = POOLS[*name];
            let known = index.allocator().pool(name).cloned();
            if known.as_ref().is_some_and(|view| view.deleting) {
                return;
            }
            let observed = index.observed_pool(name).cloned().unwrap_or_default();
            let ranges = [
                format!("192.0.2.{first}-192.0.2.{last}"),
                format!("2001:db8::{first:x}-2001:db8::{last:x}"),
            ];
            let view = PoolView {
                created: known
                    .as_ref()
                    .map_or_else(|| i64::from(*first), |view| view.created),
                labels: known.map_or_else(|| labels(*gold), |view| view.labels),
                exclude: exclude.iter().map(|n| format!("192.0.2.{n}")).collect(),
                disabled: *disabled,
                ..pool(name, &[&ranges[0], &ranges[1]])
            };
            index.observe_pool(view, observed);
        }
        Op::Delete(name) => {
            let name = POOLS[*name];
            let Some(view) = index.allocator().pool(name).cloned() else {
                return;
            };
            let observed = index.observed_pool(name).cloned().unwrap_or_default();
            if observed.finalizer {
                let deleting = PoolView {
                    deleting: true,
                    ..view
                };
                index.observe_pool(deleting, observed);
            } else {
                index.forget_pool(name);
            }
        }
        Op::Force(name) => index.forget_pool(POOLS[*name]),
        Op::Service {
            name,
            asks,
            dual: both,
        } => {
            let name = format!("s{name}");
            if let Some(mut view) = index.service(&key(&name)).cloned() {
                view.request.pool = asks.map(|pool| POOLS[pool].to_owned());
                world.observe(view);
            } else {
                let view = if *both {
                    dual(&name, false)
                } else {
                    svc(&name)
                };
                world.observe(view);
            }
        }
        Op::Restart => restart(world),
        Op::Advertise {
            names,
            gold: by_label,
        } => {
            index.observe_advertisement(AdvertisementView {
                name: "second".into(),
                pools: names.iter().map(|n| POOLS[*n].to_owned()).collect(),
                pool_selectors: by_label.then(gold).into_iter().collect(),
                ..AdvertisementView::default()
            });
        }
    }
}

fn restart(world: &mut World) {
    let adverts: Vec<AdvertisementView> = world.index.advertisements().cloned().collect();
    let pools: Vec<PoolView> = world.index.allocator().pools().cloned().collect();
    let observed = |view: &PoolView| world.index.observed_pool(&view.name).cloned();
    let observed: Vec<PoolObserved> = pools.iter().filter_map(observed).collect();
    *world = world.restart();
    for advert in adverts {
        world.index.observe_advertisement(advert);
    }
    for (view, observed) in pools.into_iter().zip(observed) {
        world.index.observe_pool(view, observed);
    }
}

/// Lets the controller finish: Services, and the finalizers of pools.
fn settle(world: &mut World) {
    for _ in 0..4 {
        world.run();
        let names: Vec<Arc<str>> = world
            .index
            .allocator()
            .pools()
            .map(|p| p.name.clone())
            .collect();
        for name in names {
            let Some(add) = plan_pool(&name, &world.index).finalizer else {
                continue;
            };
            let view = world.index.allocator().pool(&name).unwrap().clone();
            if view.deleting && !add {
                world.index.forget_pool(&name);
            } else {
                let observed = PoolObserved {
                    finalizer: add,
                    ..PoolObserved::default()
                };
                world.index.observe_pool(view, observed);
            }
        }
    }
    world.run();
}

/// What a speaker sees of all this, on a LAN with one good node.
fn snapshot(world: &World) -> speaker::Snapshot {
    let mut snapshot = speaker::Snapshot {
        node: "n1".into(),
        ..speaker::Snapshot::default()
    };
    let node = speaker::NodeView {
        name: "n1".into(),
        labels: Labels::new(),
        ready: true,
        network_unavailable: false,
        shutting_down: false,
        excluded: false,
        addresses: Vec::new(),
        known_addresses: Vec::new(),
        pod_cidrs: Vec::new(),
    };
    snapshot.nodes.insert("n1".into(), node);
    let interface = speaker::Interface {
        name: "lan".into(),
        addresses: vec![
            "192.0.2.200/24".parse().unwrap(),
            "2001:db8::c8/64".parse().unwrap(),
        ],
        up: true,
        not_forwarding: [].into(),
    };
    let one = speaker::SpeakerView {
        node: "n1".into(),
        live: true,
        interfaces: vec![interface],
    };
    snapshot.speakers.insert("n1".into(), one);
    for view in world.index.allocator().pools() {
        let seen = speaker::PoolView {
            name: view.name.clone(),
            labels: view.labels.clone(),
        };
        snapshot.pools.insert(view.name.clone(), seen);
    }
    for view in world.index.advertisements() {
        let seen = speaker::AdvertisementView {
            name: view.name.clone(),
            pools: view.pools.clone(),
            pool_selectors: view.pool_selectors.clone(),
            node_selectors: Vec::new(),
            interfaces: Vec::new(),
            service_selectors: Vec::new(),
        };
        snapshot.advertisements.insert(view.name.clone(), seen);
    }
    for view in world.index.services() {
        let recorded = view.allocated_from.as_deref().unwrap_or_default();
        let recorded = recorded.split(',').filter(|name| !name.is_empty());
        let seen = speaker::ServiceView {
            key: view.key.clone(),
            labels: Labels::new(),
            proxied: true,
            kind: speaker::ServiceKind::LoadBalancer,
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: view.ingress.clone(),
            allocated_from: recorded.map(str::to_owned).collect(),
            earlier_pools: view.earlier_pools.clone(),
            ports: Vec::new(),
            external_policy: speaker::TrafficPolicy::Cluster,
            internal_policy: speaker::TrafficPolicy::Cluster,
            source_ranges: Vec::new(),
        };
        snapshot.services.insert(view.key.clone(), seen);
    }
    snapshot
}

/// Every address of a Service, and whether a node announces it.
fn announced(world: &World) -> BTreeMap<(String, IpAddr), bool> {
    let snapshot = snapshot(world);
    let mut all = BTreeMap::new();
    for view in world.index.services() {
        for owned in speaker::ownership(&view.key, &snapshot) {
            let by_node = matches!(owned.owner, speaker::Owner::Node { .. });
            all.insert((view.key.name.to_string(), owned.address), by_node);
        }
    }
    all
}

/// Goes through a history. With `by_label` an L2Advertisement may select pools by label, and nobody takes finalizers off by
/// force: with a pool's object its labels are gone.
fn history(advertised: usize, by_label: bool, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new([], []);
    world.index.observe_advertisement(AdvertisementView {
        name: "first".into(),
        pools: if by_label {
            Vec::new()
        } else {
            vec![POOLS[advertised].to_owned()]
        },
        pool_selectors: by_label.then(gold).into_iter().collect(),
        ..AdvertisementView::default()
    });
    for op in ops {
        let op = match op {
            Op::Force(name) if by_label => Op::Delete(*name),
            Op::Advertise { names, gold } => Op::Advertise {
                names: names.clone(),
                gold: *gold && by_label,
            },
            op => op.clone(),
        };
        let before = announced(&world);
        apply(&mut world, &op);
        let at_once = announced(&world);
        settle(&mut world);
        let after = announced(&world);
        // Whoever changes what is announced means it.
        let meant = matches!(op, Op::Advertise { .. });
        for (address, _) in before.iter().filter(|(_, was)| **was && !meant) {
            for seen in [&at_once, &after] {
                let still = seen.get(address).is_none_or(|by_node| *by_node);
                let services: Vec<_> = world.index.services().collect();
                prop_assert!(still, "{address:?} is silent after {op:?}: {services:#?}");
            }
        }
        // What the controller says of it is what the speakers do.
        for (name, _) in after.keys() {
            let says = world.reason(name, ConditionKind::Announced) == Some("NoAdvertisement");
            let mut all = after.iter().filter(|((other, _), _)| other == name);
            prop_assert_eq!(says, all.any(|(_, by_node)| !by_node), "{}", name);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_that_is_kept_stays_announced(
        advertised in 0..POOLS.len(),
        by_label: bool,
        ops in prop::collection::vec(op(), 1..24),
    ) {
        history(advertised, by_label, &ops)?;
    }
}
