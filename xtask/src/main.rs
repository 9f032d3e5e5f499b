//! `cargo xtask <verb>`: the one entry point for set-up, clusters, images, the demo and the tests.

mod cluster;
mod crds;
mod demo;
mod image;
mod setup;
mod step;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Work on Herald", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install the Debian packages and build the real parts the lab needs
    Setup,
    /// A local cluster that stays up, for anyone to use
    Cluster {
        #[command(subcommand)]
        command: cluster::ClusterCommand,
    },
    /// Build the static binaries and pack them into OCI archives, without Docker
    Image {
        /// How to build: quickly, or as users run it
        #[arg(long, value_enum, default_value = "image")]
        profile: image::Profile,
        /// Folder for the archives [default: target/image/<profile>]
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Bring a cluster up, show Herald at work on it, and take it down
    Demo {
        /// What to show
        #[arg(value_enum, default_value = "pool")]
        story: demo::Story,
        /// Leave the cluster up and say what to try
        #[arg(long)]
        keep: bool,
    },
    /// Run everything CI runs, or the steps whose names contain one of the given words
    Test {
        /// Words that select steps
        filter: Vec<String>,
        /// Print the steps instead of running them
        #[arg(long)]
        list: bool,
    },
    /// Run tests again and again with every core busy, and say what fell how often
    Soak {
        /// Words that select steps [default: netns_ api_ e2e_]
        filter: Vec<String>,
        /// How many rounds
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        times: u32,
    },
    /// Write the custom resource definitions of deploy/crds
    Crds {
        /// Fail if they are not what the code says, and show the difference
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Setup => step::step("setup", setup::setup),
        Verb::Cluster { command } => cluster::run(command),
        Verb::Image { profile, out } => {
            let images = step::step("images", || match out {
                Some(dir) => image::ensure_in(profile, dir),
                None => image::ensure(profile),
            })?;
            for archive in [&images.controller, &images.speaker, &images.echo] {
                println!("{}", archive.display());
            }
            Ok(())
        }
        Verb::Demo { story, keep } => demo::run(story, keep),
        Verb::Test { filter, list } => test::run(&filter, list),
        Verb::Soak { filter, times } => test::soak::run(&filter, times),
        Verb::Crds { check: true } => step::step("crds --check", crds::check),
        Verb::Crds { check: false } => step::step("crds", crds::write),
    }
}

/// The checkout's root.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo, run in the checkout's root as a person would run it: what `cargo run` put into our
/// environment would make build scripts that watch it run again.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo
}
