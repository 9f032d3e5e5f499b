use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_tests::wait_for;

use crate::netns_layer2_lab::client::ask;
use crate::netns_layer2_lab::{DEADLINE, Lab, V4, V6, mac};

pub(crate) fn arp(lab: &Lab) -> Result<()> {
    one(lab, V4, "192.0.2.101")
}

pub(crate) fn ndp(lab: &Lab) -> Result<()> {
    one(lab, V6, "2001:db8::101")?;
    // The kernel's own discovery, which checks the answer: a neighbour is found, and asked again by unicast.
    lab.client
        .output(&["ping", "-c", "1", "-W", "1", &V6.to_string()])?;
    let entry = || {
        lab.client
            .ip(&format!("-6 neigh show {V6} dev lan"))
            .map(|text| text.trim().to_owned())
    };
    wait_for("neighbour entry", DEADLINE, || {
        let entry = entry()?;
        ensure!(entry.contains(&format!("lladdr {}", mac(11))), "{entry}");
        Ok(Some(()))
    })?;
    let [before, ..] = lab.a.counts(V6)?;
    lab.client.ip(&format!(
        "-6 neigh change {V6} dev lan lladdr {} nud probe",
        mac(11)
    ))?;
    wait_for("neighbour confirmed by unicast", DEADLINE, || {
        let entry = entry()?;
        ensure!(entry.ends_with("REACHABLE"), "{entry}");
        Ok(Some(()))
    })?;
    let [after, ..] = lab.a.counts(V6)?;
    ensure!(after > before, "the node has not been asked");
    Ok(())
}

fn one(lab: &Lab, address: IpAddr, other: &str) -> Result<()> {
    ensure!(
        ask(&lab.client, address)?.is_empty(),
        "answered before it is held"
    );
    lab.a.hold(&[address])?;
    lab.a.wait_state(address, "Announcing")?;
    let answers = ask(&lab.client, address)?;
    ensure!(!answers.is_empty(), "{address} is not answered");
    ensure!(
        answers.iter().all(|answer| *answer == mac(11)),
        "{answers:?}"
    );
    let others = ask(&lab.client, other.parse()?)?;
    ensure!(others.is_empty(), "{other} is nobody's, but {others:?}");
    let [requests, replies, announcements, conflicts] = lab.a.counts(address)?;
    ensure!(requests > 0 && replies > 0 && announcements > 0 && conflicts == 0);
    lab.a.hold(&[])?;
    ensure!(
        ask(&lab.client, address)?.is_empty(),
        "answered after withdrawal"
    );
    lab.a.hold(&[address])?;
    lab.a.wait_state(address, "Announcing")
}

/// A host that detects duplicates before it uses an address learns that ours is taken, in both families.
pub(crate) fn detection(lab: &Lab) -> Result<()> {
    lab.a.hold(&[V4, V6])?;
    lab.a.wait_state(V4, "Announcing")?;
    lab.a.wait_state(V6, "Announcing")?;
    lab.client.sysctl("ipv6/conf/lan/accept_dad", "1")?;
    lab.client.sysctl("ipv6/conf/lan/dad_transmits", "3")?;
    lab.client.ip(&format!("address add {V6}/64 dev lan"))?;
    wait_for("failed detection", DEADLINE, || {
        let addresses = lab.client.ip("-6 address show dev lan")?;
        ensure!(addresses.contains("dadfailed"), "{addresses}");
        Ok(Some(()))
    })?;
    let probe = [
        "arping", "-0", "-i", "lan", "-r", "-c", "3", "-W", "0.2", "-w", "3",
    ];
    let output = lab
        .client
        .output(&[&probe[..], &[&V4.to_string()]].concat())?;
    let answers = String::from_utf8(output.stdout)?;
    ensure!(answers.contains(&mac(11)), "probe not answered: {answers}");
    lab.a.wait_state(V4, "Announcing")?;
    lab.a.wait_state(V6, "Announcing")
}
