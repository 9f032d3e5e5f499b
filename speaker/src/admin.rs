//! HTTP for probes, metrics and a look inside: /livez /healthz /readyz /metrics /debug/state.
//!
//! None of these answers depends on the API server once the first state is in place (I5).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::announcer::AnnouncerHandle;
use crate::data_path::DataPathHandle;
use crate::metrics::Metrics;

/// The engine takes in observations and ticks at least every second; one that is silent this long hangs.
const HUNG_AFTER: Duration = Duration::from_secs(60);
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

/// Binds the address. `[::]` takes IPv4 too, and falls back to it where the kernel has no IPv6.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = |address: SocketAddr| -> std::io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        TcpListener::from_std(socket.into())
    };
    let result = match listen(address) {
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && address.ip().is_unspecified() =>
        {
            listen(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        }
        result => result,
    };
    result.with_context(|| format!("listening on {address}; choose another with --admin-address"))
}

/// Serves until the speaker ends.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/state", get(state))
        .with_state(admin);
    axum::serve(listener, router).await
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
