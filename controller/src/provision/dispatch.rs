//! From due load balancers to passes, and from their results back.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use herald_controller_core::{ProvidedView, want};
use herald_core::ServiceKey;
use herald_provider::{LoadBalancerRequest, Provider, ServiceRequest, Work};

use super::gate::LeaderGate;
use super::pass::{Pass, Passed, say_unreachable};
use super::{Done, MENDED, Provisioner, Running, Tracked};

impl<P: Provider + 'static> Provisioner<P>
where
    P::Inventory: 'static,
{
    /// Starts the passes that are due, as far as there is room.
    pub(super) fn dispatch(&mut self) {
        let Some(term) = self.leads() else { return };
        if self.inventory.is_none() && self.unreachable.is_none() {
            return;
        }
        let gate = LeaderGate {
            stop: self.parts.stop.clone(),
            leadership: self.parts.leadership.clone(),
            term,
        };
        while self.running.len() < self.parts.pace.parallel {
            let failing = self.running.values().filter(|pass| pass.failing).count();
            let room = failing < (self.parts.pace.parallel / 2).max(1);
            let now = self.now();
            let held = if room { self.held.pop_front() } else { None };
            let Some(work) = held.or_else(|| self.schedule.next(now)) else {
                break;
            };
            if work.failures > 0 && !room {
                self.held.push_back(work);
                continue;
            }
            self.begin(work, gate.clone());
        }
    }

    fn begin(&mut self, work: Work, gate: LeaderGate) {
        let key = self.keys.get(&work.id);
        let Some(tracked) = key.and_then(|key| self.services.get(key)) else {
            self.schedule.remove(&work.id);
            return;
        };
        let Entry::Vacant(slot) = self.running.entry(work.id.clone()) else {
            // Its pass of an earlier term is still under way.
            let wait = std::time::Duration::from_secs(1);
            self.schedule
                .done(&work.id, Some(wait), false, self.start.elapsed());
            return;
        };
        slot.insert(Running {
            failing: work.failures > 0,
            inventory: self.inventory.clone(),
        });
        if let Some(beside) = &mut self.listing {
            beside.insert(work.id.clone());
        }
        let view = tracked.view.clone();
        let writer = self.writer.clone();
        let metrics = self.parts.metrics.clone();
        let want = want(&view, &self.parts.identity);
        let (Some(connected), Some(inventory)) = (&self.connected, &self.inventory) else {
            let reason = self.unreachable.clone();
            let reason = reason.unwrap_or_else(|| herald_provider::Reason::new("Starting", ""));
            self.jobs.spawn(async move {
                let passed = say_unreachable((writer, gate, metrics), want, view, reason);
                Done::Passed(Box::new(passed.await))
            });
            return;
        };
        let service = self.request(&view);
        let pass = Pass {
            provider: connected.provider.clone(),
            inventory: inventory.clone(),
            gate,
            writer,
            metrics,
            want,
            request: LoadBalancerRequest {
                id: work.id,
                services: vec![service],
                nodes: Arc::clone(&self.node_list),
            },
            view,
            mode: self.parts.pace.mode,
            failures: work.failures,
            audit: work.audit,
            warned: tracked.warned.clone(),
        };
        self.jobs
            .spawn(async move { Done::Passed(Box::new(pass.run().await)) });
    }

    /// What a Service asks for, with its endpoints, also those whose pods wait for their readiness gate.
    pub(super) fn request(&self, view: &ProvidedView) -> ServiceRequest {
        let place = |pod: &ServiceKey, address| self.gates.place(pod, address);
        ServiceRequest {
            endpoints: self.slices.of(view.key(), place),
            endpoints_known: self.slices.knows(view.key()),
            ..view.request.clone()
        }
    }

    pub(super) fn passed(&mut self, passed: Passed) {
        let Passed {
            id,
            view: seen,
            outcome,
            retry_after,
            failed,
            again,
            notices,
            warned,
            targets,
            took,
        } = passed;
        if let Some(Running {
            inventory: Some(of_pass),
            ..
        }) = self.running.remove(&id)
        {
            self.carry_over(&of_pass, &id);
        }
        if outcome == "released" {
            self.found.remove(&id);
        }
        let provider = self.parts.identity.name;
        self.parts
            .metrics
            .provider()
            .passed(provider, outcome, took);
        // A listing that ended meanwhile may not hold what this pass did: it has put it in doubt, and touched it.
        let now = self.now();
        self.schedule.done(&id, retry_after, failed, now);
        // Told also of a Service that was let go meanwhile: the watch may be faster than the end of the pass.
        let uid = &seen.request.uid;
        for notice in notices {
            self.parts.events.emit_provided(seen.key(), uid, notice);
        }
        let Some(tracked) = self
            .keys
            .get(&id)
            .and_then(|key| self.services.get_mut(key))
        else {
            self.schedule.remove(&id);
            return;
        };
        let Tracked { view, .. } = tracked;
        if let Some(targets) = targets {
            self.gates.found(view.key(), &view.request.uid, targets);
        }
        tracked.warned = warned;
        tracked.outcome = Some(outcome);
        // Somebody wrote the status after we looked, or wrote it ourselves.
        let meddled = view.version > seen.version && view.status != seen.status;
        if again {
            self.schedule.touch(&id, now);
        } else if meddled {
            self.schedule.touch_by(&id, now + MENDED);
        }
        self.observe_written(seen);
    }
}
