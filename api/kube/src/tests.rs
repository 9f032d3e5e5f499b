//! Every field of every kind null, absent and of other types.

mod complete;
mod examples;

use herald_api::{AddressPool, L2Advertisement, Speaker};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Resource as _;
use kube::core::{ObjectList, PartialObjectMeta, WatchEvent};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Read, Readable, Shape};

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

fn paths(value: &Value) -> Vec<Vec<Step>> {
    let steps: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (Step::Key(k.clone()), v)).collect(),
        Value::Array(list) => (0..).map(Step::Index).zip(list).collect(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (step, inner) in steps {
        all.push(vec![step.clone()]);
        all.extend(paths(inner).into_iter().map(|mut path| {
            path.insert(0, step.clone());
            path
        }));
    }
    all
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

fn without(value: &Value, path: &[Step]) -> Value {
    let mut value = value.clone();
    let (step, parent) = path.split_last().unwrap();
    match (at(&mut value, parent), step) {
        (Some(Value::Object(map)), Step::Key(key)) => drop(map.remove(key)),
        (Some(Value::Array(list)), Step::Index(index)) => drop(list.remove(*index)),
        _ => {}
    }
    value
}

fn with(value: &Value, path: &[Step], other: &Value) -> Value {
    let mut value = value.clone();
    *at(&mut value, path).unwrap() = other.clone();
    value
}

/// As [`Read::lost`] writes it: what somebody else named in brackets.
fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| {
        let foreign = [
            "metadata.labels",
            "metadata.annotations",
            "spec.selector",
            "matchLabels",
        ];
        match step {
            Step::Index(index) => format!("{text}[{index}]"),
            Step::Key(key) if foreign.iter().any(|map| text.ends_with(map)) => {
                format!("{text}[{key}]")
            }
            Step::Key(key) if text.is_empty() => key.clone(),
            Step::Key(key) => format!("{text}.{key}"),
        }
    })
}

fn read<K: Readable + Serialize>(value: &Value) -> (Read<K>, Value) {
    // As text, as it comes from the API server.
    let read: Read<K> = serde_json::from_str(&value.to_string()).unwrap();
    let object = serde_json::to_value(read.object().unwrap()).unwrap();
    (read, object)
}

/// Everything but the list in which the path goes, or what it names.
fn beside(object: &Value, path: &[Step]) -> Value {
    let list = path.iter().position(|step| matches!(step, Step::Index(_)));
    without(object, &path[..list.unwrap_or(path.len())])
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, inner| !is_empty(inner));
    }
}

fn is_used(shape: &Shape, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return true;
    };
    match (shape, step) {
        (Shape::Object(fields), Step::Key(key)) => fields
            .iter()
            .any(|field| field.name == key && is_used(&field.shape, rest)),
        (Shape::Map(shape), Step::Key(_)) | (Shape::List(shape), Step::Index(_)) => {
            is_used(shape, rest)
        }
        _ => false,
    }
}

