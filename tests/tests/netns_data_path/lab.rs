//! A node between a client and two pods, one of this node and one of another: real sockets on both sides of the rules.
//!
//! ```text
//! client 192.0.2.10 ── 192.0.2.1 node 10.244.1.1 ── near 10.244.1.11  (pod of this node)
//!                                     10.244.2.1 ── far  10.244.2.12  (pod of another node)
//! ```

use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_tests::Netns;
use herald_tests::link::{End, cable};
use tracing_subscriber::EnvFilter;

use crate::net::serve;

/// The namespaces.
pub(crate) struct Lab {
    pub(crate) client: Netns,
    pub(crate) node: Netns,
    pub(crate) near: Netns,
    pub(crate) far: Netns,
}

/// Both families' form of an address of the lab.
#[expect(clippy::panic, reason = "only literals of these tests come here")]
pub(crate) fn both(four: &str, six: &str) -> [IpAddr; 2] {
    [four, six].map(|address| match address.parse() {
        Ok(address) => address,
        Err(error) => panic!("{address}: {error}"),
    })
}

pub(crate) fn client() -> [IpAddr; 2] {
    both("192.0.2.10", "2001:db8:1::10")
}

pub(crate) fn node() -> [IpAddr; 2] {
    both("192.0.2.1", "2001:db8:1::1")
}

pub(crate) fn near() -> [IpAddr; 2] {
    both("10.244.1.11", "fd00:244:1::11")
}

pub(crate) fn far() -> [IpAddr; 2] {
    both("10.244.2.12", "fd00:244:2::12")
}

/// Where the pods see masqueraded connections come from.
pub(crate) fn gateways() -> [IpAddr; 4] {
    let [a, b] = both("10.244.1.1", "fd00:244:1::1");
    let [c, d] = both("10.244.2.1", "fd00:244:2::1");
    [a, b, c, d]
}

impl Lab {
    pub(crate) fn new(label: &str) -> Result<Self> {
        let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env());
        // Another test of this process may have come first.
        let _ = log.with_test_writer().try_init();
        let lab = Self {
            client: Netns::unique(&format!("{label}-c"))?,
            node: Netns::unique(&format!("{label}-n"))?,
            near: Netns::unique(&format!("{label}-p"))?,
            far: Netns::unique(&format!("{label}-f"))?,
        };
        lab.node.sysctl("ipv4/ip_forward", "1")?;
        lab.node.sysctl("ipv6/conf/all/forwarding", "1")?;
        // The kernel limits ICMP errors to one per second and peer: too few for tests of refusals.
        lab.node.sysctl("ipv4/icmp_ratelimit", "0")?;
        lab.node.sysctl("ipv6/icmp/ratelimit", "0")?;
        lab.connect("lan", &lab.client, ("192.0.2.1", "192.0.2.10"), 24)?;
        lab.connect("lan", &lab.client, ("2001:db8:1::1", "2001:db8:1::10"), 64)?;
        lab.connect("near", &lab.near, ("10.244.1.1", "10.244.1.11"), 24)?;
        lab.connect("near", &lab.near, ("fd00:244:1::1", "fd00:244:1::11"), 64)?;
        lab.connect("far", &lab.far, ("10.244.2.1", "10.244.2.12"), 24)?;
        lab.connect("far", &lab.far, ("fd00:244:2::1", "fd00:244:2::12"), 64)?;
        lab.node.ip("route add default via 192.0.2.10")?;
        lab.node.ip("-6 route add default via 2001:db8:1::10")?;
        Ok(lab)
    }

    /// With a server called `near` in the one pod and `far` in the other.
    pub(crate) fn with_servers(label: &str) -> Result<Self> {
        let lab = Self::new(label)?;
        serve(&lab.near, "near")?;
        serve(&lab.far, "far")?;
        Ok(lab)
    }

    /// Lays a cable from the node, once, and gives both ends addresses; the far end's default route leads here.
    fn connect(&self, name: &str, to: &Netns, ends: (&str, &str), length: u8) -> Result<()> {
        if self.node.ip(&format!("link show {name}")).is_err() {
            let node = End {
                namespace: &self.node,
                interface: name,
            };
            let other = End {
                namespace: to,
                interface: "eth0",
            };
            cable(node, other)?;
        }
        let (near, far) = ends;
        let nodad = if near.contains(':') { "nodad" } else { "" };
        self.node
            .ip(&format!("addr add {near}/{length} dev {name} {nodad}"))?;
        to.ip(&format!("addr add {far}/{length} dev eth0 {nodad}"))?;
        let family = if near.contains(':') { "-6" } else { "-4" };
        to.ip(&format!("{family} route add default via {near}"))?;
        Ok(())
    }

    /// What `nft` says our tables are; a failure if it cannot list the whole ruleset.
    pub(crate) fn listing(&self) -> Result<String> {
        let output = self.node.output(&["nft", "list", "ruleset"])?;
        ensure!(
            output.status.success(),
            "nft list ruleset: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The lines of one set's or map's elements, over both families.
    pub(crate) fn elements(&self, set: &str) -> Result<Vec<String>> {
        let mut elements = Vec::new();
        for family in ["ip", "ip6"] {
            let text = self
                .node
                .run(&["nft", "list", "set", family, "herald", set]);
            let text = text.or_else(|_| {
                self.node
                    .run(&["nft", "list", "map", family, "herald", set])
            })?;
            if let Some((_, rest)) = text.split_once("elements = {") {
                let rest = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
                let rest = rest.split('}').next().unwrap_or_default();
                elements.extend(
                    rest.split(',')
                        .map(|e| e.trim().to_owned())
                        .filter(|e| !e.is_empty()),
                );
            }
        }
        Ok(elements)
    }
}

/// Whatever a scenario wrote, `nft` must be able to list it.
impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let listed = self.listing().map(drop);
            assert!(listed.is_ok(), "{listed:?}");
        }
    }
}

/// These tests need root for namespaces of their own.
pub(crate) fn skipped() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| {
        use std::os::unix::fs::MetadataExt;
        m.uid() == 0
    });
    if !root {
        eprintln!("skipped: network namespaces need root");
    }
    !root
}
