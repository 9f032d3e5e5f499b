//! `cargo xtask demo`: Herald's stories, each on a real cluster of its own.

mod aws;
mod look;
mod pool;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use herald_tests::{Cluster, ClusterOptions, catch_interrupts, interrupted};

use crate::image::{self, Profile};
use crate::step::{seconds, step};
use look::print;

const NAME: &str = "demo";
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Story {
    /// An address from a pool, announced on the LAN, through the loss of its node
    Pool,
    /// A Network Load Balancer, through an update of the pods
    Aws,
}

/// Brings a cluster up, tells the story and takes it down, or leaves it up if `keep`.
pub(crate) fn run(story: Story, keep: bool) -> Result<()> {
    step(
        "set up (packages and real parts; long the first time)",
        crate::setup::setup,
    )?;
    let images = step("images of controller, speaker and echo server", || {
        image::ensure(Profile::Image)
    })?;
    // From here on Ctrl-C is an error like any other: what is up is taken down.
    catch_interrupts();
    let start = Instant::now();
    let mut options = ClusterOptions::new(NAME);
    options.images = vec![images.controller, images.speaker, images.echo];
    let mut what = "a cluster: three nodes on a LAN, a router, clients".to_owned();
    if story == Story::Aws {
        options.aws = Some(aws::options());
        what += "; AWS beside it (moto), and a load balancer that carries traffic";
    }
    let cluster = step(what, || Cluster::up(&options))?;

    let told = tell(story, &cluster);
    if told.is_err() && !interrupted() {
        match cluster.dump("demo failed") {
            Ok(folder) => eprintln!("what may explain it is in {}", folder.display()),
            Err(error) => eprintln!("nothing could be kept to explain it: {error:#}"),
        }
    }
    let ended = if keep && !interrupted() {
        leave_up(story, &cluster)
    } else {
        step("take it down", || cluster.down())
    };
    println!("\nthe demo took {}", seconds(start.elapsed()));
    // The story's failure is the cause of what followed.
    told.and(ended)
}

fn tell(story: Story, cluster: &Cluster) -> Result<()> {
    step("install Herald from its images and manifests", || {
        cluster.install_herald()
    })?;
    match story {
        Story::Pool => pool::tell(cluster),
        Story::Aws => aws::tell(cluster),
    }
}

fn apply(cluster: &Cluster, example: &str) -> Result<()> {
    let path = crate::root().join("deploy/examples").join(example);
    let path = path.to_str().context("the checkout's path is not text")?;
    println!("    kubectl apply -f deploy/examples/{example}");
    print(&cluster.kubectl(&["apply", "-f", path])?);
    Ok(())
}

/// Plugs all cables in again and says what to try.
fn leave_up(story: Story, cluster: &Cluster) -> Result<()> {
    for node in 1..=cluster.nodes() {
        cluster.link(node, true)?;
    }
    println!("\nThe cluster stays up. To try:\n");
    println!("    export KUBECONFIG={}", cluster.kubeconfig().display());
    println!(
        "    export PATH=$PATH:{}",
        cluster.folder().join("bin").display()
    );
    println!("    kubectl get services,speakers,addresspools,l2advertisements");
    let to_try = match story {
        Story::Pool => &pool::TO_TRY[..],
        Story::Aws => &aws::TO_TRY[..],
    };
    let first = [
        "kubectl --name demo -- get pods --all-namespaces -o wide",
        "status --name demo",
    ];
    for line in first.iter().chain(to_try).chain(&["down --name demo"]) {
        println!("    cargo xtask cluster {line}");
    }
    Ok(())
}
