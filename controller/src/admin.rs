//! `/healthz`, `/readyz`, `/metrics` and `/debug/plan?service=namespace/name`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use herald_core::ServiceKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::metrics::{Health, Metrics, STORES};
use crate::planner::Input;
use crate::provision;

/// The planner goes round at least once a second; a process that did not for this long is stuck. On an overloaded node a
/// minute says nothing.
const STUCK: Duration = Duration::from_secs(300);

/// What the pages show.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Metrics,
    pub(crate) start: Instant,
    pub(crate) planner: mpsc::Sender<Input>,
    pub(crate) provisioners: Vec<mpsc::Sender<provision::Input>>,
}

/// The pages; `herald_admin` serves them.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/plan", get(plan))
        .with_state(admin)
}

async fn healthz(State(admin): State<Admin>) -> Response {
    let beat = Duration::from_millis(admin.health.beat.load(Ordering::Relaxed));
    let silent = admin.start.elapsed().saturating_sub(beat);
    if silent > STUCK {
        let message = format!("the planner did not go round for {} s\n", silent.as_secs());
        return (StatusCode::INTERNAL_SERVER_ERROR, message).into_response();
    }
    "ok\n".into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let synced = admin.health.synced.load(Ordering::Relaxed);
    let missing: Vec<&str> = STORES
        .into_iter()
        .enumerate()
        .filter(|(n, _)| synced & (1 << n) == 0)
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let message = format!("not listed yet: {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.render() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn plan(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let usage = (
        StatusCode::BAD_REQUEST,
        "use /debug/plan?service=namespace/name\n",
    );
    let service = query
        .as_deref()
        .and_then(|query| query.strip_prefix("service="));
    let Some((namespace, name)) = service.and_then(|service| service.split_once('/')) else {
        return usage.into_response();
    };
    let key = ServiceKey::new(namespace, name);
    let question = |answer| Input::Explain(key.clone(), answer);
    let Some(mut text) = ask(&admin.planner, question).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    };
    for provisioner in &admin.provisioners {
        let question = |answer| provision::Input::Explain(key.clone(), answer);
        text.extend(ask(provisioner, question).await);
    }
    text.into_response()
}

/// The answer to a question; `None` while the program ends.
async fn ask<T>(
    whom: &mpsc::Sender<T>,
    question: impl FnOnce(oneshot::Sender<String>) -> T,
) -> Option<String> {
    let (answer, answered) = oneshot::channel();
    whom.send(question(answer)).await.ok()?;
    answered.await.ok()
}
