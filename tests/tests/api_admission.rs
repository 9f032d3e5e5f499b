//! DESIGN I9 on a real API server, with the manifests as they stand: a speaker writes its own Speaker and nothing else; the
//! controller writes what it must and nothing else.

mod api_server;
#[path = "api_admission/aws.rs"]
mod aws;
#[path = "api_admission/controller.rs"]
mod controller;

use anyhow::{Result, bail, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use api_server::{ApiServer, DEADLINE, Kubectl, checkout, object};

#[test]
fn manifests_are_accepted_and_grant_no_more_than_needed() -> Result<()> {
    let server = ApiServer::start()?;
    let admin = server.admin();
    for mode in ["all", "off", "external"] {
        admin.run(&[
            "apply",
            "--server-side",
            "-k",
            &checkout(&format!("deploy/overlays/{mode}")),
        ])?;
        let path = "-o=jsonpath={.spec.template.spec.containers[0].args[0]}";
        let flag = admin.run(&[
            "-n",
            "herald-system",
            "get",
            "daemonset",
            "herald-speaker",
            path,
        ])?;
        ensure!(
            flag == format!("--service-proxy={mode}"),
            "overlay {mode} sets {flag}"
        );
    }
    admin.wait_for_crds()?;
    // Server-side: kubectl hands fields that were applied client-side over to whoever applies next, which is no apply of ours.
    admin.run(&["apply", "--server-side", "-f", &checkout("deploy/examples")])?;
    aws::examples(&admin)?;
    permissions(&admin)?;
    own_speaker_only(&server)?;
    controller::controller_writes(&server)?;
    controller::controller_of_pools(&server)?;
    controller::controller_of_speakers(&server)?;
    aws::overlay(&admin)?;
    nothing_is_left(&admin)
}

/// docs/uninstall.md, as far as the API goes: no finalizer holds, and no object of ours outlives the manifests.
fn nothing_is_left(admin: &Kubectl<'_>) -> Result<()> {
    let kinds = "crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,priorityclasses,apiservices";
    let ours = || -> Result<Vec<String>> {
        let names = admin.run(&["get", kinds, "-o", "name"])?;
        Ok(names
            .lines()
            .filter(|name| name.contains("herald"))
            .map(str::to_owned)
            .collect())
    };
    ensure!(ours()?.len() >= 7, "before: {:?}", ours()?);
    // As the controller does for a pool in use.
    let held = r#"{"metadata":{"finalizers":["heraldlb.io/pool-in-use"]}}"#;
    admin.run(&[
        "patch",
        "addresspool",
        "lan",
        "--type=merge",
        "--patch",
        held,
    ])?;
    a_pool_that_is_left_is_named(admin)?;
    admin.run(&["delete", "l2advertisements", "--all"])?;
    admin.run(&["delete", "addresspools", "--all", "--wait=false"])?;
    admin.run(&["get", "addresspool", "lan"])?;
    let free = r#"{"metadata":{"finalizers":null}}"#;
    admin.run(&[
        "patch",
        "addresspool",
        "lan",
        "--type=merge",
        "--patch",
        free,
    ])?;
    // No controller here empties the namespace.
    admin.run(&[
        "delete",
        "--wait=false",
        "-k",
        &checkout("deploy/overlays/aws"),
    ])?;
    wait_for("end of all objects of ours", DEADLINE, || {
        let left = ours()?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(Some(()))
    })
}

/// The definition of pools is not deleted while one is left that only the controller lets go: without it that would never
/// end. The message names the pool and the remedy.
fn a_pool_that_is_left_is_named(admin: &Kubectl<'_>) -> Result<()> {
    let delete = |extra: &[&str]| {
        let words = ["delete", "crd", "addresspools.heraldlb.io", "--wait=false"];
        admin.run(&[&words[..], extra].concat())
    };
    // The API server takes a policy up some time after it was made.
    wait_for("the policy on pools that are left", DEADLINE, || {
        Ok(delete(&["--dry-run=server"]).is_err().then_some(()))
    })?;
    let Err(error) = delete(&[]) else {
        bail!("a pool that holds on was deleted with its definition");
    };
    let text = format!("{error:#}");
    ensure!(
        text.contains("AddressPool \"lan\" is left")
            && text.contains("kubectl patch addresspool lan --type=merge"),
        "{text}"
    );
    Ok(())
}

/// A speaker's token may write the Speaker of its node, no other; without a node it may write none.
fn own_speaker_only(server: &ApiServer) -> Result<()> {
    let admin = server.admin();
    for node in ["n1", "n2"] {
        admin.run_with(
            &["create", "-f", "-"],
            &json!({
                "apiVersion": "v1", "kind": "Node", "metadata": { "name": node },
            }),
        )?;
        admin.run_with(&["create", "-f", "-"], &speaker_pod(node))?;
    }
    let token = |extra: &[&str]| -> Result<String> {
        let args = ["-n", "herald-system", "create", "token", "herald-speaker"];
        Ok(admin.run(&[&args, extra].concat())?.trim().to_owned())
    };
    let of_pod = |pod| {
        token(&[
            "--bound-object-kind=Pod",
            &format!("--bound-object-name={pod}"),
        ])
    };
    let one = server.with_token(&of_pod("speaker-n1")?);
    let two = server.with_token(&of_pod("speaker-n2")?);
    let on_node = server.with_token(&token(&[
        "--bound-object-kind=Node",
        "--bound-object-name=n1",
    ])?);
    let unbound = server.with_token(&token(&[])?);

    // The policy takes hold a moment after it was stored; until then this would be accepted.
    wait_for("admission policy in force", DEADLINE, || {
        let dry = ["create", "--dry-run=server", "-f", "-"];
        Ok(unbound
            .run_with(&dry, &object("Speaker", "n1", "status", &json!({})))
            .err())
    })?;

    write(&one, "n1")?;
    write(&two, "n2")?;
    write(&on_node, "n1")?;
    let other = "the speaker of node \"n1\" may write only the Speaker \"n1\", not \"n2\"";
    refused(&one, "n2", other)?;
    refused(&on_node, "n2", other)?;
    refused(&one, "n3", "not \"n3\"")?;
    refused(
        &two,
        "n1",
        "the speaker of node \"n2\" may write only the Speaker \"n2\"",
    )?;
    for node in ["n1", "n3"] {
        refused(
            &unbound,
            node,
            "the speaker's token names no node: use the token that the kubelet mounts",
        )?;
    }
    let stored = admin.run(&["get", "speaker", "n2", "-o=jsonpath={.status.podName}"])?;
    ensure!(stored == "written-for-n2", "Speaker n2 says {stored}");

    // The policy is about speakers: an administrator may mend things.
    write(&admin, "n3")
}

/// The two writes of a speaker: the object with its owner, and the status.
fn write(kubectl: &Kubectl<'_>, node: &str) -> Result<()> {
    let mut speaker = object("Speaker", node, "status", &json!({}));
    speaker["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": "00000000-0000-0000-0000-000000000001" }]);
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=herald-speaker",
        "-f",
        "-",
    ];
    kubectl.run_with(&apply, &speaker)?;
    write_status(kubectl, node)
}

