//! What a client on the segment sees: who answers, and in which order.

use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use herald_tests::{Capture, Netns, run};

use super::mac;

/// Asks three times for an address; the hardware addresses of the answers.
pub(crate) fn ask(client: &Netns, address: IpAddr) -> Result<Vec<String>> {
    let text = address.to_string();
    let output = if address.is_ipv4() {
        client.output(&[
            "arping", "-i", "lan", "-r", "-c", "3", "-W", "0.2", "-w", "3", &text,
        ])?
    } else {
        client.output(&["ndisc6", "-q", "-m", "-r", "3", "-w", "300", &text, "lan"])?
    };
    let macs = String::from_utf8(output.stdout)?;
    Ok(macs.lines().map(str::to_lowercase).collect())
}

/// A client that asks for an address all the time, and a capture of the answers.
#[derive(Debug)]
pub(crate) struct Asking {
    child: Child,
    capture: Capture,
    address: IpAddr,
}

impl Asking {
    /// Asks about every 20 ms, in both families.
    pub(crate) fn start(client: &Netns, address: IpAddr) -> Result<Self> {
        let filter = if address.is_ipv4() {
            format!("arp[6:2] = 2 and ether dst {}", mac(9))
        } else {
            format!("icmp6 and ip6[40] = 136 and ether dst {}", mac(9))
        };
        let capture = Capture::start(client, "lan", &filter)?;
        let script = if address.is_ipv4() {
            format!("exec arping -q -i lan -W 0.02 {address}")
        } else {
            // Each waits 20 ms for the first answer, then the next asks.
            format!("while :; do ndisc6 -q -1 -r 1 -w 20 {address} lan >/dev/null; done")
        };
        let mut command = client.command("sh")?;
        command.args(["-c", &script]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that a signal meets the program that is asking too.
        command.process_group(0);
        let child = command.spawn().context("start a client that asks")?;
        Ok(Self {
            child,
            capture,
            address,
        })
    }

    /// Stops it from asking (`STOP`) for as long as wanted (`CONT`).
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.child.id());
        run(Command::new("kill").args(["-s", signal, "--", &group])).map(drop)
    }

    /// The unbroken runs of answers: the number of the host that gave them, and how many.
    pub(crate) fn runs(&self) -> Result<Vec<(u8, usize)>> {
        Self::count(self.address, &self.capture.lines()?)
    }

    /// Stops and gives the same.
    pub(crate) fn stop(mut self) -> Result<Vec<(u8, usize)>> {
        self.signal("KILL")?;
        self.child.wait()?;
        self.runs()
    }

    fn count(address: IpAddr, lines: &[String]) -> Result<Vec<(u8, usize)>> {
        let about = if address.is_ipv4() {
            format!("Reply {address} is-at")
        } else {
            format!("tgt is {address}")
        };
        let mut runs: Vec<(u8, usize)> = Vec::new();
        for line in lines.iter().filter(|line| line.contains(&about)) {
            // time, source hardware address, ">", ...
            let source = line.split(' ').nth(1).context("hardware address")?;
            let tail = source.rsplit(':').next().context("hardware address")?;
            let host = u8::from_str_radix(tail, 16)?;
            match runs.last_mut() {
                Some((last, count)) if *last == host => *count += 1,
                _ => runs.push((host, 1)),
            }
        }
        Ok(runs)
    }
}

/// The hosts of runs.
pub(crate) fn hosts(runs: &[(u8, usize)]) -> Vec<u8> {
    runs.iter().map(|(host, _)| *host).collect()
}

impl Drop for Asking {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Already gone is as good.
            drop(self.signal("KILL"));
            drop(self.child.wait());
        }
    }
}
