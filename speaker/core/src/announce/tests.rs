use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::lab::{Lab, V4, V6, mac};
use super::*;

const BOTH: [IpAddr; 2] = [V4, V6];

#[test]
fn a_new_target_is_probed_for_then_announced_then_answered() {
    for address in BOTH {
        let mut lab = Lab::new(address, 2);
        lab.set_target(0, true);
        lab.run(230);
        assert_eq!(lab.state(0), Some(ClaimState::Probing), "{address}");
        assert_eq!(lab.take_answers(), BTreeSet::new());
        lab.run(20);
        assert_eq!(lab.state(0), Some(ClaimState::Announcing), "{address}");
        lab.run(1200);
        assert_eq!(lab.take_answers(), BTreeSet::from([0]));
        let counts = lab.nodes[0].responder.counts()[&address];
        assert_eq!(counts.announcements, 3, "{counts:?}");
        assert!(
            counts.replies > 300 && counts.requests > counts.replies,
            "{counts:?}"
        );
    }
}

#[test]
fn a_target_that_goes_and_comes_back_unseen_is_told_when_asked() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(500);
    let responder = &mut lab.nodes[0].responder;
    while responder.poll_report().is_some() {}
    responder.report_all();
    assert!(responder.has_reports());
    let report = responder.poll_report().unwrap();
    assert_eq!(
        (report.state, report.repeated),
        (ClaimState::Announcing, true)
    );
    assert_eq!(responder.poll_report(), None);
    // What has changed is news, and told once.
    lab.set_link(0, false);
    let responder = &mut lab.nodes[0].responder;
    responder.report_all();
    let report = responder.poll_report().unwrap();
    assert_eq!(
        (report.state, report.repeated),
        (ClaimState::LinkDown, false)
    );
    assert_eq!(responder.poll_report(), None);
}

#[test]
fn a_withdrawn_target_is_silent_at_once() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(500);
    lab.set_target(0, false);
    lab.take_answers();
    lab.run(500);
    assert_eq!(lab.take_answers(), BTreeSet::new());
    assert_eq!(lab.nodes[0].responder.next_deadline(), None);
}

#[test]
fn a_move_waits_for_the_old_owner_and_takes_over_soon_after() {
    for (address, from, to) in [(V4, 0, 1), (V4, 1, 0), (V6, 0, 1), (V6, 1, 0)] {
        let mut lab = Lab::new(address, 2);
        lab.set_target(from, true);
        lab.run(4000);
        lab.set_target(to, true);
        lab.run(3000);
        assert_eq!(lab.announcing(), [from]);
        assert_eq!(lab.state(to), Some(ClaimState::Conflict { mac: mac(from) }));
        lab.set_target(from, false);
        lab.run(1250);
        assert_eq!(lab.announcing(), [to]);
    }
}

#[test]
fn a_quick_move_takes_less_than_half_a_second() {
    let mut lab = Lab::new(V4, 2);
    lab.set_target(0, true);
    lab.run(4000);
    lab.set_target(1, true);
    lab.run(20);
    lab.set_target(0, false);
    lab.run(480);
    assert_eq!(lab.announcing(), [1]);
}

#[test]
fn a_paused_owner_stays_silent_after_another_took_over() {
    for address in BOTH {
        for (old, new) in [(0, 1), (1, 0)] {
            for pause in (20..400).step_by(23).chain([1_499, 1_600, 20_000]) {
                let mut lab = Lab::new(address, 2);
                lab.set_target(old, true);
                lab.run(4000);
                lab.nodes[old].paused_until = lab.now + pause;
                lab.set_target(new, true);
                lab.run(pause + 3000);
                assert_eq!(lab.announcing().len(), 1, "{address} {old} {pause}");
            }
        }
    }
}

