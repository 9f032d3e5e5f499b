//! Who gets which address, what is said when nobody can, and what is left when a Service goes.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, anyhow, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::ask::{Transport, ask};
use crate::e2e::objects::{Service, advertisement, echo, pool};
use crate::e2e::observe::{
    SOON, addresses, answering_macs, current_addresses, get, owners, ruleset, wait_condition,
};
use crate::e2e::scenarios::traffic::until_answered;
use crate::e2e::{apply, echo_behind, rolled_out};

const POOL: &str = "heraldlb.io/address-pool";
const ADDRESSES: &str = "heraldlb.io/addresses";

/// A deleted Service leaves nothing: its address is free for the next one, no element of it is in any ruleset, and nobody
/// answers ARP or neighbour questions for it.
pub(crate) fn deleted_service(cluster: &Cluster, namespace: &str) -> Result<()> {
    let web = Service::new(namespace, "web", "web").load_balancer();
    echo_behind(cluster, namespace, 2, web)?;
    let held = addresses(cluster, namespace, "web", 2)?;
    for &address in &held {
        until_answered(cluster, Place::Client, (address, 9000), Transport::Tcp)?;
        let macs = answering_macs(cluster, address)?;
        ensure!(
            macs.len() == 1,
            "{address} is answered by {macs:?}, expected one"
        );
        ensure!(
            in_rulesets(cluster, address)?,
            "{address} is in no node's ruleset while its Service exists"
        );
    }
    cluster.kubectl(&["delete", "service", "-n", namespace, "web"])?;
    for &address in &held {
        wait_for(&format!("nothing left of {address}"), SOON, || {
            let (macs, owners) = (answering_macs(cluster, address)?, owners(cluster, address)?);
            ensure!(
                macs.is_empty() && owners.is_empty(),
                "answered by {macs:?}, owned by {owners:?}"
            );
            ensure!(!in_rulesets(cluster, address)?, "still in a ruleset");
            Ok(Some(()))
        })?;
    }
    let wanted = held
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    apply(
        cluster,
        &[Service::new(namespace, "next", "web")
            .load_balancer()
            .annotation(ADDRESSES, &wanted)
            .value()],
    )?;
    let next = addresses(cluster, namespace, "next", 2)?;
    ensure!(
        next == held,
        "the next Service asked for {held:?} and got {next:?}"
    );
    Ok(())
}

