//! What a program serves beside its task must not end it.

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Netns, Place, wait_for};

use crate::e2e::ask::{Transport, ask};
use crate::e2e::herald_web;
use crate::e2e::observe::{SOON, addresses, node, owner, wait_condition};
use crate::e2e::scenarios::failover::{kill_speaker_process, speaker_status};

/// Another program has the owner's admin port when its speaker starts: the speaker says so and works, is not restarted for
/// it, and serves its pages when the port is free.
pub(crate) fn admin_port_taken(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 2)?;
    let address = addresses(cluster, namespace, "web", 2)?.remove(0);
    let owner_name = owner(cluster, address)?;
    let before = restarts(cluster, &owner_name)?;
    kill_speaker_process(cluster, &owner_name)?;
    // The port is free until kubelet has started the next one.
    let netns = Netns::open(&node(&owner_name)?.netns(cluster.name()));
    let other = wait_for("the admin port", SOON, || {
        let bound = netns.enter(|| std::net::TcpListener::bind(("::", 9741)))?;
        Ok(bound.ok())
    })?;
    let speaker = ["speaker", owner_name.as_str()];
    let said = wait_condition(cluster, &speaker, "AdminServer", "False NotListening")?;
    ensure!(said.contains("9741"), "{said}");
    // The kubelet tells of the restart when it gets to it.
    wait_for("the restart in the pod's status", SOON, || {
        Ok((restarts(cluster, &owner_name)? == before + 1).then_some(()))
    })?;
    wait_for("an answer", SOON, || {
        let to = (address, 9000).into();
        ask(cluster.name(), Place::Client, to, Transport::Tcp).map(|_| Some(()))
    })?;
    wait_condition(cluster, &speaker, "Ready", "True")?;
    ensure!(
        owner(cluster, address)? == owner_name,
        "{address} has moved"
    );
    drop(other);
    wait_condition(cluster, &speaker, "AdminServer", "True")?;
    let now = restarts(cluster, &owner_name)?;
    ensure!(now == before + 1, "{now} restarts, {before} before");
    Ok(())
}

fn restarts(cluster: &Cluster, name: &str) -> Result<u64> {
    let status = speaker_status(cluster, name)?;
    status["restartCount"]
        .as_u64()
        .context("the speaker has no container")
}
