//! The story of a Network Load Balancer: a hostname, its targets, an update of the pods, and nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use herald_tests::aws::{self, Aws};
use herald_tests::{Cluster, Place, interrupted, wait_for};
use serde_json::Value;

use super::look::{answer, print, spread};
use super::{PATIENCE, apply};
use crate::step::{seconds, step};

const EXAMPLE: &str = "aws/web-nlb-ip.yaml";
/// How often something is asked while the pods are updated.
const PAUSE: Duration = Duration::from_millis(50);
/// What to try on a cluster that stays up.
pub(super) const TO_TRY: [&str; 3] = [
    "kubectl --name demo -- apply -f deploy/examples/aws/web-nlb-ip.yaml",
    "kubectl --name demo -- describe service web-ip",
    "exec --name demo remote -- cat /etc/hosts",
];

/// AWS with delays that can be watched: a load balancer takes 3 s to become active, a target 2 s to be checked first.
pub(super) fn options() -> aws::Options {
    let mut options = aws::Options::default();
    options.settings.provisioning = Some(3.0);
    options.settings.registration = Some(2.0);
    options
}

pub(super) fn tell(cluster: &Cluster) -> Result<()> {
    let aws = cluster.aws()?;
    let hostname = step("a Service gets a hostname", || get_hostname(cluster))?;
    step("what was made in AWS", || show(&aws))?;
    let url = format!("http://{hostname}/");
    step(
        "30 requests to the hostname, from behind the router",
        || {
            wait_for("answer from the hostname", PATIENCE, || {
                answer(cluster, Place::Remote, &url).map(Some)
            })?;
            spread(cluster, Place::Remote, &url)
        },
    )?;
    step("update the pods under requests", || {
        update(cluster, &aws, &url)
    })?;
    step("delete the Service", || delete(cluster, &aws))
}

