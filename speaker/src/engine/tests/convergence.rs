//! However the observations come, the outcome is the same.

use super::*;

/// What stands after everything has been planned: what the data path was told last of each Service, and the targets.
fn outcome(steps: &[Step]) -> (BTreeMap<ServiceKey, ServiceForwarding>, Targets) {
    let (mut services, mut targets) = (BTreeMap::new(), Targets::new());
    for step in steps {
        match step {
            Step::Replace(_, all) => {
                services = all.iter().map(|s| (s.key.clone(), s.clone())).collect();
            }
            Step::Change(some) => services.extend(some.iter().map(|s| (s.key.clone(), s.clone()))),
            Step::Announce { targets: all, .. } => targets.clone_from(all),
            Step::Node(_) => {}
        }
    }
    services.retain(|_, service| !service.frontends.is_empty());
    (services, targets)
}

/// Answers every step as data path and announcer would.
fn settle(bench: &mut Bench) {
    let mut answered = 0;
    while answered < bench.steps.len() {
        let fresh: Vec<Step> = bench.steps[answered..].to_vec();
        answered = bench.steps.len();
        for step in fresh {
            let answers = match step {
                Step::Announce { generation, .. } => vec![Observation::Announcing { generation }],
                Step::Replace(_, services) | Step::Change(services) => {
                    let services = services
                        .iter()
                        .map(|service| SyncedService {
                            key: service.key.clone(),
                            addresses: service.external_addresses(),
                        })
                        .collect();
                    vec![
                        Observation::DataPath(DataPathReport::Synced { services }),
                        Observation::DataPath(DataPathReport::Ready),
                    ]
                }
                Step::Node(_) => vec![],
            };
            bench.see(answers);
        }
    }
}

/// A recorded story: everything that can change, in an order that crosses itself.
fn story() -> Vec<Observation> {
    let mut story = web_cluster();
    story.extend([
        set_node("n2", true),
        set_speaker("n2", 0),
        set_service(web("a", "192.0.2.11")),
        set_slice("a", "n2"),
        set_service(web("b", "192.0.2.12")),
        set_slice("b", "n1"),
    ]);
    let mut local = web("b", "192.0.2.12");
    local.external_policy = TrafficPolicy::Local;
    story.push(set_service(local));
    story.extend([
        set_slice("b", "n2"),
        set_service(web("a", "192.0.2.31")),
        links(false),
        set_service(web("c", "192.0.2.13")),
        Observation::Service(Change::Gone(key("web"))),
        links(true),
        set_node("n2", false),
        set_slice("b", "n1"),
        Observation::Pool(Change::Gone("lan".into())),
        Observation::Advertisement(Change::Gone("lan".into())),
        set_service(web("web", "192.0.2.14")),
        Observation::Pool(Change::Set("lan".into(), pool())),
        Observation::Advertisement(Change::Set("lan".into(), advertisement())),
        Observation::Speaker(Change::Gone("n2".into())),
        Observation::Slice(Change::Gone(slice_of("a", "n2").0)),
    ]);
    story
}

#[test]
fn a_full_pass_and_a_fresh_start_come_to_what_events_came_to() {
    for mode in [ServiceProxy::External, ServiceProxy::All, ServiceProxy::Off] {
        let story = story();
        let mut bench = Bench::new(mode);
        // One at a time, each fully answered.
        for observation in story.clone() {
            bench.see([observation]);
            settle(&mut bench);
        }
        let stepwise = outcome(&bench.steps);
        assert_eq!(stepwise.1.len(), 4, "{mode:?}: {:?}", stepwise.1);
        assert_eq!(
            stepwise.0.len(),
            if mode == ServiceProxy::Off { 0 } else { 4 }
        );

        bench.engine.full_pass();
        bench.see([Observation::Tick]);
        settle(&mut bench);
        assert_eq!(outcome(&bench.steps), stepwise, "{mode:?}: full pass");
        assert_eq!(bench.engine.differences(), 0, "{mode:?}");

        // All at once, as after a restart.
        let mut fresh = Bench::new(mode);
        fresh.see(story.clone());
        settle(&mut fresh);
        assert_eq!(outcome(&fresh.steps), stepwise, "{mode:?}: fresh start");

        // In batches of every size, answers late.
        for size in 2..story.len() {
            let mut batched = Bench::new(mode);
            for batch in story.chunks(size) {
                batched.see(batch.to_vec());
            }
            settle(&mut batched);
            assert_eq!(
                outcome(&batched.steps),
                stepwise,
                "{mode:?}: batches of {size}"
            );
        }
    }
}

#[test]
fn a_full_pass_counts_what_events_missed() {
    let mut bench = Bench::listed(ServiceProxy::Off);
    // Behind the engine's back.
    bench.engine.snapshot.services.remove(&key("web"));
    assert_eq!(bench.see([Observation::Tick]), []);
    bench.engine.full_pass();
    bench.see([Observation::Tick]);
    assert!(bench.targets().is_empty());
    assert_eq!(bench.engine.differences(), 1);
}

#[test]
fn a_full_pass_writes_the_speaker_again_when_it_is_not_as_written() {
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see([announcing("192.0.2.10")]);
    let version = bench.engine.report(false).unwrap().version;
    bench.see([Observation::Written { version }]);
    let as_written = |bench: &Bench, renewed: u32| SpeakerSeen {
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: subnet(),
            up: true,
            not_forwarding: [].into(),
        }],
        owned: bench.engine.owned().keys().copied().collect(),
        ..speaker_seen("n1", renewed)
    };
    let shown = |seen: SpeakerSeen| Observation::Speaker(Change::Set("n1".into(), seen));
    let seen = as_written(&bench, 1);
    bench.see([shown(seen.clone())]);
    bench.pass(11);
    bench.engine.full_pass();
    bench.see([Observation::Tick]);
    assert!(bench.engine.report(false).is_none());
    assert_eq!(bench.engine.differences(), 0);
    // Edited by somebody, and deleted.
    let emptied = SpeakerSeen {
        owned: vec![],
        ..seen
    };
    let gone = Observation::Speaker(Change::Gone("n1".into()));
    for (count, change) in [(1, shown(emptied)), (2, gone)] {
        bench.see([change]);
        bench.engine.full_pass();
        bench.see([Observation::Tick]);
        let report = bench.engine.report(false).unwrap();
        assert_eq!(bench.engine.differences(), count);
        assert!(
            report
                .facts
                .owned
                .contains_key(&"192.0.2.10".parse().unwrap())
        );
        let version = report.version;
        bench.see([Observation::Written { version }]);
        bench.pass(11);
    }
}
