//! The example that puts Herald's readiness gate into pods, on a real API server: exactly once, and only where it was asked for.

mod api_server;

use anyhow::{Context as _, Result, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use api_server::{ApiServer, DEADLINE, Kubectl, checkout};

const GATE: &str = "heraldlb.io/target-health";

#[test]
fn the_policy_adds_the_gate_exactly_once_where_it_was_asked_for() -> Result<()> {
    let server = ApiServer::start_with(&[
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
    ])?;
    let admin = server.admin();
    for namespace in ["gated", "plain", "herald-system"] {
        admin.run(&["create", "namespace", namespace])?;
        // No controller manager makes it here, and pods need it.
        admin.run(&["-n", namespace, "create", "serviceaccount", "default"])?;
    }
    for namespace in ["gated", "herald-system"] {
        let label = "heraldlb.io/readiness-gate=enabled";
        admin.run(&["label", "namespace", namespace, label])?;
    }
    let example = checkout("deploy/examples/aws/readiness-gate.yaml");
    admin.run(&["apply", "--server-side", "-f", &example])?;
    // Policies take a moment to reach the admission chain.
    wait_for("the policy to be in force", DEADLINE, || {
        let gates = gates(&admin, "gated", &pod(&json!([])), true)?;
        Ok((!gates.is_empty()).then_some(()))
    })?;
    let cases = [
        ("none", json!([]), vec![GATE]),
        ("another", json!(["x.io/other"]), vec!["x.io/other", GATE]),
        ("ours", json!([GATE]), vec![GATE]),
        (
            "both",
            json!([GATE, "x.io/other"]),
            vec![GATE, "x.io/other"],
        ),
    ];
    for (case, given, expected) in cases {
        let found = gates(&admin, "gated", &pod(&given), false)?;
        ensure!(found == expected, "{case}: {found:?}");
    }
    for namespace in ["plain", "herald-system"] {
        let found = gates(&admin, namespace, &pod(&json!([])), false)?;
        ensure!(found.is_empty(), "{namespace}: {found:?}");
    }
    template_with_the_gate(&admin)
}

/// The example whose template names the gate: its pods have it once, with the policy and without.
fn template_with_the_gate(admin: &Kubectl<'_>) -> Result<()> {
    let example = checkout("deploy/examples/aws/web-nlb-ip.yaml");
    let applied = admin.run(&["apply", "--server-side", "-o", "json", "-f", &example])?;
    let applied: Value = serde_json::from_str(&applied)?;
    let objects = applied["items"].as_array().context("several objects")?;
    let mut deployments = objects.iter().filter(|one| one["kind"] == "Deployment");
    let deployment = deployments.next().context("a Deployment")?;
    for namespace in ["gated", "plain"] {
        let mut made = pod(&json!([]));
        made["spec"] = deployment["spec"]["template"]["spec"].clone();
        let found = gates(admin, namespace, &made, false)?;
        ensure!(found == [GATE], "{namespace}: {found:?}");
    }
    Ok(())
}

fn pod(gates: &Value) -> Value {
    let gates = gates.as_array().into_iter().flatten();
    let gates: Vec<Value> = gates.map(|gate| json!({ "conditionType": gate })).collect();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "web-" },
        "spec": { "containers": [{ "name": "echo", "image": "localhost/herald-echo:dev" }] },
    });
    if !gates.is_empty() {
        pod["spec"]["readinessGates"] = json!(gates);
    }
    pod
}

/// The gates of a pod as the API server stores it.
fn gates(admin: &Kubectl<'_>, namespace: &str, pod: &Value, dry: bool) -> Result<Vec<String>> {
    let run = if dry {
        "--dry-run=server"
    } else {
        "--dry-run=none"
    };
    let args = ["-n", namespace, "create", run, "-o", "json", "-f", "-"];
    let stored: Value = serde_json::from_str(&admin.run_with(&args, pod)?)?;
    let gates = stored["spec"]["readinessGates"].as_array();
    let gates = gates.into_iter().flatten();
    Ok(gates
        .filter_map(|gate| gate["conditionType"].as_str())
        .map(str::to_owned)
        .collect())
}
