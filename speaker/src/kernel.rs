//! Kernel settings that forwarding needs: watched, set where that is allowed, and else named with the remedy.
//!
//! In an unprivileged container /proc/sys is read-only. Per-device IPv4 settings can be changed through rtnetlink with
//! NET_ADMIN alone. The kernel forwards an IPv4 packet by the setting of the device it came in by, so forwarding that was
//! switched off for all devices at once (`ip_forward=0`) is switched on again for each; a device that somebody singled out
//! is left alone. It uses the larger of "all" and the device for `rp_filter`, so strict (1) is loosened by giving the
//! device 2. IPv6 has one setting for all devices, and it cannot be set that way.

mod follow;
mod netconf;
pub mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use herald_core::IpFamily;
use herald_speaker_core::LinkView;
use ipnet::IpNet;

pub use follow::follow;

const STRICT: u32 = 1;
const LOOSE: u32 = 2;

/// What the node's kernel settings stand in the way of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSettings {
    /// What is wrong, each with its remedy.
    pub problems: Vec<String>,
    /// The families that are not forwarded, by the name of the link they come in by.
    pub not_forwarding: BTreeMap<Arc<str>, BTreeSet<IpFamily>>,
}

/// The settings of one node, read afresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    forwarding_v4: Option<u32>,
    forwarding_v6: Option<u32>,
    rp_filter_all: u32,
    /// Of each link.
    rp_filter: BTreeMap<String, u32>,
    /// IPv4, of every device of the node but loopback.
    forwarding: BTreeMap<String, u32>,
}

