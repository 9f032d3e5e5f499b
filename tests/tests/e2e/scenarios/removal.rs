//! Speakers that go without a word of goodbye by the book: nothing of theirs stays in the way of kube-proxy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, NAMESPACE, Place, wait_for};
use serde_json::json;

use crate::e2e::objects::Service;
use crate::e2e::observe::{SOON, addresses, get, ruleset};
use crate::e2e::scenarios::aws::load::Load;
use crate::e2e::{echo_behind, repository, rolled_out};

/// The switch's time in these tests; the shipped default is longer.
const STEP_ASIDE_AFTER: Duration = Duration::from_secs(10);
const RATE: u32 = 200;
const DAEMONSET: &str = "daemonset/herald-speaker";

/// A DaemonSet that leaves n1 out: its node ports go on, by kube-proxy, also after all pods were replaced.
pub(crate) fn left_out(cluster: &Cluster, namespace: &str) -> Result<()> {
    let targets = web(cluster, namespace)?;
    short_switch(cluster)?;
    for number in 2..=cluster.nodes() {
        let node = format!("n{number}");
        cluster.kubectl(&["label", "node", &node, "herald-test=stays"])?;
    }
    ensure!(
        !ruleset(cluster, 1)?.is_empty(),
        "no rules on n1 to begin with"
    );
    let load = Load::start(cluster, targets, RATE)?;
    let begun = Instant::now();
    select(cluster, &json!({ "herald-test": "stays" }))?;
    without_rules(cluster, 1)?;
    println!("n1 without rules after {:?}", begun.elapsed());
    roll(cluster, namespace)?;
    none_failed(load, begun)?;

    // The selector gone, the node has a speaker again.
    select(cluster, &json!({ "herald-test": null }))?;
    cluster.wait_for_herald()?;
    wait_for("n1 to have rules again", SOON, || {
        Ok((!ruleset(cluster, 1)?.is_empty()).then_some(()))
    })
}

/// All manifests deleted by one command while a pool is in use. The pool is held back with the remedy; the rest goes, and
/// node ports go on.
pub(crate) fn deleted_at_once(cluster: &Cluster, namespace: &str) -> Result<()> {
    let overlay = repository().join("deploy/overlays/external");
    let overlay = overlay.to_string_lossy().into_owned();
    cluster.kubectl(&["apply", "-k", &overlay])?;
    cluster.wait_for_herald()?;
    for example in ["pool.yaml", "advertisement.yaml"] {
        let path = repository().join("deploy/examples").join(example);
        cluster.kubectl(&["apply", "-f", &path.to_string_lossy()])?;
    }
    let targets = web(cluster, namespace)?;
    short_switch(cluster)?;
    let load = Load::start(cluster, targets, RATE)?;
    let begun = Instant::now();
    let refused = cluster.kubectl(&["delete", "-k", &overlay]);
    let refused = format!(
        "{:#}",
        refused.err().context("a pool in use was deleted at once")?
    );
    ensure!(
        refused.contains("is left") && refused.contains("kubectl patch addresspool"),
        "{refused}"
    );
    println!("held back after {:?}: {refused}", begun.elapsed());
    for number in 1..=cluster.nodes() {
        without_rules(cluster, number)?;
    }
    println!("no rules after {:?}", begun.elapsed());
    roll(cluster, namespace)?;
    none_failed(load, begun)?;

    // The remedy, as the message has it.
    let pools = cluster.kubectl(&["get", "addresspools", "-o", "name"])?;
    for pool in pools.lines() {
        let free = r#"{"metadata":{"finalizers":null}}"#;
        cluster.kubectl(&["patch", pool, "--type=merge", "--patch", free])?;
    }
    cluster.kubectl(&["delete", "--ignore-not-found", "-k", &overlay])?;
    let kinds = "crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,namespaces";
    wait_for("nothing of Herald in the API", SOON, || {
        let names = cluster.kubectl(&["get", kinds, "-o", "name"])?;
        let left: Vec<_> = names.lines().filter(|n| n.contains("herald")).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
}

/// Echo pods behind a load balancer; its node ports on every node, in both families.
fn web(cluster: &Cluster, namespace: &str) -> Result<Vec<SocketAddr>> {
    let service = Service::new(namespace, "web", "web").load_balancer();
    echo_behind(cluster, namespace, 2, service)?;
    addresses(cluster, namespace, "web", 2)?;
    let service = get(cluster, &["service", "-n", namespace, "web"])?;
    let ports = service["spec"]["ports"].as_array().context("no ports")?;
    let port = ports.iter().find(|port| port["name"] == "tcp");
    let port = port.and_then(|port| port["nodePort"].as_u64());
    let port = u16::try_from(port.context("no node port")?)?;
    let mut targets = Vec::new();
    for number in 1..=cluster.nodes() {
        let addresses = Place::Node(number).addresses();
        let addresses = addresses.context("a node has addresses")?;
        targets.extend(addresses.map(|address| SocketAddr::new(address, port)));
    }
    Ok(targets)
}

fn short_switch(cluster: &Cluster) -> Result<()> {
    let flag = format!("--step-aside-after={}s", STEP_ASIDE_AFTER.as_secs());
    let args = json!(["--service-proxy=external", flag]);
    let patch = json!([{
        "op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args,
    }]);
    let patch = patch.to_string();
    let words = ["patch", "-n", NAMESPACE, DAEMONSET, "--type=json", "-p"];
    cluster.kubectl(&[&words[..], &[&patch]].concat())?;
    cluster.wait_for_herald()
}

fn select(cluster: &Cluster, selector: &serde_json::Value) -> Result<()> {
    let patch = json!({ "spec": { "template": { "spec": { "nodeSelector": selector } } } });
    let patch = patch.to_string();
    let words = ["patch", "-n", NAMESPACE, DAEMONSET, "--type=merge", "-p"];
    cluster.kubectl(&[&words[..], &[&patch]].concat())?;
    Ok(())
}

fn without_rules(cluster: &Cluster, number: usize) -> Result<()> {
    wait_for(&format!("n{number} to have no rules"), SOON, || {
        let rules = ruleset(cluster, number)?;
        ensure!(rules.is_empty(), "n{number} has\n{rules}");
        Ok(Some(()))
    })
}

/// Replaces all pods, so that whoever keeps old endpoints fails.
fn roll(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.kubectl(&["rollout", "restart", "-n", namespace, "deployment/web"])?;
    rolled_out(cluster, namespace, "web")
}

/// Whoever was sent astray before the rules stepped aside is only counted; afterwards nobody may be.
fn none_failed(load: Load, begun: Instant) -> Result<()> {
    let enough = STEP_ASIDE_AFTER + Duration::from_secs(5);
    wait_for("requests from after the switch's time", SOON, || {
        Ok((begun.elapsed() > enough).then_some(()))
    })?;
    let tally = load.finish()?;
    let late = tally.failed.iter().filter(|(at, _)| *at > STEP_ASIDE_AFTER);
    let late: Vec<_> = late.collect();
    ensure!(
        late.is_empty(),
        "{} of {} requests failed: {:?}",
        late.len(),
        tally.asked,
        late.iter().take(10).collect::<Vec<_>>()
    );
    Ok(())
}
