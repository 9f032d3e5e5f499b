//! From dirty keys to writes, and from their results back into the index.

use std::sync::Arc;
use std::time::Duration;

use herald_controller_core::{
    AnnouncedStep, Notice, Plan, ServiceView, plan, plan_announced, plan_pool,
};
use herald_core::ServiceKey;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{Planner, ROUND};
use crate::apply::{ApplyError, apply_announced, apply_pool, apply_service, apply_silent};
use crate::index::service_view;
use crate::outage::Trouble;

/// Allocations written at once.
const SERVICE_WRITES: usize = 8;
/// Of these, how many may be for Services whose last write failed: they may fail slowly (I7).
const RETRIED_WRITES: usize = 4;
/// Conditions Announced written at once, and how many a second: they follow speakers, and whole nodes' worth at a time.
const ANNOUNCED_WRITES: usize = 2;
const ANNOUNCED_PER_SECOND: f64 = 50.0;
pub(super) const ANNOUNCED_BURST: f64 = 100.0;

/// What a write was about.
#[derive(Debug)]
enum Subject {
    Service {
        view: ServiceView,
        notices: Vec<Notice>,
        allocates: bool,
    },
    Announced {
        view: ServiceView,
        notice: Option<Notice>,
    },
    /// The mark on a silent speaker.
    Speaker { node: Arc<str> },
    Pool {
        name: Arc<str>,
        /// It puts our finalizer on it.
        protects: bool,
    },
}

/// A write that ended.
#[derive(Debug)]
pub(super) struct Done {
    subject: Subject,
    result: Result<Option<ServiceView>, ApplyError>,
    took: Duration,
}

impl Planner {
    /// Plans what is dirty as far as writes may be started. Returns whether more could be done at once.
    pub(super) fn dispatch(&mut self) -> bool {
        if !self.may_write() {
            return false;
        }
        // What waits for an address waits for these first. A failed one is tried again with the statuses.
        for name in std::mem::take(&mut self.new_pools) {
            self.plan_pool(name);
        }
        let now = Instant::now();
        while self.room_for_retries() > 0
            && let Some(key) = self.retries.pop_due(now)
        {
            self.parts.index.dirty().announced.push(&key);
            self.plan_service(key);
        }
        for _ in 0..ROUND {
            if self.service_writes >= SERVICE_WRITES {
                break;
            }
            let Some(key) = self.parts.index.dirty().services.pop() else {
                break;
            };
            self.plan_service(key);
        }
        self.refill(now);
        for _ in 0..ROUND {
            if self.announced_writes >= ANNOUNCED_WRITES || self.tokens < 1.0 {
                break;
            }
            let Some(key) = self.parts.index.dirty().announced.pop() else {
                break;
            };
            self.plan_announced(key);
        }
        let can_allocate = self.service_writes < SERVICE_WRITES;
        let can_announce = self.announced_writes < ANNOUNCED_WRITES && self.tokens >= 1.0;
        let dirty = self.parts.index.dirty();
        (can_allocate && !dirty.services.is_empty())
            || (can_announce && !dirty.announced.is_empty())
    }

    /// How many Services whose last write failed may be tried again now.
    pub(super) fn room_for_retries(&self) -> usize {
        let failing = self.busy.iter().filter(|key| self.retries.is_failing(key));
        let room = RETRIED_WRITES.saturating_sub(failing.count());
        room.min(SERVICE_WRITES.saturating_sub(self.service_writes))
    }

