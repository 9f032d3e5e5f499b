use anyhow::{Result, ensure};
use herald_tests::link::{address, bridge, plug};
use herald_tests::{Capture, Netns, wait_for};

use crate::netns_layer2_lab::client::ask;
use crate::netns_layer2_lab::{DEADLINE, Lab, V4, V6, connect, mac};

/// Without a carrier the node is silent and another takes over; with it again, it finds the other and waits.
pub(crate) fn loss_and_return(lab: &Lab) -> Result<()> {
    for node in [&lab.a, &lab.b] {
        node.hold(&[V4, V6])?;
    }
    for address in [V4, V6] {
        // Started together, either may have been first.
        wait_for("an owner", DEADLINE, || {
            let states = [lab.a.state(address), lab.b.state(address)];
            Ok(states.iter().any(|s| s == "Announcing").then_some(()))
        })?;
    }
    lab.b.hold(&[])?;
    for address in [V4, V6] {
        lab.a.wait_state(address, "Announcing")?;
    }
    lab.b.hold(&[V4, V6])?;
    lab.switch.ip("link set to-a down")?;
    for address in [V4, V6] {
        lab.a.wait_state(address, "LinkDown")?;
        lab.b.wait_state(address, "Announcing")?;
    }
    lab.switch.ip("link set to-a up")?;
    for address in [V4, V6] {
        lab.a
            .wait_state(address, &format!("Conflict {}", mac(12)))?;
        let answers = ask(&lab.client, address)?;
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| *answer == mac(12)),
            "{answers:?}"
        );
    }
    Ok(())
}

/// A bond that fails over or a card that was replaced: everyone is told at once, and answers have the new address.
pub(crate) fn new_hardware_address(lab: &Lab) -> Result<()> {
    lab.a.hold(&[V4, V6])?;
    lab.a.wait_state(V4, "Announcing")?;
    lab.a.wait_state(V6, "Announcing")?;
    let new = mac(0x4b);
    let told = [
        Capture::start(
            &lab.client,
            "lan",
            &format!("arp and ether src {new} and arp[14:4] != 0"),
        )?,
        Capture::start(
            &lab.client,
            "lan",
            &format!("icmp6 and ether src {new} and ip6[40] = 136"),
        )?,
    ];
    lab.a.namespace.ip(&format!("link set lan address {new}"))?;
    for (address, capture) in [V4, V6].into_iter().zip(&told) {
        wait_for("announcement of the new address", DEADLINE, || {
            let about = address.to_string();
            let lines = capture.lines()?;
            Ok(lines.iter().any(|line| line.contains(&about)).then_some(()))
        })?;
        let answers = ask(&lab.client, address)?;
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| *answer == new),
            "{answers:?}"
        );
    }
    Ok(())
}

/// A host of the LAN that has the address before us: reported, not answered; taken once it is free.
pub(crate) fn foreign_host(lab: &Lab) -> Result<()> {
    let theirs = &lab.b.namespace;
    address(theirs, "lan", V4, 24)?;
    address(theirs, "lan", V6, 64)?;
    lab.a.hold(&[V4, V6])?;
    for held in [V4, V6] {
        lab.a.wait_state(held, &format!("Conflict {}", mac(12)))?;
        let answers = ask(&lab.client, held)?;
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| *answer == mac(12)),
            "{answers:?}"
        );
        let [_, replies, announcements, conflicts] = lab.a.counts(held)?;
        ensure!(replies == 0 && announcements == 0 && conflicts > 0);
    }
    theirs.ip(&format!("address del {V4}/24 dev lan"))?;
    theirs.ip(&format!("address del {V6}/64 dev lan"))?;
    for held in [V4, V6] {
        lab.a.wait_state(held, "Announcing")?;
    }
    Ok(())
}

/// What the monitor keeps, and that it follows.
pub(crate) fn followed(lab: &Lab) -> Result<()> {
    let host = &lab.a.namespace;
    let says = |what: &str, expected: &dyn Fn(&str) -> bool| {
        wait_for(what, DEADLINE, || {
            let line = lab.a.wait_line(what, "links ")?;
            ensure!(expected(&line), "{line}");
            Ok(Some(()))
        })
    };
    let lan = format!("lan=up,{},192.0.2.11/24,2001:db8::11/64", mac(11));
    says("the link with its addresses", &|l| l.contains(&lan))?;
    says("no loopback", &|l| !l.contains("lo="))?;
    host.ip("address add 198.51.100.1/25 dev lan")?;
    says("a new address", &|l| l.contains("198.51.100.1/25"))?;
    host.ip("address del 198.51.100.1/25 dev lan")?;
    says("an address that went", &|l| !l.contains("198.51.100.1/25"))?;
    host.ip("link add v0 up type veth peer name v1")?;
    says("a cable without the far end", &|l| l.contains("v0=down"))?;
    host.ip("link set v1 up")?;
    says("carrier", &|l| l.contains("v0=up") && l.contains("v1=up"))?;
    bridge(host, "bridge")?;
    plug(host, "v0", "bridge")?;
    says("a port of a bridge left out, the bridge not", &|l| {
        !l.contains("v0=") && l.contains("v1=up") && l.contains("bridge=up")
    })?;
    host.ip("link set v0 nomaster")?;
    says("the port back", &|l| l.contains("v0=up"))?;
    host.ip("link set v1 name renamed")?;
    says("another name", &|l| {
        l.contains("renamed=up") && !l.contains("v1=")
    })?;
    host.ip("link set renamed arp off")?;
    says("no NOARP", &|l| !l.contains("renamed="))?;
    host.ip("link del v0")?;
    says("a link that went", &|l| !l.contains("v0="))?;
    host.ip("route add default via 192.0.2.254")?;
    host.ip("-6 route add default via 2001:db8::fe dev lan")?;
    says("gateways", &|l| l.contains(";192.0.2.254,2001:db8::fe"))?;
    host.ip("route replace default via 192.0.2.253")?;
    says("another gateway", &|l| l.contains(";192.0.2.253,"))?;
    // The kernel does not say that routes go with their link.
    host.ip("link set lan down")?;
    says("no gateway", &|l| {
        l.contains("lan=down") && !l.contains("192.0.2.253")
    })
}

/// An interface that appears after its address was given to the announcer hears and answers solicitations.
pub(crate) fn late_interface(lab: &Lab) -> Result<()> {
    let number = lab.a.ask_to_hold("late", &[V4, V6])?;
    lab.a
        .wait_line("targets applied", &format!("applied {number}"))?;
    // The cable it had, so that the segment is the same.
    lab.switch.ip("link del to-a")?;
    let host = Netns::open(lab.a.namespace.name());
    connect(&lab.switch, &host, "to-late", "late")?;
    for held in [V4, V6] {
        lab.a.wait_state(held, "Announcing")?;
        ensure!(
            !ask(&lab.client, held)?.is_empty(),
            "{held} is not answered"
        );
    }
    Ok(())
}
