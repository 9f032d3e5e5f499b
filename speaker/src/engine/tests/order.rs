//! What is announced and forwarded, and in which order.

use super::*;

#[test]
fn an_address_is_announced_only_after_the_data_path_carries_it() {
    let mut bench = Bench::listed(ServiceProxy::External);
    assert_eq!(replaced(&bench.steps), Some(1));
    assert!(bench.targets().is_empty());
    bench.see([synced("web", &["192.0.2.10"])]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    assert!(!bench.engine.ready());
    bench.see([Observation::DataPath(DataPathReport::Ready)]);
    assert!(bench.engine.ready());
}

#[test]
fn without_a_data_path_of_ours_it_is_announced_at_once() {
    let bench = Bench::listed(ServiceProxy::Off);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    assert_eq!(replaced(&bench.steps), Some(0));
    assert!(bench.engine.ready());

    let mut bench = Bench::listed(ServiceProxy::External);
    let mut other = web("other", "192.0.2.11");
    other.proxied = false;
    bench.see([set_service(other)]);
    assert_eq!(bench.targets(), ["192.0.2.11"]);
}

#[test]
fn the_data_path_goes_only_after_the_announcer_has_let_go() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let steps = bench.see([Observation::Service(Change::Gone(key("web")))]);
    let [
        Step::Announce {
            generation,
            targets,
            ..
        },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert!(targets.is_empty());
    assert!(
        bench
            .see([Observation::Announcing {
                generation: generation - 1
            }])
            .is_empty()
    );
    let steps = bench.see([Observation::Announcing {
        generation: *generation,
    }]);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 0)]);
    bench.see([synced("web", &[])]);
    assert_eq!(bench.engine.backlog(), (0, 0));
}

#[test]
fn a_changed_address_is_withdrawn_then_changed_then_announced() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"])]);
    let steps = bench.see([set_service(web("web", "192.0.2.20"))]);
    let [Step::Announce { generation, .. }] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert!(bench.targets().is_empty());
    let steps = bench.see([Observation::Announcing {
        generation: *generation,
    }]);
    assert_eq!(changed(&steps), [("default/web".to_owned(), 1)]);
    assert!(bench.targets().is_empty());
    bench.see([synced("web", &["192.0.2.20"])]);
    assert_eq!(bench.targets(), ["192.0.2.20"]);
}

#[test]
fn a_node_that_goes_gives_its_addresses_away_in_order() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([
        synced("web", &["192.0.2.10"]),
        Observation::DataPath(DataPathReport::Ready),
    ]);
    let ready = bench.engine.report(false).unwrap();
    assert!(ready.facts.ready.holds);
    let steps = bench.see([Observation::Leave]);
    let [
        Step::Announce {
            generation,
            targets,
            ..
        },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert!(targets.is_empty());
    let report = bench.engine.report(false).unwrap();
    assert_eq!(
        (report.facts.ready.holds, report.facts.ready.reason),
        (false, "Draining")
    );
    assert!(report.facts.owned.is_empty());
    let told = Observation::Written {
        version: report.version,
    };
    bench.see([told]);
    assert!(!bench.engine.has_left(), "the announcer has not let go");
    assert_eq!(
        bench.see([Observation::Announcing {
            generation: *generation
        }]),
        []
    );
    assert!(bench.engine.has_left());
}

#[test]
fn a_restart_in_place_keeps_saying_what_the_last_run_owned() {
    let mut bench = Bench::new(ServiceProxy::External);
    let mut own = speaker_seen("n1", 0);
    own.owned = vec!["192.0.2.10".parse().unwrap(), "192.0.2.77".parse().unwrap()];
    let all = web_cluster()
        .into_iter()
        .map(|observation| match observation {
            Observation::Speaker(Change::Set(key, _)) => {
                Observation::Speaker(Change::Set(key, own.clone()))
            }
            other => other,
        });
    bench.see(all);
    let owned = |bench: &mut Bench| -> Vec<String> {
        let report = bench.engine.report(true).unwrap();
        report.facts.owned.keys().map(ToString::to_string).collect()
    };
    assert_eq!(owned(&mut bench), ["192.0.2.10", "192.0.2.77"]);
    bench.see([
        synced("web", &["192.0.2.10"]),
        Observation::DataPath(DataPathReport::Ready),
    ]);
    assert_eq!(owned(&mut bench), ["192.0.2.10"]);
    bench.see([announcing("192.0.2.10")]);
    assert_eq!(owned(&mut bench), ["192.0.2.10"]);
}

#[test]
fn a_refused_service_holds_up_no_other_and_is_told() {
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([set_service(web("bad", "192.0.2.11"))]);
    bench.see([
        Observation::DataPath(DataPathReport::Failed {
            keys: vec![key("bad")],
            error: "EINVAL".into(),
        }),
        synced("web", &["192.0.2.10"]),
        Observation::DataPath(DataPathReport::Ready),
    ]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    assert!(bench.engine.ready());
    let facts = bench.engine.report(false).unwrap().facts;
    assert_eq!(
        (facts.data_path.holds, facts.data_path.reason),
        (false, "Refused")
    );
    assert!(
        facts
            .data_path_error
            .unwrap()
            .contains("default/bad: EINVAL")
    );
    bench.see([synced("bad", &["192.0.2.11"])]);
    assert_eq!(bench.targets(), ["192.0.2.10", "192.0.2.11"]);
    assert!(bench.engine.report(false).unwrap().facts.data_path.holds);
}

#[test]
fn damage_is_told_until_it_is_mended_and_moves_addresses_only_if_it_lasts() {
    let damaged = || {
        Observation::DataPath(DataPathReport::Damaged {
            what: "another program changed table ip herald".into(),
        })
    };
    let ready = || Observation::DataPath(DataPathReport::Ready);
    let mut bench = Bench::listed(ServiceProxy::External);
    bench.see([synced("web", &["192.0.2.10"]), ready()]);
    let synced = |bench: &mut Bench| {
        let facts = bench.engine.report(true).unwrap().facts;
        let state = (facts.data_path.holds, facts.data_path.reason);
        (state, facts.ready.holds)
    };
    assert_eq!(synced(&mut bench), ((true, "Synced"), true));

    // Told at once, but mending takes less time than a move would.
    bench.see([damaged()]);
    assert!(bench.engine.wants_report());
    assert_eq!(synced(&mut bench), ((false, "Damaged"), true));
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench.see([ready()]);
    assert_eq!(synced(&mut bench), ((true, "Synced"), true));
    assert_eq!(bench.targets(), ["192.0.2.10"]);

    // Damage that stays is a black hole: the address must not lead here.
    bench.see([damaged()]);
    bench.pass(1);
    assert!(bench.targets().is_empty());
    assert_eq!(synced(&mut bench), ((false, "Damaged"), false));
    bench.see([ready()]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    assert_eq!(synced(&mut bench), ((true, "Synced"), true));
    assert_eq!(bench.engine.damages(), 2);
}
