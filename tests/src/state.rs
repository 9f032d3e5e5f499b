//! What is written down about a cluster, so that any process can use it or take it down.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::Recorded;
use crate::topology::{MAX_NODES, Place};

/// Outside every checkout, on disk (overlays need a real file system), and short: a socket's path has at
/// most 108 bytes.
pub(crate) const ROOT: &str = "/var/lib/herald-lab";

/// Who carries Services to their pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceProxy {
    /// kube-proxy beside Herald, which carries load-balancer addresses, external IPs and node ports.
    #[default]
    External,
    /// Herald alone; there is no kube-proxy.
    All,
    /// kube-proxy alone; Herald only announces.
    Off,
}

impl ServiceProxy {
    /// As on the command line, and as the overlay's folder is named.
    pub fn name(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::All => "all",
            Self::Off => "off",
        }
    }

    pub(crate) fn has_kube_proxy(self) -> bool {
        self != Self::All
    }
}

impl std::str::FromStr for ServiceProxy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::External, Self::All, Self::Off];
        let found = known.into_iter().find(|mode| mode.name() == text);
        found.with_context(|| format!("{text:?} is not external, all or off"))
    }
}

/// How far `up` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Being made, or left half made.
    Starting,
    /// All nodes were Ready.
    Up,
}

/// A cluster as written down in `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    pub name: String,
    pub nodes: usize,
    pub service_proxy: ServiceProxy,
    pub herald: bool,
    pub phase: Phase,
    /// Loopback port of the host that leads to the API server; 0 until it does.
    pub relay_port: u16,
    pub processes: Vec<Recorded>,
    /// AWS beside it, once it is made.
    #[serde(default)]
    pub aws: Option<crate::aws::Site>,
}

impl State {
    /// Every host of the cluster.
    pub fn places(&self) -> Vec<Place> {
        let fixed = [
            Place::Lan,
            Place::ControlPlane,
            Place::Router,
            Place::Client,
            Place::Remote,
        ];
        fixed
            .into_iter()
            .chain((1..=self.nodes).map(Place::Node))
            .collect()
    }

    /// The process with that role that runs, if any.
    pub fn running(&self, role: &str) -> Option<&Recorded> {
        self.processes
            .iter()
            .rev()
            .find(|process| process.role == role && process.alive())
    }

    /// Writes it all, at once: a reader sees the old or the new.
    pub(crate) fn save(&self) -> Result<()> {
        let folder = folder(&self.name);
        let (new, path) = (folder.join("state.json.new"), folder.join("state.json"));
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Reads what is written; none if there is no such cluster.
    pub(crate) fn load(name: &str) -> Result<Option<Self>> {
        let path = folder(name).join("state.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is not a cluster's state", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }
}

/// Folder of a cluster; everything it writes is below.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// Folder of one node of a cluster.
pub(crate) fn node_folder(name: &str, node: usize) -> PathBuf {
    folder(name).join(Place::Node(node).label())
}

/// Names of all clusters that have a folder.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Refuses names that would not fit into namespace names, paths and cgroups.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 24 || !name.chars().all(fits) || name.starts_with('-') {
        bail!("cluster name {name:?}: use 1 to 24 of a-z, 0-9 and -, not - first");
    }
    Ok(())
}

/// Refuses numbers of nodes that have no addresses.
pub(crate) fn check_nodes(nodes: usize) -> Result<()> {
    if !(1..=MAX_NODES).contains(&nodes) {
        bail!("{nodes} nodes: the lab has addresses for 1 to {MAX_NODES}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["herald", "a", "test-1", "9"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "A",
            "a/b",
            "..",
            "a_b",
            "aaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn longest_socket_path_fits() {
        let name = "a".repeat(24);
        let socket = node_folder(&name, MAX_NODES).join("run/containerd/containerd.sock.ttrpc");
        assert!(socket.as_os_str().len() < 108, "{}", socket.display());
    }

    #[test]
    fn state_reads_back() {
        let state = State {
            name: "x".to_owned(),
            nodes: 2,
            service_proxy: ServiceProxy::All,
            herald: true,
            phase: Phase::Starting,
            relay_port: 0,
            processes: vec![Recorded {
                role: "etcd".to_owned(),
                pid: 1,
                start_time: 2,
            }],
            aws: None,
        };
        let again: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(again.processes, state.processes);
        assert_eq!(again.service_proxy, ServiceProxy::All);
        assert_eq!(again.places().len(), 7);
    }
}
