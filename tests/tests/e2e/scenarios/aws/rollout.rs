//! Pods and nodes that go while clients come, 200 a second over new connections: none may be lost, however slowly AWS
//! registers and deregisters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use herald_tests::moto::Settings;
use herald_tests::{Cluster, wait_for};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::load::{Load, Tally};
use super::{HTTP, LINES, Nlb, PATIENCE, Site, annotate, pods, run, service, service_of_pods};
use crate::e2e::apply;
use crate::e2e::ask::Transport;
use crate::e2e::observe::{condition, get, number};

const RATE: u32 = 200;
/// Seconds from a target's registration to its first health.
const REGISTRATION: f64 = 5.0;
/// Seconds from a target's deregistration to its end.
const DEREGISTRATION: u32 = 8;
/// Seconds that a pod goes on answering after SIGTERM: until AWS has let go of it.
const DRAIN: u32 = 15;
const GATE: &str = "heraldlb.io/target-health";
/// A roll-out in which every pod waits for AWS.
const ROLL_OUT: Duration = Duration::from_secs(180);

/// Each new pod counts as ready once it is a healthy target, and not before: so the roll-out waits for AWS.
pub(crate) fn rolling_update(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        slow(site)?;
        let service = with_delay(service_of_pods(namespace));
        apply(cluster, &[gated(namespace, 2), service])?;
        let nlb = site.published()?;
        site.healthy(&nlb, LINES, 2)?;
        cluster.wait_for_rollout(namespace, "deployment/web", ROLL_OUT)?;
        let before = pods_by_name(site)?;
        site.ask(&nlb, false, Transport::Tcp)?;

        let load = Load::start(cluster, nlb.at(LINES), RATE)?;
        let words = ["rollout", "restart", "deployment/web", "-n", namespace];
        cluster.kubectl(&words)?;
        let mut held = BTreeSet::new();
        let group = site.listener(&nlb, LINES)?.group;
        wait_for("the end of the roll-out, pod by pod", ROLL_OUT, || {
            let seen = look(site, &group, &before)?;
            for pod in &seen.new {
                if pod.ready && !pod.healthy {
                    let wrong = format!("{} is Ready, its target is not healthy", pod.name);
                    return Err(herald_tests::Hopeless(wrong).into());
                }
                if pod.containers && !pod.ready && !pod.healthy {
                    held.insert(pod.name.clone());
                }
            }
            Ok((seen.old == 0 && seen.new.len() == 2).then_some(()))
        })?;
        let tally = load.finish_without_failure()?;
        enough(&tally)?;
        let new = pods_by_name(site)?;
        let names: BTreeSet<String> = new.keys().cloned().collect();
        ensure!(
            held == names,
            "containers were ready and only the gate held back {held:?} of {names:?}"
        );
        for (name, pod) in &new {
            waited_for_aws(site, name, pod)?;
        }
        without_the_gate(site, &group, &new)?;
        site.delete()
    })
}

/// The gate is what the roll-out waits for: without it, pods count as ready that get nothing from the load balancer yet.
fn without_the_gate(site: &Site<'_>, group: &str, before: &Pods) -> Result<()> {
    let long = Settings {
        registration: Some(PATIENCE.as_secs_f64()),
        ..Settings::default()
    };
    site.aws.moto().settings(Some(site.aws.region()), &long)?;
    let patch = json!([{ "op": "remove", "path": "/spec/template/spec/readinessGates" }]);
    let patch = patch.to_string();
    let words = ["patch", "deployment", "web", "-n", site.namespace];
    let words = [&words[..], &["--type=json", "-p", &patch]].concat();
    site.cluster.kubectl(&words)?;
    wait_for("a pod that is Ready before its target", PATIENCE, || {
        let seen = look(site, group, before)?;
        let early = seen.new.into_iter().find(|one| one.ready && !one.healthy);
        Ok(early.map(|one| println!("without the gate {} is Ready too early", one.name)))
    })
}

type Pods = BTreeMap<String, Value>;

/// What is seen of a roll-out.
struct Seen {
    /// Pods that were there before.
    old: usize,
    new: Vec<SeenPod>,
}

struct SeenPod {
    name: String,
    ready: bool,
    containers: bool,
    /// Its target is healthy, or was.
    healthy: bool,
}