fn in_rulesets(cluster: &Cluster, address: IpAddr) -> Result<bool> {
    let shown = address.to_string();
    for number in 1..=cluster.nodes() {
        let rules = ruleset(cluster, number)?;
        if rules
            .split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'))
            .any(|word| word == shown)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each wrong wish gets its reason, on the object itself, and the others go on.
pub(crate) fn bad_input(cluster: &Cluster, namespace: &str) -> Result<()> {
    let wish = |name: &str| {
        Service::new(namespace, name, "web")
            .load_balancer()
            .single_stack()
    };
    // Of two pools made in the same second the one with the lesser name counts as the older.
    let (reversed, overlapping, tiny) = ("reversed", "overlapping", "a-tiny");
    apply(
        cluster,
        &[
            pool(reversed, &["10.77.0.90-10.77.0.80"]),
            pool(tiny, &["10.77.0.70/31"]),
        ],
    )?;
    wait_condition(cluster, &["addresspool", tiny], "Ready", "True")?;
    apply(cluster, &[pool(overlapping, &["10.77.0.71-10.77.0.75"])])?;
    apply(
        cluster,
        &[
            wish("one").annotation(POOL, tiny).value(),
            wish("two").annotation(POOL, tiny).value(),
        ],
    )?;
    let one = addresses(cluster, namespace, "one", 1)?.remove(0);
    addresses(cluster, namespace, "two", 1)?;
    apply(
        cluster,
        &[
            wish("no-room").annotation(POOL, tiny).value(),
            wish("no-pool").annotation(POOL, "nowhere").value(),
            wish("taken")
                .annotation(ADDRESSES, &one.to_string())
                .value(),
            wish("nonsense")
                .annotation(ADDRESSES, "ten dot one")
                .value(),
            wish("outside").annotation(ADDRESSES, "192.0.2.1").value(),
        ],
    )?;

    let said = wait_condition(
        cluster,
        &["addresspool", reversed],
        "Ready",
        "False Invalid",
    )?;
    ensure!(said.contains("10.77.0.90-10.77.0.80"), "{said}");
    let said = wait_condition(
        cluster,
        &["addresspool", overlapping],
        "Ready",
        "False Overlap",
    )?;
    ensure!(said.contains(tiny), "{said}");
    for (name, reason, names) in [
        ("no-room", "False PoolExhausted", tiny),
        ("no-pool", "False PoolNotFound", "nowhere"),
        ("taken", "False AddressTaken", "one"),
        ("nonsense", "False InvalidRequest", "ten dot one"),
        ("outside", "False AddressNotInPool", "192.0.2.1"),
    ] {
        let said = wait_condition(
            cluster,
            &["service", "-n", namespace, name],
            "heraldlb.io/Allocated",
            reason,
        )?;
        ensure!(said.contains(names), "{name}: {said}");
        println!("{name}: {said}");
    }

    // A freed address goes to the one that waits for it; a good wish beside all the bad ones is met.
    cluster.kubectl(&["delete", "service", "-n", namespace, "one"])?;
    let given = addresses(cluster, namespace, "no-room", 1)?.remove(0);
    ensure!(given == one, "{one} was freed, but no-room got {given}");
    apply(cluster, &[wish("good").value()])?;
    addresses(cluster, namespace, "good", 1)?;

    cluster.kubectl(&["delete", "service", "-n", namespace, "--all"])?;
    cluster.kubectl(&[
        "delete",
        "addresspool",
        reversed,
        overlapping,
        tiny,
        "--timeout=30s",
    ])?;
    Ok(())
}

/// An impossible new wish and a pool edit leave the working address in place.
pub(crate) fn stable(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(
        cluster,
        &[
            pool("shrinking", &["10.77.0.60-10.77.0.63"]),
            advertisement("shrinking"),
            echo(namespace, "web", 1),
        ],
    )?;
    rolled_out(cluster, namespace, "web")?;
    let web = Service::new(namespace, "web", "web")
        .load_balancer()
        .single_stack()
        .annotation(POOL, "shrinking");
    apply(cluster, &[web.value()])?;
    let held = addresses(cluster, namespace, "web", 1)?;
    until_answered(cluster, Place::Client, (held[0], 9000), Transport::Tcp)?;
    ensure!(
        held == [IpAddr::from(Ipv4Addr::new(10, 77, 0, 60))],
        "not the lowest free address: {held:?}"
    );
    let service = ["service", "-n", namespace, "web"];

    cluster.kubectl(&[
        "annotate",
        "-n",
        namespace,
        "service",
        "web",
        "--overwrite",
        "heraldlb.io/addresses=192.0.2.9",
    ])?;
    let said = wait_condition(
        cluster,
        &service,
        "heraldlb.io/Allocated",
        "True RequestNotMet",
    )?;
    ensure!(said.contains("192.0.2.9"), "{said}");
    ensure!(
        current_addresses(cluster, namespace, "web")? == held,
        "a wish that cannot be met took the address"
    );
    cluster.kubectl(&[
        "annotate",
        "-n",
        namespace,
        "service",
        "web",
        "heraldlb.io/addresses-",
    ])?;
    wait_condition(cluster, &service, "heraldlb.io/Allocated", "True Allocated")?;

    apply(cluster, &[pool("shrinking", &["10.77.0.62-10.77.0.63"])])?;
    let said = wait_condition(cluster, &service, "heraldlb.io/AddressInPool", "False")?;
    println!("after the pool shrank: {said}");
    ensure!(
        current_addresses(cluster, namespace, "web")? == held,
        "a pool edit took the address"
    );
    ask(
        cluster.name(),
        Place::Client,
        (held[0], 9000).into(),
        Transport::Tcp,
    )
    .context("the address of a shrunken pool does not work any more")?;

    // A pool that holds an address in use goes only when the last Service has left it.
    apply(cluster, &[pool("shrinking", &["10.77.0.60-10.77.0.63"])])?;
    wait_for("the finalizer of a pool in use", SOON, || {
        let pool = get(cluster, &["addresspool", "shrinking"])?;
        let finalizers = pool["metadata"]["finalizers"].as_array();
        Ok(finalizers.is_some_and(|all| !all.is_empty()).then_some(()))
    })?;
    cluster.kubectl(&["delete", "addresspool", "shrinking", "--wait=false"])?;
    let pool = get(cluster, &["addresspool", "shrinking"])?;
    ensure!(
        !pool["metadata"]["deletionTimestamp"].is_null(),
        "the pool is not being deleted: {pool}"
    );
    ask(
        cluster.name(),
        Place::Client,
        (held[0], 9000).into(),
        Transport::Tcp,
    )?;
    cluster.kubectl(&["delete", "service", "-n", namespace, "web"])?;
    wait_for("the pool to go with its last Service", SOON, || {
        let left = cluster.kubectl(&["get", "addresspools", "-o", "name"])?;
        if left.contains("shrinking") {
            Err(anyhow!("{left}"))
        } else {
            Ok(Some(()))
        }
    })?;
    cluster.kubectl(&["delete", "l2advertisement", "shrinking"])?;
    Ok(())
}
