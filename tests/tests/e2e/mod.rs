//! End-to-end scenarios: one real cluster a file, Herald in it from its image and manifests, each scenario in a namespace
//! of its own. Run one with `cargo test -p herald-tests --test e2e_external -- <name>`. With HERALD_KEEP set the cluster
//! stays, and HERALD_CLUSTER names one that is there and shall be used.

// Each test file uses a part of this.
#![allow(dead_code)]

pub(crate) mod ask;
pub(crate) mod dns;
pub(crate) mod objects;
pub(crate) mod observe;
pub(crate) mod scenarios;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use herald_tests::{Cluster, ClusterOptions, ServiceProxy, aws};
use libtest_mimic::{Arguments, Failed, Trial};
use objects::{Service, echo};
use serde_json::Value;

/// A scenario: its name and what it does in its namespace.
pub(crate) type Scenario = (&'static str, fn(&Cluster, &str) -> Result<()>);

/// Brings a cluster up, runs the scenarios one after the other, and takes the cluster down again.
pub(crate) fn run(mode: ServiceProxy, scenarios: &'static [Scenario]) -> ExitCode {
    run_on(scenarios, || up(mode.name(), mode, None))
}

/// The same beside kube-proxy, with AWS beside the cluster.
pub(crate) fn run_with_aws(options: aws::Options, scenarios: &'static [Scenario]) -> ExitCode {
    run_on(scenarios, || {
        up("aws", ServiceProxy::External, Some(options))
    })
}

fn run_on(scenarios: &'static [Scenario], up: impl FnOnce() -> Result<Cluster>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One cluster, two cores: scenarios that pull cables must not meet.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(scenarios, None)).exit_code();
    }
    let given = std::env::var("HERALD_CLUSTER").ok();
    let cluster = match given.as_deref().map_or_else(up, Cluster::open) {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            eprintln!("no cluster to test on: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(scenarios, Some(&cluster)));
    if given.is_some() || std::env::var_os("HERALD_KEEP").is_some() {
        eprintln!("cluster {} stays", cluster.name());
    } else if let Err(error) = Cluster::open(cluster.name()).and_then(Cluster::down) {
        eprintln!("cluster {} does not go: {error:#}", cluster.name());
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn up(name: &str, mode: ServiceProxy, aws: Option<aws::Options>) -> Result<Cluster> {
    herald_tests::catch_interrupts();
    let name = format!("e2e-{name}-{}", std::process::id());
    let options = ClusterOptions {
        service_proxy: mode,
        herald: true,
        images: images()?,
        aws,
        ..ClusterOptions::new(&name)
    };
    let cluster = Cluster::up(&options)?;
    for example in ["pool.yaml", "advertisement.yaml"] {
        let path = repository().join("deploy/examples").join(example);
        cluster.kubectl(&["apply", "-f", &path.to_string_lossy()])?;
    }
    Ok(cluster)
}

/// The image archives: of the folder that HERALD_IMAGES names (`cargo xtask test` does), else of the one that
/// `cargo xtask image` fills.
fn images() -> Result<Vec<PathBuf>> {
    let folder = std::env::var_os("HERALD_IMAGES")
        .map_or_else(|| repository().join("target/image/image"), PathBuf::from);
    let entries = std::fs::read_dir(&folder).with_context(|| {
        format!(
            "no images in {}: `cargo xtask image` makes them",
            folder.display()
        )
    })?;
    let paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "tar"))
        .collect())
}

fn trials(scenarios: &'static [Scenario], cluster: Option<&Arc<Cluster>>) -> Vec<Trial> {
    let trial = |&(name, scenario): &Scenario| {
        let cluster = cluster.cloned();
        Trial::test(name, move || {
            let Some(cluster) = cluster else {
                return Ok(());
            };
            in_namespace(&cluster, name, scenario).map_err(|error| {
                let dump = cluster.dump(name).map_or_else(
                    |problem| format!("nothing could be written: {problem:#}"),
                    |path| {
                        format!(
                            "logs, events, rulesets, neighbours and packets: {}",
                            path.display()
                        )
                    },
                );
                Failed::from(format!("{error:#}\n{dump}"))
            })
        })
    };
    scenarios.iter().map(trial).collect()
}

fn in_namespace(
    cluster: &Cluster,
    name: &str,
    scenario: fn(&Cluster, &str) -> Result<()>,
) -> Result<()> {
    let namespace = name.replace('_', "-");
    cluster.kubectl(&["create", "namespace", &namespace])?;
    let result = scenario(cluster, &namespace);
    if result.is_ok() {
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"])?;
    }
    result
}

/// Applies objects built in [`objects`].
pub(crate) fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.kubectl_apply(&list.to_string())?;
    Ok(())
}

/// Makes `replicas` echo pods `web` and a Service before them, and waits until the pods are available.
pub(crate) fn echo_behind(
    cluster: &Cluster,
    namespace: &str,
    replicas: usize,
    service: Service,
) -> Result<()> {
    apply(
        cluster,
        &[echo(namespace, "web", replicas), service.value()],
    )?;
    rolled_out(cluster, namespace, "web")
}

/// Pods `web` behind a load balancer that kube-proxy does not carry: what answers is Herald's data path.
pub(crate) fn herald_web(cluster: &Cluster, namespace: &str, replicas: usize) -> Result<()> {
    let service = Service::new(namespace, "web", "web");
    echo_behind(
        cluster,
        namespace,
        replicas,
        service.load_balancer().not_for_kube_proxy(),
    )
}

/// Waits until all pods of a Deployment are available.
pub(crate) fn rolled_out(cluster: &Cluster, namespace: &str, deployment: &str) -> Result<()> {
    let target = format!("deployment/{deployment}");
    cluster.kubectl(&[
        "rollout",
        "status",
        "-n",
        namespace,
        &target,
        "--timeout=60s",
    ])?;
    Ok(())
}

/// The checkout.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}
