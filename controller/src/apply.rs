//! Writes what the core decided. Server-side apply, one field manager for each concern; no decisions here.
//!
//! A Service's addresses, conditions and annotation go in one request to its status: the API server takes annotations there too.
//! The uid in every body makes a write to an object that was replaced meanwhile fail instead of hitting its successor.

use std::time::Duration;

use herald_api::names::{POOL_IN_USE_FINALIZER, field_manager};
use herald_api::{AddressPool, Speaker, annotations, conditions};
use herald_controller_core::{
    AnnouncedStep, Condition, Desired, PoolObserved, PoolPlan, PoolStatus, ServiceView, Write,
};
use herald_core::write_earlier_pools;
use herald_kube::Read;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use serde_json::{Value, json};

use crate::index::SpeakerSeen;

/// Longest time a write may take. Together with the lease's deadline it stays below the lease's duration, so that no write of
/// an old leader arrives under a new one.
const LIMIT: Duration = Duration::from_secs(4);

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No answer in time.
    #[error("no answer from the API server in {} s", LIMIT.as_secs())]
    Timeout,
    /// We lead no more.
    #[error("this replica does not lead any more")]
    NotLeading,
}

impl ApplyError {
    /// A word for the metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Api(kube::Error::Api(status)) => match status.code {
                404 => "gone",
                409 => "conflict",
                400..=499 => "refused",
                _ => "error",
            },
            Self::Api(_) => "error",
            Self::Timeout => "timeout",
            Self::NotLeading => "stopped",
        }
    }
}

/// Writes a Service's allocation and returns the Service as it is then.
pub(crate) async fn apply_service(
    client: Client,
    view: ServiceView,
    write: Write,
) -> Result<Read<Service>, ApplyError> {
    let body = match &write {
        Write::Apply(desired) => service_body(&view, desired, &now()),
        Write::Clear => cleared_body(&view),
    };
    patch_service(client, &view, field_manager::CONTROLLER, body).await
}

/// Writes a Service's condition Announced and returns the Service as it is then.
pub(crate) async fn apply_announced(
    client: Client,
    view: ServiceView,
    step: AnnouncedStep,
) -> Result<Read<Service>, ApplyError> {
    let mut body = service_metadata(&view);
    let conditions: Vec<Value> = step
        .condition
        .iter()
        .map(|condition| condition_body(&view, condition, &now()))
        .collect();
    body["status"] = json!({ "conditions": conditions });
    patch_service(client, &view, field_manager::CONTROLLER_ANNOUNCED, body).await
}

async fn patch_service(
    client: Client,
    view: &ServiceView,
    manager: &str,
    body: Value,
) -> Result<Read<Service>, ApplyError> {
    let api: Api<Read<Service>> = Api::namespaced(client, &view.key.namespace);
    let parameters = PatchParams::apply(manager).force();
    let patch = Patch::Apply(&body);
    timely(api.patch_status(&view.key.name, &parameters, &patch)).await
}

pub(crate) async fn timely<T>(
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApplyError> {
    Ok(tokio::time::timeout(LIMIT, request)
        .await
        .map_err(|_| ApplyError::Timeout)??)
}

fn service_metadata(view: &ServiceView) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": view.key.namespace,
            "name": view.key.name,
            "uid": view.uid,
        },
    })
}

fn service_body(view: &ServiceView, desired: &Desired, now: &str) -> Value {
    let mut body = service_metadata(view);
    for (annotation, value) in [
        (annotations::ALLOCATED_FROM, desired.allocated_from.clone()),
        (
            annotations::EARLIER_POOLS,
            write_earlier_pools(&desired.earlier_pools),
        ),
        (annotations::REQUESTED_POOL, desired.requested_pool.clone()),
    ] {
        if let Some(value) = value {
            body["metadata"]["annotations"][annotation] = json!(value);
        }
    }
    let conditions: Vec<Value> = desired
        .conditions
        .iter()
        .map(|condition| condition_body(view, condition, now))
        .collect();
    body["status"] = json!({ "conditions": conditions });
    if let Some(ingress) = &desired.ingress {
        let ingress: Vec<Value> = ingress
            .iter()
            .map(|address| json!({ "ip": address }))
            .collect();
        body["status"]["loadBalancer"] = json!({ "ingress": ingress });
    }
    body
}

/// Everything of ours goes; the empty list also ends addresses that somebody else's manager wrote and we took over.
fn cleared_body(view: &ServiceView) -> Value {
    let mut body = service_metadata(view);
    body["status"] = json!({ "loadBalancer": { "ingress": [] } });
    body
}

