//! Worlds made and read without calls to AWS (`tests/aws/scene.py`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::control::Control;
use super::http;

/// What there is before the first load balancer.
#[derive(Clone, Debug, Deserialize)]
pub struct Scene {
    /// A VPC with both families: 10.0.0.0/16 and a block of Amazon's.
    pub vpc: String,
    /// Its subnets: public ones in the zones a and b, then private ones in a and b.
    pub subnets: Vec<String>,
    /// Their IPv6 blocks.
    pub ipv6: Vec<String>,
    /// A security group named `nodes`.
    pub node_group: String,
    /// Running instances in a private subnet: name to id.
    pub instances: BTreeMap<String, String>,
}

impl Control {
    /// Makes a VPC with subnets, a security group for nodes, and instances of these names.
    pub fn cluster(&self, region: &str, instances: &[&str]) -> Result<Scene> {
        let body = json!({"region": region, "instances": instances}).to_string();
        let answer = http::call(self.socket(), "POST", "scene/cluster", Some(&body))?;
        serde_json::from_str(&answer).context("a cluster of moto")
    }

    /// Everything there is in a region but its default VPC, a line each: the same text for the same thing everywhere.
    pub fn resources(&self, region: &str) -> Result<BTreeSet<String>> {
        let call = format!("scene/resources?region={region}");
        let answer = http::call(self.socket(), "GET", &call, None)?;
        serde_json::from_str(&answer).context("the resources in moto")
    }

    /// How many targets that are not draining are behind a port of an active load balancer.
    pub fn serving(&self, region: &str, hostname: &str, port: u16) -> Result<usize> {
        let call = format!("scene/serving?region={region}&hostname={hostname}&port={port}");
        let answer = http::call(self.socket(), "GET", &call, None)?;
        serde_json::from_str(&answer).context("the targets in moto")
    }

    /// One region as at the start: resources, settings, clock, faults, calls.
    pub fn reset_region(&self, region: &str) -> Result<()> {
        let body = json!({"region": region}).to_string();
        http::call(self.socket(), "POST", "reset", Some(&body)).map(drop)
    }

    /// Forgets the calls to one region; numbers go on.
    pub fn forget_calls_in(&self, region: &str) -> Result<()> {
        http::call(
            self.socket(),
            "DELETE",
            &format!("calls?region={region}"),
            None,
        )
        .map(drop)
    }
}
