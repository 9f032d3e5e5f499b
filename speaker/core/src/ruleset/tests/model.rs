//! Random histories against a kernel in miniature: every transaction is one that nf_tables takes, no packet between two of
//! them finds a verdict without its rows, and any history ends where a fresh start would.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use herald_core::{IpFamily, Protocol};
use herald_nft::{Data, Family, Verdict};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::kernel::Kernel;
use super::{backends, key, node};
use crate::ruleset::{Pick, PickKind, Ruleset};
use crate::{
    ForwardConfig, Frontend, FrontendForwarding, NodeForwarding, Role, ServiceForwarding,
    TrafficPolicy,
};

const FOUR: [&str; 5] = [
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.4:81",
    "10.0.0.5:80",
];
const SIX: [&str; 3] = ["[fd00::1]:80", "[fd00::2]:80", "[fd00::3]:80"];

#[derive(Clone, Debug)]
enum Step {
    Want(ServiceForwarding),
    Node(NodeForwarding),
    /// The process is killed after so many transactions of the next plan, and starts again.
    Restart(usize),
    Collect,
}

fn frontend() -> impl Strategy<Value = (Frontend, Role)> {
    let protocol = || select(vec![Protocol::Tcp, Protocol::Udp]);
    let external = || select(vec![Role::ClusterIp, Role::LoadBalancer, Role::ExternalIp]);
    let addresses = vec!["203.0.113.1", "203.0.113.2", "2001:db8::1"];
    let address = (select(addresses), protocol(), 80..82u16, external()).prop_map(
        |(address, protocol, port, role)| {
            let address = address.parse().unwrap();
            (
                Frontend::Address {
                    address,
                    protocol,
                    port,
                },
                role,
            )
        },
    );
    let families = vec![IpFamily::V4, IpFamily::V6];
    let node_port =
        (select(families), protocol(), 30080..30082u16).prop_map(|(family, protocol, port)| {
            (
                Frontend::NodePort {
                    family,
                    protocol,
                    port,
                },
                Role::NodePort,
            )
        });
    prop_oneof![3 => address, 1 => node_port]
}

