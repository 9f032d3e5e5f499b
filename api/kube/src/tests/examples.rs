//! One whole object of each kind: every field that is used, and some that are not.

use serde_json::{Value, json};

fn metadata(name: &str, namespaced: bool) -> Value {
    let mut metadata = json!({
        "name": name,
        "uid": "11111111-2222-3333-4444-555555555555",
        "resourceVersion": "4711",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "app": "web", "kubernetes.io/service-name": "web" },
        "annotations": { "heraldlb.io/allocated-from": "lan", "other.example/note": "x" },
        "finalizers": ["heraldlb.io/pool-in-use"],
        "managedFields": [{ "manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": {} } }],
        "ownerReferences": [{ "kind": "Thing", "name": "x" }],
    });
    if namespaced {
        metadata["namespace"] = json!("default");
    }
    metadata
}

fn condition(kind: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": "Fine", "message": "all is well", "observedGeneration": 3,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

pub(super) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata("web", true),
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "heraldlb.io/pool",
            "loadBalancerIP": "192.0.2.10",
            "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "PreferDualStack",
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9", "fd00:96::9"],
            "externalIPs": ["198.51.100.7", "2001:db8::7"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Cluster",
            "loadBalancerSourceRanges": ["192.0.2.0/24", "2001:db8::/32"],
            "selector": { "app": "web" },
            "healthCheckNodePort": 32000,
            "sessionAffinity": "None",
            "ports": [
                { "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": 30080, "appProtocol": "http" },
                { "name": "dns", "protocol": "UDP", "port": 53, "targetPort": "dns", "nodePort": 30053 },
            ],
        },
        "status": {
            "loadBalancer": { "ingress": [
                { "ip": "192.0.2.10", "ipMode": "VIP", "ports": [{ "port": 80, "protocol": "TCP", "error": "x/Y" }] },
                { "ip": "2001:db8::10", "ipMode": "VIP" },
                { "hostname": "web.example.com" },
            ] },
            "conditions": [condition("heraldlb.io/Allocated"), condition("example.com/Other")],
        },
    })
}

pub(super) fn slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": metadata("web-abc", true),
        "addressType": "IPv4",
        "ports": [
            { "name": "http", "protocol": "TCP", "port": 8080, "appProtocol": "http" },
            { "name": "dns", "protocol": "UDP", "port": 53 },
        ],
        "endpoints": [
            {
                "addresses": ["10.244.1.5"], "nodeName": "n1", "zone": "a", "hostname": "web-0",
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "targetRef": { "kind": "Pod", "name": "web-0", "namespace": "default", "uid": "u" },
                "hints": { "forZones": [{ "name": "a" }] },
            },
            { "addresses": ["10.244.2.5"], "nodeName": "n2", "conditions": { "ready": false } },
        ],
    })
}

pub(super) fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": metadata("n1", false),
        "spec": {
            "podCIDR": "10.244.1.0/24",
            "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"],
            "providerID": "aws:///eu-west-1a/i-1",
            "unschedulable": true,
            "taints": [
                { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "value": "x", "timeAdded": "2026-01-01T00:00:00Z" },
                { "key": "other", "effect": "NoExecute" },
            ],
        },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": "10.77.0.11" },
                { "type": "InternalIP", "address": "fd00:77::11" },
            ],
            "conditions": [
                { "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok", "lastHeartbeatTime": "2026-01-01T00:00:00Z" },
                { "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated" },
            ],
            "images": [{ "names": ["x"], "sizeBytes": 1 }],
            "allocatable": { "cpu": "2" },
            "nodeInfo": { "machineID": "x" },
        },
    })
}

pub(super) fn pod() -> Value {
    let gate = "target-health.heraldlb.io/aws-nlb";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": metadata("web-0", true),
        "spec": {
            "readinessGates": [{ "conditionType": gate }, { "conditionType": "example.com/other" }],
            "containers": [{ "name": "web", "image": "web" }],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.244.1.5",
            "podIPs": [{ "ip": "10.244.1.5" }, { "ip": "fd00:244:1::5" }],
            "conditions": [
                { "type": gate, "status": "True", "reason": "Healthy", "message": "ok", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "ContainersReady", "status": "True" },
            ],
        },
    })
}

pub(super) fn service_cidr() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes", "resourceVersion": "3" },
        "spec": { "cidrs": ["10.96.0.0/16", "fd00:96::/112"] },
    })
}

pub(super) fn namespace() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": metadata("default", false),
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

fn selectors() -> Value {
    json!([
        {
            "matchLabels": { "rack": "1", "zone": "a" },
            "matchExpressions": [
                { "key": "tier", "operator": "NotIn", "values": ["test", "lab"] },
                { "key": "public", "operator": "Exists" },
            ],
        },
        { "matchLabels": { "rack": "2" } },
    ])
}

pub(super) fn pool() -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "AddressPool",
        "metadata": metadata("lan", false),
        "spec": {
            "addresses": ["192.0.2.0/24", "2001:db8::/120"],
            "exclude": ["192.0.2.1", "192.0.2.2"],
            "autoAssign": false,
            "avoidBuggyIPs": true,
            "disabled": true,
            "serviceAllocation": {
                "priority": 5,
                "namespaces": ["default", "prod"],
                "namespaceSelectors": selectors(),
                "serviceSelectors": selectors(),
            },
        },
        "status": {
            "assignedIPv4": 1, "assignedIPv6": 2, "availableIPv4": 3, "availableIPv6": 4,
            "conditions": [condition("Ready"), condition("Other")],
        },
    })
}

pub(super) fn advertisement() -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "L2Advertisement",
        "metadata": metadata("lan", false),
        "spec": {
            "addressPools": ["lan", "dmz"],
            "addressPoolSelectors": selectors(),
            "nodeSelectors": selectors(),
            "interfaces": ["eth0", "eth1"],
            "serviceSelectors": selectors(),
        },
    })
}

pub(super) fn speaker() -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "Speaker",
        "metadata": metadata("n1", false),
        "status": {
            "renewTime": "2026-01-01T00:00:00.000001Z",
            "podName": "herald-speaker-x",
            "version": "0.1.0",
            "interfaces": [
                { "name": "eth0", "mac": "02:00:00:00:00:01", "addresses": ["192.0.2.2/24", "2001:db8::2/64"], "up": true },
                { "name": "eth1", "up": false, "notForwarding": ["IPv6", "IPv4"] },
            ],
            "owned": [
                { "address": "192.0.2.10", "interfaces": ["eth0", "eth1"] },
                { "address": "2001:db8::10" },
            ],
            "ownedCount": 2,
            "conflicts": [
                { "address": "192.0.2.11", "mac": "02:00:00:00:00:09" },
                { "address": "192.0.2.12", "mac": "02:00:00:00:00:08" },
            ],
            "dataPath": { "synced": true, "services": 3, "lastSync": "2026-01-01T00:00:00.000001Z" },
            "conditions": [condition("Ready"), condition("DataPathSynced")],
        },
    })
}
