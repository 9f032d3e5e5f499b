//! The sign of life: where it is asked for, when it comes, and that nothing else takes notice of it.

use std::time::Duration;

use herald_nft::{Expression, Family, LookupResult, Operation, Verdict};

use super::kernel::Kernel;
use super::*;

fn config(mode: ServiceProxy) -> ForwardConfig {
    ForwardConfig {
        mode,
        step_aside_after: Duration::from_secs(7),
        ..ForwardConfig::default()
    }
}

/// Commits everything to a kernel in miniature.
fn run(ruleset: &mut Ruleset, kernel: &mut Kernel) {
    let mut plan = ruleset.plan(&HashSet::new());
    for transaction in plan.transactions() {
        kernel.commit(transaction.operations().into_iter().map(|(_, o)| o));
        for part in transaction.parts(usize::MAX).unwrap() {
            ruleset.commit(&transaction, &part);
        }
    }
    ruleset.done(&plan);
}

fn signs(kernel: &Kernel) -> Vec<(Family, Vec<u8>, Option<Duration>)> {
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .flat_map(|family| {
            let elements = kernel.elements(family, "alive").into_values();
            elements.map(move |e| (family, e.key, e.timeout))
        })
        .collect()
}

#[test]
fn beside_another_proxy_every_dispatch_asks_for_it_first() {
    let mut ruleset = Ruleset::new(&config(ServiceProxy::External));
    let mut kernel = Kernel::default();
    run(&mut ruleset, &mut kernel);
    for listing in kernel.listings().values() {
        let asking: Vec<_> = listing
            .rules
            .iter()
            .filter(|(_, rules)| {
                matches!(
                    rules.first().map(Vec::as_slice),
                    Some([
                        Expression::Meta { .. },
                        Expression::Lookup { set, result: LookupResult::TestAbsent, .. },
                        Expression::Verdict(Verdict::Return),
                    ]) if &**set == "alive"
                )
            })
            .map(|(chain, _)| &**chain)
            .collect();
        assert_eq!(asking, ["output", "prerouting"]);
    }
}

#[test]
fn without_another_proxy_nothing_steps_aside() {
    let mut ruleset = Ruleset::new(&config(ServiceProxy::All));
    let mut kernel = Kernel::default();
    run(&mut ruleset, &mut kernel);
    assert!(ruleset.sign_of_life().is_empty());
    for listing in kernel.listings().values() {
        let text = format!("{listing:?}");
        assert!(!text.contains("alive"), "{text}");
        assert!(text.contains("services"), "{text}");
    }
}

/// A table that replaces another one has its sign in the same transaction, behind everything else.
#[test]
fn a_table_that_is_made_has_it_from_the_start() {
    let mut ruleset = Ruleset::new(&config(ServiceProxy::External));
    ruleset.want(many(1, &TEN));
    let mut plan = ruleset.plan(&HashSet::new());
    let transactions = plan.transactions();
    let [transaction] = transactions.as_slice() else {
        panic!("{transactions:?}");
    };
    let operations = transaction.operations();
    let last: Vec<Operation> = operations
        .into_iter()
        .rev()
        .take(4)
        .map(|(_, o)| o)
        .collect();
    let mut expected = ruleset.sign_of_life();
    expected.reverse();
    assert_eq!(last, expected);
    let parts = transaction.parts(500).unwrap();
    assert!(parts.len() > 1);
    let elements = |parts: &[Part]| -> usize { parts.iter().map(Part::elements).sum() };
    let whole = transaction.parts(usize::MAX).unwrap();
    assert_eq!(elements(&parts), elements(&whole), "once");
}

#[test]
fn it_is_renewed_whether_it_ran_out_or_not_and_is_no_difference() {
    let config = config(ServiceProxy::External);
    let mut ruleset = Ruleset::new(&config);
    let mut kernel = Kernel::default();
    ruleset.want(many(1, &TEN));
    run(&mut ruleset, &mut kernel);
    let lasts = Some(Duration::from_secs(7));
    let both = [
        (Family::Ipv4, vec![2], lasts),
        (Family::Ipv6, vec![10], lasts),
    ];
    assert_eq!(signs(&kernel), both);
    kernel.commit(ruleset.sign_of_life());
    assert_eq!(signs(&kernel), both);
    for run_out in [false, true] {
        if run_out {
            for family in [IpFamily::V4, IpFamily::V6] {
                kernel.commit([Operation::FlushSet(table(family).set("alive"))]);
            }
        }
        let before = signs(&kernel);
        let mut restarted = Ruleset::new(&config);
        restarted.want(many(1, &TEN));
        let mismatches = restarted.observe(&kernel.listings());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let mut plan = restarted.plan(&HashSet::new());
        assert_eq!(plan.changes().count(), 0);
        for transaction in plan.transactions() {
            kernel.commit(transaction.operations().into_iter().map(|(_, o)| o));
        }
        assert_eq!(signs(&kernel), before, "adopting alone shows no life");
        kernel.commit(restarted.sign_of_life());
        assert_eq!(signs(&kernel), both);
    }
}
