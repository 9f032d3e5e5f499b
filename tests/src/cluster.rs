//! A cluster: bringing it up, and what can be done with it while it is there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::down::{self, down};
use crate::link::ip_batch;
use crate::network::namespace;
use crate::parts::{Part, ensure};
use crate::process::{self, MARK, Process};
use crate::state::{self, Phase, ROOT, ServiceProxy, State, folder};
use crate::sys::Before;
use crate::topology::{Place, node_name};
use crate::{aws, bring_up, dump, images, node, sys};

/// What cluster to bring up.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Names its namespaces, its folder and its cgroups; unique on the machine.
    pub name: String,
    pub nodes: usize,
    pub service_proxy: ServiceProxy,
    /// Install Herald from `deploy/overlays/<mode>`.
    pub herald: bool,
    /// Image archives to import into every node before anything runs.
    pub images: Vec<PathBuf>,
    /// AWS beside it; without it there is none.
    pub aws: Option<aws::Options>,
}

impl ClusterOptions {
    /// Three nodes beside kube-proxy, without Herald and images of one's own.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: 3,
            service_proxy: ServiceProxy::External,
            herald: false,
            images: Vec::new(),
            aws: None,
        }
    }
}

/// A cluster that is up. It stays when the handle goes; [`Cluster::down`] ends it.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) state: State,
}

impl Cluster {
    /// Brings a cluster up and returns once all nodes are Ready, DNS answers and Herald, if asked for, is rolled out.
    /// If that fails, what is known is dumped, everything is taken down, and the error says where the dump is.
    pub fn up(options: &ClusterOptions) -> Result<Self> {
        state::check_name(&options.name)?;
        state::check_nodes(options.nodes)?;
        if !sys::is_root() {
            bail!("the lab needs root: it makes network namespaces and runs containerd");
        }
        let program = ensure(Part::Kubernetes)?;
        claim(&options.name)?;
        let mut cluster = Self {
            state: State {
                name: options.name.clone(),
                nodes: options.nodes,
                service_proxy: options.service_proxy,
                herald: options.herald,
                phase: Phase::Starting,
                relay_port: 0,
                processes: Vec::new(),
                aws: None,
            },
        };
        let begun = Instant::now();
        let Err(error) = bring_up::run(&mut cluster, options, &program, begun) else {
            return Ok(cluster);
        };
        let dumped = match dump::write(&cluster, "cluster did not come up") {
            Ok(folder) => format!("logs are in {}", folder.display()),
            Err(error) => format!("dumping the logs failed: {error:#}"),
        };
        match down(&options.name) {
            Ok(()) => Err(error.context(dumped)),
            Err(also) => Err(error.context(format!("{dumped}; taking it down failed: {also:#}"))),
        }
    }

    /// The cluster of that name, brought up by anyone.
    pub fn open(name: &str) -> Result<Self> {
        state::check_name(name)?;
        let state = State::load(name)?;
        let state = state.with_context(|| {
            format!("there is no cluster {name}; `cargo xtask cluster up --name {name}` makes one")
        })?;
        Ok(Self { state })
    }

    /// Takes it down and leaves nothing.
    pub fn down(self) -> Result<()> {
        down(&self.state.name)
    }

    /// What is written down about it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Number of nodes, named `n1` and on.
    pub fn nodes(&self) -> usize {
        self.state.nodes
    }

    /// A node's CNI configuration; without it the kubelet calls the node not Ready.
    pub fn cni_configuration(&self, node: usize) -> PathBuf {
        node::cni_configuration(self.name(), node)
    }

    /// Configuration for any Kubernetes client on this machine, as cluster administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Folder of everything it writes; logs are in `logs`, the LAN's packets in `captures`.
    pub fn folder(&self) -> PathBuf {
        folder(&self.state.name)
    }