    fn plan_service(&mut self, key: ServiceKey) {
        if self.busy.contains(&key) {
            self.again.insert(key);
            return;
        }
        let plan: Plan = plan(&key, &self.parts.index);
        self.parts.metrics.planned();
        let refused = self.parts.index.commit(&plan);
        if !refused.is_empty() {
            // Cannot happen while plans are committed one by one; a new plan is the remedy all the same.
            error!(service = %key, ?refused, "planned addresses were taken meanwhile");
            self.parts.index.dirty().services.push(&key);
            return;
        }
        let (Some(write), Some(view)) = (plan.write, self.parts.index.service(&key).cloned())
        else {
            return;
        };
        let allocates = plan.hold.is_some_and(|addresses| !addresses.is_empty());
        let subject = Subject::Service {
            view: view.clone(),
            notices: plan.notices,
            allocates,
        };
        self.busy.insert(key);
        self.service_writes += 1;
        let client = self.parts.client.clone();
        self.start(subject, async move {
            apply_service(client, view, write)
                .await
                .map(|service| service.trusted().map(service_view))
        });
    }

    fn plan_announced(&mut self, key: ServiceKey) {
        if self.busy.contains(&key) {
            self.again_announced.insert(key);
            return;
        }
        let step: AnnouncedStep = match plan_announced(&key, &self.parts.index) {
            Some(step) => step,
            None => return,
        };
        let Some(view) = self.parts.index.service(&key).cloned() else {
            return;
        };
        let subject = Subject::Announced {
            view: view.clone(),
            notice: step.notice.clone(),
        };
        self.busy.insert(key);
        self.announced_writes += 1;
        self.tokens -= 1.0;
        let client = self.parts.client.clone();
        self.start(subject, async move {
            apply_announced(client, view, step)
                .await
                .map(|service| service.trusted().map(service_view))
        });
    }

    /// Pools' statuses are written at most once a second each, however many Services change.
    pub(super) fn plan_pools(&mut self) {
        for name in std::mem::take(&mut self.parts.index.dirty().pools) {
            if let Some(counts) = self.parts.index.allocator().counts(&name) {
                let number = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
                let assigned = [number(counts.assigned.v4), number(counts.assigned.v6)];
                let available = [number(counts.available.v4), number(counts.available.v6)];
                self.parts.metrics.pool(&name, assigned, available);
            }
            self.plan_pool(name);
        }
    }

    fn plan_pool(&mut self, name: Arc<str>) {
        if self.busy_pools.contains(&name) {
            self.parts.index.dirty().pools.insert(name);
            return;
        }
        let plan = plan_pool(&name, &self.parts.index);
        let Some(observed) = self.parts.index.observed_pool(&name).cloned() else {
            return;
        };
        if plan.status.is_none() && plan.finalizer.is_none() {
            return;
        }
        self.busy_pools.insert(name.clone());
        let (client, object) = (self.parts.client.clone(), name.to_string());
        let protects = plan.finalizer == Some(true);
        self.start(Subject::Pool { name, protects }, async move {
            apply_pool(client, object, observed, plan)
                .await
                .map(|()| None)
        });
    }

    /// A speaker that died, or whose pod is gone, cannot take its last word back.
    pub(super) fn mark_silent_speakers(&mut self) {
        let silent: Vec<Arc<str>> = self.parts.index.silent_speakers().cloned().collect();
        for node in silent {
            let Some(renewal) = self.renewals.get(&node) else {
                continue;
            };
            if !self.busy_speakers.insert(node.clone()) {
                continue;
            }
            let (client, seen, name) = (
                self.parts.client.clone(),
                renewal.seen.clone(),
                node.to_string(),
            );
            info!(%node, "the speaker is silent: its condition Ready becomes Unknown");
            self.start(Subject::Speaker { node }, async move {
                apply_silent(client, name, seen).await.map(|()| None)
            });
        }
    }

    fn start(
        &mut self,
        subject: Subject,
        write: impl Future<Output = Result<Option<ServiceView>, ApplyError>> + Send + 'static,
    ) {
        let began = Instant::now();
        self.writes.spawn(async move {
            let result = write.await;
            Done {
                subject,
                result,
                took: began.elapsed(),
            }
        });
    }

