//! Addresses that are somebody's, by what the API server says.

use anyhow::{Context, Result, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_server::DEADLINE;
use crate::controller::objects::{Objects, condition, pool, service};

const TAKEN: &str = "198.51.100.18";
const EXTERNAL: &str = "heraldlb.io/ExternalIPs";

/// What a Service asks for, by annotation.
fn asking(name: &str, address: &str) -> Value {
    let mut service = service(name);
    service["metadata"]["annotations"] = json!({ "heraldlb.io/addresses": address });
    service
}

fn node(address: &str) -> Result<String> {
    let addresses = json!([{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": "taken" }]);
    Ok(serde_json::to_string(
        &json!({ "status": { "addresses": addresses } }),
    )?)
}

/// They are given to nobody, an address in use that a node joins with is kept and marked, and external IPs of that kind are told.
pub(crate) fn somebodys_addresses(objects: &Objects<'_>) -> Result<()> {
    let api_cluster_ip = objects.service("kubernetes")?["spec"]["clusterIP"].clone();
    let api_cluster_ip = api_cluster_ip.as_str().context("a cluster IP")?.to_owned();
    let all = [
        "198.51.100.16/30",
        "127.0.0.1",
        "224.0.0.1",
        &api_cluster_ip,
        "10.96.200.0",
    ];
    let mut somebodys = pool("somebodys", &all);
    somebodys["spec"]["autoAssign"] = json!(false);
    objects.apply(&somebodys)?;
    objects
        .apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "taken" } }))?;
    objects.patch_status("node/taken", &node(TAKEN)?)?;
    objects.wait_for_pool("somebodys", "what is left out", |pool| {
        let message = condition(pool, "Ready")["message"].clone();
        let message = message.as_str().unwrap_or_default();
        pool["status"]["availableIPv4"] == 3 && message.contains("and 2 more")
    })?;
    for (name, address, part) in [
        ("loopback", "127.0.0.1", "a loopback address"),
        ("multicast", "224.0.0.1", "a multicast address"),
        ("node", TAKEN, "an address of node taken"),
        (
            "cluster-ip",
            &api_cluster_ip,
            "the cluster IP of Service default/kubernetes",
        ),
        (
            "in-range",
            "10.96.200.0",
            "in the range of ServiceCIDR kubernetes",
        ),
    ] {
        objects.apply(&asking(name, address))?;
        let kind = "heraldlb.io/Allocated";
        let condition = objects.wait_for_condition(name, kind, "False", "AddressReserved")?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(message.contains(part), "{name}: {message}");
        objects.wait_for_event(name, "AddressReserved")?;
    }
    // The node moves to an address that is in use.
    objects.apply(&asking("used", "198.51.100.16"))?;
    objects.wait_for_addresses("used", &["198.51.100.16"])?;
    objects.patch_status("node/taken", &node("198.51.100.16")?)?;
    objects.wait_for_condition(
        "used",
        "heraldlb.io/AddressInPool",
        "False",
        "AddressReserved",
    )?;
    objects.wait_for_addresses("node", &[TAKEN])?;
    ensure!(objects.addresses("used")? == ["198.51.100.16"]);
    external_ips(objects, &api_cluster_ip)?;
    for name in [
        "loopback",
        "multicast",
        "node",
        "cluster-ip",
        "in-range",
        "used",
        "evil",
    ] {
        objects.delete(&format!("service/{name}"))?;
    }
    objects.delete("node/taken")?;
    objects.delete("addresspool/somebodys")
}

/// On a Service that no pool serves.
fn external_ips(objects: &Objects<'_>, api_cluster_ip: &str) -> Result<()> {
    let mut evil = service("evil");
    evil["spec"] =
        json!({ "ports": [{ "port": 53 }], "externalIPs": [api_cluster_ip, "198.51.100.99"] });
    objects.apply(&evil)?;
    let told = objects.wait_for_condition("evil", EXTERNAL, "False", "ExternalIPRefused")?;
    let message = told["message"].as_str().unwrap_or_default();
    let expected = format!("{api_cluster_ip} is the cluster IP of Service default/kubernetes: ");
    ensure!(message.starts_with(&expected), "{message}");
    objects.wait_for_event("evil", "ExternalIPRefused")?;
    objects.patch("evil", r#"{"spec":{"externalIPs":["198.51.100.99"]}}"#)?;
    wait_for("the condition to go", DEADLINE, || {
        Ok(objects.condition("evil", EXTERNAL)?.is_null().then_some(()))
    })
}
