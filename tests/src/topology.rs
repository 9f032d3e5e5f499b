//! Who has which address. Clusters side by side use the same ones: each lives in namespaces of its own.
//!
//! ```text
//!  n1 .11   n2 .12 …   control plane .2   client .50
//!    │        │              │              │
//!  ──┴────────┴──── LAN 10.77.0.0/24 ───────┴──┬──  fd00:77::/64
//!                                          router .1
//!                                              │ 10.78.0.0/24, fd00:78::/64
//!                                          remote .50
//! ```
//! The rest of the LAN, from .100 on, is free for address pools. With AWS the router also has the load balancers'
//! addresses, of 10.79.0.0/16 and fd00:79::/48.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;

/// More would run into the client's address.
pub(crate) const MAX_NODES: usize = 30;
/// All interfaces have this name in their namespace; the other end is named after the place.
pub(crate) const INTERFACE: &str = "eth0";
/// The switch, in the LAN's namespace.
pub(crate) const BRIDGE: &str = "br0";

/// The LAN, IPv4 and IPv6.
pub(crate) const LAN_RANGES: [&str; 2] = ["10.77.0.0/24", "fd00:77::/64"];
pub(crate) const POD_CIDRS: &str = "10.244.0.0/16,fd00:10:244::/48";
pub(crate) const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:10:96::/112";
/// First addresses of the Service ranges, by which pods know the API server.
pub(crate) const API_CLUSTER_IPS: [&str; 2] = ["10.96.0.1", "fd00:10:96::1"];
pub(crate) const DNS_CLUSTER_IPS: [&str; 2] = ["10.96.0.10", "fd00:10:96::a"];
pub(crate) const API_PORT: u16 = 6443;

/// A host of the lab, in a network namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A node, counted from 1 as its name is (`n1`).
    Node(usize),
    /// A host on the nodes' LAN.
    Client,
    /// A host behind the router.
    Remote,
    /// The LAN's default gateway.
    Router,
    /// The switch itself, which sees every frame on `br0`.
    Lan,
    /// Where etcd, the API server and the controllers run.
    ControlPlane,
}

impl Place {
    /// Short name: `n1`, `client`, `remote`, `router`, `lan`, `cp`.
    pub fn label(self) -> String {
        match self {
            Self::Node(number) => node_name(number),
            Self::Client => "client".to_owned(),
            Self::Remote => "remote".to_owned(),
            Self::Router => "router".to_owned(),
            Self::Lan => "lan".to_owned(),
            Self::ControlPlane => "cp".to_owned(),
        }
    }

    /// The place of that label.
    pub fn parse(label: &str) -> Option<Self> {
        let fixed = [
            Self::Client,
            Self::Remote,
            Self::Router,
            Self::Lan,
            Self::ControlPlane,
        ];
        let node = |label: &str| {
            let number: usize = label.strip_prefix('n')?.parse().ok()?;
            (1..=MAX_NODES)
                .contains(&number)
                .then_some(Self::Node(number))
        };
        fixed
            .into_iter()
            .find(|place| place.label() == label)
            .or_else(|| node(label))
    }

    /// Name of its namespace in cluster `cluster`, as `ip netns` knows it.
    pub fn netns(self, cluster: &str) -> String {
        format!("herald-{cluster}-{}", self.label())
    }

    /// Its addresses on its first interface, v4 then v6; none for the switch.
    pub fn addresses(self) -> Option<[IpAddr; 2]> {
        let host = match self {
            Self::Router => 1,
            Self::ControlPlane => 2,
            Self::Node(number) => 10 + u8::try_from(number).ok()?,
            Self::Client | Self::Remote => 50,
            Self::Lan => return None,
        };
        let network = if self == Self::Remote { 78 } else { 77 };
        // The v6 address reads as the v4 one does: host 11 is ::11.
        let digits = u16::from(host / 10 * 16 + host % 10);
        Some([
            Ipv4Addr::new(10, network, 0, host).into(),
            Ipv6Addr::new(
                0xfd00,
                if network == 78 { 0x78 } else { 0x77 },
                0,
                0,
                0,
                0,
                0,
                digits,
            )
            .into(),
        ])
    }

    /// The first interface's hardware address, which also reads as the address does.
    pub fn mac(self) -> Option<String> {
        let [IpAddr::V4(address), _] = self.addresses()? else {
            return None;
        };
        let [_, network, _, host] = address.octets();
        Some(format!("02:00:00:00:{network}:{host:02}"))
    }
}

/// Name of the `number`th node, from 1.
pub fn node_name(number: usize) -> String {
    format!("n{number}")
}

/// How long the network part of a LAN address is.
pub(crate) fn prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// The addresses on the far side of the router from the LAN.
pub(crate) fn router_far_addresses() -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 78, 0, 1).into(),
        Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1).into(),
    ]
}

/// Where `/run/netns` has the namespace of that name.
pub(crate) fn netns_path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// A node's pod ranges, and its LAN addresses through which others reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRoute {
    pub(crate) range: IpNet,
    pub(crate) via: IpAddr,
}

/// Pairs a node's pod ranges with its address of the same family.
pub(crate) fn pod_routes(node: usize, ranges: &[IpNet]) -> Vec<PodRoute> {
    let addresses = Place::Node(node).addresses().into_iter().flatten();
    let via = |range: &IpNet| {
        addresses
            .clone()
            .find(|address| address.is_ipv4() == range.addr().is_ipv4())
    };
    ranges
        .iter()
        .filter_map(|range| {
            Some(PodRoute {
                range: *range,
                via: via(range)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_places_agree() {
        for place in [
            Place::Node(1),
            Place::Node(12),
            Place::Client,
            Place::Remote,
            Place::Lan,
        ] {
            assert_eq!(Place::parse(&place.label()), Some(place));
        }
        for not_a_place in ["n0", "n", "n31", "nx", "", "node1"] {
            assert_eq!(Place::parse(not_a_place), None, "{not_a_place}");
        }
    }

    #[test]
    fn addresses_of_both_families_read_alike() {
        let text = |place: Place| {
            place
                .addresses()
                .unwrap()
                .map(|address| address.to_string())
        };
        assert_eq!(text(Place::Node(3)), ["10.77.0.13", "fd00:77::13"]);
        assert_eq!(text(Place::Router), ["10.77.0.1", "fd00:77::1"]);
        assert_eq!(text(Place::Remote), ["10.78.0.50", "fd00:78::50"]);
        assert_eq!(Place::Node(3).mac().unwrap(), "02:00:00:00:77:13");
        assert_eq!(Place::Lan.addresses(), None);
    }

    #[test]
    fn pod_ranges_go_by_the_address_of_their_family() {
        let ranges = [
            "10.244.1.0/24".parse().unwrap(),
            "fd00:10:244:1::/64".parse().unwrap(),
        ];
        let routes = pod_routes(2, &ranges);
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[0].via, "10.77.0.12".parse::<IpAddr>().unwrap());
        assert_eq!(routes[1].via, "fd00:77::12".parse::<IpAddr>().unwrap());
    }
}