fn write_status(kubectl: &Kubectl<'_>, node: &str) -> Result<()> {
    let status = object(
        "Speaker",
        node,
        "status",
        &json!({ "podName": format!("written-for-{node}") }),
    );
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=herald-speaker",
        "--subresource=status",
        "-f",
        "-",
    ];
    kubectl.run_with(&apply, &status).map(drop)
}

fn refused(kubectl: &Kubectl<'_>, node: &str, message: &str) -> Result<()> {
    let status = || write_status(kubectl, node);
    let tries: [(&str, &dyn Fn() -> Result<()>); 2] =
        [("object", &|| write(kubectl, node)), ("status", &status)];
    for (what, attempt) in tries {
        match attempt() {
            Ok(()) => bail!("the {what} of Speaker {node} was written"),
            // There is no status of an object that does not exist.
            Err(error) if what == "status" && format!("{error:#}").contains("not found") => {}
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(
                    error.contains(message),
                    "{what} of {node}: no \"{message}\" in: {error}"
                );
            }
        }
    }
    Ok(())
}

fn speaker_pod(node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("speaker-{node}"), "namespace": "herald-system" },
        "spec": {
            "nodeName": node,
            "serviceAccountName": "herald-speaker",
            "containers": [{ "name": "speaker", "image": "herald-speaker" }],
        },
    })
}