#[test]
fn a_pause_without_a_rival_costs_no_address() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(4000);
    lab.nodes[0].paused_until = lab.now + 1000;
    lab.run(1001);
    assert_eq!(lab.state(0), Some(ClaimState::Announcing));
    lab.take_answers();
    lab.run(10);
    assert_eq!(lab.take_answers(), BTreeSet::from([0]));
}

#[test]
fn after_a_long_pause_everything_is_probed_for_again() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(4000);
    lab.nodes[0].paused_until = lab.now + 1600;
    lab.take_answers();
    lab.run(1602);
    assert_eq!(lab.state(0), Some(ClaimState::Probing));
    lab.run(400);
    assert_eq!(lab.state(0), Some(ClaimState::Announcing));
}

#[test]
fn two_that_start_together_settle_on_one() {
    for address in BOTH {
        for gap in (0..300).step_by(3) {
            let mut lab = Lab::new(address, 3);
            lab.set_target(2, true);
            lab.run(gap);
            lab.set_target(0, true);
            lab.set_target(1, true);
            lab.run(1500);
            assert_eq!(lab.announcing().len(), 1, "{address} gap {gap}");
        }
    }
}

#[test]
fn after_a_partition_the_smaller_hardware_address_stays() {
    for address in BOTH {
        let mut lab = Lab::new(address, 2);
        lab.strict = false;
        lab.nodes[1].side = 1;
        lab.set_target(0, true);
        lab.set_target(1, true);
        lab.run(30_000);
        assert_eq!(lab.announcing(), [0, 1]);
        lab.nodes[1].side = 0;
        // The slow probe of either finds the other.
        lab.run(12_000);
        assert_eq!(lab.announcing(), [0]);
        lab.strict = true;
        lab.run(5_000);
        assert_eq!(lab.announcing(), [0]);
    }
}

#[test]
fn a_foreign_host_keeps_its_address_and_is_reported() {
    let mut lab = Lab::new(V4, 2);
    lab.nodes[1].rogue = true;
    lab.set_target(0, true);
    lab.run(10_000);
    assert_eq!(lab.state(0), Some(ClaimState::Conflict { mac: mac(1) }));
    assert_eq!(lab.take_answers(), BTreeSet::new());
    let probes = lab.nodes[0].responder.counts()[&V4].probes;
    assert!((10..30).contains(&probes), "{probes} probes in 10 s");
    lab.set_link(1, false);
    lab.run(1500);
    assert_eq!(lab.announcing(), [0]);
}

#[test]
fn a_foreign_host_that_does_not_give_way_wins_in_the_end() {
    let mut lab = Lab::new(V4, 2);
    lab.set_target(0, true);
    lab.run(1000);
    lab.nodes[1].rogue = true;
    lab.run(12_000);
    assert_eq!(lab.state(0), Some(ClaimState::Conflict { mac: mac(1) }));
}

#[test]
fn link_loss_silences_at_once_and_return_probes_anew() {
    let mut lab = Lab::new(V6, 2);
    lab.set_target(0, true);
    lab.run(1000);
    lab.set_link(0, false);
    assert_eq!(lab.state(0), Some(ClaimState::LinkDown));
    lab.set_target(1, true);
    lab.run(1000);
    assert_eq!(lab.announcing(), [1]);
    lab.set_link(0, true);
    assert_eq!(lab.state(0), Some(ClaimState::Probing));
    lab.run(1000);
    assert_eq!(lab.announcing(), [1]);
}

#[test]
fn a_new_hardware_address_is_announced_at_once() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(5000);
    let before = lab.nodes[0].responder.counts()[&V4].announcements;
    lab.set_mac(0, Mac([2, 0, 0, 0, 7, 7]));
    lab.run(2);
    let counts = lab.nodes[0].responder.counts()[&V4];
    assert_eq!(counts.announcements, before + 1);
    assert_eq!(lab.state(0), Some(ClaimState::Announcing));
}

