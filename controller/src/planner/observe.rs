//! What the planner is told, into the index.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use herald_controller_core::{AdvertisementView, PoolObserved, PoolView, ServiceView};
use herald_core::{Labels, ServiceKey};
use tokio::time::Instant;

use super::{Input, Planner, Renewal};
use crate::index::{SpeakerReport, SpeakerSeen};
use crate::watch::Change;

impl Planner {
    pub(super) fn observe(&mut self, input: Input) {
        match input {
            Input::Services(change) => self.observe_services(change),
            Input::Pools(change) => self.observe_pools(change),
            Input::Namespaces(change) => self.observe_namespaces(change),
            Input::Advertisements(change) => self.observe_advertisements(change),
            Input::Speakers(change) => self.observe_speakers(change),
            Input::Nodes(change) => self.observe_nodes(change),
            Input::ApiServers(change) => self.observe_api_servers(change),
            Input::ServiceCidrs(change) => self.observe_service_cidrs(change),
            Input::Explain(key, answer) => {
                let _ = answer.send(self.explain(&key));
            }
        }
    }

    fn observe_namespaces(&mut self, change: Change<(Arc<str>, Labels)>) {
        let index = &mut self.parts.index;
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|(name, _)| name), &unreadable);
                let known: Vec<Arc<str>> = index.namespaces().cloned().collect();
                for name in gone(known, &present) {
                    index.forget_namespace(&name);
                }
                for (name, labels) in views {
                    index.observe_namespace(name, labels);
                }
                self.synced(2);
            }
            Change::One((name, labels)) => index.observe_namespace(name, labels),
            Change::Gone(key) => index.forget_namespace(&key.name),
            Change::Unavailable => {}
        }
    }

    fn observe_advertisements(&mut self, change: Change<AdvertisementView>) {
        let index = &mut self.parts.index;
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|view| &view.name), &unreadable);
                let known: Vec<Arc<str>> = index
                    .advertisements()
                    .map(|view| view.name.clone())
                    .collect();
                for name in gone(known, &present) {
                    index.forget_advertisement(&name);
                }
                for view in views {
                    index.observe_advertisement(view);
                }
                self.synced(3);
            }
            Change::One(view) => index.observe_advertisement(view),
            Change::Gone(key) => index.forget_advertisement(&key.name),
            Change::Unavailable => {}
        }
    }

    fn observe_speakers(&mut self, change: Change<SpeakerReport>) {
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|report| &report.view.node), &unreadable);
                let known = self
                    .parts
                    .index
                    .speakers()
                    .map(|view| view.node.clone())
                    .collect();
                for node in gone(known, &present) {
                    self.forget_speaker(&node);
                }
                for report in views {
                    self.observe_speaker(report);
                }
                self.synced(4);
            }
            Change::One(report) => self.observe_speaker(report),
            Change::Gone(key) => self.forget_speaker(&key.name),
            Change::Unavailable => {}
        }
    }

    fn observe_services(&mut self, change: Change<ServiceView>) {
        let now = Instant::now();
        let mut note = |view: &ServiceView| {
            if view.load_balancer && view.ingress.is_empty() {
                self.waiting_since.entry(view.key.clone()).or_insert(now);
            }
        };
        match change {
            Change::All {
                mut views,
                unreadable,
                term,
            } => {
                views.iter().for_each(note);
                let known = unreadable
                    .iter()
                    .filter_map(|key| self.parts.index.service(key));
                views.extend(known.cloned().collect::<Vec<_>>());
                self.parts.index.replace_services(views);
                let index = &self.parts.index;
                self.waiting_since
                    .retain(|key, _| index.service(key).is_some());
                self.retries.retain(|key| index.service(key).is_some());
                self.listed_term = Some(term);
                self.synced(0);
            }
            Change::One(view) => {
                note(&view);
                self.parts.index.observe_service(view);
            }
            Change::Unavailable => {}
            Change::Gone(key) => {
                self.waiting_since.remove(&key);
                self.retries.forget(&key);
                self.parts.index.forget_service(&key);
            }
        }
    }

    fn observe_pools(&mut self, change: Change<(PoolView, PoolObserved)>) {
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|(view, _)| &view.name), &unreadable);
                let pools = self.parts.index.allocator().pools();
                let known: Vec<Arc<str>> = pools.map(|view| view.name.clone()).collect();
                for name in gone(known, &present) {
                    self.forget_pool(&name);
                }
                for (view, observed) in views {
                    self.observe_pool(view, observed);
                }
                self.synced(1);
            }
            Change::One((view, observed)) => self.observe_pool(view, observed),
            Change::Gone(key) => self.forget_pool(&key.name),
            Change::Unavailable => {}
        }
    }

    fn observe_pool(&mut self, view: PoolView, observed: PoolObserved) {
        if view.unprotected && !view.deleting {
            self.new_pools.insert(view.name.clone());
        }
        self.parts.index.observe_pool(view, observed);
    }

    fn forget_pool(&mut self, name: &str) {
        self.parts.index.forget_pool(name);
        self.parts.metrics.forget_pool(name);
    }

    /// A renewal counts from when we saw it change: other nodes' clocks are not trusted.
    fn observe_speaker(&mut self, report: SpeakerReport) {
        let now = Instant::now();
        let SpeakerReport {
            mut view,
            renewal: mark,
            seen,
        } = report;
        // A dead speaker's last word is not news to a controller that has just started.
        let first = (!seen.silent).then_some(now);
        let new = || Renewal {
            mark: mark.clone(),
            at: first,
            seen: SpeakerSeen::default(),
        };
        let known = self.renewals.entry(view.node.clone()).or_insert_with(new);
        if known.mark != mark {
            known.mark.clone_from(&mark);
            known.at = Some(now);
        }
        known.seen = seen;
        view.live = known.is_live(now);
        self.parts.index.observe_speaker(&view);
    }

    fn forget_speaker(&mut self, node: &str) {
        self.renewals.remove(node);
        self.parts.index.forget_speaker(node);
    }

    pub(super) fn synced(&mut self, store: u32) {
        self.parts
            .health
            .synced
            .fetch_or(1 << store, Ordering::Relaxed);
        self.try_lead();
    }
}

pub(super) fn names<'a>(
    present: impl Iterator<Item = &'a Arc<str>>,
    unreadable: &'a [ServiceKey],
) -> HashSet<Arc<str>> {
    present
        .chain(unreadable.iter().map(|key| &key.name))
        .cloned()
        .collect()
}

pub(super) fn gone(known: Vec<Arc<str>>, present: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
    known
        .into_iter()
        .filter(|name| !present.contains(name))
        .collect()
}
