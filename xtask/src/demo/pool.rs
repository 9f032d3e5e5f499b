//! The story of addresses from a pool: from `<pending>` to a pulled cable.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Place, interrupted, wait_for};

use super::look::{answer, exactly_one_mac, owner, print, speaker_pod, spread};
use super::{PATIENCE, apply};
use crate::step::{seconds, step};

/// The download that runs through the restart: twelve seconds at this many bytes a second.
const RATE: u64 = 250_000;
const BYTES: u64 = 12 * RATE;
/// After a move, this many answers in a row count as "works again".
const IN_A_ROW: usize = 15;
/// What to try on a cluster that stays up.
pub(super) const TO_TRY: [&str; 4] = [
    "exec --name demo client -- curl -s http://10.77.0.100/",
    "exec --name demo n1 -- nft list ruleset",
    "link --name demo n1 down",
    "kubectl --name demo -- apply -f deploy/examples/web-dual-stack.yaml",
];

pub(super) fn tell(cluster: &Cluster) -> Result<()> {
    let address = step("a Service gets an address", || get_address(cluster))?;
    let url = format!("http://{address}/");
    step("30 requests from a client on the LAN", || {
        spread(cluster, Place::Client, &url)
    })?;
    step("a node port, from behind the router", || node_port(cluster))?;
    let owner = step("who owns the address, and who answers for it", || {
        show_owner(cluster, address)
    })?;
    step("restart the owner's speaker under a download", || {
        restart_speaker(cluster, address, owner)
    })?;
    step(format!("pull the LAN cable of n{owner}"), || {
        pull_cable(cluster, address, owner)
    })
}

/// Shows the Service first without a pool, then with one. Gives its address.
fn get_address(cluster: &Cluster) -> Result<IpAddr> {
    apply(cluster, "web.yaml")?;
    print(&cluster.kubectl(&["get", "service", "web"])?);
    apply(cluster, "pool.yaml")?;
    apply(cluster, "advertisement.yaml")?;
    let asked = Instant::now();
    let address: IpAddr = wait_for("address of Service web", PATIENCE, || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let text = cluster.kubectl(&["get", "service", "web", "-o", path])?;
        Ok(if text.is_empty() {
            None
        } else {
            Some(text.parse()?)
        })
    })?;
    println!(
        "    an address {} after there was a pool",
        seconds(asked.elapsed())
    );
    print(&cluster.kubectl(&["get", "service", "web"])?);
    cluster.wait_for_rollout("default", "deployment/web", PATIENCE)?;
    wait_for("answer from the address", PATIENCE, || {
        answer(cluster, Place::Client, &format!("http://{address}/")).map(Some)
    })?;
    Ok(address)
}

fn node_port(cluster: &Cluster) -> Result<()> {
    let path = "jsonpath={.spec.ports[0].nodePort}";
    let port = cluster.kubectl(&["get", "service", "web", "-o", path])?;
    for node in 1..=cluster.nodes() {
        let address = v4(Place::Node(node))?;
        let url = format!("http://{address}:{port}/");
        let answer = answer(cluster, Place::Remote, &url)?;
        println!("    {url} on n{node}: {} on {}", answer.pod, answer.node);
    }
    Ok(())
}

fn v4(place: Place) -> Result<IpAddr> {
    let addresses = place.addresses();
    let v4 = addresses.into_iter().flatten().find(IpAddr::is_ipv4);
    v4.with_context(|| format!("{} has no IPv4 address", place.label()))
}

/// Gives the owner's number.
fn show_owner(cluster: &Cluster, address: IpAddr) -> Result<usize> {
    let owner = owner(cluster, address, PATIENCE)?;
    print(&cluster.kubectl(&["get", "speakers"])?);
    let mac = exactly_one_mac(cluster, address)?;
    println!("    {address} is at {mac}, which is n{owner}; nobody else answers");
    ensure!(
        Some(mac) == Place::Node(owner).mac(),
        "another host than n{owner} answers"
    );
    Ok(owner)
}