fn condition_body(view: &ServiceView, condition: &Condition, now: &str) -> Value {
    let shown = view.conditions.iter().find(|observed| {
        observed.condition.kind == condition.kind
            && observed.condition.status == condition.status
            && !observed.since.is_empty()
    });
    json!({
        "type": condition.kind.as_str(),
        "status": if condition.status { "True" } else { "False" },
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": shown.map_or(now, |observed| &observed.since),
    })
}

/// Writes a pool's status and finalizer.
pub(crate) async fn apply_pool(
    client: Client,
    name: String,
    observed: PoolObserved,
    plan: PoolPlan,
) -> Result<(), ApplyError> {
    // Both requests within one limit.
    timely(patch_pool(client, &name, &observed, &plan)).await
}

async fn patch_pool(
    client: Client,
    name: &str,
    observed: &PoolObserved,
    plan: &PoolPlan,
) -> kube::Result<()> {
    let api: Api<Read<AddressPool>> = Api::all(client);
    let parameters = PatchParams::apply(field_manager::CONTROLLER_POOL).force();
    let metadata = json!({
        "apiVersion": "heraldlb.io/v1alpha1",
        "kind": "AddressPool",
        "metadata": { "name": name, "uid": observed.uid },
    });
    let mut protected = Ok(());
    if let Some(add) = plan.finalizer {
        let mut body = metadata.clone();
        body["metadata"]["finalizers"] = if add {
            json!([POOL_IN_USE_FINALIZER])
        } else {
            json!([])
        };
        let patch = Patch::Apply(&body);
        match api.patch(name, &parameters, &patch).await {
            // That was its end; there is no status to write.
            Ok(answer) if answer.meta().deletion_timestamp.is_some() && !add => return Ok(()),
            Ok(_) => {}
            // The status says why it gives nothing.
            Err(error) => protected = Err(error),
        }
    }
    if let Some(status) = &plan.status {
        let mut body = metadata;
        body["status"] = pool_status_body(observed, status, &now());
        let patch = Patch::Apply(&body);
        api.patch_status(name, &parameters, &patch).await?;
    }
    protected
}

fn pool_status_body(observed: &PoolObserved, status: &PoolStatus, now: &str) -> Value {
    let since = observed
        .ready
        .as_ref()
        .filter(|(ready, since)| ready.status == status.ready.status && !since.is_empty());
    json!({
        "assignedIPv4": status.assigned.v4,
        "assignedIPv6": status.assigned.v6,
        "availableIPv4": status.available.v4,
        "availableIPv6": status.available.v6,
        "conditions": [{
            "type": conditions::address_pool::READY,
            "status": if status.ready.status { "True" } else { "False" },
            "reason": status.ready.reason,
            "message": status.ready.message,
            "observedGeneration": status.ready.generation,
            "lastTransitionTime": since.map_or(now, |(_, since)| since),
        }],
    })
}

/// Says of a silent speaker that nobody knows whether it is Ready. The version in the body makes a write to an object that has
/// changed since fail: whoever renews is not silent.
pub(crate) async fn apply_silent(
    client: Client,
    name: String,
    seen: SpeakerSeen,
) -> Result<(), ApplyError> {
    let message = format!(
        "the speaker has not been heard of for 30 s: all that stands here is its last word. See kubectl get pods -A -o wide \
         --field-selector spec.nodeName={name}; if the node is to have no speaker any more: kubectl delete speaker {name}"
    );
    let body = json!({
        "apiVersion": "heraldlb.io/v1alpha1",
        "kind": "Speaker",
        "metadata": { "name": name, "uid": seen.uid, "resourceVersion": seen.version },
        "status": { "conditions": [{
            "type": conditions::speaker::READY,
            "status": "Unknown",
            "reason": conditions::speaker::SILENT,
            "message": message,
            "lastTransitionTime": now(),
        }] },
    });
    let api: Api<Speaker> = Api::all(client);
    let parameters = PatchParams::apply(field_manager::CONTROLLER_SPEAKER).force();
    let patch = Patch::Apply(&body);
    timely(api.patch_status(&name, &parameters, &patch)).await?;
    Ok(())
}

/// The time as conditions write it, in whole seconds.
pub(crate) fn now() -> String {
    match serde_json::to_value(Time(Timestamp::now())) {
        Ok(Value::String(text)) => text,
        _ => Timestamp::UNIX_EPOCH.to_string(),
    }
}
