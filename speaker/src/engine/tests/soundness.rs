//! Nodes that turn not Ready while their speakers live.

use super::*;
use crate::engine::soundness::SETTLE;

fn all() -> Vec<String> {
    (10..40).map(|n| format!("192.0.2.{n}")).collect()
}

/// Nodes n1 and n2 with thirty addresses, and those that n1 answers for.
fn pair() -> (Bench, Vec<String>) {
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see(all().iter().map(|a| set_service(web(a, a))));
    bench.see([set_node("n2", true), set_speaker("n2", 0)]);
    let own = bench.targets();
    assert!(!own.is_empty() && own.len() < 30);
    bench.see(own.iter().map(|address| announcing(address)));
    pass(&mut bench, 10);
    (bench, own)
}

/// A Speaker object that says what it answers for.
fn holds(node: &str, renewed: u32, addresses: &[String]) -> Observation {
    let seen = SpeakerSeen {
        owned: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..speaker_seen(node, renewed)
    };
    Observation::Speaker(Change::Set(node.into(), seen))
}

/// Time passes, and both speakers are renewed: n2 answers for what n1 does not.
fn pass(bench: &mut Bench, seconds: u64) {
    bench.now += Duration::from_secs(seconds);
    let own = bench.targets();
    let others: Vec<String> = all().into_iter().filter(|a| !own.contains(a)).collect();
    let (n2, _) = bench.engine.peers.others().next().unwrap();
    let renewed = n2.renewed.parse::<u32>().unwrap() + 1;
    bench.see([holds("n1", renewed, &own), holds("n2", renewed, &others)]);
}

#[test]
fn when_all_nodes_turn_not_ready_one_after_the_other_no_address_moves() {
    for order in [["n1", "n2"], ["n2", "n1"]] {
        let (mut bench, own) = pair();
        let told = bench.steps.len();
        for ready in [false, true] {
            for node in order {
                bench.see([set_node(node, ready)]);
                assert_eq!(bench.targets(), own, "{order:?} {node} {ready}");
                pass(&mut bench, 12);
                assert_eq!(bench.targets(), own, "{order:?} {node} {ready}");
            }
            for _ in 0..8 {
                pass(&mut bench, 10);
                assert_eq!(bench.targets(), own, "{order:?} {ready}");
            }
        }
        assert_eq!(bench.steps[told..], [], "{order:?}");
    }
}

#[test]
fn one_node_that_stays_not_ready_hands_its_addresses_over_and_says_so() {
    let (mut bench, own) = pair();
    bench.engine.report(false);
    bench.see([set_node("n1", false)]);
    let ready = bench.engine.report(false).unwrap().facts.ready;
    assert!(
        ready.holds && ready.message.contains("not Ready"),
        "{ready:?}"
    );
    let mut waited = Duration::ZERO;
    while waited + Duration::from_secs(10) < SETTLE {
        assert_eq!(bench.targets(), own);
        pass(&mut bench, 10);
        waited += Duration::from_secs(10);
    }
    assert_eq!(bench.targets(), own);
    pass(&mut bench, 10);
    assert!(bench.targets().is_empty());
    pass(&mut bench, 10);
    // Back, and believed after the same time.
    bench.see([set_node("n1", true)]);
    pass(&mut bench, 10);
    assert!(bench.targets().is_empty());
    pass(&mut bench, 10);
    pass(&mut bench, 10);
    assert_eq!(bench.targets(), own);
}

#[test]
fn a_speaker_that_restarts_on_a_node_that_is_not_ready_keeps_its_addresses() {
    let (_, own) = pair();
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see([
        set_node("n1", false),
        set_node("n2", true),
        set_speaker("n2", 0),
        holds("n1", 1, &own),
    ]);
    bench.see(all().iter().map(|a| set_service(web(a, a))));
    assert_eq!(bench.targets(), own);
}
