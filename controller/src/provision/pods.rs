//! Pods with Herald's readiness gate: what they are, when they become targets, and the writes of the gate's condition.
//!
//! What the condition says is decided in the core. Writes run beside each other, at most one for each pod, and only by the leader.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use herald_api::names::field_manager;
use herald_controller_core::{
    GateCondition, GateIndex, GateService, GateTargets, Place, PodView, TARGET_HEALTH,
};
use herald_core::ServiceKey;
use herald_kube::Read;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use crate::apply::{ApplyError, now, timely};
use crate::index::key_of;
use crate::metrics::Metrics;
use crate::retry::Retries;
use crate::watch::Change;

/// Conditions written at once.
const WRITES: usize = 8;

/// Gates of this group are Herald's own.
const OURS: &str = "heraldlb.io/";
/// Gates of aws-load-balancer-controller, which pods carry besides while they move to Herald.
const BESIDE: &str = "target-health.elbv2.k8s.aws/";

/// A pod, compact; `None` without the gate, which never comes later: the gates of a pod are fixed.
pub(crate) fn pod_view(pod: &Pod) -> Option<PodView> {
    let spec = pod.spec.as_ref()?;
    let gates = || {
        let gates = spec.readiness_gates.iter().flatten();
        gates.map(|gate| gate.condition_type.as_str())
    };
    if !gates().any(|gate| gate == TARGET_HEALTH) {
        return None;
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let condition = |kind: &str| -> Option<&PodCondition> {
        let mut conditions = conditions.unwrap_or_default().iter();
        conditions.find(|condition| condition.type_ == kind)
    };
    let holds = |kind: &str| condition(kind).is_some_and(|condition| condition.status == "True");
    let phase = status.and_then(|status| status.phase.as_deref());
    let ips = status.and_then(|status| status.pod_ips.as_deref());
    let ips = ips.unwrap_or_default().iter();
    Some(PodView {
        key: key_of(&pod.metadata),
        uid: pod.uid().unwrap_or_default().into(),
        version: pod
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default(),
        labels: pod.labels().clone(),
        addresses: ips.filter_map(|ip| ip.ip.parse().ok()).collect(),
        containers_ready: holds("ContainersReady"),
        ended: pod.metadata.deletion_timestamp.is_some()
            || matches!(phase, Some("Succeeded" | "Failed")),
        others: gates()
            .filter(|gate| !gate.starts_with(OURS) && !gate.starts_with(BESIDE) && !holds(gate))
            .map(str::to_owned)
            .collect(),
        beside: gates().any(|gate| gate.starts_with(BESIDE) && !holds(gate)),
        gate: condition(TARGET_HEALTH).map(|condition| {
            let gate = GateCondition {
                status: condition.status == "True",
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            };
            let since = condition.last_transition_time.as_ref();
            let since = since.map(|time| time.0.to_string()).unwrap_or_default();
            (gate, since.into())
        }),
    })
}

/// A write that ended.
#[derive(Debug)]
struct Done {
    key: ServiceKey,
    result: Result<Option<PodView>, ApplyError>,
    took: Duration,
}

/// The pods with the gate, and the writes to them.
pub(crate) struct Gates {
    index: GateIndex,
    client: Client,
    metrics: Metrics,
    writes: JoinSet<Done>,
    busy: HashSet<ServiceKey>,
    retries: Retries,
    /// All pods were listed once.
    listed: bool,
}

impl Gates {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            index: GateIndex::default(),
            client,
            metrics,
            writes: JoinSet::new(),
            busy: HashSet::new(),
            retries: Retries::default(),
            listed: false,
        }
    }

    /// Enters what the watch of Pods saw; gives the Services to look at, because of endpoints that have to become targets.
    pub(crate) fn observe(&mut self, change: Change<Option<PodView>>) -> BTreeSet<ServiceKey> {
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                self.listed = true;
                let views = views.into_iter().flatten().collect();
                let touched = self.index.observe_pods(views, &unreadable);
                let index = &self.index;
                self.retries.retain(|key| index.pod(key).is_some());
                touched
            }
            Change::One(Some(view)) => self.index.observe_pod(view),
            Change::One(None) | Change::Unavailable => BTreeSet::new(),
            Change::Gone(key) => {
                self.retries.forget(&key);
                self.index.pod_gone(&key);
                BTreeSet::new()
            }
        }
    }

    /// Whether all pods were listed: before that nothing is known of endpoints that wait for their gate.
    pub(crate) fn listed(&self) -> bool {
        self.listed
    }

    /// Enters a Service that the provider serves, or that it serves none of this name.
    pub(crate) fn service(&mut self, key: &ServiceKey, service: Option<GateService>) {
        self.index.observe_service(key, service);
    }

    /// Enters what a pass found.
    pub(crate) fn found(&mut self, key: &ServiceKey, uid: &str, targets: GateTargets) {
        self.index.observe_targets(key, uid, targets);
    }

    /// Forgets what passes found: this replica does not lead any more.
    pub(crate) fn follow(&mut self) {
        self.index.forget_targets();
        self.retries.clear();
    }

    /// What a pod's gate makes of its endpoint.
    pub(crate) fn place(&self, pod: &ServiceKey, address: IpAddr) -> Place {
        self.index.place(pod, address)
    }

    /// How many gates are open.
    pub(crate) fn open(&self) -> usize {
        self.index.open()
    }

    /// Starts the writes that are due, as far as there is room; `may_write` says whether this replica leads and knows all Services.
    pub(crate) fn dispatch(&mut self, may_write: bool) {
        if !may_write || !self.listed {
            return;
        }
        while let Some(key) = self.retries.pop_due(Instant::now()) {
            self.index.mark(&key);
        }
        let mut later = Vec::new();
        while self.busy.len() < WRITES
            && let Some(key) = self.index.pop_dirty()
        {
            if self.busy.contains(&key) {
                later.push(key);
            } else if let Some(gate) = self.index.decide(&key)
                && let Some(pod) = self.index.pod(&key).cloned()
            {
                self.busy.insert(key);
                self.writes.spawn(write(self.client.clone(), pod, gate));
            }
        }
        for key in later {
            self.index.mark(&key);
        }
    }

    /// Waits until a write has ended or, if this replica `may_write`, one that failed is due again, and gives the Services to look
    /// at. Can be dropped at any time; call [`dispatch`](Self::dispatch) after it.
    pub(crate) async fn turn(&mut self, may_write: bool) -> BTreeSet<ServiceKey> {
        // What `dispatch` would not take must not end the wait: it would end it again at once, for ever.
        let takes = may_write && self.listed && self.busy.len() < WRITES;
        let due = self.retries.next().filter(|_| takes);
        tokio::select! {
            Some(done) = self.writes.join_next() => match done {
                Ok(done) => self.written(done),
                Err(failure) => {
                    error!(%failure, "a write ended without a result");
                    BTreeSet::new()
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => BTreeSet::new(),
            else => std::future::pending().await,
        }
    }

    /// Waits until no write is under way.
    pub(crate) async fn end(&mut self) {
        while self.writes.join_next().await.is_some() {}
    }

    fn written(&mut self, done: Done) -> BTreeSet<ServiceKey> {
        let Done { key, result, took } = done;
        self.busy.remove(&key);
        let outcome = result.as_ref().map_or_else(ApplyError::outcome, |_| "ok");
        self.metrics.wrote("pod", outcome, took);
        match result {
            Ok(view) => {
                self.retries.forget(&key);
                return view.map_or_else(BTreeSet::new, |view| self.index.observe_pod(view));
            }
            // It is gone, or another has its name; the watch tells the rest.
            Err(ApplyError::Api(kube::Error::Api(status))) if [404, 409].contains(&status.code) => {
                debug!(pod = %key, %status, "the pod is gone");
                self.retries.forget(&key);
            }
            Err(failure) => {
                let again = self.retries.failed(&key, Instant::now());
                let error = &failure as &dyn std::error::Error;
                warn!(pod = %key, error, ?again, "writing the readiness gate failed, trying again");
            }
        }
        BTreeSet::new()
    }
}

/// Writes a gate's condition. The uid makes a write to a pod that was replaced meanwhile fail.
async fn write(client: Client, pod: PodView, gate: GateCondition) -> Done {
    let began = Instant::now();
    let since = pod
        .gate
        .as_ref()
        .filter(|(shown, since)| shown.status == gate.status && !since.is_empty());
    let body = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": pod.key.namespace,
            "name": pod.key.name,
            "uid": pod.uid,
        },
        "status": { "conditions": [{
            "type": TARGET_HEALTH,
            "status": if gate.status { "True" } else { "False" },
            "reason": gate.reason,
            "message": gate.message,
            "lastTransitionTime": since.map_or_else(now, |(_, since)| since.to_string()),
        }] },
    });
    let api: Api<Read<Pod>> = Api::namespaced(client, &pod.key.namespace);
    let parameters = PatchParams::apply(field_manager::CONTROLLER_READINESS).force();
    let patch = Patch::Apply(&body);
    let written = timely(api.patch_status(&pod.key.name, &parameters, &patch)).await;
    Done {
        key: pod.key,
        result: written.map(|pod| pod.trusted().and_then(pod_view)),
        took: began.elapsed(),
    }
}

#[cfg(test)]
mod tests;
