//! Drives `herald_controller_core::lease` against a coordination Lease, and says who leads.
//!
//! Every write of the Lease names the resource version it replaces, so of two that want it one fails.

use std::time::Duration;

use herald_api::names;
use herald_controller_core::lease::{self, Decision, Record, Timing};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

/// Longest time one request may take: a renewal can fail more than once within the deadline.
const LIMIT: Duration = Duration::from_secs(4);

/// Whether we lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// Another does, or nobody.
    Following,
    /// We do.
    Leading {
        /// Counts our terms, from 1: each begins with a fresh list of Services.
        term: u64,
        /// When the last successful renewal began.
        renewed: Instant,
    },
}

impl Leadership {
    /// The term in which we may write at this instant, by our own clock.
    pub(crate) fn term(self) -> Option<u64> {
        let Self::Leading { term, renewed } = self else {
            return None;
        };
        let timing = Timing::default();
        lease::may_write(Duration::ZERO, renewed.elapsed(), &timing).then_some(term)
    }
}

/// The Lease as last read or written.
#[derive(Debug)]
struct Seen {
    record: Record,
    version: String,
    transitions: i32,
    /// When it first had this version, since the driver's start.
    since: Duration,
}

/// Holds the Lease while it can.
#[derive(Debug)]
pub(crate) struct Driver {
    api: Api<Lease>,
    me: String,
    timing: Timing,
    start: Instant,
    seen: Option<Seen>,
    /// When the last successful renewal began, if we lead.
    renewed: Option<Duration>,
    terms: u64,
    to: watch::Sender<Leadership>,
}

impl Driver {
    /// A driver for the Lease in `namespace`, as `me`.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        me: String,
        to: watch::Sender<Leadership>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            me,
            timing: Timing::default(),
            start: Instant::now(),
            seen: None,
            renewed: None,
            terms: 0,
            to,
        }
    }

    /// Runs until `stop` changes, then gives the Lease back.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                // Its only value to come is true.
                _ = stop.changed() => break,
                () = self.turn() => {}
            }
        }
        self.release().await;
    }

    async fn turn(&mut self) {
        if let Err(error) = self.step().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot reach the lease, trying again"
            );
            if self
                .renewed
                .is_some_and(|at| !lease::may_write(at, self.now(), &self.timing))
            {
                self.lose("could not be renewed in time");
            }
        }
        tokio::time::sleep(self.timing.retry).await;
    }

    async fn step(&mut self) -> Result<(), kube::Error> {
        // A leader knows the version: one request renews. Whatever is odd is read again first.
        if self.renewed.is_some() && self.write().await? {
            return Ok(());
        }
        self.read().await?;
        let since = self.seen.as_ref().map_or(Duration::ZERO, |seen| seen.since);
        let record = self.seen.as_ref().map(|seen| &seen.record);
        match lease::evaluate(
            record,
            since,
            &self.me,
            self.renewed,
            self.now(),
            &self.timing,
        ) {
            Decision::Acquire | Decision::Renew => {
                self.write().await?;
            }
            Decision::Wait(_) => {}
            Decision::Lost(loss) => self.lose(loss.as_str()),
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), kube::Error> {
        let lease = timely(self.api.get_opt(names::CONTROLLER_LEASE)).await?;
        match lease {
            Some(lease) => self.observe(&lease),
            None => self.seen = None,
        }
        Ok(())
    }

    fn observe(&mut self, lease: &Lease) {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let record = Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.map_or(self.timing.duration, Duration::from_secs),
        };
        let since = match &self.seen {
            Some(seen) if seen.version == version => seen.since,
            _ => self.now(),
        };
        let transitions = spec.lease_transitions.unwrap_or_default();
        self.seen = Some(Seen {
            record,
            version,
            transitions,
            since,
        });
    }

    /// Writes ourselves into the Lease. `false` when somebody else wrote it since we read it.
    async fn write(&mut self) -> Result<bool, kube::Error> {
        let began = self.now();
        let now = MicroTime(Timestamp::now());
        let mut spec = json!({
            "holderIdentity": self.me,
            "leaseDurationSeconds": self.timing.duration.as_secs(),
            "renewTime": now,
        });
        let mine = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.record.holder == self.me);
        if !mine || self.renewed.is_none() {
            let transitions = self
                .seen
                .as_ref()
                .map_or(0, |seen| seen.transitions + i32::from(!mine));
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(transitions);
        }
        let written = match &self.seen {
            None => timely(self.api.create(&PostParams::default(), &new_lease(spec)?)).await,
            Some(seen) => {
                let body = json!({ "metadata": { "resourceVersion": seen.version }, "spec": spec });
                let parameters = PatchParams::default();
                timely(
                    self.api
                        .patch(names::CONTROLLER_LEASE, &parameters, &Patch::Merge(&body)),
                )
                .await
            }
        };
        let lease = match written {
            Ok(lease) => lease,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.observe(&lease);
        if self.renewed.is_none() {
            self.terms += 1;
            info!(identity = self.me, term = self.terms, "leading");
        }
        self.renewed = Some(began);
        self.to.send_replace(Leadership::Leading {
            term: self.terms,
            renewed: self.start + began,
        });
        Ok(true)
    }

    fn lose(&mut self, why: &str) {
        if self.renewed.take().is_some() {
            warn!(identity = self.me, "not leading any more: the lease {why}");
        }
        self.to.send_replace(Leadership::Following);
    }

    /// Gives the Lease back, so that another need not wait for it to run out.
    async fn release(mut self) {
        if self.renewed.take().is_none() {
            return;
        }
        self.to.send_replace(Leadership::Following);
        // A renewal may have been under way when we were stopped: its answer, and so the version, would be unknown.
        let read = self.read().await;
        let seen = self
            .seen
            .as_ref()
            .filter(|seen| seen.record.holder == self.me);
        let (Ok(()), Some(seen)) = (read, seen) else {
            return;
        };
        let body = json!({
            "metadata": { "resourceVersion": seen.version },
            "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 },
        });
        let parameters = PatchParams::default();
        match timely(
            self.api
                .patch(names::CONTROLLER_LEASE, &parameters, &Patch::Merge(&body)),
        )
        .await
        {
            Ok(_) => info!(identity = self.me, "gave the lease back"),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "could not give the lease back"
            ),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

fn new_lease(spec: Value) -> Result<Lease, kube::Error> {
    let spec = serde_json::from_value(spec).map_err(kube::Error::SerdeError)?;
    let mut lease = Lease {
        spec: Some(spec),
        ..Lease::default()
    };
    lease.metadata.name = Some(names::CONTROLLER_LEASE.into());
    Ok(lease)
}

async fn timely<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = || {
        Err(kube::Error::Service(
            "no answer from the API server in time".into(),
        ))
    };
    tokio::time::timeout(LIMIT, request)
        .await
        .unwrap_or_else(|_| late())
}
