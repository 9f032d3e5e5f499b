use super::fixtures::{Endpoint, advert, change, endpoints, key, label, snapshot};
use super::*;
use crate::{AdvertisementView, LinkView, Mac, NodeView, ServiceView, TrafficPolicy};
use herald_core::IpFamily;

/// Nodes that may own the address: each is the owner once all others are gone.
fn eligible(snapshot: &Snapshot, at: usize) -> Vec<String> {
    let mut found = Vec::new();
    for name in snapshot.nodes.keys() {
        let mut alone = snapshot.clone();
        alone.nodes.retain(|other, _| other == name);
        if let Owner::Node { node, .. } = &ownership(&key(), &alone)[at].owner {
            found.push(node.to_string());
        }
    }
    found
}

fn nobody(snapshot: &Snapshot) -> NobodyReason {
    match ownership(&key(), snapshot).swap_remove(0).owner {
        Owner::Nobody(reason) => reason,
        Owner::Node { node, .. } => panic!("{node} owns it"),
    }
}

#[test]
fn every_speaker_elects_the_same_owner_on_the_interface_in_the_subnet() {
    let mut snapshot = snapshot();
    let first = ownership(&key(), &snapshot);
    assert_eq!(first.len(), 2);
    for node in ["n2", "n3", "elsewhere"] {
        snapshot.node = node.into();
        assert_eq!(ownership(&key(), &snapshot), first);
    }
    for owned in &first {
        let Owner::Node { interfaces, .. } = &owned.owner else {
            panic!("{owned:?}")
        };
        assert_eq!(interfaces.iter().map(|i| &**i).collect::<Vec<_>>(), ["lan"]);
    }
    assert_eq!(eligible(&snapshot, 0), ["n1", "n2", "n3"]);
    assert_eq!(eligible(&snapshot, 1), ["n1", "n2", "n3"]);
}

#[test]
fn only_addresses_of_our_pools_are_announced() {
    for spoil in [
        (|s: &mut ServiceView| s.allocated_from.clear()) as fn(&mut ServiceView),
        |s| s.kind = ServiceKind::NodePort,
        |s| s.load_balancer_ips.clear(),
    ] {
        let mut snapshot = snapshot();
        change(&mut snapshot, spoil);
        assert_eq!(ownership(&key(), &snapshot), []);
    }
    assert_eq!(
        ownership(&ServiceKey::new("default", "other"), &snapshot()),
        []
    );
}

#[test]
fn a_node_is_out_for_its_first_reason() {
    type Spoil = fn(&mut Snapshot);
    let cases: [(Ineligible, Spoil); 8] = [
        (Ineligible::Excluded, |s| {
            s.nodes.get_mut("n1").unwrap().excluded = true;
        }),
        (Ineligible::ShuttingDown, |s| {
            s.nodes.get_mut("n1").unwrap().shutting_down = true;
        }),
        (Ineligible::NoSpeaker, |s| {
            s.speakers.get_mut("n1").unwrap().live = false;
        }),
        (Ineligible::NoSpeaker, |s| drop(s.speakers.remove("n1"))),
        (Ineligible::NotSelected, |s| {
            s.advertisements.get_mut("all").unwrap().node_selectors = vec![label("zone", "b")];
        }),
        (Ineligible::NoInterface, |s| {
            drop(s.speakers.get_mut("n1").unwrap().interfaces.remove(0));
        }),
        (Ineligible::LinkDown, |s| {
            s.speakers.get_mut("n1").unwrap().interfaces[0].up = false;
        }),
        (Ineligible::NotForwarding, |s| {
            let lan = &mut s.speakers.get_mut("n1").unwrap().interfaces[0];
            lan.not_forwarding.insert(IpFamily::V4);
        }),
    ];
    for (reason, spoil) in cases {
        let mut snapshot = snapshot();
        spoil(&mut snapshot);
        assert_eq!(eligible(&snapshot, 0), ["n2", "n3"], "{reason}");
        snapshot.nodes.retain(|name, _| &**name == "n1");
        let expected = vec![(Arc::from("n1"), reason)];
        assert_eq!(
            nobody(&snapshot),
            NobodyReason::NoEligibleNode {
                nodes: expected,
                more: 0
            }
        );
    }
}

#[test]
fn a_kernel_that_does_not_forward_one_family_keeps_the_other() {
    let mut snapshot = snapshot();
    for (name, family) in [("n1", IpFamily::V4), ("n2", IpFamily::V6)] {
        let lan = &mut snapshot.speakers.get_mut(name).unwrap().interfaces[0];
        lan.not_forwarding.insert(family);
    }
    assert_eq!(eligible(&snapshot, 0), ["n2", "n3"]);
    assert_eq!(eligible(&snapshot, 1), ["n1", "n3"]);
    // Published from this node's own settings.
    snapshot.links.insert(
        2,
        LinkView {
            index: 2,
            name: "lan".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            up: true,
            addresses: vec!["192.0.2.1/24".parse().unwrap()],
            gateways: Vec::new(),
        },
    );
    let only_four = BTreeSet::from([IpFamily::V4]);
    snapshot
        .not_forwarding
        .insert("lan".into(), only_four.clone());
    assert_eq!(published_interfaces(&snapshot)[0].not_forwarding, only_four);
}

