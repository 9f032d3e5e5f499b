mod alive;
mod kernel;
mod model;
mod objects;

use std::collections::HashSet;
use std::net::SocketAddr;

use herald_core::{AddressRange, Protocol, ServiceKey};

use super::*;
use crate::{Backend, FrontendForwarding, NodeForwarding, Role, ServiceForwarding, TrafficPolicy};

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn backends(addresses: &[&str]) -> std::sync::Arc<[Backend]> {
    addresses
        .iter()
        .map(|a| Backend {
            address: a.parse().unwrap(),
            node: None,
            local: false,
        })
        .collect()
}

fn address(address: &str, port: u16) -> Frontend {
    Frontend::Address {
        address: address.parse().unwrap(),
        protocol: Protocol::Tcp,
        port,
    }
}

fn node_port(port: u16) -> Frontend {
    Frontend::NodePort {
        family: IpFamily::V4,
        protocol: Protocol::Tcp,
        port,
    }
}

/// External traffic under policy Cluster.
fn external(frontend: Frontend, to: &[&str]) -> FrontendForwarding {
    FrontendForwarding {
        frontend,
        role: match frontend {
            Frontend::Address { .. } => Role::LoadBalancer,
            Frontend::NodePort { .. } => Role::NodePort,
        },
        policy: TrafficPolicy::Cluster,
        cluster: backends(to),
        local: backends(&[]),
        draining: std::sync::Arc::default(),
        sources: None,
        ours: false,
    }
}

fn service(name: &str, mut frontends: Vec<FrontendForwarding>) -> ServiceForwarding {
    frontends.sort_by_key(|f| f.frontend);
    ServiceForwarding {
        key: key(name),
        frontends,
    }
}

fn node() -> NodeForwarding {
    let own = "192.0.2.1".parse().unwrap();
    NodeForwarding {
        addresses: vec![own],
        nodeport_ranges: vec![AddressRange::single(own)],
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
    }
}

/// Commits a plan as if the kernel took everything; how many elements and transactions it was.
fn commit(ruleset: &mut Ruleset) -> (usize, usize) {
    let mut plan = ruleset.plan(&HashSet::new());
    let transactions = plan.transactions();
    let mut elements = 0;
    for transaction in &transactions {
        for part in transaction.parts(usize::MAX).unwrap() {
            elements += part.elements();
            ruleset.commit(transaction, &part);
        }
    }
    ruleset.done(&plan);
    (elements, transactions.len())
}

const TEN: [&str; 10] = [
    "10.0.0.0:80",
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.4:80",
    "10.0.0.5:80",
    "10.0.0.6:80",
    "10.0.0.7:80",
    "10.0.0.8:80",
    "10.0.0.9:80",
];

fn many(number: u16, to: &[&str]) -> ServiceForwarding {
    let [high, low] = number.to_be_bytes();
    let frontend = address(&format!("198.51.{high}.{low}"), 80);
    service(
        &format!("s{number}"),
        vec![
            external(frontend, to),
            external(node_port(number + 10_000), to),
        ],
    )
}

#[test]
fn one_change_is_a_few_elements_however_many_services_there_are() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    ruleset.want_node(node());
    for number in 0..5000 {
        ruleset.want(many(number, &TEN));
    }
    let (elements, transactions) = commit(&mut ruleset);
    // Per Service ten rows and a verdict for each of two frontends, and a counter. Of the node: its address, its pods, and
    // those again as sources that are kept, each a first key and one beyond; for IPv6 the first key of everything.
    // A sign of life in each table.
    assert_eq!((elements, transactions), (5000 * 23 + 7 + 2, 1));

    // The same again costs nothing.
    ruleset.want(many(7, &TEN));
    assert!(ruleset.plan(&HashSet::new()).is_empty());

    // One endpoint replaced: its row in both frontends goes and comes.
    let mut replaced = TEN;
    replaced[3] = "10.0.9.9:80";
    ruleset.want(many(7, &replaced));
    assert_eq!(commit(&mut ruleset), (2 * 2, 1));

    // One endpoint more: a row each, then the verdicts, which go and come.
    let mut eleven = replaced.to_vec();
    eleven.push("10.0.9.10:80");
    ruleset.want(many(7, &eleven));
    assert_eq!(commit(&mut ruleset), (2 + 2 * 2, 2));

    // Three endpoints fewer, from the front: the last ones take their places, then the verdicts, then the last rows.
    ruleset.want(many(7, &eleven[3..]));
    assert_eq!(commit(&mut ruleset), (2 * 3 * 2 + 2 * 2 + 2 * 3, 3));

    // A Service removed: its verdicts, then its rows and its counter.
    ruleset.want(ServiceForwarding::empty(key("s7")));
    assert_eq!(commit(&mut ruleset), (2 + 2 * 8 + 1, 2));
}

