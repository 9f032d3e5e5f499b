//! A switch with a client and nodes on it:
//!
//! ```text
//! client 192.0.2.9 ───┐
//! a      192.0.2.11 ──┤ switch
//! b      192.0.2.12 ──┘           and the same in 2001:db8::/64; everybody's interface is "lan"
//! ```

pub(crate) mod client;
pub(crate) mod node;
pub(crate) mod scenarios;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use herald_tests::Netns;
use herald_tests::link::{End, address, bridge, cable, plug, settings};
use node::Node;

/// Long enough on a machine that is busy with other things; nothing waits this long when it works.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The addresses that are announced.
pub(crate) const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 100));
pub(crate) const V6: IpAddr =
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100));

/// The namespaces; nodes start without anything to announce.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) switch: Netns,
    pub(crate) client: Netns,
    pub(crate) a: Node,
    pub(crate) b: Node,
}

impl Lab {
    pub(crate) fn new(label: &str) -> Result<Self> {
        let short: String = label.chars().take(8).collect();
        let switch = Netns::unique(&format!("{short}-s"))?;
        bridge(&switch, "switch")?;
        let host = |name: &str, number: u8| -> Result<Netns> {
            let host = Netns::unique(&format!("{short}-{name}"))?;
            settings(&host, false)?;
            connect(&switch, &host, &format!("to-{name}"), "lan")?;
            host.ip(&format!("link set lan address {}", mac(number)))?;
            address(&host, "lan", format!("192.0.2.{number}").parse()?, 24)?;
            address(&host, "lan", format!("2001:db8::{number}").parse()?, 64)?;
            Ok(host)
        };
        let client = host("client", 9)?;
        let (a, b) = (Node::start(host("a", 11)?)?, Node::start(host("b", 12)?)?);
        Ok(Self {
            switch,
            client,
            a,
            b,
        })
    }

    /// What the nodes have said, for a failure's message.
    pub(crate) fn describe(&self) -> String {
        let [a, b] = [&self.a, &self.b].map(|node| node.lines().join("\n  "));
        format!("a said:\n  {a}\nb said:\n  {b}")
    }
}

/// Lays a cable from an interface of `host` to the switch, whose end is `port`.
pub(crate) fn connect(switch: &Netns, host: &Netns, port: &str, interface: &str) -> Result<()> {
    let (namespace, far) = (switch, host);
    let ours = End {
        namespace,
        interface: port,
    };
    let theirs = End {
        namespace: far,
        interface,
    };
    cable(ours, theirs)?;
    plug(switch, port, "switch")
}

/// The hardware address of the host of that number: they are ordered as the numbers are.
pub(crate) fn mac(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Says so and is true without root, which namespaces need.
pub(crate) fn skipped() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if !root {
        eprintln!("skipped: needs root for network namespaces");
    }
    !root
}
