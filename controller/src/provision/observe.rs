//! What the provisioner is told, into its stores; and which load balancers that concerns.

use std::collections::{BTreeMap, HashSet};

use herald_controller_core::{GateService, ProvidedView, Want, want};
use herald_core::ServiceKey;
use herald_provider::{Mode, NodeTarget, Provider};

use super::view::SliceView;
use super::{Input, MENDED, Provisioner, Tracked};
use crate::watch::Change;

impl<P: Provider + 'static> Provisioner<P>
where
    P::Inventory: 'static,
{
    pub(super) fn observe(&mut self, input: Input) {
        match input {
            Input::Services(change) => self.observe_services(change),
            Input::Nodes(change) => self.observe_nodes(change),
            Input::Slices(change) => self.observe_slices(change),
            Input::Pods(change) => {
                let touched = self.gates.observe(change);
                self.touch(touched);
                self.try_work();
            }
            Input::Explain(key, answer) => {
                let _ = answer.send(self.explain(&key));
            }
        }
    }

    fn observe_services(&mut self, change: Change<ProvidedView>) {
        match change {
            Change::All {
                views,
                unreadable,
                term,
            } => {
                let present = views.iter().map(ProvidedView::key).chain(&unreadable);
                let present: HashSet<ServiceKey> = present.cloned().collect();
                let known = self.services.keys().cloned();
                for key in known
                    .filter(|key| !present.contains(key))
                    .collect::<Vec<_>>()
                {
                    self.forget_service(&key);
                }
                for view in views {
                    let key = view.key().clone();
                    if let Some(Tracked { view: known, .. }) = self.services.get_mut(&key)
                        && known.id() == view.id()
                    {
                        // After a restore of the API server's store versions may have gone back.
                        known.version = known.version.min(view.version);
                    }
                    self.observe_service(view);
                    self.enter_gates(&key);
                }
                self.listed_term = Some(term);
                self.try_work();
            }
            Change::One(view) => {
                let key = view.key().clone();
                self.observe_service(view);
                self.enter_gates(&key);
            }
            Change::Gone(key) => self.forget_service(&key),
            Change::Unavailable => {}
        }
    }

    /// Enters a Service. Only those that can matter are kept.
    pub(super) fn observe_service(&mut self, view: ProvidedView) {
        let key = view.key().clone();
        if let Some(Tracked { view: known, .. }) = self.services.get(&key) {
            if known.id() != view.id() {
                // Another Service of the same name.
                self.forget_service(&key);
            } else if view.version < known.version {
                return;
            }
        }
        let id = view.id();
        if want(&view, &self.parts.identity) == Want::Ignore {
            self.forget_service(&key);
            return;
        }
        let now = self.now();
        let Some(tracked) = self.services.get_mut(&key) else {
            let tracked = Tracked {
                view,
                warned: Vec::new(),
                outcome: None,
            };
            self.services.insert(key.clone(), tracked);
            self.keys.insert(id.clone(), key);
            self.schedule.touch(&id, now);
            return;
        };
        let same = !changed(&tracked.view, &view, &self.parts.identity.finalizer);
        // The watch may be faster than the answer to our own write of the status: the end of the pass compares.
        let meddled = tracked.view.status != view.status && !self.running.contains_key(&id);
        tracked.view = view;
        if !same {
            self.schedule.touch(&id, now);
        } else if meddled {
            self.schedule.touch_by(&id, now + MENDED);
        }
    }

    /// Enters what a pass knew last, if that is news: nothing that has to be looked at again.
    pub(super) fn observe_written(&mut self, written: ProvidedView) {
        let Some(tracked) = self.services.get_mut(written.key()) else {
            return;
        };
        // The watch may have told of what came after.
        if tracked.view.id() != written.id() || tracked.view.version >= written.version {
            return;
        }
        if want(&written, &self.parts.identity) == Want::Ignore {
            self.forget_service(&written.key().clone());
            return;
        }
        let changed = changed(&tracked.view, &written, &self.parts.identity.finalizer);
        let id = written.id();
        tracked.view = written;
        // Its user changed it between our look and our write.
        if changed {
            let now = self.start.elapsed();
            self.schedule.touch(&id, now);
        }
    }

    fn forget_service(&mut self, key: &ServiceKey) {
        self.gates.service(key, None);
        self.slices.forget(key);
        if let Some(tracked) = self.services.remove(key) {
            let id = tracked.view.id();
            self.keys.remove(&id);
            self.held.retain(|work| work.id != id);
            // While its pass runs the schedule keeps it, so that no second one begins beside it.
            if !self.running.contains_key(&id) {
                self.schedule.remove(&id);
            }
        }
    }

    fn observe_nodes(&mut self, change: Change<NodeTarget>) {
        let changed = match change {
            Change::All {
                views, unreadable, ..
            } => {
                let unreadable: HashSet<&str> = unreadable.iter().map(|key| &*key.name).collect();
                let kept = self
                    .nodes
                    .iter()
                    .filter(|(name, _)| unreadable.contains(name.as_str()));
                let mut nodes: BTreeMap<String, NodeTarget> = kept
                    .map(|(name, node)| (name.clone(), node.clone()))
                    .collect();
                nodes.extend(views.into_iter().map(|node| (node.name.clone(), node)));
                self.nodes_listed = true;
                let changed = nodes != self.nodes;
                self.nodes = nodes;
                changed
            }
            Change::One(node) if self.nodes.get(&node.name) == Some(&node) => false,
            Change::One(node) => {
                self.nodes.insert(node.name.clone(), node);
                true
            }
            Change::Gone(key) => self.nodes.remove(&*key.name).is_some(),
            Change::Unavailable => false,
        };
        if changed {
            self.node_list = self.nodes.values().cloned().collect();
            self.touch_all();
        }
        self.try_work();
    }

    fn observe_slices(&mut self, change: Change<SliceView>) {
        let mut changed: Vec<ServiceKey> = Vec::new();
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = views.iter().map(|slice| &slice.key).chain(&unreadable);
                let present: HashSet<ServiceKey> = present.cloned().collect();
                let known = self.slices.keys();
                let gone = known.filter(|key| !present.contains(key)).cloned();
                for key in gone.collect::<Vec<_>>() {
                    changed.extend(self.slices.remove(&key));
                }
                for slice in views {
                    changed.extend(self.slices.enter(slice));
                }
                self.slices_listed = true;
            }
            Change::One(slice) => changed = self.slices.enter(slice),
            Change::Gone(key) => changed.extend(self.slices.remove(&key)),
            Change::Unavailable => {}
        }
        for key in &changed {
            if !self.services.contains_key(key) {
                self.slices.forget(key);
            }
        }
        self.touch(changed);
        self.try_work();
    }

    /// These Services are looked at again, as far as they are the provider's.
    pub(super) fn touch(&mut self, services: impl IntoIterator<Item = ServiceKey>) {
        let now = self.now();
        for key in services {
            if let Some(tracked) = self.services.get(&key) {
                self.schedule.touch(&tracked.view.id(), now);
            }
        }
    }

    /// What the pods' readiness gates have to know of a Service.
    fn enter_gates(&mut self, key: &ServiceKey) {
        let tracked = self.services.get(key);
        let serves = tracked.filter(|one| want(&one.view, &self.parts.identity) == Want::Ensure);
        let service = serves.map(|Tracked { view, .. }| GateService {
            uid: view.request.uid.clone(),
            selector: view.selector.clone(),
            held: view.request.paused || self.parts.pace.mode != Mode::Live,
        });
        self.gates.service(key, service);
    }

    /// Everything is looked at again.
    pub(super) fn touch_all(&mut self) {
        let now = self.now();
        for id in self.keys.keys() {
            self.schedule.touch(id, now);
        }
    }
}

/// Whether a Service asks for something else than before. That our finalizer is there now is our own doing.
fn changed(before: &ProvidedView, now: &ProvidedView, finalizer: &str) -> bool {
    if !before.holds(finalizer) && now.holds(finalizer) {
        let expected = ProvidedView {
            finalizers: now.finalizers.clone(),
            ..before.clone()
        };
        return !expected.asks_the_same(now);
    }
    !before.asks_the_same(now)
}
