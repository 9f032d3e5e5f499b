//! What no Service has at an address that Herald allocated: refused, and never sent round between router and node.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use herald_speaker_core::ServiceProxy;
use herald_tests::Netns;
use herald_tests::link::{End, cable};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::lab::{Lab, both, node, skipped};
use crate::net::{Outcome, SERVER_PORT, TRANSPORTS, Transport, ask, serve};
use crate::proxy::{Proxy, near, service};
use crate::{load_balancer, web};

/// A port that nobody has.
const UNKNOWN: u16 = 4242;
const TCP: i32 = 6;
const SCTP: i32 = 132;
/// For experiments (RFC 3692).
const EXPERIMENT: i32 = 253;

/// A TCP header of port 4242, with a reset and without a right checksum: connection tracking calls it invalid.
const RESET: [u8; 20] = [
    0x12, 0x34, 0x10, 0x92, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0,
];

/// The lab's client is a router: what the node sends on goes to the node again. The client is a host behind it.
fn started(label: &str) -> Result<(Lab, Netns, Proxy)> {
    let lab = Lab::with_servers(label)?;
    let remote = Netns::unique(&format!("{label}-r"))?;
    let router = &lab.client;
    router.sysctl("ipv4/ip_forward", "1")?;
    router.sysctl("ipv6/conf/all/forwarding", "1")?;
    let end = |namespace, interface| End {
        namespace,
        interface,
    };
    cable(end(router, "wan"), end(&remote, "eth0"))?;
    for (family, near, far, length) in [
        ("-4", "198.51.100.1", "198.51.100.2", 24),
        ("-6", "2001:db8:9::1", "2001:db8:9::2", 64),
    ] {
        let nodad = if family == "-6" { "nodad" } else { "" };
        router.ip(&format!("addr add {near}/{length} dev wan {nodad}"))?;
        remote.ip(&format!("addr add {far}/{length} dev eth0 {nodad}"))?;
        remote.ip(&format!("{family} route add default via {near}"))?;
    }
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut web = web();
    web.allocated_from = vec!["lan".into()];
    proxy.put(web, &near());
    proxy.replace()?;
    let [four, six] = load_balancer();
    for command in [
        "add table inet watch".to_owned(),
        "add chain inet watch seen { type filter hook prerouting priority -500; }".to_owned(),
        format!("add rule inet watch seen ip daddr {four} counter"),
        format!("add rule inet watch seen ip6 daddr {six} counter"),
    ] {
        lab.node.run(&["nft", &command])?;
    }
    Ok((lab, remote, proxy))
}

/// Packets to the load-balancer addresses that the node has seen.
fn seen(lab: &Lab) -> Result<u64> {
    let text = lab.node.run(&["nft", "list", "table", "inet", "watch"])?;
    let mut words = text.split_whitespace();
    let mut packets = 0;
    while words.any(|word| word == "packets") {
        packets += words.next().context("no count")?.parse::<u64>()?;
    }
    Ok(packets)
}

/// Sends one packet of an IP protocol.
fn send_raw(from: &Netns, address: IpAddr, protocol: i32, payload: &[u8]) -> Result<()> {
    from.enter(|| -> Result<()> {
        let domain = Domain::for_address(SocketAddr::new(address, 0));
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.send_to(payload, &SockAddr::from(SocketAddr::new(address, 0)))?;
        Ok(())
    })?
}

fn ping(from: &Netns, address: IpAddr, times: &str) -> Result<String> {
    let address = address.to_string();
    let ping = ["ping", "-n", "-c", times, "-i", "0.2", "-W", "5", &address];
    let output = from.output(&ping)?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn unknown_ports_and_protocols_of_our_addresses_are_refused() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, remote, _proxy) = started("unkn")?;
    for place in [&remote, &lab.client, &lab.near, &lab.node] {
        for address in load_balancer() {
            for transport in TRANSPORTS {
                let outcome = ask(place, transport, address, UNKNOWN)?;
                ensure!(
                    outcome == Outcome::Refused,
                    "{transport:?} {address}: {outcome:?}"
                );
                let outcome = ask(place, transport, address, 80)?;
                ensure!(
                    outcome.server() == Some("near"),
                    "{transport:?} {address}: {outcome:?}"
                );
            }
        }
    }
    for address in load_balancer() {
        let text = ping(&remote, address, "1")?.to_lowercase();
        ensure!(
            text.contains("port unreachable") && text.contains("1 packets transmitted"),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn nothing_goes_round_between_router_and_node() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, remote, _proxy) = started("loop")?;
    for (address, own) in load_balancer().into_iter().zip(node()) {
        for (protocol, payload) in [
            (TCP, &RESET[..]),
            (SCTP, b"no chunk at all"),
            (EXPERIMENT, b"what is this?"),
        ] {
            let before = seen(&lab)?;
            send_raw(&remote, address, protocol, payload)?;
            // Whatever went round had the time of these for it.
            ping(&remote, own, "3")?;
            let packets = seen(&lab)? - before;
            ensure!(
                packets == 1,
                "protocol {protocol} to {address}: {packets} packets"
            );
        }
        for transport in TRANSPORTS {
            let before = seen(&lab)?;
            ask(&remote, transport, address, UNKNOWN)?;
            let packets = seen(&lab)? - before;
            // A refusal that comes while the client still holds its socket is not heard, and the SYN sent again.
            ensure!(
                packets <= 2,
                "{transport:?} to {address}: {packets} packets"
            );
        }
        let before = seen(&lab)?;
        ping(&remote, address, "1")?;
        let packets = seen(&lab)? - before;
        ensure!(packets == 1, "echo to {address}: {packets} packets");
    }
    Ok(())
}

#[test]
fn addresses_of_others_and_of_the_node_are_left_alone() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let (lab, _remote, mut proxy) = started("notus")?;
    let mut foreign = service("foreign");
    foreign.load_balancer_ips = both("203.0.113.20", "2001:db8:2::20").to_vec();
    let mut external = service("external");
    external.external_ips = both("203.0.113.21", "2001:db8:2::21").to_vec();
    external.allocated_from = vec!["lan".into()];
    let mut stray = service("stray");
    stray.load_balancer_ips = both("203.0.113.22", "2001:db8:2::22").to_vec();
    stray.allocated_from = vec!["(unknown)".into()];
    let keys = [&foreign, &external, &stray].map(|service| service.key.clone());
    for service in [foreign, external, stray] {
        proxy.put(service, &near());
    }
    proxy.change(&keys)?;
    let refused = lab.elements("own-addresses")?;
    ensure!(
        refused == load_balancer().map(|a| a.to_string()),
        "{refused:?}"
    );

    // A host that has the address itself answers for its other ports.
    serve(&lab.node, "host")?;
    for address in load_balancer() {
        let length = if address.is_ipv4() { 32 } else { 128 };
        lab.node
            .ip(&format!("addr add {address}/{length} dev lo"))?;
        for place in [&lab.client, &lab.node] {
            let outcome = ask(place, Transport::Tcp, address, SERVER_PORT)?;
            ensure!(outcome.server() == Some("host"), "{address}: {outcome:?}");
        }
    }
    Ok(())
}
