//! HTTP for probes, metrics and a look inside: /livez /healthz /readyz /metrics /debug/state.
//!
//! None of these answers depends on the API server once the first state is in place (I5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use tokio::sync::watch;

use crate::announcer::AnnouncerHandle;
use crate::data_path::DataPathHandle;
use crate::metrics::Metrics;

/// The engine takes in observations and ticks at least every second; one that is silent this long hangs. On an overloaded
/// node a minute says nothing.
const HUNG_AFTER: Duration = Duration::from_secs(300);
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(2);

/// What the engine's driver shows to the outside.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// When the engine last ran.
    pub(crate) at: Instant,
    pub(crate) ready: bool,
    /// Kinds that were not listed yet.
    pub(crate) unlisted: Vec<&'static str>,
    /// Announced addresses.
    pub(crate) announced: Vec<String>,
    /// Addresses that are to be announced, the link's index, and why they are not.
    pub(crate) waiting: Vec<(String, u32, String)>,
    /// Live speakers.
    pub(crate) live: Vec<String>,
    /// Services that the data path has not confirmed, and those it was refused.
    pub(crate) backlog: (usize, usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) shown: watch::Receiver<Shown>,
    pub(crate) metrics: Metrics,
    pub(crate) data_path: DataPathHandle,
    pub(crate) announcer: Arc<AnnouncerHandle>,
}

/// The pages; `herald_admin` serves them.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/state", get(state))
        .with_state(admin)
}

async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    let idle = admin.shown.borrow().at.elapsed();
    if idle < HUNG_AFTER {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the engine has not run for {} s\n", idle.as_secs()),
        )
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let shown = admin.shown.borrow().clone();
    if shown.ready {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let why = if shown.unlisted.is_empty() {
        "the first rules are not in the kernel yet\n".to_owned()
    } else {
        format!("not listed yet: {}\n", shown.unlisted.join(", "))
    };
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let forwarded = tokio::time::timeout(COUNTERS_TIMEOUT, admin.data_path.counters()).await;
    let forwarded = forwarded.ok().and_then(Result::ok).unwrap_or_default();
    let announced = tokio::time::timeout(COUNTERS_TIMEOUT, admin.announcer.counts()).await;
    let announced = announced.ok().and_then(Result::ok).unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        admin.metrics.render(&forwarded, &announced),
    )
}

async fn state(State(admin): State<Admin>) -> impl IntoResponse {
    let shown = admin.shown.borrow().clone();
    axum::Json(json!({
        "ready": shown.ready,
        "unlisted": shown.unlisted,
        "liveSpeakers": shown.live,
        "announced": shown.announced,
        "waiting": shown.waiting.iter().map(|(address, link, why)| json!({
            "address": address,
            "link": link,
            "state": why,
        })).collect::<Vec<_>>(),
        "dataPath": { "pendingServices": shown.backlog.0, "refusedServices": shown.backlog.1 },
    }))
}
