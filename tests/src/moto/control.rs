//! What tests tell a server and ask it (`tests/aws/control.py` lists the calls).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::http;
use super::words::{Call, Fault, Health, Settings};
use crate::wait::wait_for;

/// A server's control socket, whoever has started the server.
#[derive(Debug, Clone)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// The one behind this Unix socket.
    pub(crate) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Waits until it answers.
    pub(crate) fn wait_until_ready(&self) -> Result<()> {
        wait_for("answer of moto", super::READY, || {
            self.get("ready").map(|_: Value| Some(()))
        })
    }

    /// The Unix socket for control calls.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A call to AWS as boto3 names it (`elbv2`, `describe_load_balancers`), made over HTTP to the server's endpoint.
    /// It is not among [`Control::calls`] and meets no fault.
    ///
    /// # Errors
    /// With AWS's code and message, if it answers with an error.
    pub fn aws(
        &self,
        region: &str,
        service: &str,
        operation: &str,
        arguments: &Value,
    ) -> Result<Value> {
        let body = json!({
            "region": region, "service": service, "operation": operation, "arguments": arguments,
        });
        let answer = http::call(&self.socket, "POST", "aws", Some(&body.to_string()))
            .with_context(|| format!("{service} {operation} {arguments}"))?;
        serde_json::from_str(&answer).with_context(|| format!("answer of moto to {operation}"))
    }

    /// How many changing calls have ended since the server's start, also of those that are not written down.
    pub fn changes(&self) -> Result<u64> {
        let found: Value = self.get("changes")?;
        found["changes"].as_u64().context("moto counts changes")
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
        http::call(&self.socket, "DELETE", &format!("faults{query}"), None).map(drop)
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
        http::call(&self.socket, "DELETE", "calls", None).map(drop)
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
        http::call(&self.socket, "POST", name, Some(&body)).map(drop)
    }

    fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let answer = http::call(&self.socket, "GET", name, None)?;
        serde_json::from_str(&answer).with_context(|| format!("answer of moto to {name}"))
    }
}
