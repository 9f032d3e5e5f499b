//! Kubernetes Events of Services. One task posts them one after the other, so that they never slow an allocation down; what does
//! not fit its queue is counted and dropped: the condition says the same.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use herald_controller_core::{Notice, ProvidedNotice, ServiceView};
use herald_core::ServiceKey;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

const QUEUE: usize = 4096;
const LIMIT: Duration = Duration::from_secs(4);
/// Longest `note` the API takes, in bytes.
const NOTE: usize = 1024;

/// Where Events are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    to: mpsc::Sender<Told>,
    metrics: Metrics,
}

/// One Event to be posted.
#[derive(Debug)]
struct Told {
    key: ServiceKey,
    uid: Arc<str>,
    /// What was being done.
    action: &'static str,
    warning: bool,
    reason: Cow<'static, str>,
    message: String,
}

impl Events {
    /// Starts the task that posts; it ends when the last `Events` is dropped.
    pub(crate) fn start(client: Client, identity: String, metrics: Metrics) -> Self {
        let (to, from) = mpsc::channel(QUEUE);
        tokio::spawn(post_all(client, identity, from, metrics.clone()));
        Self { to, metrics }
    }

    /// Hands in an Event about the Service's address.
    pub(crate) fn emit(&self, view: &ServiceView, notice: Notice) {
        self.tell(Told {
            key: view.key.clone(),
            uid: view.uid.clone(),
            action: "Allocate",
            warning: notice.warning,
            reason: notice.reason.as_str().into(),
            message: notice.message,
        });
    }

    /// Hands in an Event about the Service's load balancer.
    pub(crate) fn emit_provided(&self, key: &ServiceKey, uid: &Arc<str>, notice: ProvidedNotice) {
        self.tell(Told {
            key: key.clone(),
            uid: uid.clone(),
            action: "Provision",
            warning: notice.warning,
            reason: notice.reason.into(),
            message: notice.message,
        });
    }

    fn tell(&self, told: Told) {
        info!(service = %told.key, reason = %told.reason, "{}", told.message);
        if self.to.try_send(told).is_err() {
            self.metrics.event("dropped");
        }
    }
}

async fn post_all(
    client: Client,
    identity: String,
    mut from: mpsc::Receiver<Told>,
    metrics: Metrics,
) {
    while let Some(told) = from.recv().await {
        let event = event(&told, &identity);
        let key = &told.key;
        let api: Api<Event> = Api::namespaced(client.clone(), &key.namespace);
        let parameters = PostParams::default();
        let posted = tokio::time::timeout(LIMIT, api.create(&parameters, &event)).await;
        match posted {
            Ok(Ok(_)) => metrics.event("posted"),
            // The namespace is being deleted.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => {
                metrics.event("refused");
                debug!(service = %key, %status, "event refused");
            }
            Ok(Err(error)) => {
                metrics.event("failed");
                warn!(service = %key, error = &error as &dyn std::error::Error, "event lost");
            }
            Err(_) => {
                metrics.event("failed");
                warn!(service = %key, "event lost: no answer");
            }
        }
    }
}

fn event(told: &Told, identity: &str) -> Event {
    let now = Timestamp::now();
    let key = &told.key;
    let mut note = told.message.clone();
    note.truncate(note.floor_char_boundary(NOTE));
    Event {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.to_string()),
            name: Some(format!("{}.{:x}", key.name, now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        action: Some(told.action.into()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(told.reason.to_string()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            uid: Some(told.uid.to_string()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("heraldlb.io/controller".into()),
        // At most 128 bytes.
        reporting_instance: Some(identity.chars().take(128).collect()),
        type_: Some(if told.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}
