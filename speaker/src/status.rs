//! Writes this node's Speaker object: its status when it changes, and a renewal every [`RENEW_EVERY`].
//!
//! Two field managers: the status is applied as a whole, `renewTime` alone far more often. Failures are waited out here
//! and hold nothing up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_api::names::{self, field_manager};
use herald_api::speaker::{
    AddressConflict, CONFLICTS_MAX, DataPathStatus, ERROR_MAX, INTERFACE_ADDRESSES_MAX,
    INTERFACES_MAX, Interface, OWNED_MAX, OwnedAddress, SpeakerStatus,
};
use herald_api::{Speaker, conditions};
use herald_kube::Read;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::engine::{Observation, Report, State};
use crate::metrics::Metrics;

/// Others take a speaker for dead that has not been renewed for three times this.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A single request may take this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who we are.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: Arc<str>,
    pub(crate) pod: String,
    pub(crate) service_proxy: &'static str,
}

/// The writer of one Speaker object.
pub(crate) struct Writer {
    api: Api<Read<Speaker>>,
    identity: Identity,
    observations: mpsc::Sender<Observation>,
    metrics: Metrics,
    /// Since when each condition has the status it has.
    since: BTreeMap<&'static str, (bool, Timestamp)>,
    /// The object exists with this Node as its owner.
    exists_for: Option<String>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Whether the controller put its own word over the condition Ready.
fn called_silent(answer: &Read<Speaker>) -> bool {
    let status = answer.object().and_then(|speaker| speaker.status.as_ref());
    let all = status.into_iter().flat_map(|status| &status.conditions);
    let mut ready = all.filter(|c| c.type_ == conditions::speaker::READY);
    ready.any(|condition| condition.reason == conditions::speaker::SILENT)
}

impl Writer {
    pub(crate) fn new(
        client: Client,
        identity: Identity,
        observations: mpsc::Sender<Observation>,
        metrics: Metrics,
    ) -> Self {
        Self {
            api: Api::all(client),
            identity,
            observations,
            metrics,
            since: BTreeMap::new(),
            exists_for: None,
        }
    }

