//! The seam between plan and nf_tables objects: one small Service, written out.

use herald_nft::{Data, Element, Expression, LookupResult, NatKind, Operation, Register, Verdict};

use super::*;

fn element(set: &str, elements: Vec<Element>) -> Operation {
    Operation::AddElements(herald_nft::Elements {
        set: table(IpFamily::V4).set(set),
        elements,
    })
}

#[test]
fn a_small_service_becomes_these_elements() {
    let mut ruleset = Ruleset::new(&ForwardConfig::default());
    commit(&mut ruleset);
    let frontend = address("203.0.113.10", 80);
    ruleset.want(service(
        "web",
        vec![external(frontend, &["10.0.0.1:8080", "10.0.0.2:8080"])],
    ));
    let mut plan = ruleset.plan(&HashSet::new());
    let transactions = plan.transactions();
    let operations: Vec<Vec<Operation>> = transactions
        .iter()
        .map(|t| t.operations().into_iter().map(|(_, o)| o).collect())
        .collect();
    let key = [203, 0, 113, 10, 6, 0, 0, 0, 0, 80, 0, 0];
    let row = |index: u32, last: u8| {
        let key = [key.as_slice(), &index.to_ne_bytes()].concat();
        Element::entry(key, Data::Bytes(vec![10, 0, 0, last, 0x1f, 0x90, 0, 0]))
    };
    let verdict = Data::Verdict(Verdict::Goto("external-2".into()));
    assert_eq!(operations.len(), 2);
    let [chain, rules @ .., rows, counter] = operations[0].as_slice() else {
        panic!("{:?}", operations[0]);
    };
    assert!(matches!(chain, Operation::AddChain(c) if &*c.name.name == "external-2"));
    assert_eq!(rules.len(), 4, "mark, pick, fallback, drop");
    assert_eq!(*rows, element("endpoints", vec![row(0, 1), row(1, 2)]));
    assert_eq!(
        *counter,
        element("addresses", vec![Element::key(vec![203, 0, 113, 10])])
    );
    let main = Element::entry(key.to_vec(), verdict);
    assert_eq!(operations[1], [element("services", vec![main])]);
}

#[test]
fn a_pick_chain_tries_row_zero_and_then_drops() {
    let pick = Pick {
        kind: PickKind::Plain,
        node_port: false,
        count: 3,
    };
    let rules = rules::pick(herald_nft::Family::Ipv6, pick, 0x1000);
    let moduli: Vec<u32> = rules
        .iter()
        .flatten()
        .filter_map(|e| match e {
            Expression::Random { modulus, to } => {
                assert_eq!(*to, Register::at(6).unwrap(), "behind 16 + 4 + 4 bytes");
                Some(*modulus)
            }
            _ => None,
        })
        .collect();
    assert_eq!(moduli, [3, 1]);
    assert_eq!(rules.last().unwrap(), &[Expression::Verdict(Verdict::Drop)]);
    let translate = &rules[0][rules[0].len() - 2..];
    assert_eq!(
        translate,
        [
            Expression::Lookup {
                set: "endpoints".into(),
                key: Register::FIRST,
                result: LookupResult::Load(Register::FIRST),
            },
            Expression::Nat {
                kind: NatKind::Destination,
                family: herald_nft::Family::Ipv6,
                address: Register::FIRST,
                port: Register::at(4).unwrap(),
            },
        ]
    );
}

#[test]
fn chain_names_are_read_back() {
    for (name, expected) in [
        ("external-3", Some((PickKind::External, false, 3))),
        ("node-port-local-0", Some((PickKind::Local, true, 0))),
        ("internal-03", None),
        ("external-", None),
        ("postrouting", None),
        ("node-port-short", None),
    ] {
        let pick = Pick::parse(name);
        let parts = pick.map(|p| (p.kind, p.node_port, p.count));
        assert_eq!(parts, expected, "{name}");
        if let Some(pick) = pick {
            assert_eq!(pick.chain(), name);
        }
    }
}
