use herald_controller_core::Reason;
use serde_json::json;

use super::*;

fn service(extra: serde_json::Value) -> ServiceView {
    let mut object = json!({
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "u1", "resourceVersion": "42",
            "creationTimestamp": "2026-01-01T00:00:10Z",
        },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack" },
    });
    merge(&mut object, extra);
    service_view(&watched(object))
}

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn a_service_becomes_what_the_core_decides_with() {
    let view = service(json!({
        "metadata": { "labels": { "app": "web" }, "annotations": {
            "metallb.io/address-pool": "lan",
            "heraldlb.io/allocated-from": "lan,lan",
        } },
        "spec": { "loadBalancerIP": "192.0.2.1", "externalTrafficPolicy": "Local" },
        "status": {
            "loadBalancer": { "ingress": [{ "ip": "2001:db8::1" }, { "ip": "192.0.2.1", "ipMode": "VIP" }] },
            "conditions": [
                { "type": "heraldlb.io/Allocated", "status": "True", "reason": "Allocated", "message": "m",
                  "lastTransitionTime": "2026-01-01T00:00:11Z" },
                { "type": "example.com/Other", "status": "True", "reason": "X", "message": "",
                  "lastTransitionTime": "2026-01-01T00:00:11Z" },
            ],
        },
    }));
    assert_eq!(view.key.to_string(), "shop/web");
    assert_eq!((view.version, view.created), (42, 1_767_225_610));
    assert_eq!(
        view.families,
        FamilyRequest {
            order: vec![IpFamily::V6, IpFamily::V4],
            all: true
        }
    );
    assert_eq!(view.request.pool.as_deref(), Some("lan"));
    assert_eq!(view.request.load_balancer_ip.as_deref(), Some("192.0.2.1"));
    assert!(view.local && view.load_balancer && !view.foreign_ingress && !view.deleting);
    assert_eq!(
        view.ingress
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["2001:db8::1", "192.0.2.1"]
    );
    assert_eq!(view.conditions.len(), 1);
    assert_eq!(view.conditions[0].since.as_ref(), "2026-01-01T00:00:11Z");
}

#[test]
fn host_names_and_odd_entries_are_foreign() {
    for (entry, foreign) in [
        (json!({ "ip": "192.0.2.1" }), false),
        (json!({ "hostname": "lb.example.com" }), true),
        (json!({ "ip": "rubbish" }), true),
    ] {
        let view = service(json!({ "status": { "loadBalancer": { "ingress": [entry] } } }));
        assert_eq!(view.foreign_ingress, foreign, "{entry}");
    }
}

#[test]
fn families_come_from_the_cluster_ips_where_the_field_is_absent() {
    let view = service(
        json!({ "spec": { "ipFamilies": null, "clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilyPolicy": "PreferDualStack" } }),
    );
    assert_eq!(
        view.families,
        FamilyRequest {
            order: vec![IpFamily::V4, IpFamily::V6],
            all: false
        }
    );
    let view = service(
        json!({ "spec": { "ipFamilies": ["IPv4"], "clusterIPs": ["10.0.0.1", "fd00::1"] } }),
    );
    assert_eq!(view.families.order, [IpFamily::V4]);
}

#[test]
fn every_condition_and_reason_is_documented() {
    let page = include_str!("../../docs/reference/events.md");
    let kinds = ConditionKind::ALL.map(ConditionKind::as_str);
    for word in kinds.into_iter().chain(Reason::ALL.map(Reason::as_str)) {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn a_pool_and_its_status() {
    let pool: AddressPool = watched(json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "AddressPool",
        "metadata": { "name": "lan", "generation": 3, "finalizers": ["heraldlb.io/pool-in-use"] },
        "spec": { "addresses": ["192.0.2.0/24"], "serviceAllocation": { "priority": 5, "namespaces": ["shop"] } },
        "status": { "assignedIPv4": 7, "conditions": [
            { "type": "Ready", "status": "True", "reason": "Valid", "message": "m", "observedGeneration": 3,
              "lastTransitionTime": "2026-01-01T00:00:11Z" },
        ] },
    }));
    let (view, observed) = pool_view(&pool);
    assert!(view.ready && observed.ready.is_some());
    assert!(view.auto_assign && view.scope.is_scoped() && view.scope.priority == 5);
    assert!(observed.finalizer && observed.has_status);
    assert_eq!((observed.assigned.v4, observed.generation), (7, 3));
}

#[test]
fn addresses_that_are_somebodys_are_read_from_nodes_slices_and_ranges() {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "n1" },
        "status": { "addresses": [
            { "type": "InternalIP", "address": "192.0.2.1" }, { "type": "ExternalIP", "address": "::ffff:198.51.100.1" },
            { "type": "Hostname", "address": "192.0.2.9" }, { "type": "InternalIP", "address": "n1.example.com" },
        ] },
    }))
    .unwrap();
    let (name, addresses) = node_view(&node);
    assert_eq!(
        format!("{name} {addresses:?}"),
        "n1 [192.0.2.1, 198.51.100.1]"
    );
    for (namespace, service, count) in [
        ("default", "kubernetes", 2),
        ("tenant", "kubernetes", 0),
        ("default", "web", 0),
    ] {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "namespace": namespace, "name": "kubernetes", "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.5"] }, { "addresses": ["192.0.2.6"], "conditions": { "ready": false } }],
        }))
        .unwrap();
        assert_eq!(api_servers_view(&slice).1.len(), count, "{namespace}");
    }
    let cidr: ServiceCIDR = serde_json::from_value(json!({
        "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.96.0.0/16", "fd00:96::/112", "?"] },
    }))
    .unwrap();
    assert_eq!(service_cidr_view(&cidr).1.len(), 2);
    let view = service(
        json!({ "spec": { "clusterIPs": ["10.96.0.9", "None"], "externalIPs": ["192.0.2.7", "?"] } }),
    );
    assert_eq!(format!("{:?}", view.cluster_ips), "[10.96.0.9]");
    assert_eq!(format!("{:?}", view.external_ips), "[192.0.2.7]");
}