#[test]
fn arrangement_moves_as_few_rows_as_it_can() {
    let rows = |names: &[u16]| -> Vec<SocketAddr> {
        let address = |port: &u16| SocketAddr::new("10.0.0.1".parse().unwrap(), *port);
        names.iter().map(address).collect()
    };
    for (current, wanted, expected) in [
        (&[][..], &[1, 2, 3][..], &[1, 2, 3][..]),
        (&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]),
        (&[3, 1, 2], &[1, 2, 3], &[3, 1, 2]),
        (&[1, 2, 3, 4], &[1, 3, 4], &[1, 4, 3]),
        (&[1, 2, 3], &[2, 3, 4], &[4, 2, 3]),
        (&[1, 2, 3], &[], &[]),
        // Half-finished shrinking leaves a backend twice.
        (&[1, 4, 3, 4], &[1, 3, 4], &[1, 4, 3]),
        (&[1, 1, 2], &[1, 2, 3], &[1, 3, 2]),
    ] {
        assert_eq!(
            arrange(&rows(current), &rows(wanted)),
            rows(expected),
            "{current:?} → {wanted:?}"
        );
    }
}

#[test]
fn claims_are_settled_by_role_then_key() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    let shared = address("203.0.113.1", 80);
    let mut thief = service("a", vec![external(shared, &["10.0.0.1:80"])]);
    thief.frontends[0].role = Role::ExternalIp;
    ruleset.want(thief);
    ruleset.want(service("c", vec![external(shared, &["10.0.0.3:80"])]));
    ruleset.want(service("b", vec![external(shared, &["10.0.0.2:80"])]));
    for owner in ["b", "c", "a"] {
        assert_eq!(ruleset.owner(&shared), Some(&key(owner)));
        ruleset.want(ServiceForwarding::empty(key(owner)));
    }
    assert_eq!(ruleset.owner(&shared), None);
}

#[test]
fn stale_flows_are_told_from_live_ones() {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        stale_flows(protocol);
    }
}

fn stale_flows(of: Protocol) {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    ruleset.want_node(node());
    let with_protocol = |mut forwarding: FrontendForwarding| {
        match &mut forwarding.frontend {
            Frontend::Address { protocol, .. } | Frontend::NodePort { protocol, .. } => {
                *protocol = of;
            }
        }
        forwarding.draining = ["10.0.0.9:53".parse().unwrap()].into();
        forwarding
    };
    let frontends = vec![
        with_protocol(external(address("203.0.113.1", 53), &["10.0.0.1:53"])),
        with_protocol(external(node_port(30053), &["10.0.0.1:53"])),
    ];
    ruleset.want(service("dns", frontends));
    let refused = with_protocol(external(address("203.0.113.2", 53), &[]));
    ruleset.want(service("refused", vec![refused]));
    for (destination, backend, stale) in [
        ("203.0.113.1:53", "10.0.0.1:53", false),
        ("203.0.113.1:53", "10.0.0.9:53", false),
        ("203.0.113.1:53", "10.0.0.2:53", true),
        ("203.0.113.1:53", "10.0.0.1:54", true),
        // From before the Service: nobody translated it.
        ("203.0.113.1:53", "203.0.113.1:53", true),
        // Of a Service that has lost its last backend, but one that drains.
        ("203.0.113.2:53", "10.0.0.1:53", true),
        ("203.0.113.2:53", "10.0.0.9:53", false),
        ("203.0.113.1:54", "203.0.113.1:54", false),
        ("192.0.2.1:30053", "10.0.0.2:53", true),
        ("192.0.2.1:30053", "10.0.0.1:53", false),
        // Another host's port of that number.
        ("192.0.2.99:30053", "192.0.2.99:30053", false),
    ] {
        let (to, by) = (destination.parse().unwrap(), backend.parse().unwrap());
        assert_eq!(
            ruleset.is_stale(of, to, by),
            stale,
            "{of:?} {destination} {backend}"
        );
    }
}

