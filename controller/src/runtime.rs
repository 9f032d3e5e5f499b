//! The map of the controller: its tasks, and what flows between them.
//!
//! ```text
//!  Service ────────┐                        ┌── JoinSet of writes (apply, at most 8) ──▶ API server
//!  AddressPool ────┤                        │             │ result
//!  Namespace ──────┼─ watch ─▶ Input ─▶ planner (owns the Index) ◀┘
//!  L2Advertisement ┤     bounded channel    │ └─ notices ─▶ events ──▶ API server
//!  Speaker ────────┤                        │
//!  Node, EndpointSlice, ServiceCIDR ┘       │
//!  lease driver ── Leadership (watch) ──────┤      admin ── Explain ──▶ planner
//!                  relist (watch) ◀─────────┘
//! ```
//!
//! Each external provider (`provision`, `aws`) has a task of its own beside the planner, with watches of its own: Services, Nodes
//! and EndpointSlices. It makes and removes load balancers for the Services that are its own; neither knows of the other.
//!
//! | task | how many | owns |
//! | --- | --- | --- |
//! | watch | one for each kind and reader | its stream |
//! | planner | 1 | the index, the queues, the writes in flight |
//! | provisioner | one for each provider | its Services, endpoints and nodes, the inventory, the passes in flight |
//! | lease driver | 1 | the Lease |
//! | events | 1 | the queue of Events |
//! | admin | a thread | nothing |
//!
//! Every replica watches and keeps the index; only the leader plans and writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use futures::future::select_all;
use herald_api::names;
use herald_controller_core::{Index, Settings};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::core::PartialObjectMeta;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, Admin};
use crate::args::{Args, LogFormat};
use crate::events::Events;
use crate::lease::{Driver, Leadership};
use crate::losses::Losses;
use crate::metrics::{Health, Metrics};
use crate::planner::{Input, Parts, Planner};
use crate::watch::{Relist, Watches};
#[cfg(feature = "aws")]
use crate::{aws, provision::Provisioner};
use crate::{client, index, provision};
#[cfg(feature = "aws")]
use herald_provider::{Identity, Provider};

/// Observations waiting for the planner; watches wait when it is full.
const INPUTS: usize = 1024;

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start: no configuration or a bad flag. Once started, failures are retried.
pub async fn run(args: Args) -> Result<()> {
    log_to_stderr(&args)?;
    #[cfg(feature = "aws")]
    args.aws.check(args.claim_classless)?;
    let identity = args.identity();
    info!(version = env!("CARGO_PKG_VERSION"), identity, "starting");
    let client = client::connect(&args.apiservers()).await?;
    let (metrics, health) = (Metrics::new(), Arc::new(Health::default()));
    let start = Instant::now();
    let (inputs, from_inputs) = mpsc::channel(INPUTS);
    let (leadership_to, leadership) = watch::channel(Leadership::Following);
    let (relist, relisted) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);

    let events = Events::start(client.clone(), identity.clone(), metrics.clone());
    let losses = Losses::default();
    tokio::spawn(losses.clone().tell(events.clone(), leadership.clone()));
    let relist_pace = Relist {
        every: args.relist_interval,
        who: identity.clone(),
    };
    let shared = Shared {
        losses: losses.clone(),
        relist: relist_pace.clone(),
        client: client.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        leadership: leadership.clone(),
        stopped: stopped.clone(),
    };
    let mut providers = providers(&args, &shared);
    let pages = Admin {
        health: health.clone(),
        metrics: metrics.clone(),
        start,
        planner: inputs.clone(),
        provisioners: providers.iter().map(|one| one.inputs.clone()).collect(),
    };
    // A port that is taken is logged and waited for; nothing rests on it.
    let _state = herald_admin::spawn(args.admin_address, admin::router(pages))
        .context("start the thread of the admin pages")?;
    let beating = health.clone();
    herald_admin::watchdog("the planner", move || beating.beat.load(Ordering::Relaxed))
        .context("start the watchdog's thread")?;
    spawn_watches(
        &Watches::new(&client, &inputs, &metrics, &losses, &relist_pace),
        relisted,
    );
    let driver = Driver::new(
        client.clone(),
        &args.lease_namespace,
        identity.clone(),
        leadership_to,
    );
    let (stop_lease, lease_stopped) = watch::channel(false);
    let lease = tokio::spawn(driver.run(lease_stopped));
    let planner = Planner::new(Parts {
        index: Index::new(Settings {
            class: names::CLASS_POOL.into(),
            claim_classless: args.claim_classless,
        }),
        events,
        client,
        metrics,
        health,
        start,
        leadership,
        relist,
        api_servers: args.apiserver_addresses(),
    });
    let mut planner = tokio::spawn(planner.run(from_inputs, stopped));

    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = tokio::signal::ctrl_c() => info!("SIGINT: stopping"),
        ended = &mut planner => bail!("the planner ended: {ended:?}"),
        ended = any_ended(&mut providers) => bail!("a provisioner ended: {ended:?}"),
    }
    // Writes in flight end first: the lease is free for another only when nothing of ours can arrive any more.
    stop.send_replace(true);
    planner.await.context("end the planner")?;
    for provider in providers {
        provider.task.await.context("end a provisioner")?;
    }
    stop_lease.send_replace(true);
    lease.await.context("give the lease back")
}

