//! The lab leaves nothing behind: after `down`, after a crash half-way up, after Ctrl-C. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Result, ensure};
use herald_tests::{Cluster, ClusterOptions, Phase, Place, down, run, wait_for};

const DEADLINE: Duration = Duration::from_secs(300);
/// Tells the child below which cluster to bring up.
const CHILD: &str = "HERALD_TEST_LAB_DOWN_CHILD";
/// What Kubernetes and containerd would make on a machine of their own.
const USUAL_PATHS: [&str; 10] = [
    "/etc/cni/net.d",
    "/opt/cni",
    "/run/containerd/containerd.sock",
    "/run/netns/cni-",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd/io.containerd.metadata.v1.bolt",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

#[test]
fn down_leaves_nothing() -> Result<()> {
    let _alone = one_at_a_time();
    let name = unique("down");
    let _end = DownAtEnd(&name);
    let before = usual_paths();
    let cluster = Cluster::up(&ClusterOptions {
        nodes: 1,
        ..ClusterOptions::new(&name)
    })?;

    // Something of every kind is there, else finding nothing afterwards would say nothing.
    let containers = containers(&cluster);
    ensure!(!containers.is_empty(), "CoreDNS runs in a container");
    ensure!(
        !cgroups_of(&containers).is_empty(),
        "containers have cgroups"
    );
    ensure!(
        namespaces(&name)?.len() == 6,
        "namespaces: {:?}",
        namespaces(&name)?
    );
    ensure!(
        processes(&name).len() >= 10,
        "processes: {:?}",
        processes(&name)
    );
    let mut client = Command::new("sleep");
    client.arg("1000");
    let client = cluster.spawn_in(Place::Client, client)?;

    cluster.down()?;
    drop(client);
    assert_nothing_left(&name, &before)?;
    let left = cgroups_of(&containers);
    ensure!(left.is_empty(), "cgroups are left: {left:?}");
    // Once more does no harm.
    down(&name)
}

#[test]
fn down_after_a_crash_half_way_up_leaves_nothing() -> Result<()> {
    let _alone = one_at_a_time();
    let name = unique("crash");
    let _end = DownAtEnd(&name);
    let before = usual_paths();
    let dumps = tempfile::tempdir()?;
    let mut child = child(&name, dumps.path()).spawn()?;
    wait_until_kubelet_runs(&name)?;
    child.kill()?;
    child.wait()?;
    ensure!(
        !processes(&name).is_empty(),
        "what was started outlives the one who started it"
    );
    down(&name)?;
    assert_nothing_left(&name, &before)
}

#[test]
fn interrupting_up_takes_down() -> Result<()> {
    let _alone = one_at_a_time();
    let name = unique("ctrlc");
    let _end = DownAtEnd(&name);
    let before = usual_paths();
    let dumps = tempfile::tempdir()?;
    let mut child = child(&name, dumps.path()).spawn()?;
    wait_until_kubelet_runs(&name)?;
    run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    let status = wait_for("end of the interrupted child", DEADLINE, || {
        Ok(child.try_wait()?)
    })?;
    ensure!(!status.success(), "an interrupted up fails");
    assert_nothing_left(&name, &before)?;
    let dumped = fs::read_dir(dumps.path())?.count();
    ensure!(dumped == 1, "the logs are kept");
    Ok(())
}

/// Not a test of its own: what the two above run in a process they can end.
#[test]
#[ignore = "run by the other tests in a process of its own"]
fn bring_up_in_a_child() -> Result<()> {
    let Ok(name) = env::var(CHILD) else {
        return Ok(());
    };
    herald_tests::catch_interrupts();
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::new(&name)
    };
    Cluster::up(&options).map(drop)
}

fn child(name: &str, dumps: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "bring_up_in_a_child", "--ignored", "--nocapture"]);
    command.env(CHILD, name).env("HERALD_LAB_DUMPS", dumps);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn wait_until_kubelet_runs(name: &str) -> Result<()> {
    wait_for("kubelet of the child's cluster", DEADLINE, || {
        let cluster = Cluster::open(name)?;
        ensure!(
            cluster.state().phase == Phase::Starting,
            "too late, it is up"
        );
        Ok(cluster.state().running("n1-kubelet").map(|_| ()))
    })
}

fn assert_nothing_left(name: &str, before: &BTreeSet<PathBuf>) -> Result<()> {
    let processes = processes(name);
    ensure!(processes.is_empty(), "processes are left: {processes:?}");
    let namespaces = namespaces(name)?;
    ensure!(namespaces.is_empty(), "namespaces are left: {namespaces:?}");
    let folder = Path::new("/var/lib/herald-lab").join(name);
    ensure!(!folder.exists(), "{} is left", folder.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(name)).collect();
    ensure!(mounts.is_empty(), "mounts are left: {mounts:?}");
    let new: Vec<_> = usual_paths().difference(before).cloned().collect();
    ensure!(new.is_empty(), "files are left on the machine: {new:?}");
    Ok(())
}

/// Running processes that know the cluster's name: in their arguments or their environment.
fn processes(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let is_process = entry
            .file_name()
            .to_str()
            .is_some_and(|pid| pid.parse::<u32>().is_ok());
        let is_self = entry.file_name().to_str() == Some(&std::process::id().to_string());
        let text = [read("cmdline"), read("environ")].concat();
        let text = String::from_utf8_lossy(&text).replace('\0', " ");
        if is_process && !is_self && text.contains(name) {
            found.push(text.chars().take(120).collect());
        }
    }
    found
}

fn namespaces(name: &str) -> Result<Vec<String>> {
    let listed = run(Command::new("ip").args(["netns", "list"]))?;
    Ok(listed
        .lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect())
}

fn containers(cluster: &Cluster) -> Vec<String> {
    let tasks = cluster
        .folder()
        .join("n1/run/containerd/io.containerd.runtime.v2.task/k8s.io");
    let entries = fs::read_dir(tasks).unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn cgroups_of(containers: &[String]) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let all: Vec<PathBuf> = hierarchies
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .collect();
    let of = |id: &String| {
        all.iter()
            .map(|path| path.join("k8s.io").join(id))
            .collect::<Vec<_>>()
    };
    containers
        .iter()
        .flat_map(of)
        .filter(|path| path.exists())
        .collect()
}

/// Which of the usual paths are there; other work on the machine may own some.
fn usual_paths() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in USUAL_PATHS.map(Path::new) {
        let prefix = path.file_name().unwrap().to_string_lossy().into_owned();
        for entry in fs::read_dir(path.parent().unwrap())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == prefix || prefix.ends_with('-') && name.starts_with(&prefix) {
                found.insert(entry.path());
            }
        }
    }
    found
}

/// A test that fails half-way leaves no cluster either.
struct DownAtEnd<'a>(&'a str);

impl Drop for DownAtEnd<'_> {
    fn drop(&mut self) {
        drop(down(self.0));
    }
}

fn unique(label: &str) -> String {
    format!("{label}-{}", std::process::id())
}

/// Clusters side by side work, but three at once are a lot for two cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
