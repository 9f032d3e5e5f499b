//! Kubernetes Events, nearly all of Services. One task posts them one after the other, so that they never slow an allocation down; what does
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

use crate::losses::Subject;
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
    /// The object it is about.
    subject: Subject,
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
            subject: service(&view.key),
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
            subject: service(key),
            uid: uid.clone(),
            action: "Provision",
            warning: notice.warning,
            reason: notice.reason.into(),
            message: notice.message,
        });
    }

    /// Hands in an Event about fields of an object that cannot be read.
    pub(crate) fn emit_unreadable(&self, subject: Subject, uid: Arc<str>, message: String) {
        self.tell(Told {
            subject,
            uid,
            action: "Read",
            warning: true,
            reason: "Unreadable".into(),
            message,
        });
    }

    fn tell(&self, told: Told) {
        let Subject { kind, key, .. } = &told.subject;
        info!(kind, object = %key, reason = %told.reason, "{}", told.message);
        if self.to.try_send(told).is_err() {
            self.metrics.event("dropped");
        }
    }
}

fn service(key: &ServiceKey) -> Subject {
    Subject {
        kind: "Service".into(),
        api_version: "v1".into(),
        key: key.clone(),
    }
}

/// Where an Event about an object goes: those of objects without a namespace go to `default`.
fn namespace(key: &ServiceKey) -> &str {
    if key.namespace.is_empty() {
        "default"
    } else {
        &key.namespace
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
        let key = &told.subject.key;
        let api: Api<Event> = Api::namespaced(client.clone(), namespace(key));
        let parameters = PostParams::default();
        let posted = tokio::time::timeout(LIMIT, api.create(&parameters, &event)).await;
        match posted {
            Ok(Ok(_)) => metrics.event("posted"),
            // The namespace is being deleted.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => {
                metrics.event("refused");
                debug!(object = %key, %status, "event refused");
            }
            Ok(Err(error)) => {
                metrics.event("failed");
                warn!(object = %key, error = &error as &dyn std::error::Error, "event lost");
            }
            Err(_) => {
                metrics.event("failed");
                warn!(object = %key, "event lost: no answer");
            }
        }
    }
}

fn event(told: &Told, identity: &str) -> Event {
    let now = Timestamp::now();
    let key = &told.subject.key;
    let mut note = told.message.clone();
    note.truncate(note.floor_char_boundary(NOTE));
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace(key).to_owned()),
            name: Some(format!("{}.{:x}", key.name, now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        action: Some(told.action.into()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(told.reason.to_string()),
        regarding: Some(ObjectReference {
            api_version: Some(told.subject.api_version.clone()),
            kind: Some(told.subject.kind.clone()),
            namespace: (!key.namespace.is_empty()).then(|| key.namespace.to_string()),
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