    /// A kubectl command for this cluster; add arguments and run it.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.folder().join("bin/kubectl"));
        command.arg(format!("--kubeconfig={}", self.kubeconfig().display()));
        command.env(MARK, &self.state.name);
        // The relay is on loopback; a proxy the environment names is not for it.
        command
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        command
    }

    /// Runs kubectl and gives what it printed; an error with its message if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().context("cannot run kubectl")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", arguments.join(" "), error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `kubectl … -o json` and gives the object.
    pub fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Applies objects given as YAML and gives what kubectl printed.
    pub fn kubectl_apply(&self, yaml: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(["apply", "-f", "-"]).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        // A refusal to read on shows in the exit status.
        drop(input.write_all(yaml.as_bytes()));
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "kubectl apply: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command that will run at a place: in its network; on a node also with its mounts and host name. If it
    /// still runs when the cluster goes down, it is ended.
    pub fn command(&self, place: Place, program: &str) -> Result<Command> {
        if let Place::Node(number) = place {
            self.check_node(number)?;
            return node::command(&self.state, number, program);
        }
        let mut command = Command::new(program);
        sys::before_exec(&mut command, self.inside(place)?);
        command.env(MARK, &self.state.name);
        Ok(command)
    }

    /// Runs a command at a place to its end, whatever its exit status.
    pub fn exec(&self, place: Place, command: &[&str]) -> Result<Output> {
        let (program, arguments) = command.split_first().ok_or_else(|| anyhow!("no command"))?;
        process::output(self.command(place, program)?.args(arguments))
    }

    /// Runs a command at a place and gives what it printed; an error if it fails.
    pub fn run(&self, place: Place, command: &[&str]) -> Result<String> {
        let (program, arguments) = command.split_first().ok_or_else(|| anyhow!("no command"))?;
        process::run(self.command(place, program)?.args(arguments))
    }

    /// Starts a command at a place; it ends with the handle, and with the cluster.
    pub fn spawn_in(&self, place: Place, mut command: Command) -> Result<Process> {
        let before = match place {
            Place::Node(number) => {
                self.check_node(number)?;
                node::inside(&self.state, number)?
            }
            _ => self.inside(place)?,
        };
        sys::before_exec(&mut command, before);
        command.env(MARK, &self.state.name);
        let program = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_owned();
        let prefix = format!("{}-{}-", place.label(), program.to_string_lossy());
        let log = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".log")
            .tempfile_in(self.folder().join("logs"))?;
        let (_, log) = log.keep().context("keep the log")?;
        Process::spawn(command, log)
    }

    /// Imports an image archive into every node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        images::import(&self.state, &[archive.to_owned()])
    }

    /// Pulls (`false`) or plugs in (`true`) a node's LAN cable, at the switch: the node sees its carrier go.
    pub fn link(&self, number: usize, up: bool) -> Result<()> {
        self.check_node(number)?;
        let word = if up { "up" } else { "down" };
        let command = format!("link set {} {word}", node_name(number));
        ip_batch(&namespace(&self.state, Place::Lan), &[command])
    }

    /// A node dies: its cable is pulled and everything on it is killed at once.
    pub fn crash_node(&self, number: usize) -> Result<()> {
        self.link(number, false)?;
        down::kill_node(&self.state, number)
    }

    /// Writes all that may explain a failure into a folder of its own and gives its path.
    pub fn dump(&self, reason: &str) -> Result<PathBuf> {
        dump::write(self, reason)
    }

    /// Packets of the LAN seen lately, oldest first, one line each (see [`crate::read_capture`]); the control plane's
    /// are left out.
    pub fn lan_packets(&self) -> Result<Vec<String>> {
        dump::lan_packets(self)
    }

    /// What a child does to become a process of a place that is no node. With AWS the clients know the names of
    /// load balancers.
    fn inside(&self, place: Place) -> Result<Vec<Before>> {
        let mut steps = vec![namespace(&self.state, place).join()?];
        if self.state.aws.is_some() && matches!(place, Place::Client | Place::Remote) {
            let own = aws::folder(&self.state.name);
            steps.push(Before::OwnMounts);
            for file in ["hosts", "resolv.conf"] {
                steps.push(Before::bind(
                    &own.join(file),
                    &Path::new("/etc").join(file),
                )?);
            }
        }
        Ok(steps)
    }

    pub(crate) fn check_node(&self, number: usize) -> Result<()> {
        if !(1..=self.state.nodes).contains(&number) {
            bail!(
                "cluster {} has no node {}",
                self.state.name,
                node_name(number)
            );
        }
        Ok(())
    }
}

/// Makes the cluster's folder, which is also how two that want the same name are told apart.
fn claim(name: &str) -> Result<()> {
    fs::create_dir_all(ROOT).with_context(|| format!("create {ROOT}"))?;
    let folder = folder(name);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                anyhow!(
                    "there is a cluster {name} already, or what is left of one; \
                 `cargo xtask cluster down --name {name}` removes it"
                )
            } else {
                anyhow!(error).context(format!("create {}", folder.display()))
            }
        })?;
    for part in ["logs", "captures", "bin"] {
        fs::create_dir(folder.join(part))?;
    }
    Ok(())
}

/// Prints a step that is done and how long after the beginning that was.
pub(crate) fn say(begun: Instant, what: &str) {
    eprintln!("  {:5.1} s  {what}", begun.elapsed().as_secs_f64());
}

/// How long things may take on a machine that is busy with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
