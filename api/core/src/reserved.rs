//! Addresses that are somebody's already: no Service may have one as its external address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{AddressRange, ServiceKey};

/// What an address is that no Service may have as its external address. It reads on after "192.0.2.1 is".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reservation {
    /// It means something by itself, everywhere.
    Special(&'static str),
    /// An API server answers there.
    ApiServer,
    /// The address of a node.
    Node(Arc<str>),
    /// The node's way out of its subnet.
    Gateway(Arc<str>),
    /// The cluster IP of a Service.
    ClusterIp(ServiceKey),
    /// Cluster IPs are given from there; the name of the ServiceCIDR.
    ClusterIpRange(Arc<str>),
    /// The first address of a subnet of the node.
    Network(Arc<str>),
    /// The last address of an IPv4 subnet of the node.
    Broadcast(Arc<str>),
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(what) => f.write_str(what),
            Self::ApiServer => f.write_str("the address of an API server"),
            Self::Node(node) => write!(f, "an address of node {node}"),
            Self::Gateway(node) => write!(f, "the gateway of node {node}"),
            Self::ClusterIp(key) => write!(f, "the cluster IP of Service {key}"),
            Self::ClusterIpRange(name) => write!(f, "in the range of ServiceCIDR {name}"),
            Self::Network(node) => write!(f, "the first address of a subnet of node {node}"),
            Self::Broadcast(node) => write!(f, "the broadcast address of a subnet of node {node}"),
        }
    }
}

/// First, last and meaning of the addresses that mean something by themselves (RFC 6890 and 4291). 240.0.0.0/4 is not
/// among them: it works as any unicast range does, and there are networks that use it.
const SPECIAL: [(&str, &str); 10] = [
    ("0.0.0.0/8", "an address of \"this network\" (0.0.0.0/8)"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255", "the limited broadcast address"),
    ("::1", "the loopback address"),
    (
        "::/96",
        "the unspecified address, or an old form of an IPv4 address (::/96)",
    ),
    ("::ffff:0:0/96", "an IPv4 address in IPv6 notation"),
    ("fe80::/10", "a link-local address"),
    ("ff00::/8", "a multicast address"),
];

/// The addresses that are reserved in every network, and what they are. Of two that overlap the first holds.
pub fn special_ranges() -> Vec<(AddressRange, Reservation)> {
    let parsed = SPECIAL.iter().filter_map(|(text, what)| {
        let range = text.parse().ok()?;
        Some((range, Reservation::Special(what)))
    });
    parsed.collect()
}

/// What an address is by itself.
fn special(address: IpAddr) -> Option<&'static Reservation> {
    use std::sync::LazyLock;
    static RANGES: LazyLock<Vec<(AddressRange, Reservation)>> = LazyLock::new(special_ranges);
    let found = RANGES.iter().find(|(range, _)| range.contains(address));
    found.map(|(_, what)| what)
}

/// Which addresses are somebody's. Beside those that are so everywhere it holds what it was told, each address under what
/// it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservedAddresses {
    addresses: BTreeMap<IpAddr, Vec<Reservation>>,
    /// The same the other way round.
    told: BTreeMap<Reservation, Vec<IpAddr>>,
    ranges: BTreeMap<Reservation, Vec<AddressRange>>,
    nodes: BTreeMap<Arc<str>, NodeAddresses>,
}

/// What is known of one node's addresses, by where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Those that its Node object names.
    pub named: Vec<IpAddr>,
    /// Those of its interfaces, with their prefix length.
    pub interfaces: Vec<IpNet>,
    /// The next hops of its default routes.
    pub gateways: Vec<IpAddr>,
}