    /// Writes until the sender of reports is gone.
    pub(crate) async fn run(mut self, mut reports: watch::Receiver<Option<Arc<Report>>>) {
        let mut renew_at = tokio::time::Instant::now();
        let mut written = None;
        let mut renewal = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let report = reports.borrow_and_update().clone();
            let attempt = match &report {
                None => Ok(()),
                Some(report) => {
                    let due = tokio::time::Instant::now() >= renew_at;
                    let renew = due || report.renewal != renewal;
                    let content = (report.version, report.figures.clone());
                    let changed = written.as_ref() != Some(&content);
                    let attempt = self.write(report, changed, renew).await;
                    if attempt.is_ok() {
                        written = Some(content);
                        renewal = report.renewal;
                        if renew {
                            renew_at = tokio::time::Instant::now() + RENEW_EVERY;
                        }
                    }
                    attempt
                }
            };
            let wait = match attempt {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    renew_at
                }
                Err(error) => {
                    self.metrics.status_failed();
                    tracing::warn!(speaker = %self.identity.node, %error, retry_in = ?pause, "cannot write the Speaker object");
                    let until = tokio::time::Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::time::sleep_until(until).await;
                    continue;
                }
            };
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wait), if report.is_some() => {}
            }
        }
    }

    async fn write(&mut self, report: &Report, changed: bool, renew: bool) -> Result<(), String> {
        if self.exists_for.as_deref() != Some(report.node_uid.as_str()) {
            self.create(&report.node_uid).await?;
        }
        if changed {
            let status = self.status(report);
            let object = self
                .apply(field_manager::SPEAKER, &json!(status), report.version)
                .await?;
            tracing::debug!(
                version = report.version,
                resource_version = object.resource_version(),
                "wrote the Speaker's status"
            );
        }
        if renew {
            let status = json!({ "renewTime": MicroTime(Timestamp::now()) });
            let object = self
                .apply(field_manager::SPEAKER_RENEW, &status, report.version)
                .await?;
            if !changed && called_silent(&object) {
                tracing::info!("was taken for silent: says anew what it is");
                let status = self.status(report);
                self.apply(field_manager::SPEAKER, &json!(status), report.version)
                    .await?;
            }
        }
        Ok(())
    }

    /// Creates the object, or takes over one that another run of this speaker made.
    async fn create(&mut self, uid: &str) -> Result<(), String> {
        let name = &*self.identity.node;
        let object = json!({
            "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
            "kind": "Speaker",
            "metadata": {
                "name": name,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }],
            },
        });
        let params = PatchParams::apply(field_manager::SPEAKER).force();
        let patch = Patch::Apply(&object);
        let known = within(self.api.patch(name, &params, &patch)).await?;
        let status = known.object().and_then(|known| known.status.as_ref());
        for condition in status.into_iter().flat_map(|status| &status.conditions) {
            let types = [
                conditions::speaker::READY,
                conditions::speaker::DATA_PATH_SYNCED,
                conditions::speaker::KERNEL_SETTINGS,
                conditions::speaker::ADMIN_SERVER,
            ];
            if let Some(kind) = types.into_iter().find(|kind| *kind == condition.type_) {
                let since = condition.last_transition_time.0;
                if since == Timestamp::UNIX_EPOCH {
                    // It could not be read.
                    continue;
                }
                self.since
                    .entry(kind)
                    .or_insert((condition.status == "True", since));
            }
        }
        self.exists_for = Some(uid.to_owned());
        Ok(())
    }

    /// Applies fields of the status; returns the object as it is then.
    async fn apply(
        &mut self,
        manager: &str,
        status: &serde_json::Value,
        version: u64,
    ) -> Result<Read<Speaker>, String> {
        let name = &*self.identity.node;
        let object = json!({
            "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
            "kind": "Speaker",
            "metadata": { "name": name },
            "status": status,
        });
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(&object);
        let answer = within(self.api.patch_status(name, &params, &patch)).await;
        let object = answer.inspect_err(|_| self.exists_for = None)?;
        self.metrics.status_written();
        // A closed channel means that the speaker is ending.
        let _ = self
            .observations
            .send(Observation::Written { version })
            .await;
        Ok(object)
    }

    fn status(&mut self, report: &Report) -> SpeakerStatus {
        let facts = &report.facts;
        let states = [
            (conditions::speaker::READY, &facts.ready),
            (conditions::speaker::DATA_PATH_SYNCED, &facts.data_path),
            (conditions::speaker::KERNEL_SETTINGS, &facts.kernel),
            (conditions::speaker::ADMIN_SERVER, &facts.admin),
        ];
        let conditions = states
            .map(|(kind, state)| self.condition(kind, state))
            .into();
        let interfaces = facts.interfaces.iter().take(INTERFACES_MAX);
        let owned = facts.owned.iter().take(OWNED_MAX);
        let conflicts = facts.conflicts.iter().take(CONFLICTS_MAX);
        SpeakerStatus {
            renew_time: None,
            pod_name: self.identity.pod.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            service_proxy: self.identity.service_proxy.to_owned(),
            interfaces: interfaces
                .map(|(interface, mac)| Interface {
                    name: interface.name.to_string(),
                    mac: mac.to_string(),
                    addresses: interface
                        .addresses
                        .iter()
                        .take(INTERFACE_ADDRESSES_MAX)
                        .map(ToString::to_string)
                        .collect(),
                    up: interface.up,
                    not_forwarding: interface
                        .not_forwarding
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                })
                .collect(),
            owned: owned
                .map(|(address, interfaces)| OwnedAddress {
                    address: address.to_string(),
                    interfaces: interfaces.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            owned_count: i64::try_from(facts.owned.len()).unwrap_or(i64::MAX),
            conflicts: conflicts
                .map(|(address, mac)| AddressConflict {
                    address: address.to_string(),
                    mac: mac.to_string(),
                })
                .collect(),
            data_path: (facts.data_path.reason != conditions::speaker::OFF).then(|| {
                DataPathStatus {
                    synced: facts.data_path.holds,
                    services: i64::try_from(report.figures.services).unwrap_or(i64::MAX),
                    last_sync: report.figures.last_sync.map(wall_clock),
                    error: facts
                        .data_path_error
                        .as_deref()
                        .map(|error| shortened(error, ERROR_MAX)),
                }
            }),
            conditions,
        }
    }

    fn condition(&mut self, kind: &'static str, state: &State) -> Condition {
        let now = Timestamp::now();
        let since = self.since.entry(kind).or_insert((state.holds, now));
        if since.0 != state.holds {
            *since = (state.holds, now);
        }
        Condition {
            type_: kind.to_owned(),
            status: if state.holds { "True" } else { "False" }.to_owned(),
            reason: state.reason.to_owned(),
            message: shortened(&state.message, ERROR_MAX),
            last_transition_time: Time(since.1),
            observed_generation: None,
        }
    }
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| crate::watch::chain(&error)),
        Err(_) => Err(format!("no answer within {REQUEST_TIMEOUT:?}")),
    }
}

/// A monotonic time as the wall clock would have shown it.
fn wall_clock(at: Instant) -> MicroTime {
    let ago = SignedDuration::try_from(at.elapsed()).unwrap_or_default();
    let now = Timestamp::now();
    MicroTime(now.checked_sub(ago).unwrap_or(now))
}

/// At most `limit` bytes, cut between characters.
fn shortened(text: &str, limit: usize) -> String {
    let end = text.floor_char_boundary(limit);
    text.get(..end).unwrap_or(text).to_owned()
}
