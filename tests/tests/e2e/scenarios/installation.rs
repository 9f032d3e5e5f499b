//! Announcing only, changing the mode of a running installation, and taking Herald away.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::{Cluster, NAMESPACE, Place, run, wait_for};

use crate::e2e::ask::{TRANSPORTS, ask};
use crate::e2e::objects::Service;
use crate::e2e::observe::{SOON, addresses, answering_macs, current_addresses, ruleset};
use crate::e2e::scenarios::traffic::{check_load_balancer, load_balancer, until_answered};
use crate::e2e::{apply, echo_behind, repository};

/// Mode `off`: Herald allocates and announces, kube-proxy carries the traffic, and no table of Herald is there.
pub(crate) fn announce_only(cluster: &Cluster, namespace: &str) -> Result<()> {
    echo_behind(
        cluster,
        namespace,
        2,
        Service::new(namespace, "web", "web").load_balancer(),
    )?;
    for address in addresses(cluster, namespace, "web", 2)? {
        for transport in TRANSPORTS {
            until_answered(cluster, Place::Client, (address, 9000), transport)?;
        }
        let macs = answering_macs(cluster, address)?;
        ensure!(
            macs.len() == 1,
            "{address} is answered by {macs:?}, expected one"
        );
    }
    for number in 1..=cluster.nodes() {
        let rules = ruleset(cluster, number)?;
        ensure!(rules.is_empty(), "mode off, but n{number} has\n{rules}");
    }
    // The test of Herald's own data path must fail here although the client gets its answers: it looks at Herald's counters.
    let noticed = check_load_balancer(cluster, namespace);
    let Err(error) = noticed else {
        bail!("the data path is off, and the test of the data path has not noticed");
    };
    println!("with the data path off, its test says: {error:#}");
    ensure!(
        format!("{error:#}").contains("counted 0"),
        "the test failed for another reason: {error:#}"
    );
    Ok(())
}

/// From `off` to `external` on a running cluster: the same addresses, then carried by Herald.
pub(crate) fn change_mode(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(
        cluster,
        &[Service::new(namespace, "before", "nobody")
            .load_balancer()
            .value()],
    )?;
    let before = addresses(cluster, namespace, "before", 2)?;
    let overlay = repository().join("deploy/overlays/external");
    cluster.kubectl(&["apply", "-k", &overlay.to_string_lossy()])?;
    cluster.wait_for_herald()?;
    load_balancer(cluster, namespace)?;
    let after = current_addresses(cluster, namespace, "before")?;
    ensure!(
        before == after,
        "the change of mode changed {before:?} to {after:?}"
    );
    Ok(())
}

/// The commands of docs/uninstall.md, run as they stand there, leave nothing.
pub(crate) fn uninstall(cluster: &Cluster, namespace: &str) -> Result<()> {
    echo_behind(
        cluster,
        namespace,
        1,
        Service::new(namespace, "web", "web").load_balancer(),
    )?;
    let address = addresses(cluster, namespace, "web", 2)?.remove(0);
    until_answered(cluster, Place::Client, (address, 9000), TRANSPORTS[0])?;
    // Step 1: every Service that has an address goes.
    for (namespace, name) in load_balancers(cluster)? {
        cluster.kubectl(&["delete", "service", "-n", &namespace, &name])?;
    }
    for commands in commands(&repository().join("docs/uninstall.md"))? {
        shell(cluster, &commands)?;
    }
    let left = "crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,namespaces";
    wait_for("nothing of Herald in the API", SOON, || {
        let names = cluster.kubectl(&["get", left, "-o", "name"])?;
        let left: Vec<_> = names
            .lines()
            .filter(|name| name.contains("herald"))
            .collect();
        if left.is_empty() {
            Ok(Some(()))
        } else {
            bail!("{left:?}")
        }
    })?;
    for number in 1..=cluster.nodes() {
        let rules = ruleset(cluster, number)?;
        ensure!(rules.is_empty(), "left on n{number}:\n{rules}");
    }
    let macs = answering_macs(cluster, address)?;
    ensure!(macs.is_empty(), "{address} is still answered by {macs:?}");
    ensure!(
        ask(
            cluster.name(),
            Place::Client,
            (address, 9000).into(),
            TRANSPORTS[0]
        )
        .is_err(),
        "{address} still answers after {NAMESPACE} has gone"
    );
    Ok(())
}

fn load_balancers(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let format =
        "-o=jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
    let text = cluster.kubectl(&[
        "get",
        "services",
        "-A",
        "--field-selector=spec.type=LoadBalancer",
        format,
    ])?;
    let pair = |line: &str| {
        let (namespace, name) = line.split_once(' ').context("a namespace and a name")?;
        Ok((namespace.to_owned(), name.to_owned()))
    };
    text.lines().map(pair).collect()
}

/// The shell blocks of a page that hold no placeholder.
fn commands(page: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let found: Vec<String> = blocks
        .filter(|block| !block.contains('<') && !block.contains("| grep herald"))
        .map(str::to_owned)
        .collect();
    ensure!(
        found.len() >= 4,
        "only {} blocks of commands in {}",
        found.len(),
        page.display()
    );
    Ok(found)
}

/// Runs commands in the checkout, with `kubectl` and KUBECONFIG of the cluster.
fn shell(cluster: &Cluster, commands: &str) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-e", "-c", commands])
        .current_dir(repository())
        .env(
            "PATH",
            format!("{}:{path}", cluster.folder().join("bin").display()),
        )
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("NO_PROXY", "127.0.0.1");
    run(&mut command).with_context(|| format!("docs/uninstall.md:\n{commands}"))?;
    Ok(())
}
