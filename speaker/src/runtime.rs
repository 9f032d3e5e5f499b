//! The map of the speaker: which tasks there are and who sends what to whom.
//!
//! ```text
//! watch: Services ─┐                              ┌─ Step::Announce ──▶ announcer thread ─┐
//!   EndpointSlices │                              │                                       │ reports, applied
//!   Nodes          ├─ mpsc ──▶ driver (engine) ───┼─ Replace, Change ─▶ data path thread ─┤ reports
//!   AddressPools   │              ▲               │                                       │
//!   Advertisements │              │               ├─ watch: Report ───▶ Speaker writer ───┤ written
//!   Speakers ──────┘              │               └─ watch: Shown ────▶ admin             │
//! links ─ kernel settings ────────┴───────────────────────────────────────────────────────┘
//! ```
//!
//! The admin pages have a thread of their own (`herald_admin`); whether they are served is an observation too.
//!
//! The driver never waits for the data path: what it has to say is kept, merged by Service, until there is room.

mod driver;
mod outbox;

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context;
use herald_api::{AddressPool, L2Advertisement, Speaker, names};
use herald_core::ServiceKey;
use herald_kube::Pace;
use herald_speaker_core::{ServiceView, SliceView};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat, Mode};
use crate::data_path::{DataPath, DataPathConfig};
use crate::engine::{Observation, SliceKey};
use crate::link::watch_links;
use crate::metrics::Metrics;
use crate::own_daemonset::OwnDaemonSet;
use crate::watch::{Kind, watch};
use crate::{admin, announcer, cleanup, client, index, kernel, status};
use driver::{Driver, Inputs, Outputs};

/// Observations waiting for the engine; the watches wait beyond that.
const OBSERVATIONS: usize = 1024;

