//! Addresses that are somebody's: left alone as soon as it is known, taken up again when they are free.

use super::*;

fn carried(bench: &Bench) -> bool {
    let planned = bench.engine.planned.get(&key("web"));
    planned.is_some_and(|planned| !planned.external.is_empty())
}

fn running() -> Bench {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([
        synced("web", &["192.0.2.10"]),
        Observation::DataPath(DataPathReport::Ready),
    ]);
    assert!(carried(&bench));
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench
}

/// Node n2 with the Service's address as its own.
fn joining(present: bool) -> Observation {
    let mut seen = node_seen("n2", true);
    if present {
        seen.view.known_addresses = vec!["192.0.2.10".parse().unwrap()];
    }
    Observation::Node(Change::Set("n2".into(), seen))
}

#[test]
fn an_address_that_a_node_joins_with_is_silent_first_and_then_left_alone() {
    let mut bench = running();
    let steps = bench.see([joining(true)]);
    let [Step::Announce { generation, .. }] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert!(bench.targets().is_empty());
    let steps = bench.see([Observation::Announcing {
        generation: *generation,
    }]);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 0)]);
    // It goes, and the address works again: first the rules, then the answers.
    let steps = bench.see([joining(false)]);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 1)]);
    assert!(bench.targets().is_empty());
    bench.see([synced("web", &["192.0.2.10"])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn api_servers_links_and_other_nodes_subnets_are_left_alone_in_every_mode() {
    let address = || "192.0.2.10".parse().unwrap();
    let api_server = || {
        let (mut key, mut view) = slice_of("kubernetes", "n1");
        key.name = "kubernetes".into();
        view.endpoints[0].address = address();
        Observation::Slice(Change::Set(key, view))
    };
    let own_link = || {
        let link = LinkView {
            index: 3,
            name: "eth1".into(),
            mac: Mac([2, 0, 0, 0, 0, 3]),
            up: false,
            addresses: vec!["192.0.2.10/32".parse().unwrap()],
            gateways: Vec::new(),
        };
        Observation::Links([(3, link)].into())
    };
    let gateway = || {
        let Observation::Links(mut links) = links(true) else {
            unreachable!()
        };
        links.get_mut(&2).unwrap().gateways = vec![address()];
        Observation::Links(links)
    };
    let others_link = || {
        let mut seen = speaker_seen("n2", 0);
        seen.interfaces[0].addresses = vec!["192.0.2.10/30".parse().unwrap()];
        Observation::Speaker(Change::Set("n2".into(), seen))
    };
    for mode in [ServiceProxy::External, ServiceProxy::All, ServiceProxy::Off] {
        for observation in [api_server(), own_link(), gateway(), others_link()] {
            let mut bench = Bench::listed(mode);
            bench.see([
                synced("web", &["192.0.2.10"]),
                Observation::DataPath(DataPathReport::Ready),
            ]);
            let text = format!("{mode:?} {observation:?}");
            bench.see([observation]);
            bench.see([Observation::Announcing {
                generation: u64::MAX,
            }]);
            assert!(!carried(&bench), "{text}");
            assert!(bench.targets().is_empty(), "{text}");
            bench.engine.full_pass();
            bench.see([]);
            assert_eq!(bench.engine.differences(), 0, "{text}");
        }
    }
}

fn conflict(mac: [u8; 6]) -> Observation {
    let key = ClaimKey {
        interface: 2,
        address: "192.0.2.10".parse().unwrap(),
    };
    Observation::Announcer(AnnouncerReport {
        key,
        state: ClaimState::Conflict { mac: Mac(mac) },
        repeated: false,
    })
}

#[test]
fn an_address_that_another_host_has_is_left_to_it_and_taken_back_when_it_goes() {
    let mut bench = running();
    bench.see([conflict([6; 6])]);
    assert!(carried(&bench), "usual for a moment");
    let steps = bench.pass(4);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 0)]);
    assert_eq!(bench.targets(), ["192.0.2.10"], "it is asked for still");
    assert!(bench.pass(60).is_empty(), "and nothing flaps");
    let steps = bench.see([announcing("192.0.2.10")]);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 1)]);
    assert!(bench.targets().is_empty(), "the rules come first");
    bench.see([synced("web", &["192.0.2.10"])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn what_another_speaker_finds_in_strange_hands_is_left_alone_here_too() {
    let told = |renewed, mac: Option<[u8; 6]>| {
        let mut seen = speaker_seen("n2", renewed);
        seen.macs = vec![Mac([2, 0, 0, 0, 0, 2])];
        let conflict = mac.map(|mac| ("192.0.2.10".parse().unwrap(), Mac(mac)));
        seen.conflicts = conflict.into_iter().collect();
        Observation::Speaker(Change::Set("n2".into(), seen))
    };
    let mut bench = running();
    bench.see([set_node("n2", false), told(0, Some([6; 6]))]);
    assert!(!carried(&bench));
    bench.see([told(1, None)]);
    assert!(carried(&bench));
    // Two nodes that both claim it are no strangers: the wire arbitrates, and both may carry it.
    bench.see([told(2, Some([2, 0, 0, 0, 0, 1]))]);
    assert!(carried(&bench));
    bench.see([told(3, Some([6; 6]))]);
    assert!(!carried(&bench));
    // A speaker that is heard no more says nothing.
    for renewal in 1..=4 {
        bench.pass(10);
        bench.see([set_speaker("n1", renewal)]);
    }
    assert!(carried(&bench));
}