/// What RBAC lets either part do.
fn permissions(admin: &Kubectl<'_>) -> Result<()> {
    for (who, verb, resource, namespace, expected) in [
        ("speaker", "watch", "services", "", true),
        (
            "speaker",
            "watch",
            "endpointslices.discovery.k8s.io",
            "",
            true,
        ),
        ("speaker", "get", "nodes", "", true),
        ("speaker", "list", "addresspools.heraldlb.io", "", true),
        ("speaker", "list", "l2advertisements.heraldlb.io", "", true),
        ("speaker", "create", "speakers.heraldlb.io", "", true),
        ("speaker", "patch", "speakers.heraldlb.io/status", "", true),
        ("speaker", "delete", "speakers.heraldlb.io", "", false),
        ("speaker", "patch", "services/status", "", false),
        ("speaker", "patch", "nodes", "", false),
        ("speaker", "patch", "addresspools.heraldlb.io", "", false),
        ("speaker", "create", "events", "default", false),
        ("speaker", "get", "secrets", "herald-system", false),
        ("speaker", "get", "configmaps", "herald-system", false),
        ("speaker", "list", "pods", "", false),
        (
            "speaker",
            "get",
            "daemonsets.apps/herald-speaker",
            "herald-system",
            true,
        ),
        (
            "speaker",
            "get",
            "daemonsets.apps/other",
            "herald-system",
            false,
        ),
        ("speaker", "get", "daemonsets.apps", "", false),
        ("controller", "watch", "services", "", true),
        ("controller", "list", "nodes", "", true),
        ("controller", "patch", "nodes", "", false),
        (
            "controller",
            "list",
            "servicecidrs.networking.k8s.io",
            "",
            true,
        ),
        (
            "controller",
            "list",
            "endpointslices.discovery.k8s.io",
            "",
            false,
        ),
        ("controller", "patch", "services/status", "", true),
        ("controller", "patch", "services", "", false),
        ("controller", "update", "services", "", false),
        (
            "controller",
            "patch",
            "addresspools.heraldlb.io/status",
            "",
            true,
        ),
        ("controller", "patch", "addresspools.heraldlb.io", "", true),
        (
            "controller",
            "delete",
            "addresspools.heraldlb.io",
            "",
            false,
        ),
        ("controller", "patch", "speakers.heraldlb.io", "", false),
        (
            "controller",
            "patch",
            "speakers.heraldlb.io/status",
            "",
            true,
        ),
        (
            "controller",
            "create",
            "events.events.k8s.io",
            "default",
            true,
        ),
        ("controller", "list", "pods", "", false),
        (
            "controller",
            "update",
            "leases.coordination.k8s.io/herald-controller",
            "herald-system",
            true,
        ),
        (
            "controller",
            "update",
            "leases.coordination.k8s.io/other",
            "herald-system",
            false,
        ),
        (
            "controller",
            "get",
            "leases.coordination.k8s.io/herald-controller",
            "kube-system",
            false,
        ),
        ("controller", "get", "secrets", "herald-system", false),
        ("controller", "create", "pods", "herald-system", false),
    ] {
        let got = can(admin, who, verb, resource, namespace)?;
        ensure!(
            got == expected,
            "may {who} {verb} {resource} in \"{namespace}\": {got}"
        );
    }
    Ok(())
}

fn can(
    admin: &Kubectl<'_>,
    who: &str,
    verb: &str,
    resource: &str,
    namespace: &str,
) -> Result<bool> {
    let (group, rest) = match resource.split_once('.') {
        Some((plural, rest)) => {
            let (group, rest) = rest.split_once('/').unwrap_or((rest, ""));
            (group, format!("{plural}/{rest}"))
        }
        None => ("", resource.to_owned()),
    };
    let (plural, rest) = rest.split_once('/').unwrap_or((&rest, ""));
    let (subresource, name) = if rest == "status" {
        (rest, "")
    } else {
        ("", rest)
    };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:herald-system:herald-{who}"),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "verb": verb, "group": group, "resource": plural, "subresource": subresource,
                "name": name, "namespace": namespace,
            },
        },
    });
    let answer = admin.run_with(&["create", "-o", "json", "-f", "-"], &review)?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["status"]["allowed"] == true)
}
