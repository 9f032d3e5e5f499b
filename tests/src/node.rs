//! A node: containerd, kubelet and, where there is one, kube-proxy.
//!
//! A node shares the machine's files, but `/run`, `/var/lib` and `/var/log` are its own, in a mount namespace
//! that goes with its last process: every program finds its usual paths, no two nodes meet, and nothing of
//! them shows on the machine.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::control_plane::{certs_folder, check_running, kubeconfig};
use crate::network::namespace;
use crate::node_config;
use crate::process::{self, MARK, Recorded};
use crate::state::{State, folder, node_folder};
use crate::sys::{self, Before};
use crate::topology::{Place, node_name};
use crate::wait::wait_for;

/// containerd's socket, inside the node.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// The role under which a node's program is written down.
pub(crate) fn role(node: usize, program: &str) -> String {
    format!("{}-{program}", node_name(node))
}

/// Starts containerd, first of the node's processes: the others join its mounts and host name.
pub(crate) fn start_containerd(state: &State, node: usize) -> Result<Recorded> {
    let own = node_folder(&state.name, node);
    let (run, lib, log) = (own.join("run"), own.join("lib"), own.join("log"));
    let shared = folder(&state.name);
    // Certificates and logs are below /var/lib, which the node's own will hide: bind them in again.
    let inside = lib.join(shared.strip_prefix("/var/lib").unwrap_or(&shared));
    for folder in [
        &run,
        &log,
        &inside,
        &lib.join("kubelet"),
        &run.join("cni/bin"),
    ] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    write_plugins(&run.join("cni/bin"))?;
    let config = own.join("containerd.toml");
    let snapshotter = if sys::on_overlay(&own)? {
        "native"
    } else {
        "overlayfs"
    };
    fs::write(&config, node_config::containerd(snapshotter))?;

    let mut command = Command::new("containerd");
    command.arg("--config").arg(&config).env(MARK, &state.name);
    let steps = vec![
        namespace(state, Place::Node(node)).join()?,
        Before::OwnMounts,
        Before::OwnHostName(CString::new(node_name(node))?),
        Before::bind(&shared, &inside)?,
        Before::bind(&lib, Path::new("/var/lib"))?,
        Before::bind(&run, Path::new("/run"))?,
        Before::bind(&log, Path::new("/var/log"))?,
    ];
    let role = role(node, "containerd");
    process::start(&role, command, &log_path(state, &role), steps)
}

/// Waits until containerd answers: the kubelet ends when it does not.
pub(crate) fn wait_for_containerd(state: &State, node: usize) -> Result<()> {
    let what = format!("containerd of {}", node_name(node));
    wait_for(&what, Duration::from_secs(60), || {
        check_running(state, &[&role(node, "containerd")])?;
        process::run(ctr(state, node)?.arg("version"))?;
        Ok(Some(()))
    })
}

/// A `ctr` command that talks to the node's containerd about Kubernetes' images and containers.
pub(crate) fn ctr(state: &State, node: usize) -> Result<Command> {
    let mut command = command(state, node, "ctr")?;
    command.args(["--address", SOCKET, "--namespace", "k8s.io"]);
    Ok(command)
}

/// A command that will run on the node: its network and, while containerd runs, its mounts and host name.
pub(crate) fn command(state: &State, node: usize, program: &str) -> Result<Command> {
    let mut command = Command::new(program);
    command.env(MARK, &state.name);
    sys::before_exec(&mut command, inside(state, node)?);
    Ok(command)
}

/// Imports an image archive.
pub(crate) fn import(state: &State, node: usize, archive: &Path) -> Result<()> {
    let file = fs::File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let mut command = ctr(state, node)?;
    // By standard input: the node may not see the archive's folder.
    let output = command
        .args(["images", "import", "-"])
        .stdin(file)
        .output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!(
            "import {} into {}: {}",
            archive.display(),
            node_name(node),
            error.trim()
        );
    }
    Ok(())
}

