//! Taking a cluster down, from what is written down and from what is found: also after a crash half-way up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::netns::Netns;
use crate::process::{self, Recorded, run};
use crate::state::{State, folder, node_folder};
use crate::topology::MAX_NODES;
use crate::wait::wait_regardless;
use crate::{node, state};

/// Ends everything of the cluster `name` and removes every trace. Nothing to do is no error.
pub fn down(name: &str) -> Result<()> {
    state::check_name(name)?;
    // A state that cannot be read must not keep what it describes: the marks on the processes suffice.
    let written = State::load(name).ok().flatten();
    let recorded = written.map(|state| state.processes).unwrap_or_default();

    let mut everyone = recorded.clone();
    everyone.extend(process::marked(name));
    let kubelet = |process: &&Recorded| process.role.ends_with("kubelet");
    // Nothing is asked to end: there is nothing to save. Kubelets first, they would start again what is ended
    // below them; then the containers, then those that keep them.
    process::kill(&everyone.iter().filter(kubelet).cloned().collect::<Vec<_>>())?;
    let mut containers = all_containers(name);
    kill_containers(&containers)?;
    process::kill(&everyone)?;
    // What was started meanwhile: a shim that containerd was just about to use, its container.
    process::kill(&process::marked(name))?;
    containers.extend(all_containers(name));
    kill_containers(&containers)?;
    recorded.iter().for_each(Recorded::reap);
    remove_cgroups(name, &containers)?;
    for namespace in namespaces(name)? {
        Netns::open(&namespace).remove()?;
    }
    unmount_below(&folder(name))?;
    remove_folder(&folder(name))
}

/// Kills all of one node's processes and containers at once.
pub(crate) fn kill_node(state: &State, number: usize) -> Result<()> {
    let folder = node_folder(&state.name, number);
    let mounts = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = state
        .running(&node::role(number, "containerd"))
        .and_then(|containerd| mounts(containerd.pid));
    let in_cgroup = in_containers(&containers(&state.name, number));
    let prefix = node::role(number, "");
    let mut dead =
        process::find(|pid| in_cgroup.contains(&pid) || own.is_some() && mounts(pid) == own);
    let named = state
        .processes
        .iter()
        .filter(|process| process.role.starts_with(&prefix));
    dead.extend(named.cloned());
    process::kill(&dead).with_context(|| format!("crash the node of {}", folder.display()))
}

/// Kills what runs in these containers.
fn kill_containers(ids: &[String]) -> Result<()> {
    let inside = in_containers(ids);
    if inside.is_empty() {
        return Ok(());
    }
    process::kill(&process::find(|pid| inside.contains(&pid)))
}

/// Ids of the containers that containerd has on one node, also if it no longer runs.
fn containers(name: &str, number: usize) -> Vec<String> {
    let tasks =
        node_folder(name, number).join("run/containerd/io.containerd.runtime.v2.task/k8s.io");
    let entries = fs::read_dir(tasks).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn all_containers(name: &str) -> Vec<String> {
    (1..=MAX_NODES)
        .flat_map(|number| containers(name, number))
        .collect()
}

/// Ids of the processes in containers.
fn in_containers(ids: &[String]) -> BTreeSet<u32> {
    ids.iter()
        .flat_map(|id| cgroups(id))
        .flat_map(|folder| process::in_cgroup(&folder))
        .collect()
}

/// Where containerd puts containers, in each hierarchy (version 1 of cgroups has several).
fn cgroup_parents() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join("k8s.io"))
        .collect()
}

/// A container's cgroups.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let all = cgroup_parents().into_iter().map(|parent| parent.join(id));
    all.filter(|folder| folder.is_dir()).collect()
}

/// Removes containers' cgroups. A cgroup is busy for a moment after its last process.
fn remove_cgroups(name: &str, ids: &[String]) -> Result<()> {
    for folder in ids.iter().flat_map(|id| cgroups(id)) {
        wait_regardless(
            &format!("removal of cgroup {}", folder.display()),
            Duration::from_secs(10),
            || remove_cgroup(&folder).map(Some),
        )?;
    }
    // The parent is everyone's: another cluster may be about to use it, however empty it is.
    if state::names().iter().all(|other| other == name) {
        for parent in cgroup_parents() {
            drop(fs::remove_dir(parent));
        }
    }
    Ok(())
}

fn remove_cgroup(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Names of the cluster's namespaces that are there.
fn namespaces(name: &str) -> Result<Vec<String>> {
    let listed = run(Command::new("ip").args(["netns", "list"]))?;
    let all = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(all
        .filter(|namespace| belongs(namespace, name))
        .map(str::to_owned)
        .collect())
}

/// Whether a namespace is this cluster's: another's name may begin alike (`a` and `a-b`).
fn belongs(namespace: &str, cluster: &str) -> bool {
    let label = namespace
        .strip_prefix("herald-")
        .and_then(|rest| rest.strip_prefix(cluster));
    let label = label.and_then(|rest| rest.strip_prefix('-'));
    label.is_some_and(|label| crate::topology::Place::parse(label).is_some())
}

/// Unmounts what is left below the folder. Normally nothing: mounts are in the nodes' own mount namespaces.
fn unmount_below(folder: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for mounted in table
        .lines()
        .rev()
        .filter_map(|line| line.split_whitespace().nth(1))
    {
        if Path::new(mounted).starts_with(folder) {
            run(Command::new("umount").args(["-l", mounted]))?;
        }
    }
    Ok(())
}

/// Removes the cluster's folder, and the one above it when that was the last.
fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("remove {}: {error}", folder.display());
        }
        _ => {}
    }
    // Not empty: other clusters are there.
    drop(fs::remove_dir(state::ROOT));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_alike_is_another_cluster() {
        assert!(belongs("herald-a-n1", "a"));
        assert!(belongs("herald-a-lan", "a"));
        assert!(!belongs("herald-a-b-n1", "a"));
        assert!(belongs("herald-a-b-n1", "a-b"));
        assert!(!belongs("herald-ab-n1", "a"));
        assert!(!belongs("other-a-n1", "a"));
    }

    #[test]
    fn taking_down_what_is_not_there_is_no_error() {
        down("never-was").unwrap();
        down("never-was").unwrap();
    }
}
