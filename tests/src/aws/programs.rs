//! moto and the load balancer as processes of a cluster: they outlive who starts them, and end with the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Options, Site};
use crate::control_plane::check_running;
use crate::moto::{self, Control};
use crate::network::namespace;
use crate::node::log_path;
use crate::process::{self, MARK};
use crate::state::{self, State};
use crate::topology::{LAN_RANGES, POD_CIDRS, Place};
use crate::wait::wait_for;

/// Where moto listens, on the router.
const PORT: u16 = 4566;
const MOTO: &str = "moto";
const BALANCER: &str = "balancer";

/// Folder of everything AWS writes.
pub(crate) fn folder(cluster: &str) -> PathBuf {
    state::folder(cluster).join("aws")
}

/// moto's control socket.
pub(super) fn socket(cluster: &str) -> PathBuf {
    folder(cluster).join("control")
}

/// The load balancer's log.
pub(super) fn log(cluster: &str) -> PathBuf {
    state::folder(cluster).join(format!("logs/{BALANCER}.log"))
}

/// Starts moto; [`wait_for_moto`] waits for it.
pub(crate) fn start_moto(state: &mut State) -> Result<()> {
    let own = folder(&state.name);
    fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
    fs::write(own.join("hosts"), "127.0.0.1 localhost\n")?;
    fs::write(own.join("resolv.conf"), "# no name server\n")?;
    let address = Place::Router.addresses().map(|[v4, _]| v4.to_string());
    let mut command = python("wrapper.py")?;
    command
        .args(["--host", &address.unwrap_or_default()])
        .args(["--port", &PORT.to_string()])
        .arg("--socket")
        .arg(socket(&state.name));
    start(state, MOTO, command)
}

/// Its endpoint and its control socket, once it answers; with the settings of the start.
pub(super) fn wait_for_moto(state: &State, options: &Options) -> Result<(String, Control)> {
    let log = log_path(state, MOTO);
    let endpoint = wait_for("endpoint of moto", moto::READY, || {
        check_running(state, &[MOTO])?;
        Ok(moto::announced(&fs::read_to_string(&log)?))
    })?;
    let control = Control::at(socket(&state.name));
    control.wait_until_ready()?;
    control.settings(Some(&options.region), &options.settings)?;
    Ok((endpoint, control))
}

/// Starts the load balancer.
pub(crate) fn start_balancer(state: &mut State) -> Result<()> {
    let Some(site) = state.aws.clone() else {
        bail!("there is no AWS to carry traffic for");
    };
    let own = folder(&state.name);
    let mut command = python("carry.py")?;
    command.args(arguments(&site, state.nodes));
    for (flag, path) in [
        ("--control", socket(&state.name)),
        ("--folder", own.clone()),
        ("--certificates", own.join("certificates")),
        ("--hosts", own.join("hosts")),
    ] {
        command.arg(flag).arg(path);
    }
    start(state, BALANCER, command)?;
    let state: &State = state;
    wait_for("first pass of the load balancer", moto::READY, || {
        check_running(state, &[BALANCER])?;
        Ok(own.join("carried.json").exists().then_some(()))
    })
}

fn arguments(site: &Site, nodes: usize) -> Vec<String> {
    let mut arguments = vec![
        format!("--endpoint={}", site.endpoint),
        format!("--region={}", site.region),
        format!("--speed={}", site.check_speed),
    ];
    let near = LAN_RANGES.iter().copied().chain(POD_CIDRS.split(','));
    arguments.extend(near.map(|range| format!("--near={range}")));
    let addresses = (1..=nodes).filter_map(|node| Place::Node(node).addresses());
    arguments.extend(addresses.map(|[v4, v6]| format!("--twin={v4}={v6}")));
    arguments
}

/// Python with moto and boto3, about to run one of `tests/aws`.
fn python(program: &str) -> Result<Command> {
    let mut command = Command::new(moto::ensure()?);
    // Without byte code of its own beside the sources, and its output at once.
    command
        .args(["-B", "-u"])
        .arg(Path::new(&moto::source()).join(program));
    Ok(command)
}

fn start(state: &mut State, role: &str, mut command: Command) -> Result<()> {
    command.env(MARK, &state.name);
    let inside = vec![namespace(state, Place::Router).join()?];
    let process = process::start(role, command, &log_path(state, role), inside)?;
    state.processes.push(process);
    state.save()
}