fn check<K: Readable + Serialize>(example: &Value) {
    let (whole, before) = read::<K>(example);
    assert_eq!(whole.lost(), [""; 0]);
    assert!(!whole.doubtful());
    let others = [
        json!("x"),
        json!(7),
        json!(-1),
        json!(5_000_000_000_i64),
        json!(1.5),
        json!(true),
        json!([]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({ "x": null }),
        json!({ "x": [1] }),
    ];
    let mut tried = 0;
    for path in paths(example) {
        let mutants = others.iter().map(|other| with(example, &path, other));
        let mutants = mutants.chain([with(example, &path, &Value::Null), without(example, &path)]);
        for (which, mutant) in mutants.enumerate() {
            tried += 1;
            let said = format!("{} {:?}", shown(&path), others.get(which));
            let (read, object) = read::<K>(&mutant);
            let (mut now, mut then) = (beside(&object, &path), beside(&before, &path));
            prune(&mut now);
            prune(&mut then);
            if !matches!(path.last(), Some(Step::Index(_))) {
                // A field of an element: the other elements are there as before.
                let list = path.iter().position(|step| matches!(step, Step::Index(_)));
                if let Some(list) = list {
                    elements_stay(&before, &object, &path[..=list], &said);
                }
            }
            assert_eq!(now, then, "{said}");
            if !is_used(&K::SHAPE, &path) {
                assert_eq!(read.lost(), [""; 0], "{said}");
                continue;
            }
            let original = at(&mut example.clone(), &path).unwrap().clone();
            let Some(other) = others.get(which) else {
                // Null and absent are the same, but for elements of lists.
                let element = matches!(path.last(), Some(Step::Index(_)));
                assert!(read.lost().is_empty() || element, "{said}");
                continue;
            };
            let same = std::mem::discriminant(&original) == std::mem::discriminant(other);
            let either = shown(&path).ends_with("targetPort");
            if !same && !(either && (other.is_i64() || other.is_string())) {
                assert_eq!(read.lost(), [shown(&path)], "{said}");
            }
        }
    }
    assert!(tried > 20);
}

fn elements_stay(before: &Value, object: &Value, element: &[Step], said: &str) {
    let (Step::Index(index), list) = element.split_last().unwrap() else {
        return;
    };
    let (mut before, mut object) = (before.clone(), object.clone());
    let Some(Value::Array(before)) = at(&mut before, list) else {
        return;
    };
    let now = at(&mut object, list).map(std::mem::take);
    let now = now.as_ref().and_then(Value::as_array);
    let now = now.map_or(&[][..], Vec::as_slice);
    for (other, kept) in before.iter().enumerate() {
        if other != *index {
            assert!(now.contains(kept), "{said}: element {other}");
        }
    }
}

#[test]
fn services() {
    check::<Service>(&examples::service());
}

#[test]
fn endpoint_slices() {
    check::<EndpointSlice>(&examples::slice());
}

#[test]
fn nodes() {
    check::<Node>(&examples::node());
}

#[test]
fn pods() {
    check::<Pod>(&examples::pod());
}

#[test]
fn namespaces() {
    check::<Namespace>(&examples::namespace());
    check::<ServiceCIDR>(&examples::service_cidr());
    check::<PartialObjectMeta<Namespace>>(&examples::namespace());
}

#[test]
fn address_pools() {
    check::<AddressPool>(&examples::pool());
}

#[test]
fn advertisements() {
    check::<L2Advertisement>(&examples::advertisement());
}

#[test]
fn speakers() {
    check::<Speaker>(&examples::speaker());
}

#[test]
fn a_condition_without_a_time_costs_nothing() {
    let mut service = examples::service();
    service["status"]["conditions"][0]["lastTransitionTime"] = Value::Null;
    let (read, _) = read::<Service>(&service);
    assert_eq!(read.lost(), [""; 0]);
    let status = read.trusted().unwrap().status.as_ref().unwrap();
    assert_eq!(status.conditions.as_ref().unwrap().len(), 2);
}

#[test]
fn what_decides_makes_the_object_doubtful() {
    for (pointer, other) in [
        ("/spec/type", json!(7)),
        ("/spec/loadBalancerClass", json!(["heraldlb.io/pool"])),
        ("/spec/externalTrafficPolicy", json!(true)),
        ("/spec/ports", json!("80")),
        ("/spec/ports/0/port", json!("80")),
        ("/status/loadBalancer/ingress/0/ip", json!(1)),
        ("/metadata/annotations", json!([])),
        ("/metadata/deletionTimestamp", json!("yesterday")),
        ("/status", json!("fine")),
    ] {
        let mut service = examples::service();
        service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        *service.pointer_mut(pointer).unwrap() = other;
        let (read, _) = read::<Service>(&service);
        assert!(read.doubtful() && read.trusted().is_none(), "{pointer}");
    }
    for (pointer, other) in [
        ("/spec/ports/0/name", json!(80)),
        ("/spec/ports/0/nodePort", json!("30080")),
        ("/status/conditions/0/lastTransitionTime", json!(0)),
        ("/status/conditions", json!({})),
    ] {
        let mut service = examples::service();
        *service.pointer_mut(pointer).unwrap() = other;
        let (read, _) = read::<Service>(&service);
        assert!(read.trusted().is_some(), "{pointer}");
        assert_eq!(read.lost().len(), 1, "{pointer}");
    }
}

#[test]
fn one_garbled_element_of_a_list_that_others_write_costs_itself() {
    let mut slice = examples::slice();
    slice["endpoints"][0]["addresses"] = json!({ "ip": "10.244.1.5" });
    slice["ports"][1]["port"] = json!("dns");
    let (got, _) = read::<EndpointSlice>(&slice);
    let slice = got.trusted().unwrap();
    assert_eq!(slice.endpoints.len(), 1);
    assert_eq!(slice.ports.as_ref().unwrap().len(), 1);
    assert_eq!(got.lost(), ["endpoints[0].addresses", "ports[1].port"]);

    let mut node = examples::node();
    node["status"]["conditions"][1]["type"] = json!(7);
    assert!(read::<Node>(&node).0.trusted().is_some());
    node["status"]["conditions"][0]["status"] = json!(true);
    assert!(read::<Node>(&node).0.trusted().is_none());
}

#[test]
fn a_selector_that_lost_a_requirement_is_not_trusted() {
    for pointer in [
        "/spec/nodeSelectors/0/matchLabels",
        "/spec/nodeSelectors/0/matchLabels/rack",
        "/spec/nodeSelectors/0/matchExpressions",
        "/spec/nodeSelectors/0/matchExpressions/0/operator",
        "/spec/nodeSelectors/0/matchExpressions/0/values/0",
        "/spec/nodeSelectors",
        "/spec/addressPools",
        "/spec",
    ] {
        let mut advertisement = examples::advertisement();
        *advertisement.pointer_mut(pointer).unwrap() = json!(7);
        let (read, _) = read::<L2Advertisement>(&advertisement);
        assert!(read.trusted().is_none(), "{pointer}");
    }
}

#[test]
fn source_ranges_that_cannot_be_read_let_nobody_in() {
    for ranges in [json!(7), json!([7]), json!({ "192.0.2.0/24": true })] {
        let mut service = examples::service();
        service["spec"]["loadBalancerSourceRanges"] = ranges;
        let (read, object) = read::<Service>(&service);
        assert!(read.doubtful());
        assert_eq!(
            object["spec"]["loadBalancerSourceRanges"],
            json!(["unreadable"])
        );
    }
}

#[test]
fn what_is_not_used_is_not_kept() {
    let (_, object) = read::<Service>(&examples::service());
    assert!(object["metadata"].get("managedFields").is_none());
    assert!(object["spec"].get("sessionAffinity").is_none());
}

#[test]
fn an_object_that_is_none_is_still_decoded() {
    for text in [
        "7",
        "null",
        "[]",
        "{}",
        r#"{"metadata":7}"#,
        r#"{"metadata":{"name":1}}"#,
    ] {
        let read: Read<AddressPool> = serde_json::from_str(text).unwrap();
        assert_eq!(read.meta().name, None, "{text}");
    }
    let read: Read<Service> =
        serde_json::from_str(r#"{"metadata":{"name":"web","namespace":"default"},"spec":[]}"#)
            .unwrap();
    assert_eq!(read.meta().name.as_deref(), Some("web"));
    assert_eq!(read.lost(), ["spec"]);
}

#[test]
fn lists_and_watches_are_read() {
    let mut bad = examples::service();
    bad["spec"]["ports"] = json!("none");
    let list = json!({
        "apiVersion": "v1", "kind": "ServiceList", "metadata": { "resourceVersion": "7" },
        "items": [bad, examples::service()],
    });
    let list: ObjectList<Read<Service>> = serde_json::from_str(&list.to_string()).unwrap();
    assert_eq!(list.items.len(), 2);
    assert!(list.items[0].doubtful() && !list.items[1].doubtful());
    let (object, kind) = (examples::service(), "MODIFIED");
    for text in [
        format!(r#"{{"type":"{kind}","object":{object}}}"#),
        format!(r#"{{"object":{object},"type":"{kind}"}}"#),
    ] {
        let event: WatchEvent<Read<Service>> = serde_json::from_str(&text).unwrap();
        assert!(matches!(event, WatchEvent::Modified(read) if read.lost().is_empty()));
    }
}
