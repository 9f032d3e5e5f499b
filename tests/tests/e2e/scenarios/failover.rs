//! Restarts, pulled cables and dead nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use herald_tests::{Capture, Cluster, Netns, Place, wait_for};
use serde_json::Value;

use crate::e2e::ask::{Transport, ask};
use crate::e2e::herald_web;
use crate::e2e::observe::{NODE_LOSS, SOON, addresses, get, node, number, owner};
use crate::e2e::scenarios::traffic::{other_node, until_answered};

/// The owner's speaker is restarted, then its LAN cable is pulled and put back: for every ARP question of the client at most
/// one host answers, and an owner that has been replaced is not heard again before the address comes back to it.
pub(crate) fn one_answer(cluster: &Cluster, namespace: &str) -> Result<()> {
    let address = web(cluster, namespace, 3)?;
    let first = owner(cluster, address)?;
    let client = Netns::open(&Place::Client.netns(cluster.name()));
    let capture = Capture::start(&client, "eth0", &format!("arp and host {address}"))?;
    let mut arping = Command::new("arping");
    arping.args(["-q", "-I", "eth0", "-W", "0.02", &address.to_string()]);
    let mut questions = cluster.spawn_in(Place::Client, arping)?;

    kill_speaker(cluster, &first)?;
    ensure!(
        owner(cluster, address)? == first,
        "a restart of the speaker alone moved {address}"
    );
    answered(cluster, address, SOON)?;

    let cable = PulledCable::pull(cluster, &first)?;
    let begun = Instant::now();
    let second = wait_for(&format!("{address} to leave {first}"), NODE_LOSS, || {
        let now = owner(cluster, address)?;
        Ok((now != first).then_some(now))
    })?;
    answered(cluster, address, NODE_LOSS)?;
    println!(
        "cable of {first} pulled: {second} answers after {} ms (Kubernetes gives a node up after 10 s here)",
        begun.elapsed().as_millis()
    );
    drop(cable);
    wait_for(&format!("{first} to be Ready again"), NODE_LOSS, || {
        let object = get(cluster, &["node", &first])?;
        Ok(crate::e2e::observe::condition(&object, "Ready")
            .starts_with("True")
            .then_some(()))
    })?;
    let last = owner(cluster, address)?;
    answered(cluster, address, SOON)?;
    questions.stop(Duration::from_secs(5))?;
    let lines = capture.stop()?;
    let turns = turns(&lines)?;
    println!(
        "{} answers captured; turns: {turns:?}; owners {first} → {second} → {last}",
        lines.len()
    );
    let macs: Vec<_> = turns.iter().map(|(mac, _)| mac.clone()).collect();
    let expected: Vec<String> = [&first, &second, &last]
        .into_iter()
        .map(|name| node(name)?.mac().context("a node has a hardware address"))
        .collect::<Result<_>>()?;
    let mut expected: Vec<_> = expected;
    expected.dedup();
    ensure!(
        macs == expected,
        "answers came from {turns:?}, expected the turns {expected:?}\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// A node's LAN cable, out while this lives, whatever the scenario does.
struct PulledCable<'a>(&'a Cluster, usize);

impl<'a> PulledCable<'a> {
    fn pull(cluster: &'a Cluster, node: &str) -> Result<Self> {
        let cable = Self(cluster, number(node)?);
        cluster.link(cable.1, false)?;
        Ok(cable)
    }
}

impl Drop for PulledCable<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.link(self.1, true) {
            eprintln!("the cable of n{} stays out: {error:#}", self.1);
        }
    }
}

/// Who answered, in turns: consecutive answers of one hardware address are one turn. An error if one question had answers of
/// two hosts.
fn turns(lines: &[String]) -> Result<Vec<(String, usize)>> {
    let mut turns: Vec<(String, usize)> = Vec::new();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        if line.contains("Request who-has") && line.contains("tell 10.77.0.50") {
            answers.clear();
        } else if let Some(mac) = line
            .split("is-at ")
            .nth(1)
            .and_then(|rest| rest.split([',', ' ']).next())
        {
            *answers.entry(mac.to_owned()).or_default() += 1;
            if answers.len() > 1 {
                bail!("one question, two hosts: {answers:?}\n{line}");
            }
            match turns.last_mut() {
                Some((last, count)) if last == mac => *count += 1,
                _ => turns.push((mac.to_owned(), 1)),
            }
        }
    }
    Ok(turns)
}

