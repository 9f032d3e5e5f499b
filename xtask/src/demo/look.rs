//! What the demo looks at: answers of the echo server, ARP, Speaker objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::{Cluster, Place, wait_for};
use serde_json::Value;

/// How often the client asks by ARP who has an address.
const PROBES: usize = 3;
/// Requests that show how they spread over pods.
const REQUESTS: usize = 30;

/// An answer of the echo server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) pod: String,
    pub(super) node: String,
}

/// Asks once, from a place of the cluster.
pub(super) fn answer(cluster: &Cluster, from: Place, url: &str) -> Result<Answer> {
    let text = cluster.run(
        from,
        &[
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "1",
            url,
        ],
    )?;
    parse_answer(&text)
}

/// Thirty requests: every one must be answered, and every one of three pods must have its share.
pub(super) fn spread(cluster: &Cluster, from: Place, url: &str) -> Result<()> {
    let mut tally: BTreeMap<(String, String), usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = answer(cluster, from, url)?;
        *tally.entry((answer.pod, answer.node)).or_default() += 1;
    }
    for ((pod, node), count) in &tally {
        println!(
            "    {count:>3} from {pod} on {node}  {}",
            "#".repeat(*count)
        );
    }
    ensure!(tally.len() == 3, "{} of 3 pods answered", tally.len());
    Ok(())
}

fn parse_answer(text: &str) -> Result<Answer> {
    let word = |name: &str| {
        let word = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        word.map(str::to_owned)
            .with_context(|| format!("no {name} in the answer {text:?}"))
    };
    Ok(Answer {
        pod: word("pod=")?,
        node: word("node=")?,
    })
}

/// The hardware address that answers ARP for `address`, asked by broadcast as any host asks.
///
/// # Errors
/// If none answers, if two hosts do, or if one answers twice.
pub(super) fn exactly_one_mac(cluster: &Cluster, address: IpAddr) -> Result<String> {
    let (count, address) = (PROBES.to_string(), address.to_string());
    // Five probes a second; done when the last is answered or after five seconds.
    let command = [
        "arping", "-i", "eth0", "-c", &count, "-W", "0.2", "-w", "5", &address,
    ];
    let output = cluster.exec(Place::Client, &command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answers = macs(&text);
    let hosts: BTreeSet<&String> = answers.iter().collect();
    match (answers.len(), hosts.first()) {
        (_, None) => bail!("nobody answers ARP for {address}"),
        (1..=PROBES, Some(mac)) if hosts.len() == 1 => Ok((*mac).clone()),
        _ => bail!("{PROBES} ARP requests for {address} were answered by {answers:?}"),
    }
}

/// Hardware addresses in the lines of arping that report an answer.
fn macs(text: &str) -> Vec<String> {
    let answer = |line: &str| {
        Some(
            line.split_once("bytes from ")?
                .1
                .split(' ')
                .next()?
                .to_owned(),
        )
    };
    text.lines().filter_map(answer).collect()
}

/// The number of the node whose Speaker says that it owns `address`.
pub(super) fn owner(cluster: &Cluster, address: IpAddr, deadline: Duration) -> Result<usize> {
    wait_for("one owner in the Speaker objects", deadline, || {
        let speakers = cluster.kubectl_json(&["get", "speakers"])?;
        let owners = owners(&speakers, address);
        ensure!(owners.len() == 1, "owners of {address}: {owners:?}");
        let number = owners[0]
            .strip_prefix('n')
            .and_then(|number| number.parse().ok());
        number
            .map(Some)
            .with_context(|| format!("{} is no node of the lab", owners[0]))
    })
}

fn owners(speakers: &Value, address: IpAddr) -> Vec<String> {
    let owned = |entry: &Value| {
        entry["address"]
            .as_str()
            .and_then(|text| text.parse::<IpAddr>().ok())
            == Some(address)
    };
    let owns = |speaker: &&Value| {
        speaker["status"]["owned"]
            .as_array()
            .is_some_and(|entries| entries.iter().any(owned))
    };
    let name = |speaker: &Value| speaker["metadata"]["name"].as_str().map(str::to_owned);
    speakers["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(owns)
        .filter_map(name)
        .collect()
}

/// A speaker's pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) ready: bool,
}

/// The speaker's pod on a node; the new one while an old one goes.
pub(super) fn speaker_pod(cluster: &Cluster, node: usize) -> Result<Pod> {
    let field = format!("--field-selector=spec.nodeName=n{node}");
    let label = "app.kubernetes.io/component=speaker";
    let pods = cluster.kubectl_json(&[
        "get",
        "pods",
        "-n",
        herald_tests::NAMESPACE,
        "-l",
        label,
        &field,
    ])?;
    living_pod(&pods).with_context(|| format!("n{node} has no speaker"))
}

fn living_pod(pods: &Value) -> Option<Pod> {
    let mut items = pods["items"].as_array()?.iter();
    let pod = items.find(|pod| pod["metadata"]["deletionTimestamp"].is_null())?;
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    Some(Pod {
        name: pod["metadata"]["name"].as_str()?.to_owned(),
        ready: conditions.any(|one| one["type"] == "Ready" && one["status"] == "True"),
    })
}

/// Prints what a command printed, indented.
pub(super) fn print(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_read() {
        let answer = parse_answer("pod=web-1 node=n2 peer=10.77.0.50:4000 proto=http\n").unwrap();
        assert_eq!(
            answer,
            Answer {
                pod: "web-1".to_owned(),
                node: "n2".to_owned()
            }
        );
        assert!(parse_answer("<html>").is_err());
    }

    #[test]
    fn every_answer_to_arp_counts() {
        let text = "ARPING 10.77.0.100\n\
            60 bytes from 02:00:00:00:77:11 (10.77.0.100): index=0 time=8.1 usec\n\
            60 bytes from 02:00:00:00:77:12 (10.77.0.100): index=1 time=9.1 usec\n\
            \n--- 10.77.0.100 statistics ---\n1 packets transmitted, 2 packets received\n";
        assert_eq!(macs(text), ["02:00:00:00:77:11", "02:00:00:00:77:12"]);
        assert!(macs("Timeout\n").is_empty());
    }

    #[test]
    fn owners_are_those_that_say_so() {
        let speaker = |name: &str, address: &str| json!({"metadata": {"name": name}, "status": {"owned": [{"address": address}]}});
        let speakers = json!({"items": [
            speaker("n1", "10.77.0.100"), speaker("n2", "10.77.0.10"), speaker("n3", "fd00::1"),
            {"metadata": {"name": "n4"}},
        ]});
        assert_eq!(owners(&speakers, "10.77.0.100".parse().unwrap()), ["n1"]);
        assert_eq!(owners(&speakers, "fd00:0::1".parse().unwrap()), ["n3"]);
    }

    #[test]
    fn a_pod_that_goes_is_not_the_speaker() {
        let pods = json!({"items": [
            {"metadata": {"name": "old", "deletionTimestamp": "2026-01-01T00:00:00Z"},
             "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"name": "new"},
             "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        ]});
        assert_eq!(
            living_pod(&pods),
            Some(Pod {
                name: "new".to_owned(),
                ready: false
            })
        );
        assert_eq!(living_pod(&json!({"items": []})), None);
    }
}