/// What every provisioner is given.
struct Shared {
    losses: Losses,
    relist: Relist,
    client: Client,
    events: Events,
    metrics: Metrics,
    leadership: watch::Receiver<Leadership>,
    stopped: watch::Receiver<bool>,
}

/// A provisioner that runs.
struct Provisioning {
    inputs: mpsc::Sender<provision::Input>,
    task: JoinHandle<()>,
}

/// Waits until one of them ends, which none does by itself.
async fn any_ended(providers: &mut [Provisioning]) -> Result<(), JoinError> {
    let tasks: Vec<_> = providers.iter_mut().map(|one| &mut one.task).collect();
    if tasks.is_empty() {
        std::future::pending::<()>().await;
    }
    select_all(tasks).await.0
}

/// Starts the providers that the flags ask for.
fn providers(args: &Args, shared: &Shared) -> Vec<Provisioning> {
    #[cfg(feature = "aws")]
    if args.aws.cluster().is_some() {
        let connect = aws::connect(args.aws.clone(), shared.client.clone());
        let (identity, pace) = (aws::identity(&args.aws), aws::pace(&args.aws));
        return vec![start_provisioner(identity, pace, connect, shared)];
    }
    let _ = (args, shared);
    Vec::new()
}

#[cfg(feature = "aws")]
fn start_provisioner<P>(
    identity: Identity,
    pace: provision::Pace,
    connect: provision::Connect<P>,
    shared: &Shared,
) -> Provisioning
where
    P: Provider<Inventory: 'static> + 'static,
{
    let (inputs, from_inputs) = mpsc::channel(INPUTS);
    let (relist, relisted) = watch::channel(0);
    let watches = Watches::new(
        &shared.client,
        &inputs,
        &shared.metrics,
        &shared.losses,
        &shared.relist,
    );
    provision::spawn_watches(&watches, relisted);
    let provisioner = Provisioner::new(provision::Parts {
        identity,
        connect,
        pace,
        client: shared.client.clone(),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        leadership: shared.leadership.clone(),
        relist,
        stop: shared.stopped.clone(),
    });
    let task = tokio::spawn(provisioner.run(from_inputs));
    Provisioning { inputs, task }
}

fn spawn_watches(watches: &Watches<Input>, relist: watch::Receiver<u64>) {
    // Only Services are listed anew at the start of a term: who holds what follows from them alone.
    watches.relisted(relist, index::service_view, Input::Services);
    watches.all(index::pool_view, Input::Pools);
    watches.all(
        |namespace: &PartialObjectMeta<Namespace>| index::labels_view(&namespace.metadata),
        Input::Namespaces,
    );
    watches.all(index::advertisement_view, Input::Advertisements);
    watches.all(index::speaker_report, Input::Speakers);
    // What these say is nobody's to give; older clusters have no ServiceCIDRs.
    watches.any(index::node_view, Input::Nodes);
    watches.named("kubernetes", index::api_servers_view, Input::ApiServers);
    watches.any(index::service_cidr_view, Input::ServiceCidrs);
}

fn log_to_stderr(args: &Args) -> Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| {
        format!(
            "--log: \"{}\" is neither a level nor a list of filters",
            args.log
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