fn look(site: &Site<'_>, group: &str, before: &Pods) -> Result<Seen> {
    let pods = pods_by_name(site)?;
    // Later than the pods: what is not healthy now was not when they were read.
    let targets = site.aws.targets(group)?;
    let (old, new): (Vec<_>, Vec<_>) = pods
        .into_iter()
        .partition(|(name, _)| before.contains_key(name));
    let seen = |(name, pod): (String, Value)| {
        let ip = pod["status"]["podIP"].as_str();
        let mut own = targets.iter().filter(|one| Some(one.id.as_str()) == ip);
        let is = |kind: &str| condition(&pod, kind).starts_with("True");
        SeenPod {
            healthy: own.any(|one| matches!(one.state.as_str(), "healthy" | "draining")),
            ready: is("Ready"),
            containers: is("ContainersReady"),
            name,
        }
    };
    Ok(Seen {
        old: old.len(),
        new: new.into_iter().map(seen).collect(),
    })
}

/// A node is tainted by an autoscaler, leaves the load balancers, is drained and goes: instances and pods as targets.
pub(crate) fn node_removal(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        slow(site)?;
        let second = format!("{namespace}-2");
        cluster.kubectl(&["create", "namespace", &second])?;
        let other = Site {
            cluster,
            aws: cluster.aws()?,
            namespace: &second,
            remote: site.remote,
        };
        let objects = [
            lasting(namespace, 3),
            with_delay(service(namespace)),
            gated(&second, 3),
            with_delay(service_of_pods(&second)),
        ];
        apply(cluster, &objects)?;
        let by_instance = site.published()?;
        let by_pod = other.published()?;
        site.healthy(&by_instance, LINES, 3)?;
        other.healthy(&by_pod, LINES, 3)?;
        for namespace in [namespace, &second] {
            cluster.wait_for_rollout(namespace, "deployment/web", ROLL_OUT)?;
        }
        for (site, nlb) in [(site, &by_instance), (&other, &by_pod)] {
            site.ask(nlb, false, Transport::Tcp)?;
        }

        let node = node_to_go(cluster)?;
        let instance = site.aws.instances().nth(number(&node)? - 1);
        let instance = instance.context("a node is an instance")?.to_owned();
        let loads = [
            Load::start(cluster, by_instance.at(LINES), RATE)?,
            Load::start(cluster, by_pod.at(LINES), RATE)?,
        ];
        let gone = remove(site, &by_instance, &node, &instance);
        let gone = gone.and_then(|()| {
            site.healthy(&by_instance, LINES, 2)?;
            other.healthy(&by_pod, LINES, 3)?;
            cluster.wait_for_rollout(&second, "deployment/web", ROLL_OUT)
        });
        for load in loads {
            enough(&load.finish_without_failure()?)?;
        }
        gone?;
        site.delete()?;
        other.delete()?;
        cluster.kubectl(&["delete", "namespace", &second, "--wait=false"])?;
        Ok(())
    })
}

/// As an autoscaler does it: taint, wait for the load balancer, drain, end the machine, delete the node.
fn remove(site: &Site<'_>, nlb: &Nlb, node: &str, instance: &str) -> Result<()> {
    let cluster = site.cluster;
    let taint = "ToBeDeletedByClusterAutoscaler=1:NoSchedule";
    cluster.kubectl(&["taint", "node", node, taint])?;
    for port in [HTTP, LINES] {
        let group = site.listener(nlb, port)?.group;
        let mut drained = false;
        wait_for(
            &format!("{instance} gone from port {port}"),
            PATIENCE,
            || {
                let targets = site.aws.targets(&group)?;
                let own = targets.iter().find(|one| one.id == instance);
                drained |= own.is_some_and(|one| one.state == "draining");
                match own {
                    None => Ok(Some(())),
                    Some(own) => Err(anyhow!("{own:?}")),
                }
            },
        )?;
        // Both ports' groups drain at once: of the second one only the end may be seen.
        ensure!(drained || port != HTTP, "{instance} went without draining");
    }
    println!("{node}: tainted, deregistered, drained by AWS");
    let words = ["drain", node, "--ignore-daemonsets", "--timeout=150s"];
    cluster.kubectl(&words)?;
    println!("{node}: drained of its pods");
    let asked = json!({ "InstanceIds": [instance] });
    site.aws.call("ec2", "terminate_instances", &asked)?;
    cluster.crash_node(number(node)?)?;
    cluster.kubectl(&["delete", "node", node])?;
    println!("{node}: gone");
    Ok(())
}

/// A node that does not run Herald's controller: that is another test's subject.
fn node_to_go(cluster: &Cluster) -> Result<String> {
    let words = [
        "pods",
        "-n",
        "herald-system",
        "-l",
        "app.kubernetes.io/component=controller",
    ];
    let pods = get(cluster, &words)?;
    let busy: BTreeSet<&str> = list(&pods["items"])
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    ensure!(!busy.is_empty(), "Herald's controller is nowhere");
    let all = (1..=cluster.nodes()).rev().map(herald_tests::node_name);
    let mut free = all.filter(|name| !busy.contains(name.as_str()));
    free.next().context("the controller is everywhere")
}

