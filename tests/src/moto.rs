//! AWS for tests: moto behind a layer that makes it as strict as AWS (`tests/aws`).
//!
//! ```no_run
//! use herald_tests::moto::{Fault, Moto, Settings};
//!
//! # fn main() -> anyhow::Result<()> {
//! let moto = Moto::start()?;
//! moto.settings(None, &Settings { provisioning: Some(30.0), ..Settings::default() })?;
//! moto.fault(&Fault { action: "CreateListener".into(), code: Some("Throttling".into()), ..Fault::default() })?;
//! // … let a client work with moto.endpoint(), access key and secret being `test` …
//! let changes = moto.calls()?.into_iter().filter(|call| call.changing).count();
//! # assert_eq!(changes, 0);
//! # Ok(())
//! # }
//! ```
//!
//! Tests that share a server take a region each: settings, clock and faults can be set by region.

mod control;
mod http;
mod scene;
mod venv;
mod words;

use std::fs;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tempfile::TempDir;

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::{Hopeless, wait_for};

pub use control::Control;
pub use scene::Scene;
pub use venv::ensure;
pub use words::{Call, Fault, Health, Settings};

/// Importing moto takes some seconds on an idle machine.
pub(crate) const READY: Duration = Duration::from_mins(3);

/// Where and how a server listens.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The address; none is `127.0.0.1`.
    pub address: Option<IpAddr>,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// PEM files of a certificate (chain) and its key: the endpoint is served over TLS.
    pub tls: Option<(&'a Path, &'a Path)>,
    /// The network namespace; none is the one of the caller.
    pub netns: Option<&'a Netns>,
    /// Access keys and their secrets that are let in besides `test`/`test` and `other`/`other`.
    pub access_keys: &'a [(&'a str, &'a str)],
}

/// A running server; ended with the handle, or with this process.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    /// Removed with the handle.
    _folder: TempDir,
    endpoint: String,
    control: Control,
}

/// What tests tell it and ask it.
impl Deref for Moto {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

#[derive(Deserialize)]
struct Announced {
    endpoint: String,
}

/// The endpoint that a server has printed, once it listens.
pub(crate) fn announced(output: &str) -> Option<String> {
    let found = output
        .lines()
        .find_map(|line| serde_json::from_str::<Announced>(line).ok());
    found.map(|found| found.endpoint)
}

impl Moto {
    /// Starts a server on a free port of the loopback address, without TLS.
    ///
    /// # Errors
    /// If the Python environment cannot be made ([`ensure`]) or the server does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// Starts a server.
    ///
    /// # Errors
    /// As [`Moto::start`]; also if the address cannot be listened on or the certificate cannot be read.
    pub fn start_with(options: &Options<'_>) -> Result<Self> {
        let python = ensure()?;
        let folder = tempfile::Builder::new().prefix("herald-moto-").tempdir()?;
        let name = python.to_str().context("a path that is not UTF-8")?;
        let mut command = match options.netns {
            Some(netns) => netns.command(name)?,
            None => Command::new(name),
        };
        // Without byte code of its own beside the sources.
        command.arg("-B").arg(source().join("wrapper.py"));
        command
            .arg("--with-parent")
            .arg("--socket")
            .arg(socket(&folder))
            // A handle that is never dropped, a static one, leaves it to the server.
            .arg("--folder")
            .arg(folder.path());
        if let Some(address) = options.address {
            command.arg("--host").arg(address.to_string());
        }
        command.arg("--port").arg(options.port.to_string());
        if let Some((certificate, key)) = options.tls {
            command.arg("--certificate").arg(certificate);
            command.arg("--key").arg(key);
        }
        for (key, secret) in options.access_keys {
            command.arg("--access-key").arg(format!("{key}={secret}"));
        }
        let mut process = Process::spawn(command, folder.path().join("log"))?;
        let endpoint = wait_for("endpoint of moto", READY, || {
            let output = process.output()?;
            let announced = announced(&output);
            if announced.is_none()
                && let Some(status) = process.ended()?
            {
                return Err(Hopeless(format!("moto ended with {status}: {output}")).into());
            }
            Ok(announced)
        })?;
        let control = Control::at(socket(&folder));
        control.wait_until_ready()?;
        Ok(Self {
            process,
            _folder: folder,
            endpoint,
            control,
        })
    }

    /// The URL for all services of AWS.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The server's process, for example to stop it for a while.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs the server's own tests against it and gives their report. They change everything, and leave
    /// the server as they like.
    ///
    /// # Errors
    /// With the report, if one of them failed, was skipped, or if not all of them ran.
    pub fn run_own_tests(&self, certificate: Option<&Path>) -> Result<String> {
        let mut command = Command::new(ensure()?);
        command.args(["-B", "-m", "unittest", "--verbose"]);
        let mut wanted = 0;
        for entry in fs::read_dir(source())? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| name.starts_with("test_")) {
                command.arg(name);
                let text = fs::read_to_string(&path)?;
                wanted += text.matches("\n    def test_").count();
            }
        }
        command
            .current_dir(source())
            .env("HERALD_MOTO_ENDPOINT", self.endpoint())
            .env("HERALD_MOTO_SOCKET", self.socket());
        if let Some(certificate) = certificate {
            command.env("HERALD_MOTO_CA", certificate);
        }
        let output = crate::process::output(&mut command)?;
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        let ran = format!("Ran {wanted} tests in ");
        if !output.status.success()
            || wanted == 0
            || !report.contains(&ran)
            || !report.trim_end().ends_with("OK")
        {
            let log = self.process.output()?;
            bail!("wanted {wanted} tests to pass:\n{report}\nthe server's log:\n{log}");
        }
        Ok(report)
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("control")
}

/// The folder of the wrapper.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("aws")
}
