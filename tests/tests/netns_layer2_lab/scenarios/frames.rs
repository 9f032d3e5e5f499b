use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_speaker::packet_socket::PacketSocket;
use herald_speaker_core::Mac;
use herald_speaker_core::wire::{arp, ndp};
use herald_tests::{Capture, Netns, wait_for};
use socket2::SockFilter;

use crate::netns_layer2_lab::client::ask;
use crate::netns_layer2_lab::{DEADLINE, Lab, V4, V6, mac};

/// Probes first, then gratuitous requests and replies, three rounds.
pub(crate) fn arp_take_over(lab: &Lab) -> Result<()> {
    let capture = Capture::start(
        &lab.client,
        "lan",
        &format!("arp and ether src {}", mac(11)),
    )?;
    lab.a.hold(&[V4])?;
    lab.a.wait_state(V4, "Announcing")?;
    let request = format!("Request who-has {V4} tell {V4},");
    let reply = format!("Reply {V4} is-at {}", mac(11));
    let probe = format!("Request who-has {V4} tell 0.0.0.0");
    let count = |lines: &[String], text: &str| lines.iter().filter(|l| l.contains(text)).count();
    let lines = wait_for("three rounds of gratuitous ARP", DEADLINE, || {
        let lines = capture.lines()?;
        let (requests, replies) = (count(&lines, &request), count(&lines, &reply));
        ensure!(requests >= 3 && replies >= 3, "{}", lines.join("\n"));
        Ok(Some(lines))
    })?;
    let first = lines.iter().position(|line| line.contains(&request));
    let before = &lines[..first.unwrap_or_default()];
    ensure!(
        count(before, &probe) == 3 && before.len() == 3,
        "{before:#?}"
    );
    for line in lines.iter().filter(|line| !line.contains("length 28")) {
        ensure!(false, "not an ARP packet of 28 bytes: {line}");
    }
    let broadcast = "> ff:ff:ff:ff:ff:ff";
    ensure!(
        lines.iter().all(|line| line.contains(broadcast)),
        "{lines:#?}"
    );
    Ok(())
}

/// Detection first, then unsolicited advertisements: to all nodes, hop limit 255, Override alone.
pub(crate) fn ndp_take_over(lab: &Lab) -> Result<()> {
    let from = format!("icmp6 and ether src {} and ", mac(11));
    let is_ours = "dst host ff02::1 and ip6[7] = 255 and ip6[44] = 0x20";
    let detection = Capture::start(
        &lab.client,
        "lan",
        &format!("{from} ip6[40] = 135 and src host :: and ip6[7] = 255"),
    )?;
    let good = Capture::start(
        &lab.client,
        "lan",
        &format!("{from} ip6[40] = 136 and {is_ours}"),
    )?;
    let bad = format!("{from} ip6[40] = 136 and not ({is_ours})");
    let bad = Capture::start(&lab.client, "lan", &bad)?;
    let solicited = "icmp6 and ip6[40] = 136 and ip6[7] = 255 and ip6[44] = 0x60";
    let about = format!("tgt is {V6}");
    let ours = |lines: Vec<String>| lines.into_iter().filter(|l| l.contains(&about)).count();
    lab.a.hold(&[V6])?;
    lab.a.wait_state(V6, "Announcing")?;
    wait_for("three unsolicited advertisements", DEADLINE, || {
        let lines = good.lines()?;
        ensure!(ours(lines.clone()) >= 3, "{lines:#?}");
        Ok(Some(()))
    })?;
    let asked = detection.lines()?;
    let about_us = asked
        .iter()
        .filter(|line| line.contains(&format!("who has {V6}")));
    ensure!(about_us.count() >= 3, "{asked:#?}");
    let bad = bad.stop()?;
    ensure!(bad.is_empty(), "{bad:#?}");
    // An answer: Solicited and Override.
    let answers = Capture::start(&lab.client, "lan", solicited)?;
    ensure!(!ask(&lab.client, V6)?.is_empty());
    wait_for("a solicited advertisement", DEADLINE, || {
        Ok((ours(answers.lines()?) > 0).then_some(()))
    })
}

/// Damaged, foreign and hostile frames change nothing and are not answered.
pub(crate) fn malformed(lab: &Lab) -> Result<()> {
    lab.a.hold(&[V4, V6])?;
    lab.a.wait_state(V4, "Announcing")?;
    lab.a.wait_state(V6, "Announcing")?;
    let (IpAddr::V4(four), IpAddr::V6(six)) = (V4, V6) else {
        return Ok(());
    };
    let them = Mac([2, 0, 0, 0, 0, 0x77]);
    let claims = [arp::announce_request(them, four), ndp::announce(them, six)];
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for claim in claims.map(|frame| frame.as_bytes().to_vec()) {
        for length in 14..claim.len() {
            frames.push(claim[..length].to_vec());
        }
    }
    let [arp_claim, ndp_claim] = claims.map(|frame| frame.as_bytes().to_vec());
    let changed = |frame: &[u8], at: usize, value: u8| {
        let mut bytes = frame.to_vec();
        bytes[at] = value;
        bytes
    };
    frames.extend([
        changed(&arp_claim, 15, 6),    // hardware type
        changed(&arp_claim, 18, 8),    // hardware length
        changed(&arp_claim, 21, 9),    // operation
        changed(&arp_claim, 22, 3),    // sender is a group
        changed(&ndp_claim, 21, 64),   // hop limit
        changed(&ndp_claim, 55, 1),    // code
        changed(&ndp_claim, 57, 0x5a), // checksum
        changed(&ndp_claim, 79, 0),    // option without length
    ]);
    let sent = frames.len();
    send(&lab.client, &frames)?;
    for address in [V4, V6] {
        let answers = ask(&lab.client, address)?;
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| *answer == mac(11)),
            "after {sent} bad frames {address} is answered by {answers:?}"
        );
        let [_, _, _, conflicts] = lab.a.counts(address)?;
        ensure!(conflicts == 0 && lab.a.state(address) == "Announcing");
    }
    // The same claims unharmed are heard, so the frames did arrive.
    for (address, claim) in [(V4, arp_claim), (V6, ndp_claim)] {
        let [.., before, _] = lab.a.counts(address)?;
        send(&lab.client, &[claim])?;
        wait_for("defence against a claim", DEADLINE, || {
            let [.., announcements, conflicts] = lab.a.counts(address)?;
            Ok((announcements > before || conflicts > 0).then_some(()))
        })?;
    }
    Ok(())
}

/// Sends frames from the client's interface.
fn send(from: &Netns, frames: &[Vec<u8>]) -> Result<()> {
    let shown = from.ip("-o link show lan")?;
    let index: u32 = shown.split(':').next().unwrap_or_default().parse()?;
    from.enter(|| -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        // To send only: its filter takes nothing in.
        let nothing = SockFilter::new(0x06, 0, 0, 0);
        let socket = PacketSocket::open(index, 0x88b5, &[nothing])?;
        for frame in frames {
            socket.send(frame)?;
        }
        Ok(())
    })?
}
