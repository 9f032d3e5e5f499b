//! What a cluster looks like now, for people and programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::state::{Phase, ServiceProxy};

/// A cluster's state at this moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub name: String,
    pub phase: Phase,
    pub service_proxy: ServiceProxy,
    pub herald: bool,
    pub kubeconfig: PathBuf,
    pub folder: PathBuf,
    /// Place → name of its network namespace.
    pub namespaces: BTreeMap<String, String>,
    /// Place → addresses, v4 and v6.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Roles of processes that should run and do not.
    pub ended: Vec<String>,
    /// Nodes that are not Ready, each with its reason; the error if the API server does not answer.
    pub not_ready: Vec<String>,
}

impl Status {
    /// True if everything that should run does, and all nodes are Ready.
    pub fn is_healthy(&self) -> bool {
        self.phase == Phase::Up && self.ended.is_empty() && self.not_ready.is_empty()
    }
}

impl Cluster {
    /// Looks at the processes and asks the API server about the nodes.
    pub fn status(&self) -> Result<Status> {
        let state = &self.state;
        let places = state.places();
        let ended = state.processes.iter().filter(|process| !process.alive());
        Ok(Status {
            name: state.name.clone(),
            phase: state.phase,
            service_proxy: state.service_proxy,
            herald: state.herald,
            kubeconfig: self.kubeconfig(),
            folder: self.folder(),
            namespaces: places
                .iter()
                .map(|place| (place.label(), place.netns(&state.name)))
                .collect(),
            addresses: places
                .iter()
                .filter_map(|place| {
                    let addresses = place.addresses()?.map(|address| address.to_string());
                    Some((place.label(), addresses.to_vec()))
                })
                .collect(),
            ended: ended.map(|process| process.role.clone()).collect(),
            not_ready: self
                .nodes_not_ready()
                .unwrap_or_else(|error| vec![format!("{error:#}")]),
        })
    }
}
