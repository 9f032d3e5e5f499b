//! Translation tables: objects as the API server sends them → views.

use herald_core::{IpFamily, Protocol};
use herald_kube::{Read, Readable};
use herald_speaker_core::{ServiceKind, TrafficPolicy};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::*;

/// As a watch gives it: what has no shape in herald-kube is not there.
fn object<T: Readable>(value: Value) -> T {
    let read: Read<T> = serde_json::from_value(value).unwrap();
    read.into_object().unwrap()
}

fn load_balancer(spec: &Value, status: &Value, labels: &Value) -> Service {
    object(json!({
        "metadata": {
            "namespace": "default", "name": "web", "labels": labels,
            "annotations": {
                "heraldlb.io/allocated-from": "lan, lan6", "heraldlb.io/earlier-pools": ",old6/older6",
            },
        },
        "spec": spec, "status": status,
    }))
}

#[test]
fn a_whole_service_keeps_every_field_that_decides() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00:10:96::9"],
        "externalIPs": ["198.51.100.7"], "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": [" 10.1.2.3/8", "2001:db8::/32", "nonsense"],
        "ports": [
            { "name": "http", "port": 80, "nodePort": 30080, "targetPort": "web" },
            { "name": "dns", "port": 53, "protocol": "UDP" },
        ],
    });
    let status = json!({ "loadBalancer": { "ingress": [
        { "ip": "192.0.2.10", "ipMode": "VIP" }, { "ip": "2001:db8::10" },
        { "ip": "192.0.2.11", "ipMode": "Proxy" }, { "hostname": "lb.example.com" },
    ] } });
    let view = service(&load_balancer(&spec, &status, &json!({ "app": "web" }))).unwrap();
    assert_eq!(view.key.to_string(), "default/web");
    assert_eq!(view.kind, ServiceKind::LoadBalancer);
    assert!(view.proxied);
    assert_eq!(view.labels["app"], "web");
    assert_eq!(
        format!("{:?}", view.cluster_ips),
        "[10.96.0.9, fd00:10:96::9]"
    );
    assert_eq!(format!("{:?}", view.external_ips), "[198.51.100.7]");
    assert_eq!(
        format!("{:?}", view.load_balancer_ips),
        "[192.0.2.10, 2001:db8::10]"
    );
    assert_eq!(view.allocated_from, ["lan", "lan6"]);
    assert_eq!(view.earlier_pools, [vec![], vec!["old6", "older6"]]);
    assert_eq!(
        format!("{:?}", view.source_ranges),
        "[10.0.0.0/8, 2001:db8::/32, 0.0.0.0/32, ::/128]"
    );
    assert_eq!(
        (view.external_policy, view.internal_policy),
        (TrafficPolicy::Local, TrafficPolicy::Local)
    );
    let ports: Vec<_> = view
        .ports
        .iter()
        .map(|p| (&*p.name, p.protocol, p.port, p.node_port))
        .collect();
    assert_eq!(
        ports,
        [
            ("http", Protocol::Tcp, 80, Some(30080)),
            ("dns", Protocol::Udp, 53, None)
        ]
    );
}

#[test]
fn which_services_are_seen_at_all() {
    for (spec, seen) in [
        (json!({ "clusterIP": "10.96.0.9" }), true),
        (
            json!({ "type": "NodePort", "clusterIPs": ["10.96.0.9"] }),
            true,
        ),
        (
            json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
            false,
        ),
        (json!({ "clusterIP": "" }), false),
        (json!({}), false),
        (
            json!({ "type": "ExternalName", "externalName": "example.com" }),
            false,
        ),
        (
            json!({ "type": "Sidecar", "clusterIPs": ["10.96.0.9"] }),
            false,
        ),
    ] {
        let view = service(&load_balancer(&spec, &json!({}), &json!({})));
        assert_eq!(view.is_some(), seen, "{spec}");
    }
    assert!(
        service(&object(
            json!({ "metadata": { "namespace": "default", "name": "web" } })
        ))
        .is_none()
    );
}

