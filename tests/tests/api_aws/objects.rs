//! Objects of Kubernetes that load balancers are made for.

use serde_json::{Value, json};

use crate::controller::objects::service;

/// Prefix of the annotations that users of AWS write.
const PREFIX: &str = "service.beta.kubernetes.io/";

/// A Service of our class with port 80 and instance targets.
pub(crate) fn nlb(name: &str) -> Value {
    let mut nlb = service(name);
    nlb["spec"]["loadBalancerClass"] = json!("heraldlb.io/aws-nlb");
    nlb["spec"]["allocateLoadBalancerNodePorts"] = json!(true);
    nlb["spec"]["ports"] = json!([port("http", 80, "TCP")]);
    nlb
}

/// The same with pods as targets, and no node ports.
pub(crate) fn nlb_of_pods(name: &str) -> Value {
    let mut nlb = nlb(name);
    nlb["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    with(nlb, "aws-load-balancer-nlb-target-type", "ip")
}

/// The Service with one more annotation of AWS.
pub(crate) fn with(mut service: Value, annotation: &str, value: &str) -> Value {
    service["metadata"]["annotations"][format!("{PREFIX}{annotation}")] = json!(value);
    service
}

/// An annotation of AWS as `kubectl annotate` takes it; none removes it.
pub(crate) fn annotation(name: &str, value: Option<&str>) -> String {
    value.map_or_else(
        || format!("{PREFIX}{name}-"),
        |value| format!("{PREFIX}{name}={value}"),
    )
}

/// A port of a Service.
pub(crate) fn port(name: &str, number: u16, protocol: &str) -> Value {
    let target = 8000 + number % 1000;
    json!({ "name": name, "port": number, "protocol": protocol, "targetPort": target })
}

/// An EndpointSlice of a Service's port 80: ready pods with these addresses.
pub(crate) fn endpoints(service: &str, addresses: &[&str]) -> Value {
    let endpoints = addresses
        .iter()
        .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