impl ReservedAddresses {
    /// Makes `addresses` all that are `what`. Returns those that became or ceased to be reserved, or are now reserved for
    /// another reason.
    pub fn set(
        &mut self,
        what: &Reservation,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> BTreeSet<IpAddr> {
        let mut new: Vec<IpAddr> = addresses.into_iter().collect();
        new.sort_unstable();
        new.dedup();
        if self.told.get(what).map_or(&[][..], Vec::as_slice) == new {
            return BTreeSet::new();
        }
        let old = self.told.remove(what).unwrap_or_default();
        let mut changed = BTreeSet::new();
        for address in old.iter().chain(&new).copied().collect::<BTreeSet<_>>() {
            let before = self.of(address).cloned();
            let entries = self.addresses.entry(address).or_default();
            match (entries.binary_search(what), new.binary_search(&address)) {
                (Err(place), Ok(_)) => entries.insert(place, what.clone()),
                (Ok(place), Err(_)) => drop(entries.remove(place)),
                _ => {}
            }
            if entries.is_empty() {
                self.addresses.remove(&address);
            }
            if self.of(address) != before.as_ref() {
                changed.insert(address);
            }
        }
        if !new.is_empty() {
            self.told.insert(what.clone(), new);
        }
        changed
    }

    /// Changes what is known of a node's addresses. Returns what [`Self::set`] does.
    pub fn change_node(
        &mut self,
        node: &Arc<str>,
        change: impl FnOnce(&mut NodeAddresses),
    ) -> BTreeSet<IpAddr> {
        let mut known = self.nodes.remove(node).unwrap_or_default();
        let before = known.clone();
        change(&mut known);
        let same = known == before;
        let own = known.named.iter().copied();
        let own: Vec<IpAddr> = own
            .chain(known.interfaces.iter().map(IpNet::addr))
            .collect();
        let ends = known.interfaces.iter().copied().map(subnet_ends);
        let (first, last): (Vec<_>, Vec<_>) = ends.unzip();
        let gateways = known.gateways.clone();
        if known != NodeAddresses::default() {
            self.nodes.insert(node.clone(), known);
        }
        if same {
            return BTreeSet::new();
        }
        let mut changed = self.set(&Reservation::Node(node.clone()), own);
        changed.extend(self.set(&Reservation::Gateway(node.clone()), gateways));
        let first = first.into_iter().flatten();
        changed.extend(self.set(&Reservation::Network(node.clone()), first));
        let last = last.into_iter().flatten();
        changed.extend(self.set(&Reservation::Broadcast(node.clone()), last));
        changed
    }

    /// The nodes of which anything is known.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.keys()
    }

    /// Makes `ranges` all that are `what`. Returns whether that is news.
    pub fn set_ranges(&mut self, what: &Reservation, ranges: Vec<AddressRange>) -> bool {
        let old = if ranges.is_empty() {
            self.ranges.remove(what)
        } else {
            self.ranges.insert(what.clone(), ranges)
        };
        old.as_ref() != self.ranges.get(what)
    }

    /// What `address` is; `None` when a Service may have it.
    pub fn of(&self, address: IpAddr) -> Option<&Reservation> {
        let told = || self.addresses.get(&address)?.first();
        let ranged = || {
            let mut ranges = self.ranges.iter();
            let found = ranges.find(|(_, all)| all.iter().any(|range| range.contains(address)));
            found.map(|(what, _)| what)
        };
        special(address).or_else(told).or_else(ranged)
    }

    /// The ranges that are reserved as a whole, those of every network first.
    pub fn ranges(&self) -> Vec<(AddressRange, Reservation)> {
        let mut all = special_ranges();
        for (what, ranges) in &self.ranges {
            all.extend(ranges.iter().map(|range| (*range, what.clone())));
        }
        all
    }

    /// The single addresses within `range`, in order, those in reserved ranges too.
    pub fn within(&self, range: AddressRange) -> impl Iterator<Item = (IpAddr, &Reservation)> {
        let found = self.addresses.range(range.first()..=range.last());
        found.filter_map(|(address, all)| Some((*address, all.first()?)))
    }
}

