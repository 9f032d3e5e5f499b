//! Nodes that Kubernetes calls not Ready while everything on them works.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::herald_web;
use crate::e2e::observe::{NODE_LOSS, addresses, condition, get, wait_condition};
use crate::e2e::scenarios::aws::load::Load;

/// For how long the network configuration is away: longer than a node's conditions take to count.
const AWAY: Duration = Duration::from_secs(60);
/// How old the client's ARP entries get.
const COLD_EVERY: Duration = Duration::from_secs(5);
const RATE: u32 = 200;

/// The CNI configuration of every node is moved away for a minute: all nodes turn not Ready, pods go on serving. No new
/// connection fails, also for clients that must ask for the hardware address anew, no address moves, and it is said.
pub(crate) fn cni_gone_everywhere(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 3)?;
    let found = addresses(cluster, namespace, "web", 2)?;
    let service = ["service", "-n", namespace, "web"];
    let announced = "heraldlb.io/Announced";
    let before = wait_condition(cluster, &service, announced, "True Announced")?;
    let to = found.iter().map(|ip| SocketAddr::new(*ip, 9000)).collect();
    let load = Load::start_from(cluster, Place::Client, to, RATE)?;
    let away = Away::all(cluster)?;
    let begun = Instant::now();
    let mut not_ready = None;
    let mut told = false;
    while begun.elapsed() < AWAY || not_ready.is_none() || !told {
        ensure!(
            begun.elapsed() < AWAY + NODE_LOSS,
            "all nodes not Ready: {not_ready:?}; said by the Service: {told}, it says {}",
            condition(&get(cluster, &service)?, announced)
        );
        forget_neighbours(cluster, &found)?;
        let tick = Instant::now();
        wait_for("the ARP entries to grow old", NODE_LOSS, || {
            Ok((tick.elapsed() > COLD_EVERY).then_some(()))
        })?;
        if not_ready.is_none() && readiness(cluster)?.iter().all(|ready| !ready) {
            not_ready = Some(begun.elapsed());
        }
        let seen = condition(&get(cluster, &service)?, announced);
        ensure!(seen.starts_with("True"), "the Service says {seen}");
        told |= seen.contains("not Ready");
    }
    let not_ready = not_ready.context("the nodes were never all not Ready")?;
    println!("all nodes not Ready after {not_ready:?}");
    drop(away);
    wait_for("all nodes to be Ready", NODE_LOSS, || {
        forget_neighbours(cluster, &found)?;
        Ok(readiness(cluster)?.iter().all(|ready| *ready).then_some(()))
    })?;
    load.finish_without_failure()?;
    wait_for("the Service to say what it said", NODE_LOSS, || {
        let seen = condition(&get(cluster, &service)?, announced);
        Ok((seen == before).then_some(()))
    })
}

/// Whether each node is Ready.
fn readiness(cluster: &Cluster) -> Result<Vec<bool>> {
    let nodes = get(cluster, &["nodes"])?;
    let items = nodes["items"].as_array().context("a list of nodes")?;
    Ok(items
        .iter()
        .map(|node| condition(node, "Ready").starts_with("True"))
        .collect())
}

/// The client must ask for the hardware addresses again.
fn forget_neighbours(cluster: &Cluster, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        let mut command = Command::new("ip");
        command.args(["neigh", "del", &address.to_string(), "dev", "eth0"]);
        // An entry that is not there is as good.
        let mut deleting = cluster.spawn_in(Place::Client, command)?;
        deleting.wait(Duration::from_secs(10))?;
    }
    Ok(())
}

/// Every node's CNI configuration, away while this lives, whatever the scenario does.
struct Away(Vec<PathBuf>);

impl Away {
    fn all(cluster: &Cluster) -> Result<Self> {
        let mut away = Self(Vec::new());
        for number in 1..=cluster.nodes() {
            let file = cluster.cni_configuration(number);
            fs::rename(&file, file.with_extension("away"))
                .with_context(|| format!("moving {} away", file.display()))?;
            away.0.push(file);
        }
        Ok(away)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        for file in &self.0 {
            if let Err(error) = fs::rename(file.with_extension("away"), file) {
                eprintln!("{} stays away: {error}", file.display());
            }
        }
    }
}
