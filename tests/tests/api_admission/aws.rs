//! The manifests for AWS, on the same API server.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::api_server::{Kubectl, checkout};

/// The examples of docs/aws.md: all Services there are of Herald's class, and accepted as they stand.
pub(super) fn examples(admin: &Kubectl<'_>) -> Result<()> {
    let folder = checkout("deploy/examples/aws");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        let path = entry?.path();
        // Beside them lies an admission policy, of a kind that not every API server has.
        let name = path.file_name().and_then(OsStr::to_str);
        if name.is_some_and(|name| name.starts_with("web-")) {
            files.push(path.to_str().context("a path in UTF-8")?.to_owned());
        }
    }
    files.sort();
    ensure!(files.len() >= 5, "examples: {files:?}");
    for file in &files {
        admin.run(&["apply", "--server-side", "-f", file])?;
        let stored: Value = serde_json::from_str(&admin.run(&["get", "-f", file, "-o", "json"])?)?;
        let one = vec![stored.clone()];
        let objects = stored["items"].as_array().unwrap_or(&one);
        let mut services = objects.iter().filter(|o| o["kind"] == "Service");
        let service = services
            .next()
            .with_context(|| format!("{file} has no Service"))?;
        ensure!(
            service["spec"]["loadBalancerClass"] == "heraldlb.io/aws-nlb",
            "{file}: {service}"
        );
    }
    Ok(())
}

/// The overlay adds what AWS needs to the controller's rights and environment, and nothing else.
pub(super) fn overlay(admin: &Kubectl<'_>) -> Result<()> {
    let folder = checkout("deploy/overlays/aws");
    admin.run(&["apply", "--server-side", "-k", &folder])?;
    for (verb, resource, expected) in [
        ("watch", "nodes", true),
        ("watch", "pods", true),
        ("watch", "endpointslices.discovery.k8s.io", true),
        ("patch", "services", true),
        ("patch", "pods/status", true),
        ("get", "namespaces/kube-system", true),
        ("update", "services", false),
        ("delete", "services", false),
        ("patch", "pods", false),
        ("patch", "nodes", false),
        ("get", "secrets", false),
        ("get", "configmaps", false),
    ] {
        let got = crate::can(admin, "controller", verb, resource, "")?;
        ensure!(
            got == expected,
            "may the controller {verb} {resource}: {got}"
        );
    }
    let path = "-o=jsonpath={.spec.template.spec.containers[0].envFrom}";
    let of = [
        "-n",
        "herald-system",
        "get",
        "deployment",
        "herald-controller",
    ];
    let sources: Value = serde_json::from_str(&admin.run(&[&of[..], &[path]].concat())?)?;
    ensure!(
        sources[0]["configMapRef"]["name"] == "herald-aws",
        "{sources}"
    );
    let secret = &sources[1]["secretRef"];
    ensure!(
        secret["name"] == "herald-aws-credentials" && secret["optional"] == true,
        "{sources}"
    );
    Ok(())
}
