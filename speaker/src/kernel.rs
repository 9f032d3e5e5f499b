//! Kernel settings that forwarding needs: sets what it may, names the rest with the remedy.
//!
//! In an unprivileged container /proc/sys is read-only. Per-device IPv4 settings can be changed through rtnetlink with
//! NET_ADMIN alone; the kernel uses the larger of "all" and the device for `rp_filter`, so strict (1) is loosened by
//! giving the device 2.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use herald_core::IpFamily;
use herald_speaker_core::LinkView;
use ipnet::IpNet;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, LinkAttribute, LinkMessage,
};

const STRICT: u32 = 1;
const LOOSE: u32 = 2;

/// The settings of one node, read afresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    forwarding_v4: Option<u32>,
    forwarding_v6: Option<u32>,
    rp_filter_all: u32,
    /// Of each link.
    rp_filter: BTreeMap<String, u32>,
}

/// Mends what can be mended and returns what stands in the way, each with its remedy. Only links that own a
/// subnet matter: the host ends of pods' links own none, and stay as strict as they are.
pub(crate) async fn check(links: &BTreeMap<u32, LinkView>) -> Vec<String> {
    let links = &lan(links);
    let mut settings = read(links);
    for link in links.values() {
        if strict(&settings, &link.name) {
            match loosen(link.index).await {
                Ok(()) => {
                    tracing::info!(interface = %link.name, "set rp_filter to 2 (loose)");
                    settings.rp_filter.insert(link.name.to_string(), LOOSE);
                }
                Err(error) => {
                    tracing::warn!(interface = %link.name, %error, "cannot set rp_filter");
                }
            }
        }
    }
    for (family, path) in [
        (IpFamily::V4, "net/ipv4/ip_forward"),
        (IpFamily::V6, "net/ipv6/conf/all/forwarding"),
    ] {
        let value = match family {
            IpFamily::V4 => &mut settings.forwarding_v4,
            IpFamily::V6 => &mut settings.forwarding_v6,
        };
        if *value == Some(0) && has(links, family) && std::fs::write(sysctl(path), "1").is_ok() {
            tracing::info!(setting = path, "switched forwarding on");
            *value = Some(1);
        }
    }
    problems(&settings, links)
}

/// What stands in the way, in a stable order.
fn problems(settings: &Settings, links: &BTreeMap<u32, LinkView>) -> Vec<String> {
    let mut problems = Vec::new();
    if settings.forwarding_v4 == Some(0) && has(links, IpFamily::V4) {
        problems.push(
            "IPv4 forwarding is off: run sysctl -w net.ipv4.ip_forward=1 on the node".to_owned(),
        );
    }
    if settings.forwarding_v6 == Some(0) && has(links, IpFamily::V6) {
        problems.push(
            "IPv6 forwarding is off: run sysctl -w net.ipv6.conf.all.forwarding=1 on the node"
                .to_owned(),
        );
    }
    for link in links.values().filter(|link| strict(settings, &link.name)) {
        let name = &link.name;
        problems.push(format!(
            "strict reverse path filter on {name} drops replies: run sysctl -w net.ipv4.conf.{name}.rp_filter=2 on the node"
        ));
    }
    problems
}

fn strict(settings: &Settings, name: &str) -> bool {
    let own = settings.rp_filter.get(name).copied().unwrap_or(0);
    own.max(settings.rp_filter_all) == STRICT
}

fn lan(links: &BTreeMap<u32, LinkView>) -> BTreeMap<u32, LinkView> {
    let subnet = |net: &IpNet| !link_local(net.addr()) && net.prefix_len() < net.max_prefix_len();
    let kept = links
        .iter()
        .filter(|(_, link)| link.addresses.iter().any(subnet));
    kept.map(|(index, link)| (*index, link.clone())).collect()
}

/// Whether a link has an address of the family that is not link-local.
fn has(links: &BTreeMap<u32, LinkView>, family: IpFamily) -> bool {
    let all = links.values().flat_map(|link| &link.addresses);
    all.map(IpNet::addr)
        .any(|address| IpFamily::of(address) == family && !link_local(address))
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn read(links: &BTreeMap<u32, LinkView>) -> Settings {
    let number = |path: &str| -> Option<u32> {
        std::fs::read_to_string(sysctl(path))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let of_link = |link: &LinkView| {
        let value = number(&format!("net/ipv4/conf/{}/rp_filter", link.name))?;
        Some((link.name.to_string(), value))
    };
    Settings {
        forwarding_v4: number("net/ipv4/ip_forward"),
        forwarding_v6: number("net/ipv6/conf/all/forwarding"),
        rp_filter_all: number("net/ipv4/conf/all/rp_filter").unwrap_or(0),
        rp_filter: links.values().filter_map(of_link).collect(),
    }
}

fn sysctl(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}

/// Sets one link's `rp_filter` to loose by RTM_SETLINK, IFLA_AF_SPEC, IFLA_INET_CONF.
async fn loosen(index: u32) -> Result<(), String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut conf = InetDevConf::default();
    conf.rp_filter = i32::try_from(LOOSE).unwrap_or(2);
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![
            AfSpecInet::DevConfRequest(conf),
        ])]));
    let result = handle.link().set(message).execute().await;
    connection.abort();
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use herald_speaker_core::Mac;

    use super::*;

    fn links(addresses: &[&str]) -> BTreeMap<u32, LinkView> {
        let link = LinkView {
            index: 2,
            name: "eth0".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            up: true,
            gateways: Vec::new(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        BTreeMap::from([(2, link)])
    }

    fn settings(v4: u32, v6: u32, all: u32, own: u32) -> Settings {
        Settings {
            forwarding_v4: Some(v4),
            forwarding_v6: Some(v6),
            rp_filter_all: all,
            rp_filter: BTreeMap::from([("eth0".to_owned(), own)]),
        }
    }

    #[test]
    fn the_host_end_of_a_pods_link_is_left_alone() {
        assert_eq!(lan(&links(&["10.244.1.1/32", "fe80::1/64"])).len(), 0);
        assert_eq!(lan(&links(&["10.244.1.1/32", "192.0.2.1/24"])).len(), 1);
    }

    #[test]
    fn names_what_is_in_the_way_and_the_remedy() {
        let dual = links(&["192.0.2.1/24", "2001:db8::1/64"]);
        let four = links(&["192.0.2.1/24", "fe80::1/64"]);
        for (settings, links, expected) in [
            (settings(1, 1, 0, 0), &dual, vec![]),
            (settings(0, 1, 0, 0), &dual, vec!["net.ipv4.ip_forward=1"]),
            (
                settings(1, 0, 0, 0),
                &dual,
                vec!["net.ipv6.conf.all.forwarding=1"],
            ),
            (settings(1, 0, 0, 0), &four, vec![]),
            (
                settings(1, 1, 1, 0),
                &dual,
                vec!["net.ipv4.conf.eth0.rp_filter=2"],
            ),
            (
                settings(1, 1, 0, 1),
                &dual,
                vec!["net.ipv4.conf.eth0.rp_filter=2"],
            ),
            (settings(1, 1, 1, 2), &dual, vec![]),
            (settings(1, 1, 2, 1), &dual, vec![]),
        ] {
            let problems = problems(&settings, links);
            assert_eq!(problems.len(), expected.len(), "{settings:?}: {problems:?}");
            for (problem, part) in problems.iter().zip(expected) {
                assert!(problem.contains(part), "{problem}");
            }
        }
    }
}