/// Starts the kubelet, once containerd answers and the API server is ready.
pub(crate) fn start_kubelet(state: &State, node: usize, program: &Path) -> Result<Recorded> {
    let (own, name) = (node_folder(&state.name, node), node_name(node));
    let resolv = own.join("resolv.conf");
    fs::write(&resolv, "# no name server outside the cluster\n")?;
    let certs = certs_folder(&state.name);
    let config = own.join("kubelet.json");
    let placed = state.aws.as_ref().and_then(|site| site.node(node));
    let files = node_config::KubeletFiles {
        certs: &certs,
        resolv: &resolv,
        provider_id: placed.as_ref().map(|(id, _, _)| id.clone()),
    };
    fs::write(&config, node_config::kubelet(&name, &files).to_string())?;
    let addresses = Place::Node(node).addresses().into_iter().flatten();
    let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();

    let mut command = Command::new(program);
    command.arg("kubelet").env(MARK, &state.name);
    command.arg(format!("--config={}", config.display()));
    command.arg(format!(
        "--kubeconfig={}",
        kubeconfig(&state.name, &name).display()
    ));
    command.arg(format!("--hostname-override={name}"));
    command.arg(format!("--node-ip={}", addresses.join(",")));
    if let Some((_, zone, region)) = placed {
        command.arg(format!(
            "--node-labels=topology.kubernetes.io/zone={zone},topology.kubernetes.io/region={region}"
        ));
    }
    let role = role(node, "kubelet");
    process::start(
        &role,
        command,
        &log_path(state, &role),
        inside(state, node)?,
    )
}

/// Starts kube-proxy as a process of the node.
pub(crate) fn start_kube_proxy(state: &State, node: usize, program: &Path) -> Result<Recorded> {
    let own = node_folder(&state.name, node);
    let config = own.join("kube-proxy.json");
    let user = kubeconfig(&state.name, "kube-proxy");
    fs::write(
        &config,
        node_config::kube_proxy(&node_name(node), &user).to_string(),
    )?;
    let mut command = Command::new(program);
    command
        .arg("kube-proxy")
        .arg(format!("--config={}", config.display()));
    command.env(MARK, &state.name);
    let role = role(node, "kube-proxy");
    process::start(
        &role,
        command,
        &log_path(state, &role),
        inside(state, node)?,
    )
}

/// Tells containerd how to connect pods; with this the kubelet reports the node Ready.
pub(crate) fn write_cni(state: &State, node: usize, ranges: &[IpNet]) -> Result<()> {
    let file = cni_configuration(&state.name, node);
    let unfinished = file.with_file_name("unfinished");
    fs::write(&unfinished, node_config::cni(ranges).to_string())?;
    fs::rename(&unfinished, file)?;
    Ok(())
}

/// Where that is.
pub(crate) fn cni_configuration(cluster: &str, node: usize) -> PathBuf {
    node_folder(cluster, node).join("run/cni/10-lab.conflist")
}

/// Debian's plug-ins, and one of our own that goes first.
fn write_plugins(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    for plugin in ["loopback", "ptp", "portmap", "host-local"] {
        symlink(Path::new("/usr/lib/cni").join(plugin), folder.join(plugin))?;
    }
    let own = folder.join("lab-nodad");
    fs::write(&own, include_str!("lab-nodad.sh"))?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A program's log.
pub(crate) fn log_path(state: &State, role: &str) -> PathBuf {
    folder(&state.name).join("logs").join(format!("{role}.log"))
}

/// What a child does to become a process of the node.
pub(crate) fn inside(state: &State, node: usize) -> Result<Vec<Before>> {
    let mut steps = vec![namespace(state, Place::Node(node)).join()?];
    if let Some(containerd) = state.running(&role(node, "containerd")) {
        for kind in ["uts", "mnt"] {
            let path = format!("/proc/{}/ns/{kind}", containerd.pid);
            steps.push(Before::join(Path::new(&path)).with_context(|| format!("open {path}"))?);
        }
    }
    Ok(steps)
}
