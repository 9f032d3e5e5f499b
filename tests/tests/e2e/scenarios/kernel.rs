//! Somebody switches off what forwarding needs from the owner's kernel.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::ask::{Transport, ask};
use crate::e2e::herald_web;
use crate::e2e::observe::{SOON, addresses, node, owner, wait_condition};

const V4: &str = "net.ipv4.ip_forward";
const V6: &str = "net.ipv6.conf.all.forwarding";

/// IPv4 forwarding off: the speaker switches it on for each device, and the address stays. IPv6 forwarding off: that it may
/// not mend, so the address goes to a node that can, and comes back.
pub(crate) fn forwarding_off(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 3)?;
    let found = addresses(cluster, namespace, "web", 2)?;
    let (four, six) = (found[0], found[1]);
    for address in [four, six] {
        answered(cluster, address)?;
    }
    let first = owner(cluster, four)?;
    let off = Off::switch(cluster, node(&first)?, V4)?;
    let eth0 = ["sysctl", "-n", "net.ipv4.conf.eth0.forwarding"];
    wait_for("forwarding on the owner's eth0", SOON, || {
        let value = cluster.run(node(&first)?, &eth0)?;
        Ok((value.trim() == "1").then_some(()))
    })?;
    for _ in 0..20 {
        answered(cluster, four)?;
    }
    ensure!(owner(cluster, four)? == first, "{four} has moved");
    drop(off);

    let first = owner(cluster, six)?;
    let off = Off::switch(cluster, node(&first)?, V6)?;
    wait_for(&format!("{six} to leave {first}"), SOON, || {
        let now = owner(cluster, six)?;
        Ok((now != first).then_some(()))
    })?;
    answered(cluster, six)?;
    let said = wait_condition(cluster, &["speaker", &first], "KernelSettings", "False")?;
    ensure!(said.contains(V6), "{said}");
    drop(off);
    wait_for(&format!("{six} to come back to {first}"), SOON, || {
        let now = owner(cluster, six)?;
        Ok((now == first).then_some(()))
    })?;
    answered(cluster, six)
}

fn answered(cluster: &Cluster, address: IpAddr) -> Result<()> {
    wait_for(&format!("an answer at {address}"), SOON, || {
        let to = (address, 9000).into();
        ask(cluster.name(), Place::Client, to, Transport::Tcp).map(|_| Some(()))
    })
}

/// A setting that is 0 while this lives, whatever the scenario does.
struct Off<'a>(&'a Cluster, Place, &'static str);

impl<'a> Off<'a> {
    fn switch(cluster: &'a Cluster, place: Place, setting: &'static str) -> Result<Self> {
        cluster.run(place, &["sysctl", "-w", &format!("{setting}=0")])?;
        Ok(Self(cluster, place, setting))
    }
}

impl Drop for Off<'_> {
    fn drop(&mut self) {
        let on = format!("{}=1", self.2);
        if let Err(error) = self.0.run(self.1, &["sysctl", "-w", &on]) {
            eprintln!("{} stays 0 on {}: {error:#}", self.2, self.1.label());
        }
    }
}
