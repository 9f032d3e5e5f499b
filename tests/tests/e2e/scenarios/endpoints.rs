//! Pods come, go and get unready, and traffic follows. The delays are printed, not judged: the machine may be busy.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::ask::{TRANSPORTS, Transport, ask};
use crate::e2e::observe::{SOON, addresses, get};
use crate::e2e::scenarios::traffic::until_answered;
use crate::e2e::{herald_web, rolled_out};

/// Questions in a row that must not reach a pod before it counts as gone. With two pods a chance of 1 in 2^30.
const QUIET: usize = 30;

/// Added, unready, ready again, removed; for TCP and for UDP from one and the same client socket address space.
pub(crate) fn follow(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 1)?;
    let first = pods(cluster, namespace)?.remove(0);
    for address in addresses(cluster, namespace, "web", 2)? {
        for transport in TRANSPORTS {
            let answer = until_answered(cluster, Place::Client, (address, 9000), transport)?;
            ensure!(answer.pod == first, "{answer:?}");
        }
    }
    let address = addresses(cluster, namespace, "web", 2)?.remove(0);

    cluster.kubectl(&["scale", "-n", namespace, "deployment/web", "--replicas=2"])?;
    rolled_out(cluster, namespace, "web")?;
    let second = pods(cluster, namespace)?
        .into_iter()
        .find(|pod| *pod != first)
        .context("no second pod")?;
    report(
        "ready in the Deployment's status",
        "first answer",
        appears(cluster, address, &second)?,
    );

    set_ready(cluster, namespace, &second, "off")?;
    report(
        "POST /ready?state=off",
        "no more answers",
        vanishes(cluster, address, &second)?,
    );

    set_ready(cluster, namespace, &second, "on")?;
    report(
        "POST /ready?state=on",
        "first answer",
        appears(cluster, address, &second)?,
    );

    cluster.kubectl(&["delete", "pod", "-n", namespace, &first, "--wait=false"])?;
    report(
        "pod deleted",
        "no more answers",
        vanishes(cluster, address, &first)?,
    );
    Ok(())
}

/// A rolling update loses no connection: pods leave the data path before they stop answering.
pub(crate) fn rolling_update(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 2)?;
    let address = addresses(cluster, namespace, "web", 2)?.remove(0);
    until_answered(cluster, Place::Client, (address, 9000), Transport::Tcp)?;
    cluster.kubectl(&["rollout", "restart", "-n", namespace, "deployment/web"])?;
    let mut asked = 0;
    wait_for(
        "the roll-out to end under traffic",
        Duration::from_secs(90),
        || {
            for _ in 0..20 {
                ask(
                    cluster.name(),
                    Place::Client,
                    (address, 9000).into(),
                    Transport::Tcp,
                )
                .with_context(|| format!("question {asked} during the roll-out"))?;
                asked += 1;
            }
            let deployment = get(cluster, &["deployment", "-n", namespace, "web"])?;
            let done = deployment["status"]["updatedReplicas"] == 2
                && deployment["status"]["replicas"] == 2
                && deployment["status"]["observedGeneration"]
                    == deployment["metadata"]["generation"];
            Ok(done.then_some(()))
        },
    )?;
    println!("{asked} connections during a rolling update, none lost");
    Ok(())
}

fn appears(cluster: &Cluster, address: IpAddr, pod: &str) -> Result<Duration> {
    let begun = Instant::now();
    wait_for(&format!("{pod} behind {address}"), SOON, || {
        let answer = ask(
            cluster.name(),
            Place::Client,
            (address, 9000).into(),
            Transport::Tcp,
        )?;
        Ok((answer.pod == pod).then(|| begun.elapsed()))
    })
}

fn vanishes(cluster: &Cluster, address: IpAddr, pod: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut last = begun.elapsed();
    wait_for(&format!("{pod} gone from {address}"), SOON, || {
        for _ in 0..QUIET {
            if ask(
                cluster.name(),
                Place::Client,
                (address, 9000).into(),
                Transport::Tcp,
            )?
            .pod == pod
            {
                last = begun.elapsed();
                return Ok(None);
            }
        }
        Ok(Some(last))
    })
}

fn set_ready(cluster: &Cluster, namespace: &str, pod: &str, state: &str) -> Result<()> {
    let pod = get(cluster, &["pod", "-n", namespace, pod])?;
    let address = pod["status"]["podIP"]
        .as_str()
        .context("the pod has no address")?;
    let node = Place::parse(pod["spec"]["nodeName"].as_str().unwrap_or_default())
        .context("the pod is on no node")?;
    let url = format!("http://{address}:8080/ready?state={state}");
    let output = cluster.exec(
        node,
        &["curl", "-sS", "--max-time", "5", "-X", "POST", &url],
    )?;
    ensure!(
        output.status.success(),
        "POST {url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let pods = get(cluster, &["pods", "-n", namespace, "-l", "app=web"])?;
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned()))
        .collect())
}

fn report(from: &str, to: &str, delay: Duration) {
    println!("delay: {from} → {to}: {} ms", delay.as_millis());
}