#[test]
fn announcements_are_refreshed_slowly() {
    let mut lab = Lab::new(V6, 1);
    lab.set_target(0, true);
    lab.run(5_000);
    let before = lab.nodes[0].responder.counts()[&V6];
    lab.run(300_000);
    let after = lab.nodes[0].responder.counts()[&V6];
    let (rounds, probes) = (
        after.announcements - before.announcements,
        after.probes - before.probes,
    );
    assert!((4..=6).contains(&rounds), "{rounds} in five minutes");
    assert!((26..=34).contains(&probes), "{probes} in five minutes");
}

#[test]
fn requests_for_other_addresses_and_of_our_own_are_not_answered() {
    let mut lab = Lab::new(V4, 1);
    lab.set_target(0, true);
    lab.run(1000);
    let now = Duration::from_millis(lab.now);
    let responder = &mut lab.nodes[0].responder;
    let client = (Mac([2, 0, 0, 0, 9, 9]), "192.0.2.9".parse().unwrap());
    let ours = (mac(0), "192.0.2.9".parse().unwrap());
    for (frame, answered) in [
        (arp::request(client, "192.0.2.100".parse().unwrap()), true),
        (arp::request(client, "192.0.2.101".parse().unwrap()), false),
        (arp::request(ours, "192.0.2.100".parse().unwrap()), false),
    ] {
        let reply = responder.handle_frame(2, frame.as_bytes(), now);
        assert_eq!(reply.is_some(), answered, "{frame:?}");
        assert!(responder.handle_frame(3, frame.as_bytes(), now).is_none());
    }
}

#[test]
fn a_probe_that_could_not_be_sent_does_not_count() {
    let mut responder = Responder::default();
    let link = LinkView {
        index: 2,
        name: "lan".into(),
        mac: mac(0),
        up: true,
        gateways: Vec::new(),
        addresses: Vec::new(),
    };
    let addresses = BTreeMap::from([(V4, BTreeSet::from([2]))]);
    responder.set_targets(&addresses, &BTreeMap::from([(2, link)]), Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..50 {
        responder.handle_caught_up(now);
        while let Some(transmit) = responder.poll_transmit(now) {
            responder.handle_send_failure(&transmit, now);
        }
        now += Duration::from_millis(80);
    }
    assert!(responder.counts()[&V4].announcements == 0);
}

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Event {
    Target(usize, bool),
    Link(usize, bool),
    Pause(usize, u64),
}

fn event() -> impl Strategy<Value = (Event, u64)> {
    let happening = prop_oneof![
        3 => (0usize..3, any::<bool>()).prop_map(|(node, on)| Event::Target(node, on)),
        1 => (0usize..3, any::<bool>()).prop_map(|(node, up)| Event::Link(node, up)),
        2 => (0usize..3, 1u64..600).prop_map(|(node, ms)| Event::Pause(node, ms)),
        1 => (0usize..3, 600u64..4000).prop_map(|(node, ms)| Event::Pause(node, ms)),
    ];
    (
        happening,
        prop_oneof![2 => 0u64..100, 2 => 100u64..700, 1 => 700u64..5000],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// I1 without a partition of the segment: whatever the nodes believe and however they are scheduled.
    #[test]
    fn no_question_is_answered_by_two(
        v6: bool,
        events in prop::collection::vec(event(), 1..25),
        wanted in prop::collection::vec(any::<bool>(), 3),
    ) {
        let mut lab = Lab::new(if v6 { V6 } else { V4 }, 3);
        for (event, wait) in events {
            match event {
                Event::Target(node, on) => lab.set_target(node, on),
                Event::Link(node, up) => lab.set_link(node, up),
                Event::Pause(node, ms) => lab.nodes[node].paused_until = lab.now + ms,
            }
            lab.run(wait);
        }
        for (node, on) in wanted.iter().enumerate() {
            lab.nodes[node].paused_until = 0;
            lab.set_link(node, true);
            lab.set_target(node, *on);
        }
        lab.run(4000);
        prop_assert_eq!(lab.announcing().len(), usize::from(wanted.contains(&true)));
    }
}
