//! Which observations cause work, and which must not.

use super::*;
use crate::kernel::KernelSettings;

#[test]
fn nothing_happens_before_every_store_it_rests_on_is_complete() {
    let all = web_cluster();
    let ends: Vec<usize> = (0..all.len())
        .filter(|at| {
            matches!(
                all[*at],
                Observation::Service(Change::Listed)
                    | Observation::Slice(Change::Listed)
                    | Observation::Node(Change::Listed)
            )
        })
        .collect();
    assert_eq!(ends.len(), 3);
    for missing in ends {
        let mut bench = Bench::new(ServiceProxy::External);
        let seen = all.iter().enumerate().filter(|(at, _)| *at != missing);
        bench.see(seen.map(|(_, observation)| observation.clone()));
        assert_eq!(replaced(&bench.steps), None);
        assert!(bench.targets().is_empty());
    }
    // Forwarding needs none of Herald's own resources: a missing CRD must not keep a node from its cluster IPs.
    let mut bench = Bench::new(ServiceProxy::All);
    let own = |o: &Observation| {
        matches!(
            o,
            Observation::Pool(_) | Observation::Advertisement(_) | Observation::Speaker(_)
        )
    };
    bench.see(all.iter().filter(|o| !own(o)).cloned());
    assert_eq!(replaced(&bench.steps), Some(1));
    bench.see([
        synced("web", &["192.0.2.10"]),
        Observation::DataPath(DataPathReport::Ready),
    ]);
    assert!(bench.targets().is_empty() && !bench.engine.ready());
    assert_eq!(
        bench.engine.unlisted(),
        ["addresspools", "l2advertisements", "speakers"]
    );
}

#[test]
fn an_empty_list_of_services_slices_or_nodes_changes_nothing() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let steps = bench.see(
        list::<ServiceKey, ServiceView>(vec![], Observation::Service)
            .into_iter()
            .chain(list::<SliceKey, SliceView>(vec![], Observation::Slice))
            .chain(list::<Arc<str>, NodeSeen>(vec![], Observation::Node)),
    );
    assert_eq!(steps, []);
    assert_eq!(bench.targets(), ["192.0.2.10"]);

    let mut first = Bench::new(ServiceProxy::External);
    first.see(list::<ServiceKey, ServiceView>(
        vec![],
        Observation::Service,
    ));
    assert!(first.engine.unlisted().contains(&"services"));
}

