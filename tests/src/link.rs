//! Cables and switches between namespaces, and addresses on them.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::Netns;

/// One end of a cable.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub namespace: &'a Netns,
    /// Interface name, at most 15 characters.
    pub interface: &'a str,
}

/// Lays a cable: a veth pair with one end in each namespace, both up.
pub fn cable(one: End<'_>, other: End<'_>) -> Result<()> {
    let End {
        namespace,
        interface,
    } = one;
    let (far, far_interface) = (other.namespace.name(), other.interface);
    namespace.ip(&format!(
        "link add {interface} up type veth peer name {far_interface} netns {far}"
    ))?;
    other
        .namespace
        .ip(&format!("link set {far_interface} up"))?;
    Ok(())
}

/// Makes a switch that forwards at once and keeps frames out of the host's packet filter.
pub fn bridge(namespace: &Netns, name: &str) -> Result<()> {
    // Without a querier snooping floods as well; off it says so.
    namespace.ip(&format!(
        "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    ))?;
    namespace.ip(&format!("link set {name} up"))?;
    // Only there if br_netfilter is loaded, and then on in every new namespace.
    for switch in [
        "bridge-nf-call-iptables",
        "bridge-nf-call-ip6tables",
        "bridge-nf-call-arptables",
    ] {
        if std::path::Path::new("/proc/sys/net/bridge")
            .join(switch)
            .exists()
        {
            namespace.sysctl(&format!("bridge/{switch}"), "0")?;
        }
    }
    Ok(())
}

/// Plugs an interface into a switch.
pub fn plug(namespace: &Netns, interface: &str, bridge: &str) -> Result<()> {
    namespace
        .ip(&format!("link set {interface} master {bridge}"))
        .map(drop)
}

/// Gives an interface an address, usable at once (no duplicate address detection).
pub fn address(namespace: &Netns, interface: &str, address: IpAddr, length: u8) -> Result<()> {
    let nodad = if address.is_ipv6() { "nodad" } else { "" };
    namespace
        .ip(&format!(
            "address add {address}/{length} dev {interface} {nodad}"
        ))
        .map(drop)
}

/// Default settings of a lab host: both families, no duplicate address detection, no redirects, no router
/// advertisements, no reverse path filter; `forward` for routers and nodes. Before its links are made.
pub fn settings(namespace: &Netns, forward: bool) -> Result<()> {
    let forward = if forward { "1" } else { "0" };
    for scope in ["all", "default"] {
        for (key, value) in [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("accept_redirects", "0"),
            ("disable_ipv6", "0"),
            ("forwarding", forward),
        ] {
            namespace.sysctl(&format!("ipv6/conf/{scope}/{key}"), value)?;
        }
        for (key, value) in [
            ("rp_filter", "0"),
            ("send_redirects", "0"),
            ("accept_redirects", "0"),
            ("forwarding", forward),
        ] {
            namespace.sysctl(&format!("ipv4/conf/{scope}/{key}"), value)?;
        }
    }
    Ok(())
}

/// Runs many `ip` commands at once; the first that fails stops the rest.
pub(crate) fn ip_batch(namespace: &Netns, commands: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-n", namespace.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.join("\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("ip commands in {}: {}", namespace.name(), error.trim());
    }
    Ok(())
}
