use herald_core::ServiceKey;
use herald_speaker_core::ServiceView;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::index;

fn services() -> Kind<Service, ServiceKey, ServiceView> {
    Kind {
        name: "services",
        labels: String::new(),
        key: index::service_key,
        view: index::service,
        counts_in_part: true,
        observe: Observation::Service,
    }
}

fn web(spec: &Value, status: &Value) -> Read<Service> {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": "web" },
        "spec": {
            "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080 }],
        },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.10" }] } },
    });
    for (part, changes) in [("spec", spec), ("status", status)] {
        for (name, value) in changes.as_object().unwrap() {
            object[part][name] = value.clone();
        }
    }
    serde_json::from_str(&object.to_string()).unwrap()
}

fn seen(object: Read<Service>, metrics: &Metrics) -> Change<ServiceKey, ServiceView> {
    let mut losses = Losses::new("services", metrics.clone());
    translate(&services(), &mut losses, Event::InitApply(object)).unwrap()
}

#[test]
fn a_service_with_a_condition_without_a_time_is_seen_whole() {
    let metrics = Metrics::new();
    let none = json!({});
    let whole = seen(web(&none, &none), &metrics);
    assert!(matches!(whole, Change::Set(..)));
    let conditions = json!({ "conditions": [
        { "type": "Other", "status": "True", "reason": "E2E", "message": "", "lastTransitionTime": null },
    ] });
    assert_eq!(seen(web(&none, &conditions), &metrics), whole);
    // What cannot be read costs what it says.
    let ports =
        json!({ "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "nodePort": {} }] });
    let Change::Set(_, view) = seen(web(&ports, &none), &metrics) else {
        panic!("the Service is not seen");
    };
    assert_eq!(view.ports[0].node_port, None);
    assert_eq!(view.load_balancer_ips.len(), 1);
}

#[test]
fn a_service_that_lost_what_decides_counts_in_part() {
    let metrics = Metrics::new();
    let none = json!({});
    let Change::Set(_, whole) = seen(web(&none, &none), &metrics) else {
        panic!("the Service is not seen");
    };
    let change = seen(web(&json!({ "type": 7 }), &none), &metrics);
    let Change::InPart(_, view) = change else {
        panic!("{change:?}");
    };
    assert_eq!(view, whole);
    let change = seen(
        web(&json!({ "type": 7, "clusterIPs": "None" }), &none),
        &metrics,
    );
    assert!(matches!(change, Change::InPart(..)), "{change:?}");
}

#[test]
fn what_cannot_be_read_is_said_once_for_each_change_of_it() {
    let metrics = Metrics::new();
    let kind = services();
    let mut losses = Losses::new("services", metrics.clone());
    let none = json!({});
    let bad = |port: &str| web(&json!({ "ports": [{ "port": 80, port: [] }] }), &none);
    let mut see = |event| translate(&kind, &mut losses, event);
    for (event, said) in [
        (Event::InitApply(bad("nodePort")), 1),
        (Event::Apply(bad("nodePort")), 1),
        (Event::Apply(bad("name")), 2),
        (Event::Apply(web(&none, &none)), 2),
        (Event::Apply(bad("name")), 3),
        (Event::Delete(bad("name")), 3),
    ] {
        see(event);
        let text = metrics.render(&[], &std::collections::BTreeMap::new());
        let line =
            format!("heraldlb_speaker_unreadable_objects_total{{kind=\"services\"}} {said}\n");
        assert!(text.contains(&line), "{text}");
    }
}
