//! What reaches which targets, and as whose.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use herald_tests::{Place, wait_for};
use serde_json::json;

use crate::nlb::{DEADLINE, Nlb, attribute, group, register};
use crate::talk::{self, Answer};
use crate::{HTTP, LINES, Lab};

/// Node ports as targets: the client's address is kept. Health is what kube-proxy says of local pods.
pub(crate) fn instances_see_the_client(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let more = json!({
        "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz",
        "HealthCheckPort": lab.service["spec"]["healthCheckNodePort"].to_string(),
    });
    let group = group(lab.aws, "instances", "TCP", "instance", &more)?;
    register(lab.aws, &group, &lab.nodes, lab.node_port(0)?)?;
    balancer.listen("TCP", 80, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}/", balancer.hostname);
    let mut nodes = BTreeSet::new();
    wait_for("answers from all nodes", DEADLINE, || {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(answer.peer == lab.remote, "{answer:?}");
        nodes.insert(answer.node);
        Ok((nodes.len() == 3).then_some(()))
    })?;
    // A client whose answers would not come back by the router is served too, if under another address.
    let answer = lab
        .cluster
        .run(Place::Client, &["curl", "-sS", "-m5", &url])?;
    Answer::parse(&answer).map(drop)
}

/// UDP node ports: checked at kube-proxy's own health port.
pub(crate) fn datagrams_reach_instances(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let more = json!({
        "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz", "HealthCheckPort": "10256",
    });
    let group = group(lab.aws, "datagrams", "UDP", "instance", &more)?;
    register(lab.aws, &group, &lab.nodes, lab.node_port(2)?)?;
    balancer.listen("UDP", LINES, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let to = SocketAddr::new(balancer.address(false)?, LINES);
    let mut nodes = BTreeSet::new();
    wait_for("datagrams from all nodes", DEADLINE, || {
        let answer = talk::udp(lab.cluster, to)?;
        ensure!(answer.peer == lab.remote, "{answer:?}");
        nodes.insert(answer.node);
        Ok((nodes.len() == 3).then_some(()))
    })
}

/// Pods as targets: the client's address is not kept, unless that is asked for.
pub(crate) fn pods_see_the_load_balancer(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "pods", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 81, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:81/", balancer.hostname);
    let own = lab.aws.addresses(&balancer.hostname)?;
    let mut pods = BTreeSet::new();
    wait_for("answers from all pods", DEADLINE, || {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(own.contains(&answer.peer), "{answer:?}");
        pods.insert(answer.pod);
        Ok((pods.len() == 3).then_some(()))
    })?;
    attribute(lab.aws, &group, "preserve_client_ip.enabled", "true")?;
    lab.aws.settled()?;
    let answer = talk::http(lab.cluster, &[&url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    Ok(())
}

pub(crate) fn the_proxy_protocol_names_the_client(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "proxied", "TCP", "ip", &json!({}))?;
    attribute(lab.aws, &group, "proxy_protocol_v2.enabled", "true")?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 82, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:82/", balancer.hostname);
    let own = lab.aws.addresses(&balancer.hostname)?;
    let answer = talk::http(lab.cluster, &[&url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    ensure!(
        answer.via.is_some_and(|via| own.contains(&via)),
        "{answer:?}"
    );
    // Both: the connection itself comes from the client too.
    attribute(lab.aws, &group, "preserve_client_ip.enabled", "true")?;
    lab.aws.settled()?;
    let answer = talk::http(lab.cluster, &[&url])?;
    let both = [Some(answer.peer), answer.via];
    ensure!(both == [Some(lab.remote); 2], "{answer:?}");
    Ok(())
}

/// Terminated, and terminated and encrypted again; instances see the client all the same.
pub(crate) fn tls_ends_at_the_load_balancer(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let instances = group(lab.aws, "tls", "TCP", "instance", &json!({}))?;
    register(lab.aws, &instances, &lab.nodes, lab.node_port(0)?)?;
    balancer.listen("TLS", 443, &instances)?;
    lab.aws
        .wait_for_targets(&instances, "healthy", 3, DEADLINE)?;
    let certificate = lab.aws.certificate();
    let trusted = certificate.to_str().context("path is not UTF-8")?;
    let url = format!("https://{}/", balancer.hostname);
    let answer = talk::http(lab.cluster, &["--cacert", trusted, &url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    ensure!(
        talk::http(lab.cluster, &[&url]).is_err(),
        "nobody trusts it"
    );

    let folder = lab.cluster.folder().join("aws/certificates");
    let pair = only_file(&folder)?;
    let mut server = Command::new("openssl");
    server
        .args(["s_server", "-quiet", "-www", "-accept", "8443", "-cert"])
        .args([&pair, Path::new("-key"), &pair]);
    let _server = lab.cluster.spawn_in(Place::Client, server)?;
    let group = group(
        lab.aws,
        "tls-again",
        "TLS",
        "ip",
        &json!({"HealthCheckProtocol": "TCP"}),
    )?;
    let client = Place::Client.addresses().context("client has addresses")?[0];
    register(lab.aws, &group, &[client.to_string()], 8443)?;
    balancer.listen("TLS", 444, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 1, DEADLINE)?;
    let url = format!("https://{}:444/", balancer.hostname);
    let curl = ["curl", "-sS", "-m5", "--cacert", trusted, &url];
    let page = lab.cluster.run(Place::Remote, &curl)?;
    ensure!(page.contains("s_server"), "{page}");
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(folder)?.next();
    Ok(entry.context("the folder is empty")??.path())
}
