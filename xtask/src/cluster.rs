//! `cargo xtask cluster`: a local cluster that stays, for anyone to use with kubectl.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use herald_tests::{Cluster, ClusterOptions, Phase, Place, ServiceProxy, Status};

use crate::image;

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Bring a cluster up; it stays until `down`
    Up {
        #[command(flatten)]
        cluster: Name,
        /// Number of nodes
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// Who carries Services to their pods
        #[arg(long, value_enum, default_value = "external")]
        service_proxy: Mode,
        /// Leave Herald out
        #[arg(long)]
        no_herald: bool,
        /// How Herald's images are built
        #[arg(long, value_enum, default_value = "image")]
        profile: image::Profile,
        /// Print the result for programs
        #[arg(long)]
        json: bool,
    },
    /// Say what runs and how to use it
    Status {
        #[command(flatten)]
        cluster: Name,
        /// Print it for programs
        #[arg(long)]
        json: bool,
    },
    /// Run a command at a place of the cluster and exit as it does
    Exec {
        #[command(flatten)]
        cluster: Name,
        /// n1, n2 …, client, remote, router, lan or cp
        place: String,
        /// The command, after --
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Run kubectl and exit as it does
    Kubectl {
        #[command(flatten)]
        cluster: Name,
        /// kubectl's arguments, after --
        #[arg(required = true, last = true)]
        arguments: Vec<String>,
    },
    /// Import an image archive (docker or OCI format) into every node
    LoadImage {
        #[command(flatten)]
        cluster: Name,
        /// The archive
        archive: PathBuf,
    },
    /// Pull a node's LAN cable (down), or plug it in again (up)
    Link {
        #[command(flatten)]
        cluster: Name,
        /// n1, n2 …
        node: String,
        /// How it shall be
        state: LinkState,
    },
    /// End the cluster and leave nothing
    Down {
        #[command(flatten)]
        cluster: Name,
    },
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The cluster's name: 1 to 24 of a-z, 0-9 and -
    #[arg(long, default_value = "herald")]
    name: String,
}

/// `--service-proxy`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// kube-proxy beside Herald
    External,
    /// Herald alone
    All,
    /// kube-proxy alone, Herald only announces
    Off,
}

impl From<Mode> for ServiceProxy {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::External => Self::External,
            Mode::All => Self::All,
            Mode::Off => Self::Off,
        }
    }
}

/// A cable's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkState {
    Up,
    Down,
}

/// Does it.
pub(crate) fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Up {
            cluster,
            nodes,
            service_proxy,
            no_herald,
            profile,
            json,
        } => {
            let images = if no_herald {
                None
            } else {
                Some(image::ensure(profile).context("build Herald's images")?)
            };
            let options = ClusterOptions {
                nodes,
                service_proxy: service_proxy.into(),
                herald: !no_herald,
                images: images
                    .map(|images| vec![images.controller, images.speaker, images.echo])
                    .unwrap_or_default(),
                ..ClusterOptions::new(&cluster.name)
            };
            up(&options, json)
        }
        ClusterCommand::Status { cluster, json } => {
            let status = Cluster::open(&cluster.name)?.status()?;
            print(&status, json)?;
            if status.is_healthy() {
                Ok(())
            } else {
                bail!("cluster {} is not well", cluster.name)
            }
        }
        ClusterCommand::Exec {
            cluster,
            place,
            command,
        } => {
            let (program, arguments) = command.split_first().context("no command")?;
            let place = parse_place(&place)?;
            let mut command = Cluster::open(&cluster.name)?.command(place, program)?;
            exit_as(command.args(arguments))
        }
        ClusterCommand::Kubectl { cluster, arguments } => exit_as(
            Cluster::open(&cluster.name)?
                .kubectl_command()
                .args(arguments),
        ),
        ClusterCommand::LoadImage { cluster, archive } => {
            Cluster::open(&cluster.name)?.load_image(&archive)
        }
        ClusterCommand::Link {
            cluster,
            node,
            state,
        } => {
            let Place::Node(number) = parse_place(&node)? else {
                bail!("{node} is not a node; nodes are n1, n2 and so on");
            };
            Cluster::open(&cluster.name)?.link(number, state == LinkState::Up)
        }
        ClusterCommand::Down { cluster } => {
            let begun = Instant::now();
            herald_tests::down(&cluster.name)?;
            let took = begun.elapsed().as_secs_f64();
            eprintln!("cluster {} is down after {took:.1} s", cluster.name);
            Ok(())
        }
    }
}

/// Brings the cluster up unless it is up already, and says how to use it.
fn up(options: &ClusterOptions, json: bool) -> Result<()> {
    let name = &options.name;
    if let Ok(cluster) = Cluster::open(name) {
        let state = cluster.state();
        let same = state.nodes == options.nodes
            && state.service_proxy == options.service_proxy
            && state.herald == options.herald;
        if state.phase != Phase::Up || !same {
            bail!(
                "there is a cluster {name} already, half up or with other options; \
                 `cargo xtask cluster down --name {name}` removes it"
            );
        }
        eprintln!("cluster {name} is up already");
        return print(&cluster.status()?, json);
    }
    herald_tests::catch_interrupts();
    eprintln!("bringing up cluster {name} ({} nodes)", options.nodes);
    let begun = Instant::now();
    let cluster = Cluster::up(options)?;
    eprintln!(
        "cluster {name} is up after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    print(&cluster.status()?, json)
}

fn print(status: &Status, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(status)?);
        return Ok(());
    }
    println!("export KUBECONFIG={}", status.kubeconfig.display());
    println!("kubectl: {}", status.folder.join("bin/kubectl").display());
    println!("logs:    {}", status.folder.join("logs").display());
    println!("{:<8} {:<32} addresses", "place", "network namespace");
    for (place, namespace) in &status.namespaces {
        let addresses = status
            .addresses
            .get(place)
            .map(|all| all.join(" "))
            .unwrap_or_default();
        println!("{place:<8} {namespace:<32} {addresses}");
    }
    for role in &status.ended {
        println!("not running: {role}");
    }
    for node in &status.not_ready {
        println!("not Ready: {node}");
    }
    Ok(())
}

fn parse_place(label: &str) -> Result<Place> {
    Place::parse(label).ok_or_else(|| {
        anyhow!("there is no place {label:?}; use n1, n2 …, client, remote, router, lan or cp")
    })
}

/// Becomes the command, so that its terminal and its exit status are ours.
fn exit_as(command: &mut std::process::Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: ClusterCommand,
    }

    #[test]
    fn commands_read_as_documented() {
        for line in [
            "x up --name a --nodes 2 --service-proxy all --no-herald --json",
            "x status --json",
            "x exec n1 -- ip address",
            "x exec --name a client -- curl -s http://10.77.0.100",
            "x kubectl -- get nodes -o wide",
            "x load-image image.tar",
            "x link n1 down",
            "x down --name a",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(Cli::try_parse_from(["x", "link", "n1", "sideways"]).is_err());
    }
}