#[test]
fn flows_are_stranded_by_what_goes_and_not_by_what_comes() {
    let of = |protocol: Protocol, to: &[&str]| {
        let mut forwarding = external(address("203.0.113.1", 53), to);
        if let Frontend::Address {
            protocol: place, ..
        } = &mut forwarding.frontend
        {
            *place = protocol;
        }
        service("a", vec![forwarding])
    };
    let (one, two) = (&["10.0.0.1:53"][..], &["10.0.0.1:53", "10.0.0.2:53"][..]);
    for (protocol, old, new, stranded) in [
        (Protocol::Tcp, one, two, false),
        (Protocol::Tcp, two, one, true),
        (Protocol::Tcp, one, &[], true),
        (Protocol::Tcp, one, one, false),
        (Protocol::Udp, one, two, true),
        (Protocol::Udp, one, one, false),
    ] {
        let (old, new) = (of(protocol, old), of(protocol, new));
        assert_eq!(
            old.strands(&new),
            stranded,
            "{protocol:?} {old:?} → {new:?}"
        );
        let gone = ServiceForwarding::empty(old.key.clone());
        assert!(gone.strands(&old) && !old.strands(&gone));
    }
}

#[test]
fn unused_pick_chains_are_collected_when_there_are_many() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    for count in 1..=9 {
        let to = &TEN[..count];
        ruleset.want(service(
            "web",
            vec![external(address("203.0.113.1", 80), to)],
        ));
        commit(&mut ruleset);
    }
    assert!(ruleset.plan_collect(8).is_empty());
    let mut plan = ruleset.plan_collect(7);
    assert_eq!(plan.changes().count(), 8);
    for transaction in plan.transactions() {
        for part in transaction.parts(usize::MAX).unwrap() {
            ruleset.commit(&transaction, &part);
        }
    }
    assert!(ruleset.plan_collect(0).is_empty());
    // A chain that went is made again when it is needed.
    ruleset.want(service(
        "web",
        vec![external(address("203.0.113.1", 80), &TEN[..1])],
    ));
    let plan = ruleset.plan(&HashSet::new());
    let made = plan
        .changes()
        .filter(|(_, _, c)| matches!(c, Change::Pick(_, _, true)));
    assert_eq!(made.count(), 1);
}

#[test]
fn a_skipped_service_waits_and_the_others_go_on() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    ruleset.want(service(
        "bad",
        vec![external(address("203.0.113.1", 80), &["10.0.0.1:80"])],
    ));
    ruleset.want(service(
        "good",
        vec![external(address("203.0.113.2", 80), &["10.0.0.2:80"])],
    ));
    let skip = HashSet::from([key("bad")]);
    let mut plan = ruleset.plan(&skip);
    assert!(
        plan.changes()
            .all(|(_, service, _)| service != Some(&key("bad")))
    );
    for transaction in plan.transactions() {
        for part in transaction.parts(usize::MAX).unwrap() {
            ruleset.commit(&transaction, &part);
        }
    }
    ruleset.done(&plan);
    assert!(ruleset.plan(&skip).is_empty());
    let left = ruleset.plan(&HashSet::new());
    assert!(left.changes().count() > 0);
    assert!(
        left.changes()
            .all(|(_, service, _)| service == Some(&key("bad")))
    );
}

#[test]
fn large_transactions_are_split_between_services() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    for number in 0..200 {
        ruleset.want(many(number, &TEN));
    }
    let mut plan = ruleset.plan(&HashSet::new());
    let transactions = plan.transactions();
    assert_eq!(
        transactions.len(),
        1,
        "a table that is made appears at once"
    );
    let whole = transactions[0].parts(usize::MAX).unwrap();
    assert_eq!(whole.len(), 1);
    let parts = transactions[0].parts(20_000).unwrap();
    assert!(parts.len() > 5);
    let longest = parts.iter().map(|p| p.batch().bytes().len()).max();
    assert!(longest < Some(30_000), "{longest:?}");
    let elements: usize = parts.iter().map(Part::elements).sum();
    assert_eq!(elements, whole[0].elements());
}