#[test]
fn a_service_of_another_proxy_is_kept_but_not_forwarded() {
    for (name, ours) in [("other", false), ("", false), ("heraldlb.io", true)] {
        let view = service(&load_balancer(
            &json!({ "clusterIPs": ["10.96.0.9"] }),
            &json!({}),
            &json!({ "service.kubernetes.io/service-proxy-name": name }),
        ));
        assert_eq!(view.unwrap().proxied, ours, "{name:?}");
    }
}

#[test]
fn garbled_parts_of_a_service_are_left_out() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["010.096.000.009", "x"], "externalTrafficPolicy": "Sometimes",
        "ports": [{ "port": 80, "protocol": "QUIC" }, { "port": 99999 }, { "port": 0 }, { "port": 81 }],
    });
    let status =
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.300" }, { "ip": "" }, {}] } });
    let view = service(&load_balancer(&spec, &status, &json!(null))).unwrap();
    assert_eq!(format!("{:?}", view.cluster_ips), "[10.96.0.9]");
    assert_eq!(view.external_policy, TrafficPolicy::Cluster);
    assert_eq!(view.ports.iter().map(|p| p.port).collect::<Vec<_>>(), [81]);
    assert!(view.load_balancer_ips.is_empty());
}

#[test]
fn addresses_are_read_as_kubernetes_reads_them() {
    for (text, expected) in [
        ("192.0.2.1", Some("192.0.2.1")),
        (" 192.0.2.1 ", Some("192.0.2.1")),
        ("192.000.002.010", Some("192.0.2.10")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("2001:DB8::0001", Some("2001:db8::1")),
        ("192.0.2", None),
        ("192.0.2.1.1", None),
        ("192.0.2.256", None),
        ("192.0.2.+1", None),
        ("", None),
    ] {
        let shown = parse::address(text).map(|address| address.to_string());
        assert_eq!(shown.as_deref(), expected, "{text}");
    }
    for (text, expected) in [
        ("010.1.2.3/8", Some("10.0.0.0/8")),
        ("2001:db8::1/64", Some("2001:db8::/64")),
        ("10.0.0.0/33", None),
        ("10.0.0.0", None),
    ] {
        let shown = parse::prefix(text).map(|net| net.to_string());
        assert_eq!(shown.as_deref(), expected, "{text}");
    }
}

fn endpoint_slice(kind: &str, labels: &Value, ports: &Value, endpoints: &Value) -> EndpointSlice {
    object(json!({
        "metadata": { "namespace": "default", "name": "web-abc", "labels": labels },
        "addressType": kind, "ports": ports, "endpoints": endpoints,
    }))
}

#[test]
fn a_slice_keeps_ports_with_numbers_and_the_first_address_of_each_endpoint() {
    let view = slice(&endpoint_slice(
        "IPv4",
        &json!({ "kubernetes.io/service-name": "web" }),
        &json!([{ "name": "http", "port": 8080 }, { "name": "all" }, { "name": "", "port": 0 }, { "port": 53, "protocol": "UDP" }]),
        &json!([
            { "addresses": ["10.244.1.5", "10.244.1.6"], "nodeName": "n1" },
            { "addresses": ["10.244.1.7"], "conditions": { "ready": false, "serving": true, "terminating": true } },
            { "addresses": ["fd00::1"] }, { "addresses": [] },
        ]),
    ))
    .unwrap();
    assert_eq!(
        (view.service.to_string().as_str(), view.family),
        ("default/web", IpFamily::V4)
    );
    let ports: Vec<_> = view
        .ports
        .iter()
        .map(|p| (&*p.name, p.protocol, p.port))
        .collect();
    assert_eq!(
        ports,
        [("http", Protocol::Tcp, 8080), ("", Protocol::Udp, 53)]
    );
    let endpoints: Vec<_> = view
        .endpoints
        .iter()
        .map(|e| {
            (
                e.address.to_string(),
                e.node.as_deref(),
                e.ready,
                e.serving,
                e.terminating,
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [
            ("10.244.1.5".to_owned(), Some("n1"), true, true, false),
            ("10.244.1.7".to_owned(), None, false, true, true),
        ]
    );
}

#[test]
fn slices_of_no_use_are_not_seen() {
    let named = json!({ "kubernetes.io/service-name": "web" });
    for (kind, labels, seen) in [
        ("IPv6", &named, true),
        ("FQDN", &named, false),
        ("IPv4", &json!({}), false),
        ("IPv4", &json!({ "kubernetes.io/service-name": "" }), false),
        ("IPv4", &json!(null), false),
    ] {
        let view = slice(&endpoint_slice(kind, labels, &json!(null), &json!([])));
        assert_eq!(view.is_some(), seen, "{kind} {labels}");
    }
}

#[test]
fn a_node_keeps_what_eligibility_and_forwarding_need() {
    let seen = node(&object::<Node>(json!({
        "metadata": { "name": "n1", "uid": "u1", "labels": { "zone": "a" } },
        "spec": { "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"] },
        "status": {
            "addresses": [
                { "type": "Hostname", "address": "n1" }, { "type": "ExternalIP", "address": "198.51.100.1" },
                { "type": "InternalIP", "address": "10.77.0.11" }, { "type": "InternalIP", "address": "10.78.0.11" },
                { "type": "InternalIP", "address": "fd00:77::11" },
            ],
            "conditions": [
                { "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z" },
            ],
        },
    })))
    .unwrap();
    assert_eq!(seen.uid, "u1");
    assert!(seen.view.ready && !seen.view.excluded && !seen.leaving && !seen.silent);
    assert_eq!(
        format!("{:?}", seen.view.addresses),
        "[10.77.0.11, fd00:77::11]"
    );
    assert_eq!(
        format!("{:?}", seen.view.known_addresses),
        "[198.51.100.1, 10.77.0.11, 10.78.0.11, fd00:77::11]"
    );
    assert_eq!(
        format!("{:?}", seen.view.pod_cidrs),
        "[10.244.1.0/24, fd00:10:244:1::/64]"
    );
}

#[test]
fn a_heartbeat_of_the_kubelet_changes_no_view() {
    let at = |time: &str| {
        node(&object::<Node>(json!({
            "metadata": { "name": "n1", "resourceVersion": time },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": time }],
                "images": [{ "names": [time] }],
            },
        })))
    };
    assert_eq!(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:10Z"));
}

#[test]
fn nodes_that_are_out_or_about_to_go() {
    let exclude = json!({ "node.kubernetes.io/exclude-from-external-load-balancers": "" });
    let ready = |value: &str| json!([{ "type": "Ready", "status": value, "message": "kubelet" }]);
    let taint =
        json!({ "taints": [{ "key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule" }] });
    let closing =
        json!([{ "type": "Ready", "status": "False", "message": "node is shutting down" }]);
    let offline = json!([{ "type": "Ready", "status": "True" }, { "type": "NetworkUnavailable", "status": "True" }]);
    let none = json!({});
    // Complaint, excluded, shutting down, leaving.
    let (no, well) = (Some("node is not Ready"), None);
    for (labels, spec, conditions, expected) in [
        (&none, &none, &ready("True"), (well, false, false, false)),
        // The control plane has not heard from it, which is no word of the node's.
        (&none, &none, &ready("Unknown"), (well, false, false, false)),
        (&none, &none, &ready("False"), (no, false, false, false)),
        (&none, &none, &json!([]), (no, false, false, false)),
        (&exclude, &none, &ready("True"), (well, true, false, false)),
        (
            &none,
            &none,
            &offline,
            (
                Some("the node's network is unavailable"),
                false,
                false,
                false,
            ),
        ),
        (
            &none,
            &json!({ "unschedulable": true }),
            &ready("True"),
            (well, false, false, true),
        ),
        (&none, &taint, &ready("True"), (well, false, false, true)),
        (&none, &none, &closing, (no, false, true, true)),
    ] {
        let seen = node(&object::<Node>(json!({
            "metadata": { "name": "n1", "labels": labels },
            "spec": spec, "status": { "conditions": conditions },
        })))
        .unwrap();
        let view = &seen.view;
        assert_eq!(
            (
                view.complaint(),
                view.excluded,
                view.shutting_down,
                seen.leaving
            ),
            expected,
            "{labels} {spec} {conditions}"
        );
    }
}

#[test]
fn pools_and_advertisements_keep_what_can_be_read() {
    let pool = pool(&object(json!({
        "metadata": { "name": "lan", "labels": { "site": "a" } },
        "spec": { "addresses": ["192.0.2.0/30", "192.0.2.9-192.0.2.1", "2001:db8::1"] },
    })))
    .unwrap();
    assert_eq!(pool.labels["site"], "a");
    let advertisement = advertisement(&object(json!({
        "metadata": { "name": "lan" },
        "spec": {
            "addressPools": ["lan"], "interfaces": ["eth0"],
            "nodeSelectors": [{ "matchLabels": { "zone": "a" } }],
            "serviceSelectors": [{ "matchExpressions": [{ "key": "public", "operator": "Exists" }] }],
        },
    })))
    .unwrap();
    assert_eq!(
        (advertisement.pools.len(), advertisement.interfaces.len()),
        (1, 1)
    );
    assert!(advertisement.node_selectors[0].matches(&[("zone".into(), "a".into())].into()));
    assert!(!advertisement.service_selectors[0].matches(&[].into()));
}

#[test]
fn a_speaker_says_whether_it_may_own_addresses() {
    let speaker_with = |conditions: Value| {
        speaker(&object(json!({
            "metadata": { "name": "n2" },
            "status": {
                "renewTime": "2026-01-01T00:00:00.000001Z",
                "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:01", "addresses": ["192.0.2.2/24", "x"], "up": true }],
                "owned": [{ "address": "192.0.2.10", "interfaces": ["eth0"] }, { "address": "?" }],
                "conflicts": [{ "address": "192.0.2.11", "mac": "0a:00:00:00:00:ff" }, { "address": "192.0.2.12", "mac": "ff" }],
                "conditions": conditions,
            },
        })))
        .unwrap()
    };
    let condition = |status: &str, reason: &str| json!([{ "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    for (conditions, willing) in [
        (json!([]), true),
        (condition("True", "Running"), true),
        (condition("False", "Starting"), true),
        (condition("False", "Draining"), false),
        (condition("False", "DataPathNotSynced"), false),
    ] {
        assert_eq!(
            speaker_with(conditions.clone()).willing,
            willing,
            "{conditions}"
        );
    }
    let seen = speaker_with(json!([]));
    assert_eq!(seen.interfaces[0].addresses.len(), 1);
    assert!(seen.interfaces[0].up);
    assert_eq!(seen.owned.len(), 1);
    assert_eq!(format!("{:?}", seen.macs), "[02:00:00:00:00:01]");
    assert_eq!(
        format!("{:?}", seen.conflicts),
        "[(192.0.2.11, 0a:00:00:00:00:ff)]"
    );
    assert!(!seen.renewed.is_empty());
    let fresh = speaker(&object(json!({ "metadata": { "name": "n3" } }))).unwrap();
    assert!(fresh.willing && fresh.renewed.is_empty());
}

#[test]
fn source_ranges_that_cannot_be_read_let_nobody_in() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "loadBalancerSourceRanges": ["home"],
    });
    let view = service(&load_balancer(&spec, &json!({}), &json!({}))).unwrap();
    let ranges: Vec<_> = view.source_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["0.0.0.0/32", "::/128"]);
}

#[test]
fn a_service_whose_type_or_cluster_ips_cannot_be_read_is_what_it_has() {
    let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.10" }] } });
    let ports = json!([{ "port": 80, "nodePort": 30080 }]);
    for (spec, status, kind) in [
        (json!({}), &ingress, ServiceKind::LoadBalancer),
        (
            json!({ "clusterIP": "10.96.0.9", "ports": ports }),
            &json!({}),
            ServiceKind::NodePort,
        ),
        (
            json!({ "clusterIP": "10.96.0.9", "ports": ports }),
            &ingress,
            ServiceKind::LoadBalancer,
        ),
        (
            json!({ "externalIPs": ["198.51.100.7"] }),
            &json!({}),
            ServiceKind::ClusterIp,
        ),
    ] {
        let view = service(&load_balancer(&spec, status, &json!({}))).unwrap();
        assert_eq!(view.kind, kind, "{spec} {status}");
        assert_eq!(
            view.load_balancer_ips.len(),
            usize::from(kind == ServiceKind::LoadBalancer)
        );
    }
}
