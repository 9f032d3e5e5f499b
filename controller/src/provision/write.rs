//! Writes to Services: the finalizer, the status. One field manager for each provider; no decisions here.
//!
//! The uid in every body makes a write to an object that was replaced meanwhile fail instead of hitting its successor.

use herald_api::names::field_manager;
use herald_controller_core::{IngressEntry, ProvidedCondition, ProvidedDesired, ProvidedView};
use herald_kube::Read;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::view::provided_view;
use crate::apply::{ApplyError, now, timely};

/// Writes for one provider.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    manager: String,
    finalizer: String,
}

impl Writer {
    /// A writer for the provider of this name and finalizer.
    pub(crate) fn new(client: Client, provider: &str, finalizer: &str) -> Self {
        Self {
            client,
            manager: format!("{}{provider}", field_manager::CONTROLLER_PROVIDER_PREFIX),
            finalizer: finalizer.to_owned(),
        }
    }

    /// Adds the finalizer and returns the Service as it is then.
    pub(crate) async fn add_finalizer(
        &self,
        view: &ProvidedView,
    ) -> Result<ProvidedView, ApplyError> {
        let mut body = metadata(view);
        body["metadata"]["finalizers"] = json!([self.finalizer]);
        let parameters = PatchParams::apply(&self.manager).force();
        let patch = Patch::Apply(&body);
        let name = &view.key().name;
        let written = timely(self.services(view).patch(name, &parameters, &patch)).await?;
        Ok(after(view, &written))
    }

    /// Takes the finalizer away, whoever put it there; the Service may be gone then.
    pub(crate) async fn remove_finalizer(
        &self,
        view: &ProvidedView,
    ) -> Result<ProvidedView, ApplyError> {
        let held = view.finalizers.iter();
        let others: Vec<&String> = held.filter(|held| **held != self.finalizer).collect();
        if others.len() == view.finalizers.len() {
            return Ok(view.clone());
        }
        // The version keeps a finalizer that somebody adds at this moment.
        let body = json!({ "metadata": {
            "uid": view.request.uid,
            "resourceVersion": view.version.to_string(),
            "finalizers": others,
        } });
        let parameters = PatchParams {
            field_manager: Some(self.manager.clone()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&body);
        let name = &view.key().name;
        let written = timely(self.services(view).patch(name, &parameters, &patch)).await?;
        Ok(after(view, &written))
    }

    /// Writes our part of the status and returns the Service as it is then.
    pub(crate) async fn write_status(
        &self,
        view: &ProvidedView,
        desired: &ProvidedDesired,
    ) -> Result<ProvidedView, ApplyError> {
        let mut body = metadata(view);
        let now = now();
        let conditions = desired.conditions.iter();
        let conditions: Vec<Value> = conditions.map(|one| condition(view, one, &now)).collect();
        body["status"] = json!({ "conditions": conditions });
        if !desired.ingress.is_empty() {
            let ingress: Vec<Value> = desired.ingress.iter().map(ingress).collect();
            body["status"]["loadBalancer"] = json!({ "ingress": ingress });
        }
        let parameters = PatchParams::apply(&self.manager).force();
        let patch = Patch::Apply(&body);
        let name = &view.key().name;
        let written = timely(self.services(view).patch_status(name, &parameters, &patch)).await?;
        Ok(after(view, &written))
    }

    fn services(&self, view: &ProvidedView) -> Api<Read<Service>> {
        Api::namespaced(self.client.clone(), &view.key().namespace)
    }
}

/// A Service as it is after a write; as it was, if the answer lost what decides.
fn after(before: &ProvidedView, written: &Read<Service>) -> ProvidedView {
    written
        .trusted()
        .map_or_else(|| before.clone(), provided_view)
}

fn metadata(view: &ProvidedView) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": view.key().namespace,
            "name": view.key().name,
            "uid": view.request.uid,
        },
    })
}

fn ingress(entry: &IngressEntry) -> Value {
    let ports = entry.ports.iter().map(|one| {
        let mut port = json!({ "port": one.port.port, "protocol": one.port.protocol.to_string() });
        if let Some(error) = &one.error {
            port["error"] = json!(error);
        }
        port
    });
    let mut body = json!({ "ports": ports.collect::<Vec<_>>() });
    for (name, value) in [
        ("hostname", &entry.hostname),
        ("ip", &entry.ip),
        ("ipMode", &entry.ip_mode),
    ] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

fn condition(view: &ProvidedView, condition: &ProvidedCondition, now: &str) -> Value {
    let mut shown = view.status.conditions.iter();
    let since = shown.find(|(shown, since)| {
        shown.kind == condition.kind && shown.status == condition.status && !since.is_empty()
    });
    json!({
        "type": condition.kind.as_str(),
        "status": if condition.status { "True" } else { "False" },
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since.map_or(now, |(_, since)| since),
    })
}
