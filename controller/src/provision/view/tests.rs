use serde_json::{Value, json};

use super::*;

fn service(change: impl FnOnce(&mut Value)) -> ProvidedView {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "namespace": "default", "name": "web", "uid": "u-1", "resourceVersion": "42",
            "creationTimestamp": "1970-01-02T00:00:00Z",
            "finalizers": ["heraldlb.io/aws-nlb"],
            "annotations": { "a": "b", LAST_APPLIED: "{}", "heraldlb.io/paused": "true" },
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "heraldlb.io/aws-nlb",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "ipFamilies": ["IPv6", "IPv4"],
            "loadBalancerSourceRanges": ["192.0.2.0/24", " 2001:db8::/32"],
            "ports": [
                { "name": "http", "port": 80, "targetPort": "web", "nodePort": 30080 },
                { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353 },
                { "name": "plain", "port": 443 },
            ],
        },
        "status": {
            "loadBalancer": { "ingress": [{
                "hostname": "Web.ELB.test",
                "ports": [{ "port": 80, "protocol": "TCP", "error": "Refused" }],
            }] },
            "conditions": [
                { "type": "heraldlb.io/Provisioned", "status": "True", "reason": "Provisioned", "message": "m",
                  "lastTransitionTime": "2026-11-21T10:00:00Z" },
                { "type": "example.com/Other", "status": "True", "reason": "R", "message": "m",
                  "lastTransitionTime": "2026-11-21T10:00:00Z" },
            ],
        },
    });
    change(&mut object);
    provided_view(&crate::index::watched(object))
}

#[test]
fn a_service_becomes_what_providers_work_with() {
    let view = service(|_| {});
    assert_eq!(
        (view.version, view.load_balancer, view.deleting),
        (42, true, false)
    );
    assert_eq!(view.class.as_deref(), Some("heraldlb.io/aws-nlb"));
    assert!(view.holds("heraldlb.io/aws-nlb"));
    let request = &view.request;
    assert_eq!((&*request.uid, request.created), ("u-1", UnixTime(86_400)));
    assert!(request.paused && request.local_traffic);
    assert_eq!(request.health_check_node_port, Some(31000));
    assert_eq!(request.families, [IpFamily::V6, IpFamily::V4]);
    assert!(!request.annotations.contains_key(LAST_APPLIED));
    let ranges: Vec<String> = request
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["192.0.2.0/24", "2001:db8::/32"]);
    let ports: Vec<_> = request
        .ports
        .iter()
        .map(|port| {
            (
                port.key.to_string(),
                port.target_port.to_string(),
                port.node_port,
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("80/TCP".into(), "web".into(), Some(30080)),
            ("53/UDP".into(), "5353".into(), None),
            ("443/TCP".into(), "443".into(), None),
        ]
    );
    assert_eq!(
        request.published,
        [Ingress::Hostname("web.elb.test".into())]
    );
    let entry = &view.status.ingress[0];
    assert_eq!(entry.hostname.as_deref(), Some("Web.ELB.test"));
    assert_eq!(entry.ports[0].error.as_deref(), Some("Refused"));
    assert_eq!(view.status.conditions.len(), 1);
    assert!(view.is_provisioned());
}

#[test]
fn a_range_that_cannot_be_read_opens_nothing() {
    let view = service(|object| {
        object["spec"]["loadBalancerSourceRanges"] = json!(["everybody"]);
    });
    let ranges: Vec<String> = view
        .request
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["0.0.0.0/32"]);
}

#[test]
fn what_does_not_concern_a_provider_makes_no_difference() {
    let view = service(|_| {});
    let touched = service(|object| {
        object["metadata"]["managedFields"] = json!([{ "manager": "x", "operation": "Apply" }]);
        object["metadata"]["resourceVersion"] = json!("43");
        object["metadata"]["annotations"][LAST_APPLIED] = json!("{ }");
        object["status"]["conditions"][1]["status"] = json!("False");
    });
    assert!(view.asks_the_same(&touched));
    assert_eq!(view.status, touched.status);
}

fn node(change: impl FnOnce(&mut Value)) -> NodeTarget {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "n1", "labels": { "zone": "a" } },
        "spec": {
            "providerID": "aws:///a/i-1",
            "taints": [{ "key": "gone", "effect": "NoSchedule" }],
        },
        "status": {
            "addresses": [
                { "type": "Hostname", "address": "n1" },
                { "type": "InternalIP", "address": "10.0.0.1" },
                { "type": "InternalIP", "address": "2001:db8::1" },
            ],
            "conditions": [
                { "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T10:00:00Z" },
            ],
        },
    });
    change(&mut object);
    node_target(&crate::index::watched(object))
}

#[test]
fn a_node_is_what_decides_whether_it_is_a_target() {
    let plain = node(|_| {});
    assert_eq!((&*plain.name, &*plain.provider_id), ("n1", "aws:///a/i-1"));
    assert_eq!((plain.addresses.len(), plain.taints.len()), (2, 1));
    assert_eq!((plain.ready, plain.deleting), (Readiness::Ready, false));
    let beaten = node(|object| {
        let conditions = &mut object["status"]["conditions"];
        conditions[0]["lastHeartbeatTime"] = json!("2026-11-21T11:00:00Z");
        object["status"]["images"] = json!([]);
    });
    assert_eq!(plain, beaten, "a heartbeat makes no difference");
    for (status, expected) in [
        (
            json!([{ "type": "Ready", "status": "False" }]),
            Readiness::NotReady,
        ),
        (
            json!([{ "type": "Ready", "status": "Unknown" }]),
            Readiness::Unknown,
        ),
        (json!([]), Readiness::Unknown),
    ] {
        let node = node(|object| object["status"]["conditions"] = status);
        assert_eq!(node.ready, expected);
    }
    let deleting = node(|object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
    });
    assert!(deleting.deleting);
}

#[test]
fn a_slice_has_the_ports_of_its_endpoints() {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "namespace": "default", "name": "web-1", "labels": { SERVICE_NAME_LABEL: "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }, { "name": "any" }],
        "endpoints": [
            { "addresses": ["10.0.0.7"], "conditions": {}, "nodeName": "n1",
              "targetRef": { "kind": "Pod", "name": "web-a" } },
            { "addresses": ["10.0.0.8"], "conditions": { "ready": false, "terminating": true } },
            { "addresses": ["not-an-address"], "conditions": {} },
        ],
    });
    let view = slice_view(&crate::index::watched(slice));
    assert_eq!(view.service, ServiceKey::new("default", "web"));
    let [one, two] = &view.endpoints[..] else {
        panic!("{view:?}");
    };
    assert_eq!(one.pod.as_deref(), Some("web-a"));
    assert_eq!(one.target.node.as_deref(), Some("n1"));
    assert!(one.target.ready && !one.target.terminating);
    assert_eq!(one.target.ports.len(), 1);
    assert_eq!(
        (one.target.ports[0].name.as_str(), one.target.ports[0].port),
        ("http", 8080)
    );
    assert!(!two.target.ready && two.target.terminating && two.pod.is_none());
}