/// Sets what can be set and says what stands in the way. Only links that own a subnet matter for that: the host ends of pods'
/// links own none.
pub async fn check(links: &BTreeMap<u32, LinkView>) -> KernelSettings {
    let links = &lan(links);
    let mut settings = read(links);
    for link in links.values() {
        if strict(&settings, &link.name) {
            match set::rp_filter(&link.name, LOOSE).await {
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
    if settings.forwarding_v6 == Some(0)
        && has(links, IpFamily::V6)
        && std::fs::write(sysctl(FORWARDING_V6), "1").is_ok()
    {
        tracing::info!(setting = FORWARDING_V6, "switched forwarding on");
        settings.forwarding_v6 = Some(1);
    }
    if settings.forwarding_v4 == Some(0) && has(links, IpFamily::V4) {
        switch_on_v4(&mut settings).await;
    }
    KernelSettings {
        problems: problems(&settings, links),
        not_forwarding: not_forwarding(&settings, links),
    }
}

const FORWARDING_V4: &str = "net/ipv4/ip_forward";
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// IPv4 forwarding is off for all devices: switches it on, as a whole where /proc/sys can be written, else for each device.
/// Pods' devices too: replies come in by them.
async fn switch_on_v4(settings: &mut Settings) {
    if std::fs::write(sysctl(FORWARDING_V4), "1").is_ok() {
        tracing::info!(setting = FORWARDING_V4, "switched forwarding on");
        settings.forwarding_v4 = Some(1);
        settings
            .forwarding
            .values_mut()
            .for_each(|value| *value = 1);
        return;
    }
    let mut switched = 0;
    for (name, value) in settings
        .forwarding
        .iter_mut()
        .filter(|(_, value)| **value == 0)
    {
        match set::forwarding(name).await {
            Ok(()) => {
                *value = 1;
                switched += 1;
            }
            // A device may go at any moment.
            Err(error) => tracing::debug!(interface = name, %error, "cannot switch forwarding on"),
        }
    }
    if switched > 0 {
        tracing::warn!(
            devices = switched,
            "net.ipv4.ip_forward is 0: switched IPv4 forwarding on for each device instead"
        );
    }
}

/// The families that are not forwarded, for each link that has an address of the family.
fn not_forwarding(
    settings: &Settings,
    links: &BTreeMap<u32, LinkView>,
) -> BTreeMap<Arc<str>, BTreeSet<IpFamily>> {
    let mut all: BTreeMap<Arc<str>, BTreeSet<IpFamily>> = BTreeMap::new();
    for link in links.values() {
        if off_v4(settings, &link.name) {
            all.entry(link.name.clone())
                .or_default()
                .insert(IpFamily::V4);
        }
        if settings.forwarding_v6 == Some(0) {
            all.entry(link.name.clone())
                .or_default()
                .insert(IpFamily::V6);
        }
    }
    all
}

fn off_v4(settings: &Settings, name: &str) -> bool {
    let own = settings.forwarding.get(name).copied();
    own.or(settings.forwarding_v4) == Some(0)
}

/// What stands in the way, in a stable order.
fn problems(settings: &Settings, links: &BTreeMap<u32, LinkView>) -> Vec<String> {
    let mut problems = Vec::new();
    let off: Vec<&LinkView> = links
        .values()
        .filter(|link| off_v4(settings, &link.name))
        .collect();
    if settings.forwarding_v4 == Some(0) && !off.is_empty() && has(links, IpFamily::V4) {
        problems.push(
            "IPv4 forwarding is off: run sysctl -w net.ipv4.ip_forward=1 on the node".to_owned(),
        );
    } else if has(links, IpFamily::V4) {
        for link in off {
            let name = &link.name;
            problems.push(format!(
                "IPv4 forwarding is off on {name}: run sysctl -w net.ipv4.conf.{name}.forwarding=1 on the node, or announce \
                 on other interfaces"
            ));
        }
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
    let of_link = |link: &LinkView| {
        let value = number(&format!("net/ipv4/conf/{}/rp_filter", link.name))?;
        Some((link.name.to_string(), value))
    };
    Settings {
        forwarding_v4: number(FORWARDING_V4),
        forwarding_v6: number(FORWARDING_V6),
        rp_filter_all: number("net/ipv4/conf/all/rp_filter").unwrap_or(0),
        rp_filter: links.values().filter_map(of_link).collect(),
        forwarding: devices()
            .filter_map(|name| {
                let value = number(&format!("net/ipv4/conf/{name}/forwarding"))?;
                Some((name, value))
            })
            .collect(),
    }
}

fn number(path: &str) -> Option<u32> {
    let text = std::fs::read_to_string(sysctl(path)).ok()?;
    text.trim().parse().ok()
}

/// Every device with IPv4 settings but loopback.
fn devices() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(sysctl("net/ipv4/conf"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !["all", "default", "lo"].contains(&name.as_str()))
}

fn sysctl(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
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
            forwarding: BTreeMap::from([("eth0".to_owned(), v4)]),
        }
    }

    #[test]
    fn a_family_that_is_not_forwarded_is_said_of_the_link_it_comes_in_by() {
        let dual = links(&["192.0.2.1/24", "2001:db8::1/64"]);
        let families = |settings: &Settings| -> Vec<IpFamily> {
            let all = not_forwarding(settings, &dual);
            all.get("eth0").into_iter().flatten().copied().collect()
        };
        assert_eq!(families(&settings(1, 1, 0, 0)), []);
        assert_eq!(families(&settings(0, 1, 0, 0)), [IpFamily::V4]);
        assert_eq!(families(&settings(1, 0, 0, 0)), [IpFamily::V6]);
        assert_eq!(
            families(&settings(0, 0, 1, 1)),
            [IpFamily::V4, IpFamily::V6]
        );
        assert_eq!(families(&Settings::default()), [], "unknown is no verdict");
        // The device decides, not the sum of all.
        let device = |all, own| Settings {
            forwarding_v4: Some(all),
            ..settings(own, 1, 0, 0)
        };
        assert_eq!(families(&device(0, 1)), []);
        assert_eq!(problems(&device(0, 1), &dual), Vec::<String>::new());
        assert_eq!(families(&device(1, 0)), [IpFamily::V4]);
        let said = problems(&device(1, 0), &dual);
        assert!(
            said[0].contains("net.ipv4.conf.eth0.forwarding=1"),
            "{said:?}"
        );
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
