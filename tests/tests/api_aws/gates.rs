//! Readiness gates: a pod counts as ready once AWS finds it healthy behind every load balancer that it is a target of.

use anyhow::{Result, ensure};
use herald_tests::moto::Health;
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_aws::aws::REGION;
use crate::api_aws::cloud::Cloud;
use crate::api_aws::life::removal;
use crate::api_aws::objects::{endpoints, nlb_of_pods};
use crate::api_server::DEADLINE;
use crate::controller::objects::condition;

const GATE: &str = "heraldlb.io/target-health";
const ADDRESS: &str = "10.0.2.40";

pub(crate) fn follow_the_targets(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let report = |state: &str| {
        cloud.moto.health(&[Health {
            region: REGION.into(),
            id: Some(ADDRESS.into()),
            state: Some(state.into()),
            ..Health::default()
        }])
    };
    report("initial")?;
    // A pod is made under an account, and nobody else makes that here.
    objects.apply(&json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": "default" },
    }))?;
    let mut service = nlb_of_pods("gated");
    service["spec"]["selector"] = json!({ "app": "gated" });
    objects.apply(&service)?;
    start(cloud, "gated", ADDRESS)?;
    start(cloud, "alone", "10.0.2.41")?;
    let uid = objects.read("pods/gated")?["metadata"]["uid"].clone();
    let mut slice = endpoints("gated", &[ADDRESS]);
    slice["endpoints"][0]["conditions"]["ready"] = json!(false);
    slice["endpoints"][0]["targetRef"] =
        json!({ "kind": "Pod", "name": "gated", "namespace": "default", "uid": uid });
    objects.apply(&slice)?;
    // No load balancer is concerned with it.
    let condition = gate(cloud, "alone", "True")?;
    ensure!(condition["reason"] == "NoLoadBalancer", "{condition}");
    // It becomes a target although it is not ready, and is not let go before it is healthy.
    cloud.wait_until_provisioned("gated", false)?;
    let group = cloud.made("gated")?.target_group()?.id.clone();
    cloud.wait_for_targets(&group, &[format!("{ADDRESS}:8080 initial")])?;
    let condition = gate(cloud, "gated", "False")?;
    ensure!(!condition["message"].is_null(), "{condition}");
    report("healthy")?;
    gate(cloud, "gated", "True")?;
    // From then on it is the pod's own business.
    report("unhealthy")?;
    cloud.wait_for_targets(&group, &[format!("{ADDRESS}:8080 unhealthy")])?;
    objects.wait_for_condition("gated", "heraldlb.io/TargetsHealthy", "False", "Unhealthy")?;
    gate(cloud, "gated", "True")?;
    let uid = cloud.uid("gated")?;
    removal(cloud, "gated", &uid)
}

/// A pod with the gate whose containers are ready.
fn start(cloud: &Cloud, name: &str, address: &str) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": {
            "nodeName": "n1",
            "readinessGates": [{ "conditionType": GATE }],
            "containers": [{ "name": "c", "image": "example.com/none" }],
        },
    }))?;
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "ContainersReady", "status": "True" }],
    } });
    objects.patch_status(&format!("pod/{name}"), &status.to_string())
}

fn gate(cloud: &Cloud, pod: &str, status: &str) -> Result<Value> {
    wait_for(&format!("gate of {pod} to be {status}"), DEADLINE, || {
        let pod = cloud.objects().read(&format!("pods/{pod}"))?;
        let found = condition(&pod, GATE);
        ensure!(found["status"] == status, "{}", pod["status"]);
        Ok(Some(found))
    })
}