fn log_to_stderr(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| {
        format!(
            "--log: \"{}\" is neither a level nor a list of filters",
            args.log
        )
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}

/// Runs until a signal ends the speaker; an error means that it cannot go on and is to be restarted.
pub async fn run(args: Args) -> anyhow::Result<()> {
    log_to_stderr(&args)?;
    if args.cleanup {
        return cleanup::run();
    }
    let node: Arc<str> = args
        .node_name
        .as_deref()
        .context("which Node is this? give --node-name, or NODE_NAME as the manifests do")?
        .into();
    let mode = args.service_proxy;
    tracing::info!(%node, mode = mode.as_str(), version = env!("CARGO_PKG_VERSION"), "speaker starts");
    if mode == Mode::All && args.apiserver.is_empty() && args.kubeconfig.is_none() {
        tracing::warn!(
            "--service-proxy all without --apiserver: after a reboot this node cannot reach the API server's cluster IP \
             before its rules exist, and cannot make them before it has reached it; give real addresses (https://host:port)"
        );
    }
    let metrics = Metrics::new();
    let client = client::connect(&args).await?;

    let (data_path, data_path_reports) = DataPath::spawn(DataPathConfig {
        forward: args.forward_config(),
        own_tables: !args.no_table_owner,
    })
    .context("starting the data path's thread")?;
    let (announcer, announcer_reports) =
        announcer::spawn().context("starting the announcer's thread")?;
    let announcer = Arc::new(announcer);
    let (observations, received) = mpsc::channel(OBSERVATIONS);

    let pace = |kind: &str| Pace::new(args.relist_interval, &node, kind);
    spawn_watches(&client, &observations, &metrics, pace);
    let (links, links_seen) = watch::channel(None);
    tokio::spawn(watch_links(links).instrument(tracing::info_span!("links")));
    let settings = kernel::follow(links_seen, observations.clone(), mode != Mode::Off);
    tokio::spawn(settings.instrument(tracing::info_span!("kernel")));

    // Where there is no other proxy the rules stay, whatever becomes of the DaemonSet.
    let daemonset = (mode == Mode::External)
        .then(|| OwnDaemonSet::of_pod(client.clone(), &args.pod_name))
        .flatten();
    if let Some(daemonset) = daemonset.clone() {
        tokio::spawn(daemonset.get_to_know());
    }

    let (reports, reports_seen) = watch::channel(None);
    let identity = status::Identity {
        node: node.clone(),
        pod: args.pod_name.clone(),
        service_proxy: mode.as_str(),
    };
    let writer = status::Writer::new(client, identity, observations.clone(), metrics.clone());
    tokio::spawn(
        writer
            .run(reports_seen)
            .instrument(tracing::info_span!("status")),
    );

    let inputs = Inputs {
        observations: received,
        data_path: data_path_reports,
        announcer: announcer_reports,
    };
    let admin_observed = observations.clone();
    let outputs = Outputs {
        data_path: data_path.clone(),
        announcer: announcer.clone(),
        observations,
        reports,
        metrics: metrics.clone(),
        daemonset,
    };
    let (driver, shown) = Driver::new(node, args.forward_config(), outputs);
    let admin = admin::Admin {
        shown,
        metrics,
        data_path,
        announcer,
    };
    let at = admin.shown.clone();
    herald_admin::watchdog("the engine", move || at.borrow().at)
        .context("starting the watchdog's thread")?;
    let served = herald_admin::spawn(args.admin_address, admin::router(admin))
        .context("starting the thread for probes and metrics")?;
    tokio::spawn(follow_admin(served, admin_observed));
    driver.run(inputs).await
}

/// Whether probes and metrics are served, as an observation.
async fn follow_admin(
    mut served: watch::Receiver<Option<String>>,
    observations: mpsc::Sender<Observation>,
) {
    loop {
        let state = served.borrow_and_update().clone();
        if observations.send(Observation::Admin(state)).await.is_err() {
            return;
        }
        if served.changed().await.is_err() {
            return;
        }
    }
}

fn spawn_watches(
    client: &Client,
    observations: &mpsc::Sender<Observation>,
    metrics: &Metrics,
    pace: impl Fn(&str) -> Pace,
) {
    macro_rules! follow {
        ($kind:expr) => {{
            let kind = $kind;
            let span = tracing::info_span!("watch", kind = kind.name);
            let pace = pace(kind.name);
            let task = watch(
                client.clone(),
                kind,
                observations.clone(),
                metrics.clone(),
                pace,
            );
            tokio::spawn(task.instrument(span));
        }};
    }
    follow!(Kind::<Service, ServiceKey, ServiceView> {
        name: "services",
        labels: concat_not(names::HEADLESS_LABEL),
        key: index::service_key,
        view: index::service,
        counts_in_part: true,
        observe: Observation::Service,
    });
    follow!(Kind::<EndpointSlice, SliceKey, SliceView> {
        name: "endpointslices",
        labels: concat_not(names::HEADLESS_LABEL),
        key: index::slice_key,
        view: index::slice,
        counts_in_part: true,
        observe: Observation::Slice,
    });
    follow!(Kind::<Node, _, _> {
        name: "nodes",
        labels: String::new(),
        key: index::name_key,
        view: index::node,
        counts_in_part: true,
        observe: Observation::Node,
    });
    follow!(Kind::<AddressPool, _, _> {
        name: "addresspools",
        labels: String::new(),
        key: index::name_key,
        view: index::pool,
        counts_in_part: true,
        observe: Observation::Pool,
    });
    follow!(Kind::<L2Advertisement, _, _> {
        name: "l2advertisements",
        labels: String::new(),
        key: index::name_key,
        view: index::advertisement,
        // In part it would select more.
        counts_in_part: false,
        observe: Observation::Advertisement,
    });
    follow!(Kind::<Speaker, _, _> {
        name: "speakers",
        labels: String::new(),
        key: index::name_key,
        view: index::speaker,
        counts_in_part: true,
        observe: Observation::Speaker,
    });
}

/// The selector of objects without a label.
fn concat_not(label: &str) -> String {
    format!("!{label}")
}
