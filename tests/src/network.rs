//! The lab's cables: LAN, hosts, router and the network behind it, and the routes to pods.

use std::thread;

use anyhow::{Result, anyhow};
use ipnet::IpNet;

use crate::link::{self, ip_batch};
use crate::netns::Netns;
use crate::state::State;
use crate::topology::{BRIDGE, INTERFACE, Place, pod_routes, prefix_length, router_far_addresses};

/// Interface of the router that leads to the remote client.
const FAR_INTERFACE: &str = "eth1";

/// Makes all namespaces and lays all cables.
pub(crate) fn build(state: &State) -> Result<()> {
    let lan = Netns::create(&Place::Lan.netns(&state.name))?;
    link::bridge(&lan, BRIDGE)?;
    thread::scope(|scope| {
        let on_lan = state
            .places()
            .into_iter()
            .filter(|place| *place != Place::Lan);
        let hosts: Vec<_> = on_lan
            .map(|place| scope.spawn(move || host(state, place)))
            .collect();
        hosts.into_iter().try_for_each(|host| {
            host.join()
                .unwrap_or_else(|_| Err(anyhow!("a thread that made a host panicked")))
        })
    })?;
    lay_far_cable(state)?;
    // Routes last: a gateway has to be reachable when it is named.
    for place in [Place::Client, Place::ControlPlane]
        .into_iter()
        .chain(nodes(state))
    {
        default_route(
            state,
            place,
            Place::Router.addresses().into_iter().flatten(),
        )?;
    }
    default_route(state, Place::Remote, router_far_addresses())
}

/// The namespace of a place.
pub(crate) fn namespace(state: &State, place: Place) -> Netns {
    Netns::open(&place.netns(&state.name))
}

/// Routes every node's pod ranges: on the other nodes, on the router (as a routed pod network has it), and where
/// the API server runs, which talks to pods for exec, port-forward and webhooks.
pub(crate) fn route_pods(state: &State, ranges: &[Vec<IpNet>]) -> Result<()> {
    for place in [Place::Router, Place::ControlPlane]
        .into_iter()
        .chain(nodes(state))
    {
        let others = (1..)
            .zip(ranges)
            .filter(|(node, _)| Place::Node(*node) != place);
        let commands: Vec<String> = others
            .flat_map(|(node, ranges)| pod_routes(node, ranges))
            .map(|route| format!("route replace {} via {}", route.range, route.via))
            .collect();
        ip_batch(&namespace(state, place), &commands)?;
    }
    Ok(())
}

fn nodes(state: &State) -> impl Iterator<Item = Place> + use<> {
    (1..=state.nodes).map(Place::Node)
}

/// Makes a host with its first interface; the remote client's is plugged in later.
fn host(state: &State, place: Place) -> Result<()> {
    let host = Netns::create(&place.netns(&state.name))?;
    link::settings(&host, matches!(place, Place::Node(_) | Place::Router))?;
    if place == Place::Remote {
        return Ok(());
    }
    let (lan, label) = (Place::Lan.netns(&state.name), place.label());
    let mac = place
        .mac()
        .map(|mac| format!("address {mac}"))
        .unwrap_or_default();
    let mut commands = vec![format!(
        "link add {INTERFACE} {mac} type veth peer name {label} netns {lan}"
    )];
    commands.extend(own_addresses(place, INTERFACE));
    ip_batch(&host, &commands)?;
    let lan = Netns::open(&lan);
    ip_batch(&lan, &[format!("link set {label} master {BRIDGE} up")])
}

fn lay_far_cable(state: &State) -> Result<()> {
    let router = Place::Router.netns(&state.name);
    let mac = Place::Remote
        .mac()
        .map(|mac| format!("address {mac}"))
        .unwrap_or_default();
    let mut commands = vec![format!(
        "link add {INTERFACE} {mac} type veth peer name {FAR_INTERFACE} netns {router}"
    )];
    commands.extend(own_addresses(Place::Remote, INTERFACE));
    ip_batch(&namespace(state, Place::Remote), &commands)?;
    let far = router_far_addresses();
    ip_batch(&Netns::open(&router), &up_with(FAR_INTERFACE, &far))
}

fn own_addresses(place: Place, interface: &str) -> Vec<String> {
    up_with(
        interface,
        &place.addresses().map(Vec::from).unwrap_or_default(),
    )
}

/// Commands that give an interface addresses, usable at once, and switch it on.
fn up_with(interface: &str, addresses: &[std::net::IpAddr]) -> Vec<String> {
    let add = addresses.iter().map(|address| {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        format!(
            "address add {address}/{} dev {interface}{nodad}",
            prefix_length(*address)
        )
    });
    add.chain([format!("link set {interface} up")]).collect()
}

fn default_route(
    state: &State,
    place: Place,
    via: impl IntoIterator<Item = std::net::IpAddr>,
) -> Result<()> {
    let commands: Vec<String> = via
        .into_iter()
        .map(|gateway| format!("route replace default via {gateway}"))
        .collect();
    ip_batch(&namespace(state, place), &commands)
}