fn restart_speaker(cluster: &Cluster, address: IpAddr, owner: usize) -> Result<()> {
    let before = speaker_pod(cluster, owner)?.name;
    let file = cluster.folder().join("download");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output"])
        .arg(&file);
    curl.arg(format!(
        "http://{address}/download?bytes={BYTES}&rate={RATE}"
    ));
    let begun = Instant::now();
    let mut download = cluster.spawn_in(Place::Client, curl)?;
    let arrived = || fs::metadata(&file).map_or(0, |file| file.len());
    wait_for("first bytes of the download", PATIENCE, || {
        Ok((arrived() > 0).then_some(()))
    })?;

    println!(
        "    kubectl delete pod {before}, {} bytes into a download",
        arrived()
    );
    let deleted = Instant::now();
    cluster.kubectl(&["delete", "pod", "-n", "herald-system", &before])?;
    let after = wait_for("new speaker", PATIENCE, || {
        let pod = speaker_pod(cluster, owner)?;
        Ok((pod.name != before && pod.ready).then_some(pod.name))
    })?;
    println!(
        "    {after} is ready after {}, {} of {BYTES} bytes into it",
        seconds(deleted.elapsed()),
        arrived()
    );
    let status = download.wait(PATIENCE)?;
    ensure!(
        status.success() && arrived() == BYTES,
        "the download broke: {}",
        download.output()?
    );
    println!(
        "    the download is complete: {BYTES} bytes in {}",
        seconds(begun.elapsed())
    );
    let mac = wait_for("one answer", PATIENCE, || {
        exactly_one_mac(cluster, address).map(Some)
    })?;
    ensure!(
        Some(mac) == Place::Node(owner).mac(),
        "the address left n{owner}"
    );
    println!("    n{owner} kept the address");
    Ok(())
}

fn pull_cable(cluster: &Cluster, address: IpAddr, owner: usize) -> Result<()> {
    let url = format!("http://{address}/");
    cluster.link(owner, false)?;
    let pulled = Instant::now();
    let Return { first, steady } = watch_return(cluster, &url, pulled)?;
    println!(
        "    the first answer came {} after the cable was pulled",
        seconds(first)
    );
    println!("    every request was answered from {} on", seconds(steady));
    let mac = exactly_one_mac(cluster, address)?;
    let new = (1..=cluster.nodes()).find(|node| Place::Node(*node).mac().as_ref() == Some(&mac));
    let new = new.filter(|new| *new != owner);
    let new = new.with_context(|| format!("{address} is at {mac}, which is no other node"))?;
    println!("    {address} is now at {mac}, which is n{new}");
    print(&cluster.kubectl(&["get", "nodes"])?);
    print(&cluster.kubectl(&["get", "speakers"])?);
    Ok(())
}

/// When, counted from the failure, the first request after it was answered and from when on all were.
struct Return {
    first: Duration,
    steady: Duration,
}

/// Asks again and again until answers come in a row. Some requests may already reach pods of nodes that
/// live while others are still sent to the lost one.
fn watch_return(cluster: &Cluster, url: &str, since: Instant) -> Result<Return> {
    let (mut failed, mut first, mut steady, mut row) = (false, None, None, 0);
    loop {
        ensure!(!interrupted(), "interrupted");
        if answer(cluster, Place::Client, url).is_ok() {
            let now = since.elapsed();
            // Before the first failure it is the old owner that answers, its cable not quite out.
            if failed {
                first.get_or_insert(now);
            }
            steady.get_or_insert(now);
            row += 1;
        } else {
            (failed, steady, row) = (true, None, 0);
        }
        if let (Some(first), Some(steady), IN_A_ROW..) = (first, steady, row) {
            return Ok(Return { first, steady });
        }
        let waited = since.elapsed();
        ensure!(
            waited < PATIENCE,
            "{url} does not answer {} after the failure",
            seconds(waited)
        );
    }
}
