//! Namespaces, cables and captures, without a cluster. Needs root.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use herald_tests::{Capture, Netns, link, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// Two hosts on one cable, both families.
fn two_hosts() -> Result<[Netns; 2]> {
    let hosts = [Netns::unique("one")?, Netns::unique("two")?];
    for host in &hosts {
        link::settings(host, false)?;
    }
    let end = |namespace| link::End {
        namespace,
        interface: "eth0",
    };
    link::cable(end(&hosts[0]), end(&hosts[1]))?;
    for (number, host) in (1..).zip(&hosts) {
        link::address(host, "eth0", format!("192.0.2.{number}").parse()?, 24)?;
        link::address(host, "eth0", format!("2001:db8::{number}").parse()?, 64)?;
    }
    Ok(hosts)
}

#[test]
fn a_capture_shows_who_asked_and_who_answered() -> Result<()> {
    let [one, two] = two_hosts()?;
    let capture = Capture::start(&two, "eth0", "arp or icmp6")?;
    one.run(&["ping", "-c1", "-W5", "192.0.2.2"])?;
    one.run(&["ping", "-c1", "-W5", "2001:db8::2"])?;
    let wanted = [
        "Request who-has 192.0.2.2 tell 192.0.2.1",
        "Reply 192.0.2.2 is-at",
        "neighbor solicitation, who has 2001:db8::2",
        "neighbor advertisement, tgt is 2001:db8::2",
    ];
    wait_for("ARP and NDP in the capture", DEADLINE, || {
        let lines = capture.lines()?;
        let missing = wanted
            .iter()
            .find(|text| !lines.iter().any(|line| line.contains(**text)));
        match missing {
            None => Ok(Some(())),
            Some(missing) => bail!("{missing:?} is not in {lines:#?}"),
        }
    })?;
    let lines = capture.stop()?;
    ensure!(
        !lines.iter().any(|line| line.contains("ICMP echo")),
        "the filter holds: {lines:#?}"
    );
    Ok(())
}

#[test]
fn a_socket_opened_inside_stays_inside() -> Result<()> {
    let here = || std::fs::read_link("/proc/thread-self/ns/net");
    let before = here()?;
    for address in ["192.0.2.2:8080", "[2001:db8::2]:8080"] {
        let [one, two] = two_hosts()?;
        let listener = two.enter(|| TcpListener::bind(address))??;
        ensure!(two.enter(here)?? != before, "a function runs inside");
        ensure!(here()? == before, "the caller stays where it is");
        let mut client = one.enter(|| TcpStream::connect(address))??;
        client.write_all(b"from one")?;
        drop(client);
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        ensure!(text == "from one");
    }
    Ok(())
}

#[test]
fn a_bridge_forwards_between_its_ports() -> Result<()> {
    let (switch, hosts) = (
        Netns::unique("switch")?,
        [Netns::unique("a")?, Netns::unique("b")?],
    );
    link::bridge(&switch, "br0")?;
    for (number, host) in (1..).zip(&hosts) {
        link::settings(host, false)?;
        let port = format!("port{number}");
        let near = link::End {
            namespace: host,
            interface: "eth0",
        };
        link::cable(
            near,
            link::End {
                namespace: &switch,
                interface: &port,
            },
        )?;
        link::plug(&switch, &port, "br0")?;
        link::address(host, "eth0", format!("192.0.2.{number}").parse()?, 24)?;
        link::address(host, "eth0", format!("2001:db8::{number}").parse()?, 64)?;
    }
    for address in ["192.0.2.2", "2001:db8::2"] {
        hosts[0].run(&["ping", "-c1", "-W5", address])?;
    }
    Ok(())
}

#[test]
fn a_namespace_goes_with_its_handle() -> Result<()> {
    let namespace = Netns::unique("short")?;
    let path = namespace.path();
    ensure!(path.exists());
    drop(namespace);
    ensure!(!path.exists());
    Ok(())
}
