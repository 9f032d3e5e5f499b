//! The objects that scenarios make: an echo Deployment and Services before it.

use serde_json::{Value, json};

/// A Deployment `name` of echo pods; `nodes` pins them to nodes by name, one pod each, or leaves the choice to the scheduler.
pub(crate) fn echo(namespace: &str, name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": { "matchLabels": { "app": name } },
                    }],
                    // A pod must leave a dead node within a test's patience.
                    "tolerations": [
                        { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 },
                        { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 },
                    ],
                    "containers": [{
                        "name": "echo",
                        "image": "localhost/herald-echo:dev",
                        "imagePullPolicy": "Never",
                        "args": ["--drain", "5"],
                        "env": [
                            { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                            { "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                        ],
                        "ports": [
                            { "name": "http", "containerPort": 8080 },
                            { "name": "tcp", "containerPort": 9000, "protocol": "TCP" },
                            { "name": "udp", "containerPort": 9000, "protocol": "UDP" },
                        ],
                        "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" }, "periodSeconds": 1 },
                    }],
                },
            },
        },
    })
}

/// A Service before the pods of `app`, with the ports http 80, tcp 9000 and udp 9000, on both families.
pub(crate) struct Service(Value);

impl Service {
    pub(crate) fn new(namespace: &str, name: &str, app: &str) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace, "annotations": {} },
            "spec": {
                "type": "ClusterIP",
                "ipFamilyPolicy": "RequireDualStack",
                "selector": { "app": app },
                "ports": [
                    { "name": "http", "port": 80, "targetPort": "http" },
                    { "name": "tcp", "port": 9000, "targetPort": "tcp", "protocol": "TCP" },
                    { "name": "udp", "port": 9000, "targetPort": "udp", "protocol": "UDP" },
                ],
            },
        }))
    }

    pub(crate) fn load_balancer(mut self) -> Self {
        self.0["spec"]["type"] = "LoadBalancer".into();
        self
    }

    pub(crate) fn node_port(mut self) -> Self {
        self.0["spec"]["type"] = "NodePort".into();
        self
    }

    pub(crate) fn local(mut self) -> Self {
        self.0["spec"]["externalTrafficPolicy"] = "Local".into();
        self
    }

    pub(crate) fn single_stack(mut self) -> Self {
        self.0["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Hides the Service from kube-proxy and leaves it to Herald alone: what answers then is Herald's data path.
    pub(crate) fn not_for_kube_proxy(mut self) -> Self {
        self.0["metadata"]["labels"] =
            json!({ "service.kubernetes.io/service-proxy-name": "heraldlb.io" });
        self
    }

    pub(crate) fn value(self) -> Value {
        self.0
    }
}

/// A pool that only Services naming it use.
pub(crate) fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "AddressPool",
        "metadata": { "name": name },
        "spec": { "addresses": addresses, "autoAssign": false },
    })
}

/// An advertisement of one pool from every node.
pub(crate) fn advertisement(pool: &str) -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "L2Advertisement",
        "metadata": { "name": pool },
        "spec": { "addressPools": [pool] },
    })
}
