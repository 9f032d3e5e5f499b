//! Kernel settings in a network namespace of our own: what the speaker may set with NET_ADMIN alone, and what it makes of the
//! rest. Needs root.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use herald_speaker::kernel::{self, set};
use herald_speaker::link::{Links, watch_links};
use herald_tests::{Netns, link};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs in a namespace with device eth0, which has an address of each family.
fn on_a_node<F: Future<Output = Result<()>>>(
    name: &str,
    test: impl FnOnce() -> F + Send,
) -> Result<()> {
    let hosts = [
        Netns::unique(name)?,
        Netns::unique(&format!("{name}-peer"))?,
    ];
    for host in &hosts {
        link::settings(host, true)?;
    }
    let end = |namespace| link::End {
        namespace,
        interface: "eth0",
    };
    link::cable(end(&hosts[0]), end(&hosts[1]))?;
    link::address(&hosts[0], "eth0", "192.0.2.1".parse()?, 24)?;
    link::address(&hosts[0], "eth0", "2001:db8::1".parse()?, 64)?;
    hosts[0].enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(test())
    })?
}

fn sysctl(path: &str, value: Option<&str>) -> Result<String> {
    let path = format!("/proc/sys/net/{path}");
    if let Some(value) = value {
        std::fs::write(&path, value)?;
    }
    Ok(std::fs::read_to_string(&path)?.trim().to_owned())
}

async fn links() -> Result<Links> {
    let (sender, mut seen) = watch::channel(None);
    let watching = tokio::spawn(watch_links(sender));
    let has_both = |links: &Option<Links>| {
        let all = links.iter().flat_map(BTreeMap::values);
        all.flat_map(|link| &link.addresses).count() >= 2
    };
    let links = tokio::time::timeout(DEADLINE, seen.wait_for(has_both)).await??;
    let links = links.clone().unwrap_or_default();
    watching.abort();
    Ok(links)
}

#[test]
fn single_devices_are_set_by_rtnetlink() -> Result<()> {
    on_a_node("devices", || async {
        sysctl("ipv4/ip_forward", Some("0"))?;
        sysctl("ipv4/conf/eth0/rp_filter", Some("1"))?;
        ensure!(sysctl("ipv4/conf/eth0/forwarding", None)? == "0");
        set::forwarding("eth0").await?;
        set::rp_filter("eth0", 2).await?;
        ensure!(sysctl("ipv4/conf/eth0/forwarding", None)? == "1");
        ensure!(sysctl("ipv4/conf/eth0/rp_filter", None)? == "2");
        ensure!(sysctl("ipv4/ip_forward", None)? == "0", "the others stay");
        ensure!(set::forwarding("nowhere").await.is_err());
        Ok(())
    })
}

#[test]
fn forwarding_is_switched_on_and_a_single_device_is_left_alone() -> Result<()> {
    on_a_node("switch", || async {
        let links = links().await?;
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            sysctl(path, Some("0"))?;
        }
        sysctl("ipv4/conf/eth0/rp_filter", Some("1"))?;
        let settings = kernel::check(&links).await;
        ensure!(
            settings == kernel::KernelSettings::default(),
            "{settings:?}"
        );
        for path in ["ipv4/conf/eth0/forwarding", "ipv6/conf/all/forwarding"] {
            ensure!(sysctl(path, None)? == "1", "{path}");
        }
        ensure!(sysctl("ipv4/conf/eth0/rp_filter", None)? == "2");

        sysctl("ipv4/conf/eth0/forwarding", Some("0"))?;
        let settings = kernel::check(&links).await;
        ensure!(settings.not_forwarding.contains_key("eth0"), "{settings:?}");
        ensure!(
            settings
                .problems
                .iter()
                .any(|said| said.contains("net.ipv4.conf.eth0.forwarding=1")),
            "{settings:?}"
        );
        Ok(())
    })
}

#[test]
fn a_change_of_a_setting_is_noticed() -> Result<()> {
    on_a_node("notice", || async {
        let links = links().await?;
        let (known, seen) = watch::channel(Some(links));
        let (observations, mut received) = tokio::sync::mpsc::channel(64);
        let following = tokio::spawn(kernel::follow(seen, observations, true));
        let mut settled = async |expected: usize| -> Result<()> {
            tokio::time::timeout(DEADLINE, async {
                while let Some(observation) = received.recv().await {
                    if let herald_speaker::engine::Observation::KernelSettings(settings) =
                        observation
                        && settings.problems.len() == expected
                    {
                        return;
                    }
                }
            })
            .await?;
            Ok(())
        };
        settled(0).await?;
        sysctl("ipv4/conf/eth0/forwarding", Some("0"))?;
        settled(1).await?;
        sysctl("ipv4/conf/eth0/forwarding", Some("1"))?;
        settled(0).await?;
        following.abort();
        drop(known);
        Ok(())
    })
}
