use std::net::IpAddr;

use anyhow::{Result, ensure};
use herald_tests::link::plug;
use herald_tests::{Netns, wait_for};

use crate::netns_layer2_lab::client::{Asking, ask, hosts};
use crate::netns_layer2_lab::node::Node;
use crate::netns_layer2_lab::{DEADLINE, Lab, V4, V6, mac};

/// There and back, the new owner told before and after the old one is: answers never overlap.
pub(crate) fn planned(lab: &Lab) -> Result<()> {
    for address in [V4, V6] {
        lab.a.hold(&[address])?;
        lab.a.wait_state(address, "Announcing")?;
        let asking = Asking::start(&lab.client, address)?;
        await_run(&asking, &[11])?;
        lab.b.hold(&[address])?;
        lab.b
            .wait_state(address, &format!("Conflict {}", mac(11)))?;
        lab.a.hold(&[])?;
        lab.b.wait_state(address, "Announcing")?;
        await_run(&asking, &[11, 12])?;
        lab.b.hold(&[])?;
        lab.a.hold(&[address])?;
        lab.a.wait_state(address, "Announcing")?;
        await_run(&asking, &[11, 12, 11])?;
        let runs = asking.stop()?;
        println!("{address}: host and number of answers {runs:?}");
        ensure!(hosts(&runs) == [11, 12, 11], "{runs:?}");
        lab.a.hold(&[])?;
    }
    Ok(())
}

/// An owner stopped by SIGSTOP resumes after another took over, still with its target: it must not answer once.
///
/// It is stopped while it has nothing to answer. Stopped between its check and its send, it sends that one frame when it
/// resumes: only the kernel can hold that back (ARCHITECTURE.md, "What I1 and I5 lack").
pub(crate) fn paused(lab: &Lab) -> Result<()> {
    for address in [V4, V6] {
        lab.a.hold(&[address])?;
        lab.a.wait_state(address, "Announcing")?;
        let asking = Asking::start(&lab.client, address)?;
        await_run(&asking, &[11])?;
        stop_idle(&lab.a, &asking, address)?;
        lab.b.hold(&[address])?;
        lab.b.wait_state(address, "Announcing")?;
        await_run(&asking, &[11, 12])?;
        lab.a.signal("CONT")?;
        lab.a
            .wait_state(address, &format!("Conflict {}", mac(12)))?;
        more_answers(&asking, 50)?;
        let runs = asking.stop()?;
        println!("{address}: host and number of answers {runs:?}");
        ensure!(hosts(&runs) == [11, 12], "{runs:?}");
        lab.a.hold(&[])?;
        lab.b.hold(&[])?;
    }
    Ok(())
}

/// Stops `owner` while no question waits to be answered.
fn stop_idle(owner: &Node, asking: &Asking, address: IpAddr) -> Result<()> {
    asking.signal("STOP")?;
    // The thread counts between two rounds of reading and answering: the second count is behind every question so far.
    owner.counts(address)?;
    owner.counts(address)?;
    owner.signal("STOP")?;
    asking.signal("CONT")
}

/// Both believe to own the address and start at once: one announces, the other waits.
pub(crate) fn two_owners(lab: &Lab) -> Result<()> {
    for address in [V4, V6] {
        let asking = Asking::start(&lab.client, address)?;
        lab.b.ask_to_hold("lan", &[address])?;
        lab.a.ask_to_hold("lan", &[address])?;
        wait_for("one owner and one that waits", DEADLINE, || {
            let states = [lab.a.state(address), lab.b.state(address)];
            let owners = states.iter().filter(|s| *s == "Announcing").count();
            let waiting = states.iter().filter(|s| s.starts_with("Conflict")).count();
            ensure!(owners == 1 && waiting == 1, "{states:?}");
            Ok(Some(()))
        })?;
        more_answers(&asking, 50)?;
        let runs = asking.stop()?;
        println!("{address}: host and number of answers {runs:?}");
        ensure!(runs.len() == 1, "{runs:?}");
        lab.a.hold(&[])?;
        lab.b.hold(&[])?;
    }
    Ok(())
}

/// On a parted segment each side has an owner; when it is whole again, the one with the smaller hardware address stays.
pub(crate) fn partition(lab: &Lab) -> Result<()> {
    // The cable keeps its carrier, but leads nowhere.
    lab.switch.ip("link set to-b nomaster")?;
    for node in [&lab.a, &lab.b] {
        node.hold(&[V4, V6])?;
        node.wait_state(V4, "Announcing")?;
        node.wait_state(V6, "Announcing")?;
    }
    plug(&lab.switch, "to-b", "switch")?;
    for address in [V4, V6] {
        lab.b
            .wait_state(address, &format!("Conflict {}", mac(11)))?;
        ensure!(lab.a.state(address) == "Announcing");
        let answers = ask(&lab.client, address)?;
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| *answer == mac(11)),
            "{answers:?}"
        );
    }
    Ok(())
}

/// A speaker killed and started again on its node finds nobody in its way.
pub(crate) fn restart(lab: &Lab) -> Result<()> {
    lab.a.hold(&[V4, V6])?;
    lab.a.wait_state(V4, "Announcing")?;
    lab.a.wait_state(V6, "Announcing")?;
    let asking = [V4, V6].map(|address: IpAddr| Asking::start(&lab.client, address));
    let [four, six] = asking;
    let (four, six) = (four?, six?);
    await_run(&four, &[11])?;
    await_run(&six, &[11])?;
    lab.a.signal("KILL")?;
    let again = Node::start(Netns::open(lab.a.namespace.name()))?;
    again.hold(&[V4, V6])?;
    again.wait_state(V4, "Announcing")?;
    again.wait_state(V6, "Announcing")?;
    for (address, asking) in [(V4, four), (V6, six)] {
        more_answers(&asking, 20)?;
        ensure!(hosts(&asking.stop()?) == [11], "{address}");
        ensure!(
            again.counts(address)?[3] == 0,
            "met a conflict with its former self"
        );
    }
    Ok(())
}

/// Waits until these hosts have answered in this order, the last at least twenty times.
fn await_run(asking: &Asking, expected: &[u8]) -> Result<()> {
    wait_for(&format!("answers by {expected:?}"), DEADLINE, || {
        let runs = asking.runs()?;
        let enough = runs.last().is_some_and(|(_, count)| *count >= 20);
        ensure!(hosts(&runs) == expected && enough, "{runs:?}");
        Ok(Some(()))
    })
}

fn more_answers(asking: &Asking, more: usize) -> Result<()> {
    let count = || -> Result<usize> { Ok(asking.runs()?.iter().map(|(_, count)| count).sum()) };
    let before = count()?;
    wait_for(&format!("{more} more answers"), DEADLINE, || {
        Ok((count()? >= before + more).then_some(()))
    })
}
