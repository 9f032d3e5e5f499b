//! What the controller's token may write, and what the admission policies keep it from.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Kubectl, object};

fn with_controllers_token(server: &ApiServer) -> Result<Kubectl<'_>> {
    let create = [
        "-n",
        "herald-system",
        "create",
        "token",
        "herald-controller",
    ];
    let token = server.admin().run(&create)?;
    Ok(server.with_token(token.trim()))
}

/// The controller's writes need no right on Services or pools beyond those in the manifests: addresses, conditions and the
/// annotation in one apply of the status, which cannot change the spec.
pub(super) fn controller_writes(server: &ApiServer) -> Result<()> {
    let admin = server.admin();
    let controller = with_controllers_token(server)?;
    let apply = |manager: &str, extra: &[&str], object: &Value| {
        let manager = format!("--field-manager={manager}");
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            &manager,
            "-f",
            "-",
        ];
        controller.run_with(&[&args, extra].concat(), object)
    };
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Test", "message": "",
            "lastTransitionTime": "2026-11-21T10:00:00Z",
        })
    };
    let service = |status: &Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "default",
                "annotations": { "heraldlb.io/allocated-from": "lan" },
            },
            "spec": { "externalName": "changed.example.com" },
            "status": status,
        })
    };
    let status = json!({
        "loadBalancer": { "ingress": [{ "ip": "10.77.0.100" }] },
        "conditions": [condition("heraldlb.io/Allocated")],
    });
    apply(
        "herald-controller",
        &["--subresource=status"],
        &service(&status),
    )?;
    let mut announced = service(&json!({ "conditions": [condition("heraldlb.io/Announced")] }));
    announced["metadata"]["annotations"] = Value::Null;
    apply(
        "herald-controller-announced",
        &["--subresource=status"],
        &announced,
    )?;
    let stored: Value =
        serde_json::from_str(&admin.run(&["get", "service", "web", "-o", "json"])?)?;
    ensure!(
        stored["metadata"]["annotations"]["heraldlb.io/allocated-from"] == "lan",
        "{stored}"
    );
    ensure!(
        stored["status"]["loadBalancer"]["ingress"][0]["ip"] == "10.77.0.100",
        "{stored}"
    );
    ensure!(
        stored["status"]["conditions"].as_array().map(Vec::len) == Some(2),
        "{stored}"
    );
    ensure!(
        stored["spec"]["externalName"].is_null(),
        "the spec changed: {stored}"
    );

    let mut pool = object(
        "AddressPool",
        "lan",
        "status",
        &json!({ "assignedIPv4": 1 }),
    );
    apply("herald-controller-pool", &["--subresource=status"], &pool)?;
    pool["status"] = Value::Null;
    for finalizers in [json!(["heraldlb.io/pool-in-use"]), json!([])] {
        pool["metadata"]["finalizers"] = finalizers.clone();
        apply("herald-controller-pool", &[], &pool)?;
        let stored: Value =
            serde_json::from_str(&admin.run(&["get", "addresspool", "lan", "-o", "json"])?)?;
        let found = stored["metadata"]
            .get("finalizers")
            .cloned()
            .unwrap_or_else(|| json!([]));
        ensure!(found == finalizers, "finalizers {found}, not {finalizers}");
        ensure!(stored["status"]["assignedIPv4"] == 1, "{stored}");
    }
    Ok(())
}