#[test]
fn conditions_of_a_node_count_while_another_node_is_sound() {
    type Spoil = fn(&mut NodeView);
    let spoils: [Spoil; 2] = [
        |node| node.ready = false,
        |node| {
            node.network_unavailable = true;
        },
    ];
    let owner = |snapshot: &Snapshot| match ownership(&key(), snapshot).swap_remove(0).owner {
        Owner::Node { node, .. } => node,
        Owner::Nobody(reason) => panic!("{reason}"),
    };
    for spoil in spoils {
        let mut snapshot = snapshot();
        let first = owner(&snapshot);
        spoil(snapshot.nodes.get_mut(&first).unwrap());
        assert_ne!(owner(&snapshot), first);
        snapshot.nodes.values_mut().for_each(spoil);
        assert_eq!(owner(&snapshot), first);
        snapshot.speakers.get_mut(&first).unwrap().live = false;
        assert_ne!(owner(&snapshot), first, "it cannot, sound or not");
    }
}

#[test]
fn an_advertisement_is_found_by_pool_and_service() {
    type Set = fn(&mut AdvertisementView);
    let cases: [(&str, bool, Set); 8] = [
        ("everything", true, |_| {}),
        ("this pool", true, |a| {
            a.pools = vec!["other".into(), "lan".into()];
        }),
        ("another pool", false, |a| a.pools = vec!["other".into()]),
        ("a label of the pool", true, |a| {
            a.pool_selectors = vec![label("tier", "gold")];
        }),
        ("another label", false, |a| {
            a.pool_selectors = vec![label("tier", "lead")];
        }),
        ("name or label", true, |a| {
            a.pools = vec!["other".into()];
            a.pool_selectors = vec![label("tier", "gold")];
        }),
        ("a label of the Service", true, |a| {
            a.service_selectors = vec![label("app", "web")];
        }),
        ("another Service", false, |a| {
            a.service_selectors = vec![label("app", "db")];
        }),
    ];
    for (what, found, set) in cases {
        let mut snapshot = snapshot();
        set(snapshot.advertisements.get_mut("all").unwrap());
        if found {
            assert_eq!(eligible(&snapshot, 0).len(), 3, "{what}");
        } else {
            assert_eq!(nobody(&snapshot), NobodyReason::NoAdvertisement, "{what}");
        }
    }
}

#[test]
fn an_address_outside_its_shrunken_pool_stays_announced() {
    let mut snapshot = snapshot();
    snapshot.advertisements.get_mut("all").unwrap().pools = vec!["lan".into()];
    assert_eq!(eligible(&snapshot, 0).len(), 3);
    snapshot.pools.clear();
    assert_eq!(eligible(&snapshot, 0).len(), 3);
}

#[test]
fn each_address_is_announced_as_its_own_pool_says() {
    let mut snapshot = snapshot();
    change(&mut snapshot, |s| {
        s.allocated_from = vec!["six".into(), "lan".into()];
    });
    snapshot.advertisements.get_mut("all").unwrap().pools = vec!["lan".into()];
    assert_eq!(nobody(&snapshot), NobodyReason::NoAdvertisement);
    assert_eq!(eligible(&snapshot, 1).len(), 3);
}

/// The ranges of pools say nothing here: the record on the Service does, whichever of the two is seen first.
#[test]
fn where_no_advertisement_selects_the_pool_of_now_the_last_one_that_is_selected_counts() {
    let mut snapshot = snapshot();
    change(&mut snapshot, |s| {
        s.allocated_from = vec!["new".into()];
        s.earlier_pools = vec![vec!["lan".into(), "oldest".into()]];
    });
    for (pools, nodes) in [
        (&["lan"] as &[&str], 3),
        (&["oldest"], 3),
        (&["other"], 0),
        (&["new", "lan"], 3),
    ] {
        let advert = snapshot.advertisements.get_mut("all").unwrap();
        advert.pools = pools.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(eligible(&snapshot, 0).len(), nodes, "{pools:?}");
        // The IPv6 address was in no other pool.
        let six = if pools.contains(&"new") { 3 } else { 0 };
        assert_eq!(eligible(&snapshot, 1).len(), six, "{pools:?}");
    }
    // What selects the pool of now decides alone.
    let only = AdvertisementView {
        pools: vec!["new".into()],
        node_selectors: vec![label("zone", "a")],
        ..advert("only")
    };
    snapshot.advertisements.get_mut("all").unwrap().pools = vec!["lan".into()];
    snapshot.advertisements.insert("only".into(), only);
    assert_eq!(eligible(&snapshot, 0), ["n1"]);
}

