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
mod venv;
mod words;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tempfile::TempDir;

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::{Hopeless, wait_for};

pub use venv::ensure;
pub use words::{Call, Fault, Health, Settings};

/// Importing moto takes some seconds on an idle machine.
const READY: Duration = Duration::from_mins(3);

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
    folder: TempDir,
    endpoint: String,
}

#[derive(Deserialize)]
struct Announced {
    endpoint: String,
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
            .arg(socket(&folder));
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
            let announced = output
                .lines()
                .find_map(|line| serde_json::from_str::<Announced>(line).ok());
            if announced.is_none()
                && let Some(status) = process.ended()?
            {
                return Err(Hopeless(format!("moto ended with {status}: {output}")).into());
            }
            Ok(announced.map(|found| found.endpoint))
        })?;
        let moto = Self {
            process,
            folder,
            endpoint,
        };
        wait_for("answer of moto", READY, || {
            moto.get("ready").map(|_: serde_json::Value| Some(()))
        })?;
        Ok(moto)
    }

    /// The URL for all services of AWS.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The Unix socket for control calls (`tests/aws/control.py` lists them).
    pub fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    /// The server's process, for example to stop it for a while.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Adds a fault after those that are there.
    pub fn fault(&self, fault: &Fault) -> Result<()> {
        self.faults(std::slice::from_ref(fault))
    }

    /// Adds faults, in this order, after those that are there.
    pub fn faults(&self, faults: &[Fault]) -> Result<()> {
        self.post("faults", faults)
    }

    /// Faults that have not met all their calls yet.
    pub fn faults_left(&self) -> Result<Vec<Fault>> {
        self.get("faults")
    }

    /// Removes all faults, or those of one region.
    pub fn heal(&self, region: Option<&str>) -> Result<()> {
        let query = region.map_or_else(String::new, |region| format!("?region={region}"));
        control::call(&self.socket(), "DELETE", &format!("faults{query}"), None).map(drop)
    }

    /// Calls since the start or the last reset.
    pub fn calls(&self) -> Result<Vec<Call>> {
        self.get("calls")
    }

    /// Calls with a number above `number`.
    pub fn calls_after(&self, number: u64) -> Result<Vec<Call>> {
        self.get(&format!("calls?after={number}"))
    }

    /// Calls to one region.
    pub fn calls_in(&self, region: &str) -> Result<Vec<Call>> {
        self.get(&format!("calls?region={region}"))
    }

    /// Forgets the calls; their numbers go on.
    pub fn forget_calls(&self) -> Result<()> {
        control::call(&self.socket(), "DELETE", "calls", None).map(drop)
    }

    /// Changes what is given of one region's settings, or of all regions'.
    pub fn settings(&self, region: Option<&str>, settings: &Settings) -> Result<()> {
        let body = serde_json::json!({"region": region, "settings": settings});
        self.post("settings", &body)
    }

    /// Moves the clock of one region, or of all, forward.
    pub fn advance(&self, region: Option<&str>, duration: Duration) -> Result<()> {
        let body = serde_json::json!({"region": region, "seconds": duration.as_secs_f64()});
        self.post("clock", &body)
    }

    /// What health checks find out from now on.
    pub fn health(&self, reports: &[Health]) -> Result<()> {
        self.post("health", reports)
    }

    /// Everything as at the start: resources, settings, clocks, faults, calls.
    pub fn reset(&self) -> Result<()> {
        self.post("reset", &())
    }

    fn post(&self, name: &str, body: &(impl serde::Serialize + ?Sized)) -> Result<()> {
        let body = serde_json::to_string(body)?;
        control::call(&self.socket(), "POST", name, Some(&body)).map(drop)
    }

    fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let answer = control::call(&self.socket(), "GET", name, None)?;
        serde_json::from_str(&answer).with_context(|| format!("answer of moto to {name}"))
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
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("aws")
}
