//! Packet captures in a namespace, read back as lines of text.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::netns::Netns;
use crate::process::{Process, output};
use crate::wait::wait_for;

/// A running capture; ends with the handle.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    // Keeps the file until the capture is dropped.
    _folder: tempfile::TempDir,
}

impl Capture {
    /// Starts capturing on `interface` what `filter` (pcap-filter(7); may be empty) lets through. Returns once
    /// packets are being captured.
    pub fn start(namespace: &Netns, interface: &str, filter: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("herald-capture-")
            .tempdir()?;
        let file = folder.path().join("packets.pcap");
        let mut command = namespace.command("tcpdump")?;
        // --immediate-mode and -U: a packet seen is a packet in the file.
        command.args([
            "-i",
            interface,
            "-n",
            "-U",
            "--immediate-mode",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(&file).args(filter.split_whitespace());
        let mut process = Process::spawn(command, folder.path().join("tcpdump.log"))?;
        wait_for("capture to begin", Duration::from_secs(30), || {
            let output = process.output()?;
            if process.ended()?.is_some() {
                bail!("tcpdump ended: {output}");
            }
            Ok(output.contains("listening on").then_some(()))
        })?;
        Ok(Self {
            process,
            file,
            _folder: folder,
        })
    }

    /// What has been captured up to now, one line for each packet: time, hardware addresses, content.
    pub fn lines(&self) -> Result<Vec<String>> {
        read(&self.file)
    }

    /// Ends the capture and gives everything in it.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.process.stop(Duration::from_secs(20))?;
        self.lines()
    }
}

/// Packets of a capture file as lines: seconds since the epoch, hardware addresses, content. The last packet
/// may be half written while the capture runs; it is left out then.
pub fn read(file: &Path) -> Result<Vec<String>> {
    let mut tcpdump = Command::new("tcpdump");
    let output = output(tcpdump.args(["-n", "-e", "-tt", "-r"]).arg(file))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !error.contains("truncated dump file") {
        bail!("read capture {}: {}", file.display(), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}
