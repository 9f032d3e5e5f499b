//! The order in which a cluster comes up.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;

use crate::cluster::{Cluster, ClusterOptions, PATIENCE, say};
use crate::process::{self, MARK, Recorded};
use crate::state::{Phase, ServiceProxy, State, folder};
use crate::topology::{BRIDGE, DNS_CLUSTER_IPS, Place, node_name};
use crate::wait::wait_for;
use crate::{aws, control_plane, images, inotify, network, node, parts, relay};

/// Brings up everything; each process is written down as soon as it runs.
pub(crate) fn run(
    cluster: &mut Cluster,
    options: &ClusterOptions,
    program: &Path,
    begun: Instant,
) -> Result<()> {
    let state = &mut cluster.state;
    state.save()?;
    inotify::make_room(Path::new(inotify::INSTANCES))?;
    std::os::unix::fs::symlink(program, folder(&state.name).join("bin/kubectl"))?;
    let (coredns, coredns_image) = parts::coredns_image()?;
    network::build(state)?;
    start_capture(state)?;
    control_plane::write_credentials(state)?;
    say(begun, "network namespaces, cables, certificates");
    if options.aws.is_some() {
        // First: it takes some seconds to be ready.
        aws::start_moto(state)?;
    }

    control_plane::start_api(state, program)?;
    start_on_nodes(state, node::start_containerd)?;
    let mut archives = options.images.clone();
    archives.extend(images::pause_if_missing(state, &archives)?);
    archives.push(coredns);
    for number in 1..=state.nodes {
        node::wait_for_containerd(state, number)?;
    }
    let seen: &State = state;
    thread::scope(|scope| -> Result<()> {
        let importing = scope.spawn(|| images::import(seen, &archives));
        control_plane::wait_for_api(seen, PATIENCE)?;
        say(begun, "API server ready");
        importing
            .join()
            .map_err(|_| anyhow!("the thread that imports images panicked"))?
    })?;
    say(begun, "images imported");

    control_plane::start_controllers(state, program)?;
    relay::start(state)?;
    if let Some(options) = &options.aws {
        // Before the kubelets: moto chooses the nodes' instance ids.
        state.aws = Some(aws::make(state, options)?);
        state.save()?;
        say(begun, "AWS: VPC, subnets, instances");
    }
    start_on_nodes(state, |state, number| {
        node::start_kubelet(state, number, program)
    })?;
    if state.service_proxy.has_kube_proxy() {
        start_on_nodes(state, |state, number| {
            node::start_kube_proxy(state, number, program)
        })?;
    }

    let ranges = wait_for("pod ranges of every node", PATIENCE, || pod_ranges(cluster))?;
    network::route_pods(&cluster.state, &ranges)?;
    for (number, ranges) in (1..).zip(&ranges) {
        node::write_cni(&cluster.state, number, ranges)?;
    }
    if options.aws.is_some() {
        aws::make_pod_subnets(&mut cluster.state, &ranges)?;
        aws::start_balancer(&mut cluster.state)?;
        say(begun, "AWS: load balancer");
    }
    wait_for("Ready nodes", PATIENCE, || nodes_ready(cluster))?;
    say(begun, "all nodes Ready");

    cluster.kubectl_apply(
        &include_str!("dns.yaml")
            .replace("IMAGE", coredns_image)
            .replace("CLUSTER_IP_V4", DNS_CLUSTER_IPS[0])
            .replace("CLUSTER_IP_V6", DNS_CLUSTER_IPS[1]),
    )?;
    // Without kube-proxy nothing carries CoreDNS to the API server before Herald runs.
    if options.service_proxy != ServiceProxy::All {
        cluster.wait_for_rollout("kube-system", "deployment/coredns", PATIENCE)?;
        say(begun, "CoreDNS ready");
    }
    if options.herald {
        cluster.install_herald()?;
        say(begun, "Herald rolled out");
        if options.service_proxy == ServiceProxy::All {
            cluster.wait_for_rollout("kube-system", "deployment/coredns", PATIENCE)?;
            say(begun, "CoreDNS ready");
        }
    }
    cluster.state.phase = Phase::Up;
    cluster.state.save()
}

/// Starts one program on every node and writes each down.
fn start_on_nodes(
    state: &mut State,
    start: impl Fn(&State, usize) -> Result<Recorded>,
) -> Result<()> {
    for number in 1..=state.nodes {
        let process = start(state, number)?;
        state.processes.push(process);
        state.save()?;
    }
    Ok(())
}

/// Keeps the LAN's latest packets in a ring of files, from the start, so that they are there when a test fails.
/// Packets of the control plane are left out, except its ARP and NDP.
fn start_capture(state: &mut State) -> Result<()> {
    let cp = Place::ControlPlane
        .addresses()
        .context("the control plane has addresses")?;
    let files = folder(&state.name).join("captures/lan.pcap");
    let filter = format!("arp or icmp6 or not (host {} or host {})", cp[0], cp[1]);
    let mut command = Command::new("tcpdump");
    command.args([
        "-i", BRIDGE, "-n", "-U", "-s", "160", "-Z", "root", "-C", "16", "-W", "4", "-w",
    ]);
    command.arg(&files).arg(filter).env(MARK, &state.name);
    let inside = vec![network::namespace(state, Place::Lan).join()?];
    let process = process::start(
        "capture",
        command,
        &node::log_path(state, "capture"),
        inside,
    )?;
    state.processes.push(process);
    state.save()
}

/// The pod ranges that Kubernetes gave to each node, in the order of the nodes; none until all have both families.
fn pod_ranges(cluster: &Cluster) -> Result<Option<Vec<Vec<IpNet>>>> {
    check_processes(&cluster.state)?;
    let list = cluster.kubectl_json(&["get", "nodes"])?;
    let mut found = BTreeMap::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let ranges = item["spec"]["podCIDRs"].as_array().into_iter().flatten();
        let ranges: Vec<IpNet> = ranges
            .filter_map(|range| range.as_str()?.parse().ok())
            .collect();
        found.insert(
            item["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            ranges,
        );
    }
    let mut all = Vec::new();
    for number in 1..=cluster.nodes() {
        match found.remove(&node_name(number)) {
            Some(ranges) if ranges.len() == 2 => all.push(ranges),
            seen => bail!("{} has pod ranges {seen:?}", node_name(number)),
        }
    }
    Ok(Some(all))
}

fn nodes_ready(cluster: &Cluster) -> Result<Option<()>> {
    check_processes(&cluster.state)?;
    let not_ready = cluster.nodes_not_ready()?;
    if not_ready.is_empty() {
        return Ok(Some(()));
    }
    bail!("not Ready: {}", not_ready.join("; "))
}

/// Fails while a process that should run does not, naming it and its log.
fn check_processes(state: &State) -> Result<()> {
    let roles: Vec<&str> = state
        .processes
        .iter()
        .map(|process| process.role.as_str())
        .collect();
    control_plane::check_running(state, &roles)
}
