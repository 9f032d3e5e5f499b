//! The map of the controller: its tasks, and what flows between them.
//!
//! ```text
//!  Service ────────┐                        ┌── JoinSet of writes (apply, at most 8) ──▶ API server
//!  AddressPool ────┤                        │             │ result
//!  Namespace ──────┼─ watch ─▶ Input ─▶ planner (owns the Index) ◀┘
//!  L2Advertisement ┤     bounded channel    │ └─ notices ─▶ events ──▶ API server
//!  Speaker ────────┘                        │
//!  lease driver ── Leadership (watch) ──────┤      admin ── Explain ──▶ planner
//!                  relist (watch) ◀─────────┘
//! ```
//!
//! | task | how many | owns |
//! | --- | --- | --- |
//! | watch | one for each kind | its stream |
//! | planner | 1 | the index, the queues, the writes in flight |
//! | lease driver | 1 | the Lease |
//! | events | 1 | the queue of Events |
//! | admin | 1 | nothing |
//!
//! Every replica watches and keeps the index; only the leader plans and writes.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use herald_api::{AddressPool, L2Advertisement, Speaker, names};
use herald_controller_core::{Index, Settings};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Client;
use kube::core::PartialObjectMeta;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, Admin};
use crate::args::{Args, LogFormat};
use crate::events::Events;
use crate::lease::{Driver, Leadership};
use crate::metrics::{Health, Metrics};
use crate::planner::{Input, Parts, Planner};
use crate::{client, index};

/// Observations waiting for the planner; watches wait when it is full.
const INPUTS: usize = 1024;

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start: no configuration, a bad flag, or a port in use. Once started, failures are retried.
pub async fn run(args: Args) -> Result<()> {
    log_to_stderr(&args)?;
    let identity = args.identity();
    info!(version = env!("CARGO_PKG_VERSION"), identity, "starting");
    let client = client::connect(&args.apiservers()).await?;
    let (metrics, health) = (Metrics::new(), Arc::new(Health::default()));
    let start = Instant::now();
    let (inputs, from_inputs) = mpsc::channel(INPUTS);
    let (leadership_to, leadership) = watch::channel(Leadership::Following);
    let (relist, relisted) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);

    let listener = admin::listen(args.admin_address).await?;
    let pages = Admin {
        health: health.clone(),
        metrics: metrics.clone(),
        start,
        planner: inputs.clone(),
    };
    let admin = tokio::spawn(admin::serve(listener, pages));
    spawn_watches(&client, &inputs, &relisted, &metrics);
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
        events: Events::start(client.clone(), identity, metrics.clone()),
        client,
        metrics,
        health,
        start,
        leadership,
        relist,
    });
    let mut planner = tokio::spawn(planner.run(from_inputs, stopped));

    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = tokio::signal::ctrl_c() => info!("SIGINT: stopping"),
        ended = &mut planner => bail!("the planner ended: {ended:?}"),
        ended = admin => bail!("the admin server ended: {ended:?}"),
    }
    // Writes in flight end first: the lease is free for another only when nothing of ours can arrive any more.
    stop.send_replace(true);
    planner.await.context("end the planner")?;
    stop_lease.send_replace(true);
    lease.await.context("give the lease back")
}

fn spawn_watches(
    client: &Client,
    inputs: &mpsc::Sender<Input>,
    relisted: &watch::Receiver<u64>,
    metrics: &Metrics,
) {
    // Only Services are listed anew at the start of a term: who holds what follows from them alone.
    let once = watch::channel(0).1;
    macro_rules! watch {
        ($kind:ty, $view:expr, $wrap:expr, $relist:expr) => {
            tokio::spawn(crate::watch::watch::<$kind, _, _>(
                client.clone(),
                $view,
                $wrap,
                inputs.clone(),
                $relist,
                metrics.clone(),
            ));
        };
    }
    watch!(
        Service,
        index::service_view,
        Input::Services,
        relisted.clone()
    );
    watch!(AddressPool, index::pool_view, Input::Pools, once.clone());
    watch!(
        PartialObjectMeta<Namespace>,
        |namespace: &PartialObjectMeta<Namespace>| index::labels_view(&namespace.metadata),
        Input::Namespaces,
        once.clone()
    );
    watch!(
        L2Advertisement,
        index::advertisement_view,
        Input::Advertisements,
        once.clone()
    );
    watch!(Speaker, index::speaker_report, Input::Speakers, once);
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