    pub(super) fn written(&mut self, done: Done) {
        let Done {
            subject,
            result,
            took,
        } = done;
        let outcome = result.as_ref().map_or_else(ApplyError::outcome, |_| "ok");
        match subject {
            Subject::Speaker { node } => {
                self.parts.metrics.wrote("speaker", outcome, took);
                self.busy_speakers.remove(&node);
                let trouble = self.outage.judge(result.as_ref().err(), Instant::now());
                if let Err(error) = result {
                    // A conflict: it spoke, or went, in the same moment. Else the next look tries again.
                    let error = &error as &dyn std::error::Error;
                    if trouble == Trouble::Object && outcome != "conflict" {
                        warn!(%node, error, "marking the silent speaker failed");
                    } else {
                        debug!(%node, error, "marking the silent speaker failed");
                    }
                }
            }
            Subject::Pool { name, protects } => {
                self.parts.metrics.wrote("addresspool", outcome, took);
                self.busy_pools.remove(&name);
                let trouble = self.outage.judge(result.as_ref().err(), Instant::now());
                // One that is gone plans nothing.
                if let Err(error) = result {
                    let known = self.parts.index.observed_pool(&name).is_some();
                    let error = &error as &dyn std::error::Error;
                    match trouble {
                        Trouble::Object if known => {
                            warn!(pool = %name, error, "writing a pool failed, trying again");
                        }
                        // Deleted in the same moment, or the API server's trouble, which is told once.
                        _ => debug!(pool = %name, error, "writing a pool failed"),
                    }
                    if protects {
                        self.parts.index.protection_failed(&name);
                    }
                    self.parts.index.dirty().pools.insert(name);
                }
            }
            Subject::Service {
                view,
                notices,
                allocates,
            } => {
                self.parts.metrics.wrote("service", outcome, took);
                self.service_writes -= 1;
                self.ask_for_list();
                let written = self.finish(&view, result);
                if written {
                    for notice in notices {
                        self.parts.events.emit(&view, notice);
                    }
                    if allocates && let Some(since) = self.waiting_since.remove(&view.key) {
                        self.parts.metrics.allocated(since.elapsed());
                    }
                }
            }
            Subject::Announced { view, notice } => {
                self.parts.metrics.wrote("announced", outcome, took);
                self.announced_writes -= 1;
                if self.finish(&view, result)
                    && let Some(notice) = notice
                {
                    self.parts.events.emit(&view, notice);
                }
            }
        }
    }

    /// Feeds back what a write to a Service achieved. Returns whether it succeeded.
    fn finish(
        &mut self,
        view: &ServiceView,
        result: Result<Option<ServiceView>, ApplyError>,
    ) -> bool {
        let key = &view.key;
        let trouble = self.outage.judge(result.as_ref().err(), Instant::now());
        self.busy.remove(key);
        if self.again.remove(key) {
            self.parts.index.dirty().services.push(key);
        }
        if self.again_announced.remove(key) {
            self.parts.index.dirty().announced.push(key);
        }
        // Gone meanwhile, or another of that name: then the watch has said so and this answer is old.
        let known = self
            .parts
            .index
            .service(key)
            .is_some_and(|known| known.uid == view.uid);
        match result {
            Ok(now) => {
                self.retries.forget(key);
                if let (true, Some(now)) = (known, now) {
                    self.parts.index.observe_service(now);
                }
                true
            }
            Err(_) if !known => false,
            Err(error) => {
                let again = self.retries.failed(key, Instant::now());
                let error = &error as &dyn std::error::Error;
                if trouble == Trouble::Object {
                    warn!(service = %key, error, ?again, "writing the status failed, trying again");
                } else {
                    debug!(service = %key, error, ?again, "writing the status failed, trying again");
                }
                false
            }
        }
    }

    // === pace of the condition Announced ===

    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + passed * ANNOUNCED_PER_SECOND).min(ANNOUNCED_BURST);
    }

    pub(super) fn waits_for_token(&mut self) -> Option<Instant> {
        let waits = self.tokens < 1.0 && !self.parts.index.dirty().announced.is_empty();
        waits.then(|| self.refilled + Duration::from_secs_f64(1.0 / ANNOUNCED_PER_SECOND))
    }
}
