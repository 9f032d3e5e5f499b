//! Speakers as plain processes of a node, for tests that stop and kill them at will.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::certs::{Credentials, write_kubeconfig};
use crate::cluster::Cluster;
use crate::control_plane::{api_server, certs_folder};
use crate::install::NAMESPACE;
use crate::process::Process;
use crate::topology::{Place, node_name};

const ACCOUNT: &str = "herald-speaker";

impl Cluster {
    /// Runs a speaker binary on a node as its DaemonSet's pod would run: with its ServiceAccount, whose token is bound
    /// to the node, and the same variables (`NODE_NAME`, `POD_NAME`). Herald's manifests must be applied; its own
    /// speaker on that node should not run.
    pub fn spawn_speaker(
        &self,
        number: usize,
        binary: &Path,
        arguments: &[&str],
    ) -> Result<Process> {
        self.check_node(number)?;
        let node = node_name(number);
        let object = self.kubectl_json(&["get", "node", &node])?;
        let uid = object["metadata"]["uid"]
            .as_str()
            .context("a node has a uid")?;
        let token = self.kubectl(&[
            "create",
            "token",
            ACCOUNT,
            "-n",
            NAMESPACE,
            "--duration=24h",
            "--bound-object-kind=Node",
            "--bound-object-name",
            &node,
            "--bound-object-uid",
            uid,
        ])?;
        let certs = certs_folder(self.name());
        let config = certs.join(format!("{node}-speaker.kubeconfig"));
        let credentials = Credentials::Token(token.trim());
        write_kubeconfig(&config, &api_server(), &certs.join("ca.crt"), &credentials)?;
        let mut command = Command::new(binary);
        command.args(arguments).env("KUBECONFIG", &config);
        command
            .env("NODE_NAME", &node)
            .env("POD_NAME", format!("herald-speaker-{node}"));
        self.spawn_in(Place::Node(number), command)
    }
}