fn slow(site: &Site<'_>) -> Result<()> {
    let slow = Settings {
        registration: Some(REGISTRATION),
        ..Settings::default()
    };
    site.aws.moto().settings(Some(site.aws.region()), &slow)
}

fn with_delay(mut service: Value) -> Value {
    let delay = format!("deregistration_delay.timeout_seconds={DEREGISTRATION}");
    annotate(&mut service, "target-group-attributes", &delay);
    service
}

/// Pods that go on answering for longer than AWS needs to let go of them, and come before others go.
fn lasting(namespace: &str, replicas: usize) -> Value {
    let mut pods = pods(namespace, replicas);
    pods["spec"]["strategy"] = json!({ "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
    let spec = &mut pods["spec"]["template"]["spec"];
    spec["terminationGracePeriodSeconds"] = (2 * DRAIN).into();
    spec["containers"][0]["args"] = json!(["--drain", DRAIN.to_string()]);
    pods
}

/// The same with Herald's readiness gate.
fn gated(namespace: &str, replicas: usize) -> Value {
    let mut pods = lasting(namespace, replicas);
    pods["spec"]["template"]["spec"]["readinessGates"] = json!([{ "conditionType": GATE }]);
    pods
}

/// The pods `web`, also those that end.
fn pods_by_name(site: &Site<'_>) -> Result<Pods> {
    let pods = get(
        site.cluster,
        &["pods", "-n", site.namespace, "-l", "app=web"],
    )?;
    let named = list(&pods["items"])
        .filter_map(|pod| Some((pod["metadata"]["name"].as_str()?.to_owned(), pod.clone())));
    Ok(named.collect())
}

/// The pod became Ready no earlier than AWS could call it healthy: as long after its registration as was injected. It was
/// registered once with each target group, and stayed.
fn waited_for_aws(site: &Site<'_>, name: &str, pod: &Value) -> Result<()> {
    let ip = pod["status"]["podIP"]
        .as_str()
        .context("a pod has an address")?;
    let calls = site.aws.moto().calls()?;
    let registered = calls
        .iter()
        .filter(|call| call.action == "RegisterTargets" && call.code.is_empty())
        .find(|call| {
            let mut ids = call.params.iter().filter(|(key, _)| key.ends_with(".Id"));
            ids.any(|(_, value)| value == ip)
        })
        .with_context(|| format!("{name}: no call registers {ip}"))?;
    let mut places = BTreeSet::new();
    for call in &calls {
        let mut ids = call.params.iter().filter(|(key, _)| key.ends_with(".Id"));
        if ids.any(|(_, value)| value == ip) && call.code.is_empty() {
            let group = call.params.get("TargetGroupArn");
            let again = call.action == "RegisterTargets" && !places.insert(group);
            let out = call.action == "DeregisterTargets";
            ensure!(!again && !out, "{name} lost its place: {call:?}");
        }
    }
    let [ready, containers] = [since(pod, "Ready")?, since(pod, "ContainersReady")?];
    // Times of conditions are whole seconds, cut off.
    ensure!(
        ready + 1.0 >= registered.time + REGISTRATION,
        "{name} was Ready {:.1} s after its registration",
        ready - registered.time
    );
    println!(
        "{name}: Ready {:.0} s after its containers, {:.0} s after its registration",
        ready - containers,
        ready - registered.time
    );
    Ok(())
}

/// When a condition of a pod came to be as it is, in seconds since 1970.
#[allow(clippy::cast_precision_loss)] // Seconds fit.
fn since(pod: &Value, kind: &str) -> Result<f64> {
    let mut conditions = list(&pod["status"]["conditions"]);
    let found = conditions.find(|one| one["type"] == kind && one["status"] == "True");
    let at = found.and_then(|one| one["lastTransitionTime"].as_str());
    let at = at.with_context(|| format!("{kind} is not True: {pod}"))?;
    Ok(OffsetDateTime::parse(at, &Rfc3339)?.unix_timestamp() as f64)
}

/// The rate was kept: the machine was not too busy to ask.
fn enough(tally: &Tally) -> Result<()> {
    let wanted = tally.took.as_secs_f64() * f64::from(RATE) * 0.8;
    #[allow(clippy::cast_precision_loss)] // Some thousand.
    let asked = tally.asked as f64;
    ensure!(
        asked >= wanted,
        "{asked} requests in {:?} are too few",
        tally.took
    );
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