fn get_hostname(cluster: &Cluster) -> Result<String> {
    apply(cluster, EXAMPLE)?;
    let asked = Instant::now();
    let hostname = wait_for("hostname of Service web-ip", PATIENCE, || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].hostname}";
        let text = cluster.kubectl(&["get", "service", "web-ip", "-o", path])?;
        Ok((!text.is_empty()).then_some(text))
    })?;
    println!(
        "    a hostname {} after the Service was applied; the load balancer takes 3 s to become active here, and Herald asks every 15 s",
        seconds(asked.elapsed())
    );
    print(&cluster.kubectl(&["get", "service", "web-ip"])?);
    println!("    each pod waits at its readiness gate until it is a healthy target:");
    cluster.wait_for_rollout("default", "deployment/web-ip", PATIENCE)?;
    print(&cluster.kubectl(&["get", "pods", "-l", "app=web-ip", "-o", "wide"])?);
    wait_for("condition TargetsHealthy", PATIENCE, || {
        let service = cluster.kubectl_json(&["get", "service", "web-ip"])?;
        let healthy = condition(&service, "heraldlb.io/TargetsHealthy");
        Ok((healthy["status"] == "True").then_some(()))
    })?;
    let service = cluster.kubectl_json(&["get", "service", "web-ip"])?;
    for kind in ["heraldlb.io/Provisioned", "heraldlb.io/TargetsHealthy"] {
        let one = condition(&service, kind);
        let word = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        let (status, reason) = (word("status"), word("reason"));
        println!("    {kind}={status} {reason}: {}", word("message"));
    }
    Ok(hostname)
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|one| one["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// As AWS's API tells it.
fn show(aws: &Aws) -> Result<()> {
    let balancers = aws.load_balancers()?;
    ensure!(balancers.len() == 1, "one load balancer, not {balancers:?}");
    for balancer in balancers {
        println!(
            "    load balancer {} ({}, {}) with {} security groups",
            balancer.name,
            balancer.state,
            balancer.scheme,
            balancer.security_groups.len()
        );
        for (key, value) in &balancer.tags {
            println!("        {key}={value}");
        }
        for listener in aws.listeners(&balancer.arn)? {
            println!("    listener {} {}", listener.protocol, listener.port);
            for target in aws.targets(&listener.group)? {
                println!("        {}:{} {}", target.id, target.port, target.state);
            }
        }
    }
    Ok(())
}

/// Restarts the Deployment while somebody asks without a break; every question must be answered.
fn update(cluster: &Cluster, aws: &Aws, url: &str) -> Result<()> {
    let old = pods(cluster)?;
    println!("    kubectl rollout restart deployment/web-ip");
    cluster.kubectl(&["rollout", "restart", "deployment/web-ip"])?;
    let begun = Instant::now();
    let (mut answers, mut failures, mut shown) = (0, Vec::new(), String::new());
    let (mut looked, mut moved, mut updated) = (Instant::now(), Instant::now(), None);
    loop {
        ensure!(!interrupted(), "interrupted");
        // A busy machine may be slow for as long as it gets on.
        ensure!(
            moved.elapsed() < PATIENCE,
            "the update stands still since {PATIENCE:?}: {shown}"
        );
        let answer = answer(cluster, Place::Remote, url);
        let by_new = answer
            .as_ref()
            .is_ok_and(|answer| !old.contains(&answer.pod));
        match answer {
            Ok(_) => answers += 1,
            Err(error) => failures.push(format!("{}: {error:#}", seconds(begun.elapsed()))),
        }
        if looked.elapsed() > 10 * PAUSE {
            looked = Instant::now();
            let states = states(aws)?;
            if states != shown {
                println!("    {:>6}  targets: {states}", seconds(begun.elapsed()));
                shown = states;
                moved = Instant::now();
            }
            if updated.is_none() && is_updated(cluster)? {
                println!("    {:>6}  all pods are new", seconds(begun.elapsed()));
                updated = Some(answers);
                moved = Instant::now();
            }
        }
        // Targets that drain get no new connections, so the old pods fall silent.
        if updated.is_some() && !by_new {
            updated = Some(answers);
        }
        if updated.is_some_and(|since| answers > since + 30) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    println!(
        "    {answers} requests answered in {}, {} failed; only new pods answer now",
        seconds(begun.elapsed()),
        failures.len()
    );
    ensure!(failures.is_empty(), "failed: {failures:#?}");
    print(&cluster.kubectl(&["get", "pods", "-l", "app=web-ip", "-o", "wide"])?);
    Ok(())
}

fn pods(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let list = cluster.kubectl_json(&["get", "pods", "-l", "app=web-ip"])?;
    let items = list["items"].as_array().context("no list of pods")?;
    let names = items
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

fn is_updated(cluster: &Cluster) -> Result<bool> {
    let deployment = cluster.kubectl_json(&["get", "deployment", "web-ip"])?;
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    Ok(
        status["observedGeneration"] == deployment["metadata"]["generation"]
            && counts.iter().all(|count| status[*count] == *wanted),
    )
}

/// How many targets are in which state.
fn states(aws: &Aws) -> Result<String> {
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    for group in aws.target_groups()? {
        for target in aws.targets(&group.arn)? {
            *tally.entry(target.state).or_default() += 1;
        }
    }
    let words: Vec<String> = tally
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    Ok(words.join(", "))
}

/// Deletes it and waits until AWS has nothing of it.
fn delete(cluster: &Cluster, aws: &Aws) -> Result<()> {
    let deleted = Instant::now();
    println!("    kubectl delete service web-ip");
    // Returns when the finalizer is gone.
    print(&cluster.kubectl(&["delete", "service", "web-ip", "--timeout=60s"])?);
    println!("    gone after {}", seconds(deleted.elapsed()));
    let balancers = aws.load_balancers()?.len();
    let groups = aws.target_groups()?.len();
    let filter =
        serde_json::json!({"Filters": [{"Name": "tag-key", "Values": ["heraldlb.io/cluster"]}]});
    let security = aws.call("ec2", "describe_security_groups", &filter)?;
    let security = security["SecurityGroups"].as_array().map_or(0, Vec::len);
    println!(
        "    left in AWS: {balancers} load balancers, {groups} target groups, {security} security groups"
    );
    ensure!(
        balancers + groups + security == 0,
        "something is left in AWS"
    );
    Ok(())
}
