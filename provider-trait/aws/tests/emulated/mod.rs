//! AWS as moto plays it (`herald_tests::moto`): one server for all tests, a region for each.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

pub mod harness;

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use herald_tests::moto::{Call, Fault, Moto, Scene, Settings};
use serde_json::{Value, json};

/// Access key and secret that the server lets in.
pub const KEY: &str = "test";

/// Regions with the zones a and b.
const REGIONS: [&str; 16] = [
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-east-1",
    "ca-central-1",
    "sa-east-1",
];

/// A server, and the regions of it that nobody has.
struct Server {
    moto: &'static Moto,
    free: Vec<&'static str>,
}

/// They are made as they are needed, and end with this process.
static SERVERS: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// A region that is a test's own; the next has it when this is dropped.
#[derive(Debug)]
pub struct Region {
    moto: &'static Moto,
    pub name: &'static str,
}

impl Region {
    /// An empty one, of the server that has least to do: one works on one processor only.
    pub fn take() -> Self {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let most = servers.iter().map(|one| one.free.len()).max();
        let wanted = most != Some(REGIONS.len()) && servers.len() < processors;
        if wanted || most == Some(0) {
            servers.push(Server {
                moto: Box::leak(Box::new(Moto::start().unwrap())),
                free: REGIONS.to_vec(),
            });
        }
        let server = servers.iter_mut().max_by_key(|one| one.free.len()).unwrap();
        let (moto, name) = (server.moto, server.free.pop().unwrap());
        drop(servers);
        moto.reset_region(name).unwrap();
        Self { moto, name }
    }

    pub fn endpoint(&self) -> &'static str {
        self.moto.endpoint()
    }

    pub fn settings(&self, settings: &Settings) {
        self.moto.settings(Some(self.name), settings).unwrap();
    }

    pub fn advance(&self, duration: Duration) {
        self.moto.advance(Some(self.name), duration).unwrap();
    }

    pub fn cluster(&self, instances: &[&str]) -> Scene {
        self.moto.cluster(self.name, instances).unwrap()
    }

    pub fn resources(&self) -> std::collections::BTreeSet<String> {
        self.moto.resources(self.name).unwrap()
    }

    pub fn serving(&self, hostname: &str, port: u16) -> usize {
        self.moto.serving(self.name, hostname, port).unwrap()
    }

    /// Somebody else's call, as boto3 names it.
    pub fn aws(&self, service: &str, operation: &str, arguments: &Value) -> Value {
        self.moto
            .aws(self.name, service, operation, arguments)
            .unwrap()
    }

    /// Meets calls to this region with faults, besides those that are there.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        let region = Some(self.name.to_owned());
        let here = faults.into_iter().map(|fault| Fault {
            region: region.clone(),
            ..fault
        });
        self.moto.faults(&here.collect::<Vec<_>>()).unwrap();
    }

    /// Faults that have not met all their calls.
    pub fn faults_left(&self) -> Vec<Fault> {
        let mut left = self.moto.faults_left().unwrap();
        left.retain(|fault| fault.region.as_deref() == Some(self.name));
        left
    }

    pub fn heal(&self) {
        self.moto.heal(Some(self.name)).unwrap();
    }

    /// The calls of the provider's client.
    pub fn calls(&self) -> Vec<Call> {
        self.moto.calls_in(self.name).unwrap()
    }

    pub fn forget_calls(&self) {
        self.moto.forget_calls_in(self.name).unwrap();
    }

    /// Elastic IP addresses, by allocation id.
    pub fn addresses(&self, count: usize) -> Vec<String> {
        let one = |_| self.aws("ec2", "allocate_address", &json!({"Domain": "vpc"}));
        (0..count)
            .map(one)
            .map(|a| text(&a["AllocationId"]))
            .collect()
    }

    /// A certificate, by ARN.
    pub fn certificate(&self, name: &str) -> String {
        let arguments = json!({"DomainName": name});
        text(&self.aws("acm", "request_certificate", &arguments)["CertificateArn"])
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |one: &&mut Server| std::ptr::eq(one.moto, self.moto);
        if let Some(server) = servers.iter_mut().find(own) {
            server.free.push(self.name);
        }
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Runs a test with a region of its own.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Region) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(body(Region::take()));
}