/// The controller's token changes its own finalizer of a pool, and nothing else of it.
pub(super) fn controller_of_pools(server: &ApiServer) -> Result<()> {
    let admin = server.admin();
    let controller = with_controllers_token(server)?;
    let held = r#"{"metadata":{"finalizers":["example.com/theirs"],"labels":{"tier":"gold"}}}"#;
    let patch = |kubectl: &Kubectl<'_>, patch: &str| {
        kubectl.run(&[
            "patch",
            "addresspool",
            "lan",
            "--type=merge",
            "--patch",
            patch,
        ])
    };
    patch(&admin, held)?;
    let before = admin.run(&["get", "addresspool", "lan", "-o=jsonpath={.spec}"])?;
    for (change, message) in [
        (
            r#"{"spec":{"addresses":["198.51.100.0/24"]}}"#,
            "may not change the spec of an AddressPool",
        ),
        (
            r#"{"spec":{"disabled":true},"metadata":{"finalizers":["heraldlb.io/pool-in-use","example.com/theirs"]}}"#,
            "may not change the spec of an AddressPool",
        ),
        (
            r#"{"metadata":{"finalizers":null}}"#,
            "may change no finalizer of an AddressPool but heraldlb.io/pool-in-use",
        ),
        (
            r#"{"metadata":{"finalizers":["example.com/theirs","example.com/more"]}}"#,
            "may change no finalizer of an AddressPool but heraldlb.io/pool-in-use",
        ),
        (
            r#"{"metadata":{"labels":{"tier":"tin"}}}"#,
            "may not change labels, annotations and owners",
        ),
        (
            r#"{"metadata":{"annotations":{"example.com/note":"x"}}}"#,
            "may not change labels, annotations and owners",
        ),
    ] {
        // The policy takes hold a moment after it was stored, which was at the start of this test.
        let error = patch(&controller, change).err();
        let error = error.with_context(|| format!("{change} was accepted"))?;
        let error = format!("{error:#}");
        ensure!(error.contains(message), "{change}: {error}");
    }
    for ours in [
        r#"{"metadata":{"finalizers":["heraldlb.io/pool-in-use","example.com/theirs"]}}"#,
        r#"{"metadata":{"finalizers":["example.com/theirs"]}}"#,
    ] {
        patch(&controller, ours)?;
    }
    let after = admin.run(&["get", "addresspool", "lan", "-o=jsonpath={.spec}"])?;
    ensure!(before == after, "the spec was {before} and is {after}");
    // The administrator may do all that.
    patch(
        &admin,
        r#"{"metadata":{"finalizers":null,"labels":{"tier":null}}}"#,
    )
    .map(drop)
}

/// The controller's token says of a Speaker that it is silent, and nothing else; what the speaker says itself comes over it.
pub(super) fn controller_of_speakers(server: &ApiServer) -> Result<()> {
    let admin = server.admin();
    let controller = with_controllers_token(server)?;
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Test", "message": "",
            "lastTransitionTime": "2026-11-21T10:00:00Z",
        })
    };
    let apply = |kubectl: &Kubectl<'_>, manager: &str, status: &Value| {
        let manager = format!("--field-manager={manager}");
        let status = object("Speaker", "n2", "status", status);
        kubectl.run_with(
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                &manager,
                "--subresource=status",
                "-f",
                "-",
            ],
            &status,
        )
    };
    let own = json!({
        "podName": "p", "ownedCount": 2, "owned": [{ "address": "192.0.2.1" }],
        "conditions": [condition("Ready", "True"), condition("KernelSettings", "True")],
    });
    let speaks = || apply(&admin, "herald-speaker", &own);
    let ready = || -> Result<String> {
        let path =
            r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}{.status.ownedCount}"#;
        admin.run(&["get", "speaker", "n2", path])
    };
    speaks()?;
    let only = |condition: Value| json!({ "conditions": [condition] });
    let silent = only(condition("Ready", "Unknown"));
    for (change, message) in [
        (
            json!({ "ownedCount": 0 }),
            "nothing of a Speaker but its condition Ready",
        ),
        (
            json!({ "podName": "x" }),
            "nothing of a Speaker but its condition Ready",
        ),
        (
            json!({ "serviceProxy": "off" }),
            "nothing of a Speaker but its condition Ready",
        ),
        (
            only(condition("KernelSettings", "Unknown")),
            "no condition of a Speaker but Ready",
        ),
        (
            only(condition("Other", "True")),
            "no condition of a Speaker but Ready",
        ),
        (
            only(condition("Ready", "False")),
            "the condition Ready of a Speaker to Unknown only",
        ),
    ] {
        let error = apply(&controller, "herald-controller-speaker", &change).err();
        let error = error.with_context(|| format!("{change} was accepted"))?;
        let error = format!("{error:#}");
        ensure!(error.contains(message), "{change}: {error}");
    }
    apply(&controller, "herald-controller-speaker", &silent)?;
    ensure!(ready()? == "Unknown2", "marked, it says {}", ready()?);
    speaks()?;
    ensure!(ready()? == "True2", "it spoke, and says {}", ready()?);
    apply(&controller, "herald-controller-speaker", &silent)?;
    speaks().map(drop)
}