fn forwarding() -> impl Strategy<Value = FrontendForwarding> {
    let policy = select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let four = subsequence(FOUR.to_vec(), 0..=FOUR.len());
    let six = subsequence(SIX.to_vec(), 0..=SIX.len());
    let ranges = subsequence(
        vec!["192.0.2.0/25", "192.0.2.128/26", "198.51.100.0/24"],
        0..=3,
    );
    let wide = proptest::bool::weighted(0.2);
    (frontend(), policy, four, six, ranges, wide, 0..3usize).prop_map(
        |((frontend, role), policy, four, six, ranges, wide, locals)| {
            let addresses = match frontend.family() {
                IpFamily::V4 => four,
                IpFamily::V6 => six,
            };
            let mut cluster = backends(&addresses).to_vec();
            for backend in cluster.iter_mut().take(locals) {
                backend.local = true;
            }
            let local: Vec<_> = match policy {
                TrafficPolicy::Cluster => Vec::new(),
                TrafficPolicy::Local => cluster.iter().filter(|b| b.local).cloned().collect(),
            };
            let ranges: Vec<_> = if wide { vec!["192.0.0.0/16"] } else { ranges };
            let guarded = role == Role::LoadBalancer && frontend.family() == IpFamily::V4;
            let sources = ranges.iter().map(|r| r.parse().unwrap()).collect();
            FrontendForwarding {
                frontend,
                role,
                policy,
                cluster: cluster.into(),
                local: local.into(),
                draining: std::sync::Arc::default(),
                sources: (guarded && !ranges.is_empty()).then_some(sources),
                ours: role == Role::LoadBalancer && !wide,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let frontends = proptest::collection::vec(forwarding(), 0..5);
    let want = (0..4u8, frontends).prop_map(|(name, mut frontends)| {
        frontends.sort_by_key(|f| f.frontend);
        frontends.dedup_by_key(|f| f.frontend);
        let key = key(&format!("s{name}"));
        Step::Want(ServiceForwarding { key, frontends })
    });
    let nodes = select(vec![NodeForwarding::default(), node(), wide_node()]);
    prop_oneof![
        12 => want,
        1 => nodes.prop_map(Step::Node),
        2 => (0..4usize).prop_map(Step::Restart),
        1 => Just(Step::Collect),
    ]
}

fn wide_node() -> NodeForwarding {
    NodeForwarding {
        addresses: Vec::new(),
        nodeport_ranges: vec![
            "0.0.0.0-126.255.255.255",
            "128.0.0.0-255.255.255.255",
            "::/0",
        ]
        .into_iter()
        .map(|r| r.parse().unwrap())
        .collect(),
        pod_cidrs: ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"]
            .map(|r| r.parse().unwrap())
            .into(),
    }
}

/// A verdict and where it was found.
type Verdicts = BTreeMap<(Family, &'static str, Vec<u8>), Verdict>;

fn verdicts(kernel: &Kernel) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        for map in [
            "services",
            "node-ports",
            "guarded",
            "services-short",
            "node-ports-short",
        ] {
            for (key, element) in kernel.elements(family, map) {
                if let Some(Data::Verdict(verdict)) = element.data {
                    verdicts.insert((family, map, key), verdict);
                }
            }
        }
    }
    verdicts
}

/// The backends of a pick chain; panics where a row is missing.
fn picked(kernel: &Kernel, family: Family, frontend: &[u8], pick: Pick) -> BTreeSet<Vec<u8>> {
    let rows = match (pick.node_port, pick.kind == PickKind::Local) {
        (false, false) => "endpoints",
        (false, true) => "endpoints-local",
        (true, false) => "node-port-endpoints",
        (true, true) => "node-port-endpoints-local",
    };
    let rows = kernel.elements(family, rows);
    (0..pick.count)
        .map(|index| {
            let row = rows.get(&[frontend, &index.to_ne_bytes()].concat());
            match row.and_then(|r| r.data.clone()) {
                Some(Data::Bytes(bytes)) => bytes,
                other => panic!("{frontend:?} {pick:?}: row {index} is {other:?}"),
            }
        })
        .collect()
}

/// Whether a packet that starts now can come to this verdict: second ones stay a little longer than what leads to them.
fn reachable(verdicts: &Verdicts, family: Family, map: &str, key: &[u8]) -> bool {
    let goes = |map, wanted: &dyn Fn(&str) -> bool| {
        let verdict = verdicts.get(&(family, map, key.to_vec()));
        matches!(verdict, Some(Verdict::Goto(chain)) if wanted(chain))
    };
    let local = |chain: &str| Pick::parse(chain).is_some_and(|p| p.kind == PickKind::Local);
    let guarded = goes("services", &|chain| chain == "guard");
    match map {
        "guarded" => guarded,
        "services-short" => goes("services", &local) || guarded && goes("guarded", &local),
        "node-ports-short" => goes("node-ports", &local),
        _ => true,
    }
}

/// A packet reads a verdict before a transaction and what it leads to after it: it must find it.
fn check(before: &Verdicts, after: &Kernel) {
    let now = verdicts(after);
    for ((family, map, key), verdict) in before {
        let Verdict::Goto(chain) = verdict else {
            continue;
        };
        if !reachable(before, *family, map, key) {
            continue;
        }
        let leads_to = |map| {
            assert!(
                now.contains_key(&(*family, map, key.clone())),
                "{map} {key:?}"
            );
        };
        if let Some(pick) = Pick::parse(chain) {
            picked(after, *family, key, pick);
            if pick.kind == PickKind::Local {
                leads_to(if pick.node_port {
                    "node-ports-short"
                } else {
                    "services-short"
                });
            }
        } else if &**chain == "guard" && *map == "services" {
            leads_to("guarded");
        }
    }
}

/// Commits up to `limit` transactions of what is to do.
fn run(ruleset: &mut Ruleset, kernel: &mut Kernel, limit: usize) {
    let mut plan = ruleset.plan(&HashSet::new());
    let transactions = plan.transactions();
    for transaction in transactions.iter().take(limit) {
        let before = verdicts(kernel);
        kernel.commit(
            transaction
                .operations()
                .into_iter()
                .map(|(_, operation)| operation),
        );
        check(&before, kernel);
        check(&verdicts(kernel), kernel);
        for part in transaction.parts(usize::MAX).unwrap() {
            ruleset.commit(transaction, &part);
        }
    }
    if limit >= transactions.len() {
        ruleset.done(&plan);
    }
}

/// What the rules amount to, whatever the order of rows: for each frontend its verdict and backends.
fn meaning(kernel: &Kernel) -> BTreeMap<String, String> {
    let mut meaning = BTreeMap::new();
    for ((family, map, key), verdict) in verdicts(kernel) {
        let backends = match &verdict {
            Verdict::Goto(chain) => Pick::parse(chain).map(|p| picked(kernel, family, &key, p)),
            _ => None,
        };
        let place = format!("{family:?} {map} {key:?}");
        meaning.insert(place, format!("{verdict:?} {backends:?}"));
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let sets = [
            "source-ranges",
            "addresses",
            "cluster-ips",
            "node-addresses",
            "pods",
            "keep-source",
            "hairpin",
        ];
        let rows = [
            "endpoints",
            "endpoints-local",
            "node-port-endpoints",
            "node-port-endpoints-local",
        ];
        for set in sets {
            let elements = kernel.elements(family, set);
            meaning.insert(format!("{family:?} {set}"), format!("{elements:?}"));
        }
        for set in rows {
            let count = kernel.elements(family, set).len();
            meaning.insert(format!("{family:?} {set}"), count.to_string());
        }
    }
    meaning
}

proptest! {
    #[test]
    fn histories_end_where_a_fresh_start_would(steps in proptest::collection::vec(step(), 1..14)) {
        let config = ForwardConfig::default();
        let mut kernel = Kernel::default();
        let mut ruleset = Ruleset::new(&config);
        let mut wanted = BTreeMap::new();
        let mut node = NodeForwarding::default();
        run(&mut ruleset, &mut kernel, usize::MAX);
        for step in steps {
            match step {
                Step::Want(forwarding) => {
                    wanted.insert(forwarding.key.clone(), forwarding.clone());
                    ruleset.want(forwarding);
                }
                Step::Node(new) => {
                    node = new.clone();
                    ruleset.want_node(new);
                }
                Step::Restart(after) => {
                    run(&mut ruleset, &mut kernel, after);
                    ruleset = Ruleset::new(&config);
                    ruleset.want_node(node.clone());
                    for forwarding in wanted.values() {
                        ruleset.want(forwarding.clone());
                    }
                    let mismatches = ruleset.observe(&kernel.listings());
                    prop_assert!(mismatches.is_empty(), "{mismatches:?}");
                }
                Step::Collect => {
                    let mut plan = ruleset.plan_collect(0);
                    for transaction in plan.transactions() {
                        kernel.commit(transaction.operations().into_iter().map(|(_, o)| o));
                        for part in transaction.parts(usize::MAX).unwrap() {
                            ruleset.commit(&transaction, &part);
                        }
                    }
                }
            }
            if !matches!(wanted.len(), 2) {
                run(&mut ruleset, &mut kernel, usize::MAX);
            }
        }
        run(&mut ruleset, &mut kernel, usize::MAX);
        prop_assert!(ruleset.plan(&HashSet::new()).is_empty());

        let mut fresh_kernel = Kernel::default();
        let mut fresh = Ruleset::new(&config);
        fresh.want_node(node);
        for forwarding in wanted.into_values() {
            fresh.want(forwarding);
        }
        run(&mut fresh, &mut fresh_kernel, usize::MAX);
        prop_assert_eq!(meaning(&kernel), meaning(&fresh_kernel));

        // What is there is known exactly: taken up again, there is nothing to do but to own it.
        let mismatches = ruleset.observe(&kernel.listings());
        prop_assert!(mismatches.is_empty(), "{mismatches:?}");
        let plan = ruleset.plan(&HashSet::new());
        prop_assert_eq!(plan.changes().count(), 0);
    }
}
