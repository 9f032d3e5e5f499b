//! Cluster IPs and names, where Herald is the only service proxy.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::ask::{TRANSPORTS, Transport, parse};
use crate::e2e::objects::{Service, echo};
use crate::e2e::observe::{SOON, get};
use crate::e2e::scenarios::traffic::until_answered;
use crate::e2e::{apply, rolled_out};

/// A cluster IP from a pod and from a node, over every family and transport.
pub(crate) fn cluster_ips(cluster: &Cluster, namespace: &str) -> Result<()> {
    set_up(cluster, namespace)?;
    for address in cluster_ips_of(cluster, namespace, "web")? {
        for transport in TRANSPORTS {
            for number in 1..=cluster.nodes() {
                until_answered(cluster, Place::Node(number), (address, 9000), transport)?;
            }
            let host = if address.is_ipv6() {
                format!("[{address}]")
            } else {
                address.to_string()
            };
            let answer = from_pod(
                cluster,
                namespace,
                "asker",
                &format!("{}://{host}:9000", scheme(transport)),
            )?;
            ensure!(answer.pod.starts_with("web-"), "{answer:?}");
        }
    }
    Ok(())
}

/// Names through CoreDNS, itself a Deployment behind a cluster IP of Herald.
pub(crate) fn names(cluster: &Cluster, namespace: &str) -> Result<()> {
    set_up(cluster, namespace)?;
    for name in [
        format!("web.{namespace}.svc.cluster.local"),
        format!("web.{namespace}"),
    ] {
        for scheme in ["http", "tcp", "udp"] {
            let port = if scheme == "http" { 80 } else { 9000 };
            let answer = from_pod(
                cluster,
                namespace,
                "asker",
                &format!("{scheme}://{name}:{port}"),
            )?;
            ensure!(answer.pod.starts_with("web-"), "{answer:?}");
        }
    }
    Ok(())
}

/// A pod that asks its own Service and is picked itself gets an answer: the hairpin is masqueraded.
pub(crate) fn hairpin(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(
        cluster,
        &[
            echo(namespace, "asker", 1),
            Service::new(namespace, "self", "asker").value(),
        ],
    )?;
    rolled_out(cluster, namespace, "asker")?;
    for address in cluster_ips_of(cluster, namespace, "self")? {
        let host = if address.is_ipv6() {
            format!("[{address}]")
        } else {
            address.to_string()
        };
        for transport in TRANSPORTS {
            let answer = from_pod(
                cluster,
                namespace,
                "asker",
                &format!("{}://{host}:9000", scheme(transport)),
            )?;
            ensure!(answer.pod.starts_with("asker-"), "{answer:?}");
        }
    }
    Ok(())
}

fn set_up(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(
        cluster,
        &[
            echo(namespace, "web", 3),
            echo(namespace, "asker", 1),
            Service::new(namespace, "web", "web").value(),
        ],
    )?;
    rolled_out(cluster, namespace, "web")?;
    rolled_out(cluster, namespace, "asker")
}

fn scheme(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

pub(crate) fn cluster_ips_of(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Vec<IpAddr>> {
    let service = get(cluster, &["service", "-n", namespace, name])?;
    let addresses = service["spec"]["clusterIPs"]
        .as_array()
        .context("no cluster IPs")?;
    addresses
        .iter()
        .map(|ip| Ok(ip.as_str().unwrap_or_default().parse()?))
        .collect()
}

/// Asks from inside a pod of the Deployment.
pub(crate) fn from_pod(
    cluster: &Cluster,
    namespace: &str,
    deployment: &str,
    url: &str,
) -> Result<crate::e2e::ask::Answer> {
    let target = format!("deploy/{deployment}");
    wait_for(&format!("answer of {url} for a pod"), SOON, || {
        let text = cluster.kubectl(&[
            "exec",
            "-n",
            namespace,
            &target,
            "--",
            "/herald-echo",
            "--get",
            url,
        ])?;
        parse(&text).map(Some)
    })
}
