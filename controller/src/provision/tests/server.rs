//! An API server of Services and Events, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald_provider::testing::fake::Cloud;
use kube::Client;
use serde_json::{Value, json};

use super::bench::FINALIZER;

#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) services: BTreeMap<String, Value>,
    version: u64,
    writes: usize,
    /// Changing calls the cloud had seen when the finalizer was set.
    finalized: BTreeMap<String, usize>,
    /// Type and reason of the Events, by Service.
    events: Vec<(String, String, String)>,
    /// How long an answer takes after its write.
    lag: Duration,
}

/// An API server that keeps Services and takes Events.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) stored: Arc<Mutex<Stored>>,
    pub(super) cloud: Cloud,
}

impl Server {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let (code, answer) = server.answer(parts.uri.path(), &body);
                let lag = server.stored.lock().unwrap().lag;
                if !lag.is_zero() {
                    tokio::time::sleep(lag).await;
                }
                let bytes = answer.to_string().into_bytes();
                let answer = axum::http::Response::builder().status(code);
                let answer = answer.body(kube::client::Body::from(bytes));
                Ok::<_, std::io::Error>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut stored = self.stored.lock().unwrap();
        let stored = &mut *stored;
        if path.ends_with("/events") {
            let name = body["regarding"]["name"].as_str().unwrap().to_owned();
            let word = |field: &str| body[field].as_str().unwrap().to_owned();
            stored.events.push((name, word("type"), word("reason")));
            return (201, body.clone());
        }
        let (path, status) = path
            .strip_suffix("/status")
            .map_or((path, false), |path| (path, true));
        let name = path.rsplit('/').next().unwrap();
        let Some(object) = stored.services.get_mut(name) else {
            let gone = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "gone" });
            return (404, gone);
        };
        assert_eq!(body["metadata"]["uid"], object["metadata"]["uid"]);
        stored.version += 1;
        stored.writes += 1;
        object["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        if status {
            object["status"]["conditions"] = body["status"]["conditions"].clone();
            // As server-side apply: what is not sent again goes.
            object["status"]["loadBalancer"] = body["status"]
                .get("loadBalancer")
                .cloned()
                .unwrap_or_else(|| json!({}));
        } else {
            let finalizers = &body["metadata"]["finalizers"];
            object["metadata"]["finalizers"] = finalizers.clone();
            if *finalizers == json!([FINALIZER]) {
                let calls = self.cloud.log().len();
                stored.finalized.entry(name.to_owned()).or_insert(calls);
            }
        }
        let answer = object.clone();
        let ended = answer["metadata"]["finalizers"] == json!([]);
        if ended && answer["metadata"]["deletionTimestamp"].is_string() {
            stored.services.remove(name);
        }
        (200, answer)
    }

    pub(super) fn add(&self, name: &str) {
        let mut stored = self.stored.lock().unwrap();
        stored.version += 1;
        let version = stored.version.to_string();
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "namespace": "default", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version,
                "annotations": {},
            },
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "heraldlb.io/fake", "ipFamilies": ["IPv4"],
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
            },
        });
        stored.services.insert(name.to_owned(), object);
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut stored = self.stored.lock().unwrap();
        stored.version += 1;
        let version = json!(stored.version.to_string());
        let object = stored.services.get_mut(name).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = version;
    }

    /// The history goes back: the Service has this version.
    pub(super) fn restore(&self, name: &str, version: u64) {
        let mut stored = self.stored.lock().unwrap();
        stored.version = version;
        let object = stored.services.get_mut(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
    }

    /// From now on answers come this long after their writes.
    pub(super) fn lag(&self, lag: Duration) {
        self.stored.lock().unwrap().lag = lag;
    }

    pub(super) fn delete(&self, name: &str) {
        self.change(name, |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
        });
    }

    pub(super) fn object(&self, name: &str) -> Option<Value> {
        self.stored.lock().unwrap().services.get(name).cloned()
    }

    /// Writes to Services so far.
    pub(super) fn writes(&self) -> usize {
        self.stored.lock().unwrap().writes
    }

    /// Changing calls the cloud had seen when the Service's finalizer was set.
    pub(super) fn calls_before_finalizer(&self, name: &str) -> Option<usize> {
        self.stored.lock().unwrap().finalized.get(name).copied()
    }

    /// The reasons of a Service's Events.
    pub(super) fn reasons(&self, name: &str) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        let of = stored.events.iter().filter(|(service, ..)| service == name);
        of.map(|(_, _, reason)| reason.clone()).collect()
    }

    pub(super) fn has_warned(&self, name: &str) -> bool {
        let stored = self.stored.lock().unwrap();
        let mut events = stored.events.iter();
        events.any(|(service, kind, _)| service == name && kind == "Warning")
    }
}