/// The addresses of `subnet` that are no host's: first and last of an IPv4 subnet that has both (RFC 3021), the
/// subnet-router anycast address of an IPv6 subnet (RFC 4291, 6164).
pub fn subnet_ends(subnet: IpNet) -> (Option<IpAddr>, Option<IpAddr>) {
    let two_hosts = subnet.prefix_len() + 1 >= subnet.max_prefix_len();
    match subnet {
        _ if two_hosts => (None, None),
        IpNet::V4(net) => (Some(net.network().into()), Some(net.broadcast().into())),
        IpNet::V6(net) => (Some(net.network().into()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn what(reserved: &ReservedAddresses, address: &str) -> String {
        reserved
            .of(ip(address))
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    #[test]
    fn some_addresses_are_reserved_everywhere() {
        let reserved = ReservedAddresses::default();
        for (address, part) in [
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("169.254.169.254", "link-local"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("255.255.255.255", "limited broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::10.0.0.1", "old form"),
            ("::ffff:10.0.0.1", "IPv6 notation"),
            ("fe80::1", "link-local"),
            ("febf:ffff::1", "link-local"),
            ("ff02::1", "multicast"),
        ] {
            let found = what(&reserved, address);
            assert!(found.contains(part), "{address}: {found:?}");
        }
        for address in [
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "10.0.0.255",
            "169.253.255.255",
            "223.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
            "::1:0:0:1",
            "64:ff9b::1",
            "fd00::",
            "fec0::1",
            "2001:db8::1",
        ] {
            assert_eq!(what(&reserved, address), "", "{address}");
        }
        assert_eq!(special_ranges().len(), SPECIAL.len());
    }

    #[test]
    fn an_address_is_reserved_as_long_as_anybody_has_it() {
        let mut reserved = ReservedAddresses::default();
        let (n1, n2) = (
            Reservation::Broadcast("n1".into()),
            Reservation::Broadcast("n2".into()),
        );
        let last = ip("192.0.2.255");
        assert_eq!(reserved.set(&n2, [last]), [last].into());
        assert_eq!(
            reserved.set(&n1, [last, last]),
            [last].into(),
            "another reason"
        );
        assert!(reserved.set(&n1, [last]).is_empty());
        assert!(reserved.set(&n2, []).is_empty(), "n1 has it still");
        assert_eq!(
            what(&reserved, "192.0.2.255"),
            "the broadcast address of a subnet of node n1"
        );
        assert_eq!(reserved.set(&n1, [ip("192.0.2.0")]).len(), 2);
        assert_eq!(what(&reserved, "192.0.2.255"), "");
        reserved.set(&n1, []);
        assert_eq!(reserved, ReservedAddresses::default());
    }

    #[test]
    fn a_node_reserves_its_addresses_its_subnets_ends_and_its_gateways() {
        let mut reserved = ReservedAddresses::default();
        let n1: Arc<str> = "n1".into();
        let nets = ["192.0.2.1/24", "2001:db8::1/64", "203.0.113.9/32"];
        let mut changed = reserved.change_node(&n1, |node| {
            node.named = vec![ip("192.0.2.1"), ip("198.51.100.1")];
            node.interfaces = nets.map(|net| net.parse().unwrap()).into();
        });
        changed.extend(reserved.change_node(&n1, |node| node.gateways = vec![ip("192.0.2.254")]));
        for (address, part) in [
            ("192.0.2.1", "an address of node n1"),
            ("198.51.100.1", "an address of node n1"),
            ("2001:db8::1", "an address of node n1"),
            ("203.0.113.9", "an address of node n1"),
            ("192.0.2.0", "first address"),
            ("192.0.2.255", "broadcast"),
            ("2001:db8::", "first address"),
            ("192.0.2.254", "gateway"),
        ] {
            assert!(what(&reserved, address).contains(part), "{address}");
            assert!(changed.remove(&ip(address)), "{address}");
        }
        assert!(changed.is_empty());
        assert!(reserved.change_node(&n1, |_| ()).is_empty());
        assert_eq!(reserved.nodes().count(), 1);
        assert_eq!(
            reserved
                .change_node(&n1, |node| *node = NodeAddresses::default())
                .len(),
            8
        );
        assert_eq!(reserved, ReservedAddresses::default());
    }

    #[test]
    fn ranges_are_reserved_as_a_whole() {
        let mut reserved = ReservedAddresses::default();
        let cidr = Reservation::ClusterIpRange("kubernetes".into());
        let range: AddressRange = "10.96.0.0/16".parse().unwrap();
        assert!(reserved.set_ranges(&cidr, vec![range]));
        assert!(!reserved.set_ranges(&cidr, vec![range]));
        assert!(what(&reserved, "10.96.200.1").contains("ServiceCIDR kubernetes"));
        let dns = Reservation::ClusterIp(ServiceKey::new("kube-system", "dns"));
        reserved.set(&dns, [ip("10.96.0.10")]);
        assert!(what(&reserved, "10.96.0.10").contains("Service kube-system/dns"));
        assert!(reserved.set_ranges(&cidr, vec![]));
        assert_eq!(what(&reserved, "10.96.200.1"), "");
    }

    #[test]
    fn the_ends_of_a_subnet_are_no_hosts() {
        for (subnet, first, last) in [
            ("192.0.2.7/24", "192.0.2.0", "192.0.2.255"),
            ("192.0.2.5/30", "192.0.2.4", "192.0.2.7"),
            ("192.0.2.5/31", "", ""),
            ("192.0.2.5/32", "", ""),
            ("2001:db8::7/64", "2001:db8::", ""),
            ("2001:db8::7/127", "", ""),
            ("2001:db8::7/128", "", ""),
        ] {
            let show = |end: Option<IpAddr>| end.map(|a| a.to_string()).unwrap_or_default();
            let (start, end) = subnet_ends(subnet.parse().unwrap());
            assert_eq!(
                (show(start), show(end)),
                (first.into(), last.into()),
                "{subnet}"
            );
        }
    }
}
