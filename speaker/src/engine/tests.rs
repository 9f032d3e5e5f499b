//! The engine alone: recorded observations in, steps out.

use std::time::Duration;

use herald_core::{AddressRange, IpFamily, Protocol};
use herald_speaker_core::announce::{ClaimKey, ClaimState, Report as AnnouncerReport};
use herald_speaker_core::{
    AdvertisementView, EndpointView, Interface, NodeView, PoolView, ServiceKind, ServicePort,
    ServiceView, SlicePort, SliceView, TrafficPolicy,
};
use ipnet::IpNet;

use super::*;
use crate::data_path::SyncedService;

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn web(name: &str, address: &str) -> ServiceView {
    ServiceView {
        key: key(name),
        labels: [].into(),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec!["10.96.0.9".parse().unwrap()],
        external_ips: vec![],
        load_balancer_ips: vec![address.parse().unwrap()],
        allocated_from: vec!["lan".into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: vec![],
    }
}

fn slice_of(name: &str, node: &str) -> (SliceKey, SliceView) {
    let key = SliceKey {
        namespace: "default".into(),
        name: format!("{name}-1").into(),
    };
    let view = SliceView {
        name: key.name.clone(),
        service: ServiceKey::new("default", name),
        family: IpFamily::V4,
        ports: vec![SlicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: vec![EndpointView {
            address: "10.244.1.5".parse().unwrap(),
            node: Some(node.into()),
            ready: true,
            serving: true,
            terminating: false,
        }],
    };
    (key, view)
}

fn node_seen(name: &str, ready: bool) -> NodeSeen {
    NodeSeen {
        view: NodeView {
            name: name.into(),
            labels: [].into(),
            ready,
            excluded: false,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        },
        silent: false,
        uid: format!("uid-{name}"),
        leaving: false,
    }
}

fn subnet() -> Vec<IpNet> {
    vec!["192.0.2.1/24".parse().unwrap()]
}

fn speaker_seen(name: &str, renewed: u32) -> SpeakerSeen {
    SpeakerSeen {
        node: name.into(),
        renewed: renewed.to_string(),
        willing: true,
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: subnet(),
            up: true,
        }],
        owned: vec![],
    }
}

fn links(up: bool) -> Observation {
    let link = LinkView {
        index: 2,
        name: "eth0".into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        up,
        addresses: subnet(),
    };
    Observation::Links([(2, link)].into())
}

fn set_node(name: &str, ready: bool) -> Observation {
    Observation::Node(Change::Set(name.into(), node_seen(name, ready)))
}

fn set_service(view: ServiceView) -> Observation {
    Observation::Service(Change::Set(view.key.clone(), view))
}

fn set_slice(name: &str, node: &str) -> Observation {
    let (key, view) = slice_of(name, node);
    Observation::Slice(Change::Set(key, view))
}

fn set_speaker(name: &str, renewed: u32) -> Observation {
    Observation::Speaker(Change::Set(name.into(), speaker_seen(name, renewed)))
}

fn synced(name: &str, addresses: &[&str]) -> Observation {
    let service = SyncedService {
        key: key(name),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    Observation::DataPath(DataPathReport::Synced {
        services: vec![service],
    })
}

fn announcing(address: &str) -> Observation {
    let key = ClaimKey {
        interface: 2,
        address: address.parse().unwrap(),
    };
    Observation::Announcer(AnnouncerReport {
        key,
        state: ClaimState::Announcing,
    })
}

/// An engine with its clock and everything it has asked for.
struct Bench {
    engine: Engine,
    now: Instant,
    steps: Vec<Step>,
}

impl Bench {
    fn new(mode: ServiceProxy) -> Self {
        let now = Instant::now();
        let config = ForwardConfig {
            mode,
            ..ForwardConfig::default()
        };
        Self {
            engine: Engine::new("n1".into(), config, now),
            now,
            steps: Vec::new(),
        }
    }

    /// Node n1 alone, Service web with address 192.0.2.10, everything listed.
    fn listed(mode: ServiceProxy) -> Self {
        let mut bench = Self::new(mode);
        bench.see(web_cluster());
        bench
    }

    fn see(&mut self, observations: impl IntoIterator<Item = Observation>) -> Vec<Step> {
        for observation in observations {
            self.engine.observe(observation, self.now);
        }
        let steps = self.engine.plan(self.now);
        self.steps.extend(steps.clone());
        steps
    }

    fn pass(&mut self, seconds: u64) -> Vec<Step> {
        self.now += Duration::from_secs(seconds);
        self.see([Observation::Tick])
    }

    fn targets(&self) -> Vec<String> {
        self.engine
            .targets()
            .keys()
            .map(ToString::to_string)
            .collect()
    }
}

fn list<K, V>(items: Vec<(K, V)>, of: fn(Change<K, V>) -> Observation) -> Vec<Observation> {
    let mut all = vec![of(Change::Listing)];
    all.extend(
        items
            .into_iter()
            .map(|(key, value)| of(Change::Set(key, value))),
    );
    all.push(of(Change::Listed));
    all
}

fn pool() -> PoolView {
    let range: AddressRange = "192.0.2.10-192.0.2.99".parse().unwrap();
    PoolView {
        name: "lan".into(),
        labels: [].into(),
        ranges: vec![range],
    }
}

fn advertisement() -> AdvertisementView {
    AdvertisementView {
        name: "lan".into(),
        pools: vec!["lan".into()],
        pool_selectors: vec![],
        node_selectors: vec![],
        interfaces: vec![],
        service_selectors: vec![],
    }
}

fn web_cluster() -> Vec<Observation> {
    let mut all = vec![links(true)];
    all.extend(list(
        vec![(key("web"), web("web", "192.0.2.10"))],
        Observation::Service,
    ));
    all.extend(list(vec![slice_of("web", "n1")], Observation::Slice));
    all.extend(list(
        vec![("n1".into(), node_seen("n1", true))],
        Observation::Node,
    ));
    all.extend(list(vec![("lan".into(), pool())], Observation::Pool));
    all.extend(list(
        vec![("lan".into(), advertisement())],
        Observation::Advertisement,
    ));
    all.extend(list(
        vec![("n1".into(), speaker_seen("n1", 0))],
        Observation::Speaker,
    ));
    all
}

fn replaced(steps: &[Step]) -> Option<usize> {
    steps.iter().find_map(|step| match step {
        Step::Replace(_, services) => Some(services.len()),
        _ => None,
    })
}

fn changed(steps: &[Step]) -> Vec<(String, usize)> {
    let changes = steps.iter().filter_map(|step| match step {
        Step::Change(services) => Some(services),
        _ => None,
    });
    changes
        .flatten()
        .map(|s| (s.key.to_string(), s.frontends.len()))
        .collect()
}

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
fn the_address_moves_with_link_node_and_speaker() {
    // n1 owns 192.0.2.10 alone; with n2 the hash decides, so take an address that n2 does not get.
    let mut bench = Bench::listed(ServiceProxy::Off);
    bench.see([links(false)]);
    assert!(bench.targets().is_empty(), "no carrier");
    bench.see([links(true)]);
    assert_eq!(bench.targets(), ["192.0.2.10"]);
    bench.see([set_node("n1", false)]);
    assert!(bench.targets().is_empty(), "node not ready");
    bench.see([set_node("n1", true)]);
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
    bench.see([set_node("n1", true)]);
    // A kubelet that says itself that its node is not ready is believed.
    bench.see([set_node("n1", false)]);
    assert!(bench.targets().is_empty());
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
