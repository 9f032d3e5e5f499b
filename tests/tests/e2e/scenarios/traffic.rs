//! A client reaches the pods: by load-balancer address and by node port, over every family and transport.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Place, wait_for};

use crate::e2e::ask::{Answer, TRANSPORTS, Transport, ask};
use crate::e2e::objects::Service;
use crate::e2e::observe::{SOON, addresses, connections, get, node, owner};
use crate::e2e::{apply, echo_behind, herald_web};

/// TCP and UDP, IPv4 and IPv6, from the LAN and from behind the router; every pod gets its share.
///
/// The Service is hidden from kube-proxy, so that only Herald's data path can answer, and its counters must say so.
pub(crate) fn load_balancer(cluster: &Cluster, namespace: &str) -> Result<()> {
    herald_web(cluster, namespace, 3)?;
    check_load_balancer(cluster, namespace)
}

/// The assertions of [`load_balancer`], apart so that a test can show them failing where Herald's data path is off.
pub(crate) fn check_load_balancer(cluster: &Cluster, namespace: &str) -> Result<()> {
    let mut answered = BTreeSet::new();
    for address in addresses(cluster, namespace, "web", 2)? {
        let before = connections(cluster, address)?;
        for (from, transport) in each([Place::Client, Place::Remote]) {
            answered.insert(until_answered(cluster, from, (address, 9000), transport)?.pod);
        }
        let counted = connections(cluster, address)? - before;
        ensure!(
            counted >= 4,
            "4 connections to {address} answered, but Herald's data path counted {counted}: something else carried them"
        );
        wait_for(&format!("all three pods behind {address}"), SOON, || {
            answered.insert(
                ask(
                    cluster.name(),
                    Place::Client,
                    (address, 9000).into(),
                    Transport::Tcp,
                )?
                .pod,
            );
            Ok((answered.len() == 3).then_some(()))
        })?;
        answered.clear();
    }
    Ok(())
}

/// Policy Local: the owner is a node with a pod, and the pod sees the client's own address.
pub(crate) fn policy_local(cluster: &Cluster, namespace: &str) -> Result<()> {
    echo_behind(
        cluster,
        namespace,
        1,
        Service::new(namespace, "web", "web")
            .load_balancer()
            .local(),
    )?;
    let pod_node = node_of_pod(cluster, namespace, "web")?;
    for address in addresses(cluster, namespace, "web", 2)? {
        let owner = owner(cluster, address)?;
        ensure!(
            owner == pod_node,
            "{address} is owned by {owner}; the only pod runs on {pod_node}"
        );
        for (from, transport) in each([Place::Client, Place::Remote]) {
            let answer = until_answered(cluster, from, (address, 9000), transport)?;
            let own = from.addresses().context("a client has addresses")?;
            ensure!(
                own.contains(&answer.peer),
                "{transport:?} to {address}: the pod saw {}, not one of {own:?}",
                answer.peer
            );
            ensure!(
                answer.node == pod_node,
                "answered on {}, not on {pod_node}",
                answer.node
            );
        }
    }
    Ok(())
}

/// Node ports of a node with the pod and of one without it, from the LAN and from behind the router.
pub(crate) fn node_ports(cluster: &Cluster, namespace: &str) -> Result<()> {
    echo_behind(
        cluster,
        namespace,
        1,
        Service::new(namespace, "web", "web")
            .node_port()
            .not_for_kube_proxy(),
    )?;
    let with = node_of_pod(cluster, namespace, "web")?;
    let without = other_node(cluster, &with);
    let service = get(cluster, &["service", "-n", namespace, "web"])?;
    let port = |transport| {
        let name = if transport == Transport::Tcp {
            "tcp"
        } else {
            "udp"
        };
        let ports = service["spec"]["ports"].as_array()?;
        u16::try_from(ports.iter().find(|port| port["name"] == name)?["nodePort"].as_u64()?).ok()
    };
    for place in [node(&with)?, without] {
        for address in place.addresses().context("a node has addresses")? {
            for (from, transport) in each([Place::Client, Place::Remote]) {
                let port = port(transport).context("the Service has node ports")?;
                let answer = until_answered(cluster, from, (address, port), transport)?;
                ensure!(
                    answer.node == with,
                    "answered on {}, the pod runs on {with}",
                    answer.node
                );
            }
        }
    }
    Ok(())
}

/// A Service without endpoints refuses at once, instead of letting the client wait.
pub(crate) fn no_endpoints(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(
        cluster,
        &[Service::new(namespace, "void", "nobody")
            .load_balancer()
            .value()],
    )?;
    for address in addresses(cluster, namespace, "void", 2)? {
        owner(cluster, address)?;
        for transport in TRANSPORTS {
            wait_for(
                &format!("{transport:?} to {address} to be refused"),
                SOON,
                || match ask(
                    cluster.name(),
                    Place::Client,
                    (address, 9000).into(),
                    transport,
                ) {
                    Err(error) if refused(&error) => Ok(Some(())),
                    Err(error) => Err(error),
                    Ok(answer) => Err(anyhow::anyhow!("answered: {answer:?}")),
                },
            )?;
        }
    }
    Ok(())
}

fn refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// Asks until there is an answer: announcing and forwarding take a moment after the address is in the status.
pub(crate) fn until_answered(
    cluster: &Cluster,
    from: Place,
    to: (IpAddr, u16),
    transport: Transport,
) -> Result<Answer> {
    let to: SocketAddr = to.into();
    wait_for(
        &format!("{transport:?} answer at {to} for {}", from.label()),
        SOON,
        || ask(cluster.name(), from, to, transport).map(Some),
    )
}

/// The node on which the one pod of a Deployment runs.
pub(crate) fn node_of_pod(cluster: &Cluster, namespace: &str, app: &str) -> Result<String> {
    let selector = format!("app={app}");
    let pods = get(cluster, &["pods", "-n", namespace, "-l", &selector])?;
    let name = pods["items"][0]["spec"]["nodeName"]
        .as_str()
        .context("the pod is on no node")?;
    Ok(name.to_owned())
}

/// A node other than `name`.
pub(crate) fn other_node(cluster: &Cluster, name: &str) -> Place {
    (1..=cluster.nodes())
        .map(Place::Node)
        .find(|place| place.label() != name)
        .unwrap_or(Place::Node(1))
}

fn each(places: [Place; 2]) -> impl Iterator<Item = (Place, Transport)> {
    places
        .into_iter()
        .flat_map(|place| TRANSPORTS.map(|transport| (place, transport)))
}
