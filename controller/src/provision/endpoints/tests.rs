use herald_core::Protocol;
use herald_provider::EndpointPort;

use super::*;
use crate::provision::view::SliceEndpoint;

fn endpoint(host: u8, ready: bool) -> SliceEndpoint {
    SliceEndpoint {
        target: EndpointTarget {
            address: IpAddr::from([10, 0, 0, host]),
            ports: vec![EndpointPort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 8080,
            }],
            ready,
            terminating: false,
            containers_ready: false,
            node: None,
        },
        pod: Some(format!("pod-{host}").into()),
    }
}

fn slice(name: &str, service: &str, endpoints: Vec<SliceEndpoint>) -> SliceView {
    SliceView {
        key: ServiceKey::new("default", name),
        service: ServiceKey::new("default", service),
        endpoints,
    }
}

fn hosts(slices: &Slices, service: &str) -> Vec<(String, bool)> {
    let of = slices.of(&ServiceKey::new("default", service), |_, _| Place::Ordinary);
    let hosts = of.iter().map(|one| (one.address.to_string(), one.ready));
    hosts.collect()
}

fn keys(names: &[&str]) -> Vec<ServiceKey> {
    names
        .iter()
        .map(|name| ServiceKey::new("default", *name))
        .collect()
}

#[test]
fn a_service_has_the_endpoints_of_all_its_slices() {
    let mut slices = Slices::default();
    let first = slice("web-1", "web", vec![endpoint(2, true), endpoint(1, false)]);
    assert_eq!(slices.enter(first.clone()), keys(&["web"]));
    assert_eq!(slices.enter(first), keys(&[]), "nothing new");
    // For a moment one of them is in both.
    let second = slice("web-2", "web", vec![endpoint(1, true), endpoint(3, true)]);
    assert_eq!(slices.enter(second), keys(&["web"]));
    let all = |ready: [bool; 3]| -> Vec<(String, bool)> {
        let hosts = (1..=3).map(|n| format!("10.0.0.{n}"));
        hosts.zip(ready).collect()
    };
    assert_eq!(hosts(&slices, "web"), all([true, true, true]));
    assert_eq!(
        slices.remove(&ServiceKey::new("default", "web-2")),
        Some(ServiceKey::new("default", "web"))
    );
    assert_eq!(hosts(&slices, "web"), all([false, true, true])[..2]);
    assert_eq!(slices.remove(&ServiceKey::new("default", "web-2")), None);
}

#[test]
fn that_a_service_has_no_slice_is_known_only_when_it_had_one() {
    let mut slices = Slices::default();
    let web = ServiceKey::new("default", "web");
    assert!(!slices.knows(&web));
    slices.enter(slice("one", "web", vec![endpoint(1, true)]));
    slices.forget(&web);
    assert!(slices.knows(&web));
    slices.remove(&ServiceKey::new("default", "one"));
    assert!(slices.knows(&web) && hosts(&slices, "web").is_empty());
    slices.forget(&web);
    assert!(!slices.knows(&web) && slices.services.is_empty());
    // A slice without endpoints tells that there are none.
    slices.enter(slice("one", "web", Vec::new()));
    assert!(slices.knows(&web));
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_other() {
    let mut slices = Slices::default();
    slices.enter(slice("one", "web", vec![endpoint(1, true)]));
    let changed = slices.enter(slice("one", "api", vec![endpoint(1, true)]));
    assert_eq!(changed, keys(&["web", "api"]));
    assert!(hosts(&slices, "web").is_empty());
    assert_eq!(hosts(&slices, "api").len(), 1);
    assert_eq!(slices.keys().count(), 1);
}

#[test]
fn a_pod_that_waits_for_its_gate_is_no_ready_endpoint() {
    let mut slices = Slices::default();
    slices.enter(slice(
        "one",
        "web",
        vec![endpoint(1, true), endpoint(2, true)],
    ));
    let place = |pod: &ServiceKey, _| match &*pod.name {
        "pod-1" => Place::Waits,
        _ => Place::Ordinary,
    };
    let of = slices.of(&ServiceKey::new("default", "web"), place);
    assert!(of[0].gated() && !of[1].gated());
}

#[test]
fn a_target_stays_one_from_the_moment_its_gate_closes() {
    let mut slices = Slices::default();
    let service = ServiceKey::new("default", "web");
    let mut at = |ready, place| {
        slices.enter(slice("web-1", "web", vec![endpoint(10, ready)]));
        let found = slices.of(&service, |_, _| place);
        (found[0].ready, found[0].wanted())
    };
    // The gate is open; a Service may publish the address all the same.
    assert_eq!(at(false, Place::Waits), (false, true));
    assert_eq!(at(true, Place::Waits), (false, true));
    // It has closed, and the slice does not say so yet.
    assert_eq!(at(false, Place::Keeps), (false, true));
    assert_eq!(at(true, Place::Keeps), (true, true));
    assert_eq!(at(false, Place::Ordinary), (false, false));
}