#[test]
fn named_interfaces_need_not_own_the_subnet_and_add_up() {
    let mut snapshot = snapshot();
    snapshot.advertisements.get_mut("all").unwrap().interfaces = vec!["storage".into()];
    let interfaces = |snapshot: &Snapshot| match &ownership(&key(), snapshot)[0].owner {
        Owner::Node { interfaces, .. } => interfaces.iter().map(ToString::to_string).collect(),
        Owner::Nobody(reason) => vec![reason.to_string()],
    };
    assert_eq!(interfaces(&snapshot), ["storage"]);
    snapshot
        .advertisements
        .insert("second".into(), advert("second"));
    assert_eq!(interfaces(&snapshot), ["lan", "storage"]);
    snapshot.advertisements.remove("second");
    snapshot.advertisements.get_mut("all").unwrap().interfaces = vec!["nowhere".into()];
    assert!(
        interfaces(&snapshot)[0].contains("n1: no interface"),
        "{:?}",
        interfaces(&snapshot)
    );
}

#[test]
fn under_policy_local_only_nodes_with_usable_endpoints_count() {
    let cases: [(&str, &[Endpoint], &[&str]); 5] = [
        (
            "ready",
            &[("n1", true, true, false), ("n2", false, true, false)],
            &["n1"],
        ),
        (
            "terminating while another is ready",
            &[("n1", true, true, false), ("n2", false, true, true)],
            &["n1"],
        ),
        (
            "only terminating ones are left",
            &[("n2", false, true, true)],
            &["n2"],
        ),
        ("of no node of ours", &[("n9", true, true, false)], &[]),
        (
            "neither serving nor ready",
            &[("n2", false, false, true)],
            &[],
        ),
    ];
    for (what, given, expected) in cases {
        let mut snapshot = snapshot();
        change(&mut snapshot, |s| s.external_policy = TrafficPolicy::Local);
        endpoints(&mut snapshot, IpFamily::V4, given);
        assert_eq!(eligible(&snapshot, 0), expected, "{what}");
        // None of the other family.
        let six = &ownership(&key(), &snapshot)[1].owner;
        assert_eq!(
            *six,
            Owner::Nobody(NobodyReason::NoLocalEndpoints),
            "{what}"
        );
    }
}

#[test]
fn under_policy_cluster_endpoints_do_not_matter() {
    let mut snapshot = snapshot();
    endpoints(&mut snapshot, IpFamily::V4, &[("n1", false, false, true)]);
    assert_eq!(eligible(&snapshot, 0).len(), 3);
}

#[test]
fn the_list_of_reasons_is_bounded() {
    let mut snapshot = snapshot();
    let node = snapshot.nodes["n1"].clone();
    for n in 0..20 {
        let name: Arc<str> = format!("x{n:02}").into();
        snapshot.nodes.insert(
            name.clone(),
            NodeView {
                name,
                excluded: true,
                ..node.clone()
            },
        );
    }
    snapshot.nodes.retain(|name, _| name.starts_with('x'));
    let text = nobody(&snapshot).to_string();
    assert!(
        text.contains("x07: node is excluded from external load balancers; and 12 more nodes"),
        "{text}"
    );
}

#[test]
fn own_targets_are_the_links_of_owned_addresses() {
    let mut snapshot = snapshot();
    let link = |index: u32, name: &str, nets: &[&str]| LinkView {
        index,
        name: name.into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        up: true,
        gateways: Vec::new(),
        addresses: nets.iter().map(|net| net.parse().unwrap()).collect(),
    };
    snapshot
        .links
        .insert(2, link(2, "lan", &["192.0.2.1/24", "fe80::1/64"]));
    snapshot.links.insert(3, link(3, "cali1", &["fe80::2/64"]));
    snapshot.links.insert(4, link(4, "bare", &[]));
    snapshot
        .links
        .insert(5, link(5, "veth1", &["10.244.1.1/32", "2001:db8:9::1/128"]));
    let owners = ownership(&key(), &snapshot);
    let mut addresses = 0;
    for node in ["n1", "n2", "n3"] {
        snapshot.node = node.into();
        let targets = own_targets(&owners, &snapshot);
        assert!(
            targets.values().all(|links| links.iter().eq([&2])),
            "{targets:?}"
        );
        addresses += targets.len();
    }
    assert_eq!(addresses, 2);
    let names = |snapshot: &Snapshot| -> Vec<String> {
        published_interfaces(snapshot)
            .iter()
            .map(|i| i.name.to_string())
            .collect()
    };
    assert_eq!(names(&snapshot), ["lan"]);
    snapshot.advertisements.get_mut("all").unwrap().interfaces = vec!["bare".into()];
    assert_eq!(names(&snapshot), ["lan", "bare"]);
}
