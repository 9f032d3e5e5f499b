//! What the cluster, the LAN and the kernels show.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use herald_tests::{Cluster, Place, wait_for};
use serde_json::Value;

/// Patience for what needs no node to be declared dead.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Patience for what waits until Kubernetes gives a node up and its pods come back elsewhere.
pub(crate) const NODE_LOSS: Duration = Duration::from_secs(90);

/// An object as JSON.
pub(crate) fn get(cluster: &Cluster, words: &[&str]) -> Result<Value> {
    cluster.kubectl_json(&[&["get"], words].concat())
}

/// Waits for a Service's addresses, IPv4 first.
pub(crate) fn addresses(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    count: usize,
) -> Result<Vec<IpAddr>> {
    wait_for(
        &format!("{count} addresses of {namespace}/{name}"),
        SOON,
        || {
            let found = current_addresses(cluster, namespace, name)?;
            Ok((found.len() == count).then_some(found))
        },
    )
}

/// The addresses in a Service's status now, IPv4 first.
pub(crate) fn current_addresses(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Vec<IpAddr>> {
    let service = get(cluster, &["service", "-n", namespace, name])?;
    let ingress = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut found: Vec<IpAddr> = ingress
        .iter()
        .filter_map(|entry| entry["ip"].as_str()?.parse().ok())
        .collect();
    found.sort();
    Ok(found)
}

/// A condition as `status reason: message`, or "absent".
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .map_or_else(
            || "absent".to_owned(),
            |found| {
                let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
                format!("{} {}: {}", text("status"), text("reason"), text("message"))
            },
        )
}

/// Waits until a condition of an object starts as given, for example `False PoolNotFound`, and returns all of it.
pub(crate) fn wait_condition(
    cluster: &Cluster,
    object: &[&str],
    kind: &str,
    begins: &str,
) -> Result<String> {
    wait_for(&format!("{object:?} to have {kind}={begins}"), SOON, || {
        let seen = condition(&get(cluster, object)?, kind);
        if seen.starts_with(begins) {
            Ok(Some(seen))
        } else {
            Err(anyhow!("{seen}"))
        }
    })
}

/// The nodes whose Speaker says that it owns `address`. What a dead node said last stays in its Speaker object, so nodes
/// that are not Ready do not count.
pub(crate) fn owners(cluster: &Cluster, address: IpAddr) -> Result<Vec<String>> {
    let list = |kind: &str| -> Result<Vec<Value>> {
        Ok(get(cluster, &[kind])?["items"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    };
    let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
    let ready: Vec<String> = list("nodes")?
        .iter()
        .filter(|node| condition(node, "Ready").starts_with("True"))
        .filter_map(name)
        .collect();
    let owned = |speaker: &Value| {
        let owned = speaker["status"]["owned"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        owned
            .iter()
            .any(|entry| entry["address"].as_str().and_then(|a| a.parse().ok()) == Some(address))
    };
    Ok(list("speakers")?
        .iter()
        .filter(|speaker| owned(speaker))
        .filter_map(name)
        .filter(|name| ready.contains(name))
        .collect())
}

/// Waits until exactly one node owns `address`, and says which.
pub(crate) fn owner(cluster: &Cluster, address: IpAddr) -> Result<String> {
    wait_for(&format!("one owner of {address}"), SOON, || {
        match owners(cluster, address)?.as_slice() {
            [one] => Ok(Some(one.clone())),
            several => Err(anyhow!("owners {several:?}")),
        }
    })
}

/// The place of a node by its name.
pub(crate) fn node(name: &str) -> Result<Place> {
    Place::parse(name).with_context(|| format!("no node {name}"))
}

/// The number of a node by its name.
pub(crate) fn number(name: &str) -> Result<usize> {
    match node(name)? {
        Place::Node(number) => Ok(number),
        place => anyhow::bail!("{} is no node", place.label()),
    }
}

/// The hardware addresses that answer one ARP or neighbour question of the client for `address`.
pub(crate) fn answering_macs(cluster: &Cluster, address: IpAddr) -> Result<BTreeSet<String>> {
    let shown = address.to_string();
    let command: &[&str] = if address.is_ipv4() {
        &["arping", "-I", "eth0", "-c", "2", "-w", "1", &shown]
    } else {
        // -m: report every answer, not only the first.
        &["ndisc6", "-m", "-r", "1", "-w", "700", &shown, "eth0"]
    };
    let output = cluster.exec(Place::Client, command)?;
    Ok(macs(&String::from_utf8_lossy(&output.stdout)))
}

fn macs(text: &str) -> BTreeSet<String> {
    let is_mac = |word: &&str| {
        word.len() == 17
            && word.split(':').count() == 6
            && word.split(':').all(|part| part.len() == 2)
    };
    text.split(|c: char| !(c.is_ascii_hexdigit() || c == ':'))
        .filter(is_mac)
        .map(str::to_lowercase)
        .collect()
}

/// New connections to `address` that Herald's data path has counted, over all nodes.
pub(crate) fn connections(cluster: &Cluster, address: IpAddr) -> Result<u64> {
    let mut sum = 0;
    for number in 1..=cluster.nodes() {
        let metrics = metrics(cluster, number)?;
        let label = format!("address=\"{address}\"");
        sum += metrics
            .lines()
            .filter(|line| {
                line.starts_with("heraldlb_speaker_address_connections_total{")
                    && line.contains(&label)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(sum)
}

/// The metrics page of a node's speaker.
pub(crate) fn metrics(cluster: &Cluster, node: usize) -> Result<String> {
    let output = cluster.exec(
        Place::Node(node),
        &[
            "curl",
            "-sS",
            "--max-time",
            "3",
            "http://127.0.0.1:9741/metrics",
        ],
    )?;
    anyhow::ensure!(
        output.status.success(),
        "metrics of n{node}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Herald's tables on a node as nft lists them.
pub(crate) fn ruleset(cluster: &Cluster, node: usize) -> Result<String> {
    let output = cluster.exec(Place::Node(node), &["nft", "list", "ruleset"])?;
    anyhow::ensure!(
        output.status.success(),
        "nft list ruleset on n{node}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let tables = text.split("\ntable ").filter(|table| {
        let table = table.trim_start_matches("table ");
        table.starts_with("ip herald ") || table.starts_with("ip6 herald ")
    });
    Ok(tables.collect::<Vec<_>>().join("\ntable "))
}