#[test]
fn an_object_that_turns_unreadable_keeps_what_was_known_of_it() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let relist = [
        Observation::Service(Change::Listing),
        Observation::Service(Change::Unreadable(key("web"))),
        Observation::Service(Change::Listed),
    ];
    assert_eq!(bench.see(relist), []);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn an_object_of_which_a_part_can_be_read_counts_if_nothing_else_is_known() {
    let part = |ip| Observation::Service(Change::InPart(key("web"), web("web", ip)));
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let relist = [
        Observation::Service(Change::Listing),
        part("192.0.2.77"),
        Observation::Service(Change::Listed),
    ];
    assert_eq!(bench.see(relist), []);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    // After a restart.
    bench.see([Observation::Service(Change::Gone(key("web")))]);
    assert_eq!(bench.targets(), [""; 0]);
    bench.see([part("192.0.2.10")]);
    bench.see([synced("web", &["192.0.2.10"])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn repeated_objects_and_renewals_cause_no_work() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"]), announcing("192.0.2.10")]);
    bench.see([set_speaker("n2", 0), set_node("n2", true)]);
    bench.engine.report(false).unwrap();
    for renewed in 1..20 {
        bench.now += Duration::from_secs(10);
        let steps = bench.see([
            set_service(web("web", "192.0.2.10")),
            set_slice("web", "n1"),
            set_node("n1", true),
            set_node("n2", true),
            set_speaker("n1", renewed),
            set_speaker("n2", renewed),
            links(true),
            Observation::Pool(Change::Set("lan".into(), pool())),
            Observation::Advertisement(Change::Set("lan".into(), advertisement())),
        ]);
        assert_eq!(steps, []);
        assert!(bench.engine.report(false).is_none());
    }
}

#[test]
fn a_change_of_another_node_or_speaker_does_not_touch_forwarding() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let before = bench.steps.len();
    bench.see([set_node("n2", true), set_speaker("n2", 0)]);
    bench.see([set_node("n2", false)]);
    let forwarding = |step: &Step| !matches!(step, Step::Announce { .. });
    assert!(!bench.steps[before..].iter().any(forwarding));
    let mut own = node_seen("n1", true);
    own.view.pod_cidrs.push("10.244.9.0/24".parse().unwrap());
    let steps = bench.see([Observation::Node(Change::Set("n1".into(), own))]);
    assert!(matches!(steps[..], [Step::Node(_)]), "{steps:?}");
    // A Node that is gone is remembered: the node ports stay.
    assert!(
        !bench
            .see([Observation::Node(Change::Gone("n1".into()))])
            .iter()
            .any(forwarding)
    );
}

#[test]
fn the_address_moves_with_link_and_data_path() {
    // n1 owns 192.0.2.10 alone; with n2 the hash decides, so take an address that n2 does not get.
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see([links(false)]);
    assert!(bench.targets().is_empty(), "no carrier");
    bench.see([links(true)]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench.see([Observation::DataPath(DataPathReport::Unavailable {
        error: "no permission".into(),
    })]);
    assert!(bench.targets().is_empty(), "no data path");
}

#[test]
fn a_silent_peer_loses_its_addresses_after_30_s() {
    let mut bench = Bench::listed(ServiceProxy::Off);
    let addresses: Vec<String> = (10..40).map(|n| format!("192.0.2.{n}")).collect();
    let services = addresses.iter().map(|a| set_service(web(a, a)));
    bench.see(services);
    assert_eq!(bench.targets().len(), 30);
    bench.see([set_node("n2", true), set_speaker("n2", 0)]);
    let shared = bench.targets().len();
    assert!(0 < shared && shared < 30, "{shared}");
    for renewed in 1..=3 {
        bench.pass(10);
        bench.see([set_speaker("n1", renewed)]);
        assert_eq!(bench.targets().len(), shared);
    }
    bench.engine.report(false);
    bench.pass(2);
    // Nobody was seen since: a renewal of our own is asked for, and when it arrives n2 has been silent long enough.
    assert_eq!(bench.targets().len(), shared);
    assert_eq!(bench.engine.report(false).unwrap().renewal, 2);
    bench.see([set_speaker("n1", 4)]);
    assert_eq!(bench.targets().len(), 30);
    bench.see([set_speaker("n2", 1)]);
    assert_eq!(bench.targets().len(), shared);
}

#[test]
fn after_an_outage_of_the_api_server_silent_nodes_keep_their_addresses() {
    let mut bench = Bench::listed(ServiceProxy::Off);
    let silent = |name: &str| {
        let seen = NodeSeen {
            silent: true,
            ..node_seen(name, false)
        };
        Observation::Node(Change::Set(name.into(), seen))
    };
    bench.pass(600);
    // The control plane is back and has heard from nobody yet.
    bench.see([silent("n1")]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench.see([set_speaker("n1", 1)]);
    bench.pass(10);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_old_one() {
    let mut bench = Bench::listed(ServiceProxy::External);
    let (slice_key, mut view) = slice_of("web", "n1");
    view.service = key("other");
    let steps = bench.see([Observation::Slice(Change::Set(slice_key, view))]);
    assert!(
        bench
            .engine
            .snapshot()
            .slices_of(&key("web"))
            .next()
            .is_none()
    );
    assert!(changed(&steps).contains(&("default/web".to_owned(), 1)));
}

#[test]
fn a_kernel_that_does_not_forward_gives_the_address_away_and_says_so() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench.engine.report(false);
    let settings = |families: &[IpFamily]| {
        Observation::KernelSettings(KernelSettings {
            problems: families.iter().map(|f| format!("{f} is off")).collect(),
            not_forwarding: [("eth0".into(), families.iter().copied().collect())].into(),
        })
    };
    bench.see([settings(&[IpFamily::V6])]);
    assert_eq!(bench.targets(), ["192.0.2.10"], "the other family");
    bench.see([settings(&[IpFamily::V4])]);
    assert!(bench.targets().is_empty());
    let facts = bench.engine.report(false).unwrap().facts;
    let (published, _) = &facts.interfaces[0];
    assert_eq!(published.not_forwarding, [IpFamily::V4].into());
    assert!(!facts.kernel.holds, "{:?}", facts.kernel);
    bench.see([settings(&[])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
}

#[test]
fn a_taken_admin_port_is_a_condition_and_nothing_else() {
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see([announcing("192.0.2.10")]);
    let before = bench.engine.report(false).unwrap().facts;
    assert!(before.admin.holds);
    let why = "cannot listen on [::]:9741".to_owned();
    assert_eq!(bench.see([Observation::Admin(Some(why.clone()))]), []);
    let after = bench.engine.report(false).unwrap().facts;
    assert!(!after.admin.holds);
    assert_eq!(after.admin.message, why);
    assert_eq!(after.ready, before.ready);
    assert_eq!(after.owned, before.owned);
}