/// `kill -9` of the owner's speaker: the download through it goes on.
pub(crate) fn download_survives(cluster: &Cluster, namespace: &str) -> Result<()> {
    const BYTES: u64 = 3_000_000;
    let address = web(cluster, namespace, 2)?;
    let owner = owner(cluster, address)?;
    let url = format!("http://{address}/download?bytes={BYTES}&rate=300000");
    let client = Netns::open(&Place::Client.netns(cluster.name()));
    let mut curl = client.command("curl")?;
    let mut download = curl
        .args([
            "-sS",
            "--max-time",
            "90",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &url,
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    wait_for("the download to run through the owner", SOON, || {
        let flows = cluster.exec(
            node(&owner)?,
            &[
                "conntrack",
                "-L",
                "-d",
                &address.to_string(),
                "-p",
                "tcp",
                "--dport",
                "80",
            ],
        )?;
        Ok(String::from_utf8_lossy(&flows.stdout)
            .contains("ESTABLISHED")
            .then_some(()))
    })?;
    kill_speaker(cluster, &owner)?;
    ensure!(
        download.try_wait()?.is_none(),
        "the download ended before the speaker was killed: it proved nothing"
    );
    let output = download.wait_with_output()?;
    let size = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && size == BYTES.to_string(),
        "curl: {}, {size} of {BYTES} bytes",
        output.status
    );
    Ok(())
}

/// A node dies with everything on it: its addresses and its pods' traffic move. Its Speaker object goes with its Node.
pub(crate) fn node_crash(cluster: &Cluster, namespace: &str) -> Result<()> {
    let address = web(cluster, namespace, 3)?;
    let dead = owner(cluster, address)?;
    let begun = Instant::now();
    cluster.crash_node(number(&dead)?)?;
    wait_for(
        &format!("{address} to leave the dead {dead}"),
        NODE_LOSS,
        || {
            let now = owner(cluster, address)?;
            Ok((now != dead).then_some(()))
        },
    )?;
    answered(cluster, address, NODE_LOSS)?;
    println!(
        "{dead} crashed: answered again after {} ms",
        begun.elapsed().as_millis()
    );
    // From another node's view too: no backend of the dead node is left once Kubernetes has said so.
    wait_for("twenty answers in a row", NODE_LOSS, || {
        for _ in 0..20 {
            let answer = ask(
                cluster.name(),
                Place::Client,
                (address, 9000).into(),
                Transport::Tcp,
            )?;
            ensure!(answer.node != dead, "answered by a pod of the dead {dead}");
        }
        Ok(Some(()))
    })?;
    until_answered(
        cluster,
        other_node(cluster, &dead),
        (address, 9000),
        Transport::Tcp,
    )?;
    cluster.kubectl(&["delete", "node", &dead])?;
    wait_for(
        &format!("Speaker {dead} to go with its Node"),
        NODE_LOSS,
        || {
            let left = cluster.kubectl(&["get", "speakers", "-o", "name"])?;
            Ok((!left.contains(&format!("/{dead}\n"))).then_some(()))
        },
    )
}

fn web(cluster: &Cluster, namespace: &str, replicas: usize) -> Result<IpAddr> {
    herald_web(cluster, namespace, replicas)?;
    let address = addresses(cluster, namespace, "web", 2)?.remove(0);
    until_answered(cluster, Place::Client, (address, 9000), Transport::Tcp)?;
    Ok(address)
}

fn answered(cluster: &Cluster, address: IpAddr, patience: Duration) -> Result<()> {
    wait_for(&format!("an answer at {address}"), patience, || {
        ask(
            cluster.name(),
            Place::Client,
            (address, 9000).into(),
            Transport::Tcp,
        )
        .map(|_| Some(()))
    })
}

/// `kill -9` of a node's speaker process, and waits until kubelet has started it again and it is ready.
fn kill_speaker(cluster: &Cluster, name: &str) -> Result<()> {
    let before = kill_speaker_process(cluster, name)?;
    wait_for(
        &format!("the speaker of {name} to be restarted"),
        NODE_LOSS,
        || {
            let (now, ready) = speaker_container(cluster, name)?;
            Ok((now != before && ready).then_some(()))
        },
    )
}

/// What the kubelet says of the container of a node's speaker.
pub(crate) fn speaker_status(cluster: &Cluster, name: &str) -> Result<Value> {
    let field = format!("spec.nodeName={name}");
    let label = "app.kubernetes.io/component=speaker";
    let pods = get(
        cluster,
        &[
            "pods",
            "-n",
            "herald-system",
            "-l",
            label,
            "--field-selector",
            &field,
        ],
    )?;
    Ok(pods["items"][0]["status"]["containerStatuses"][0].clone())
}

/// The identity of the container of a node's speaker, and whether it is ready.
fn speaker_container(cluster: &Cluster, name: &str) -> Result<(String, bool)> {
    let status = speaker_status(cluster, name)?;
    let id = status["containerID"]
        .as_str()
        .context("the speaker has no container")?;
    Ok((
        id.trim_start_matches("containerd://").to_owned(),
        status["ready"] == true,
    ))
}

/// `kill -9` of a node's speaker process; returns the identity of its container.
pub(crate) fn kill_speaker_process(cluster: &Cluster, name: &str) -> Result<String> {
    let (before, _) = speaker_container(cluster, name)?;
    let kill = [
        "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", &before,
    ];
    let output = cluster.exec(node(name)?, &kill)?;
    ensure!(
        output.status.success(),
        "{kill:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(before)
}
