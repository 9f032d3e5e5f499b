//! What goes into the index: objects as they are now. Each marks only the keys it may change.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use herald_core::{Labels, ServiceKey};

use super::Index;
use crate::announce::{AdvertisementView, SpeakerView};
use crate::plan_pool::PoolObserved;
use crate::pool::PoolView;
use crate::service::ServiceView;

impl Index {
    /// A Service as it is now. Observations older than what is known are ignored.
    pub fn observe_service(&mut self, view: ServiceView) {
        let key = view.key.clone();
        if let Some(known) = self.services.get(&key) {
            if known.uid != view.uid {
                self.free(&key);
            } else if view.version < known.version || *known == view {
                return;
            }
        }
        let before = self.services.remove(&key);
        self.observe_addresses(before.as_ref(), Some(&view));
        self.services.insert(key.clone(), view);
        self.mark_leaving_pools();
        if self.leading {
            self.claim(&key);
            self.dirty.services.push(&key);
            self.dirty.announced.push(&key);
        }
    }

    /// A Service that is gone.
    pub fn forget_service(&mut self, key: &ServiceKey) {
        let before = self.services.remove(key);
        self.mark_leaving_pools();
        self.hungry.remove(key);
        self.doubled.remove(key);
        self.free(key);
        self.observe_addresses(before.as_ref(), None);
    }

    /// All Services there are: those not in `views` are gone. An observation of a list replaces whatever is known.
    pub fn replace_services(&mut self, views: Vec<ServiceView>) {
        let present: HashSet<ServiceKey> = views.iter().map(|view| view.key.clone()).collect();
        let gone: Vec<ServiceKey> = self
            .services
            .keys()
            .filter(|key| !present.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.forget_service(&key);
        }
        for view in views {
            if let Some(known) = self.services.get_mut(&view.key)
                && known.uid == view.uid
            {
                // After a restore of the API server's store versions may have gone back.
                known.version = known.version.min(view.version);
            }
            self.observe_service(view);
        }
    }

    /// A namespace's labels.
    pub fn observe_namespace(&mut self, name: Arc<str>, labels: Labels) {
        if self.namespaces.get(&name) == Some(&labels) {
            return;
        }
        self.mark_waiting(|key| key.namespace == name);
        self.namespaces.insert(name, labels);
    }

    /// A namespace that is gone.
    pub fn forget_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A pool, and what its status says.
    pub fn observe_pool(&mut self, view: PoolView, observed: PoolObserved) {
        self.dirty.pools.insert(view.name.clone());
        self.observed_pools.insert(view.name.clone(), observed);
        if !view.unprotected {
            self.unprotectable.remove(&view.name);
        }
        // A pool's readiness follows from this index: by itself it changes nothing.
        let changed = self.pools.get(&view.name).is_none_or(|known| {
            let ready = view.ready;
            let known = known.clone();
            PoolView { ready, ..known } != view
        });
        self.pools.insert(view.name.clone(), view);
        if changed {
            self.pools_changed();
        }
    }

    /// A pool that is gone.
    pub fn forget_pool(&mut self, name: &str) {
        self.observed_pools.remove(name);
        self.unprotectable.remove(name);
        self.dirty.pools.remove(name);
        if self.pools.remove(name).is_some() {
            self.pools_changed();
        }
    }

    /// A pool's finalizer could not be written: from now on it is said, and not waited for in silence.
    pub fn protection_failed(&mut self, name: &Arc<str>) {
        if self.pools.contains_key(name) && self.unprotectable.insert(name.clone()) {
            self.dirty.pools.insert(name.clone());
            self.mark_waiting(|_| true);
        }
    }

    /// An L2Advertisement.
    pub fn observe_advertisement(&mut self, view: AdvertisementView) {
        if self.advertisements.get(&view.name) != Some(&view) {
            self.advertisements.insert(view.name.clone(), view);
            self.mark_announced();
        }
    }

    /// An L2Advertisement that is gone.
    pub fn forget_advertisement(&mut self, name: &str) {
        if self.advertisements.remove(name).is_some() {
            self.mark_announced();
        }
    }

    /// What a speaker reports. Only Services whose addresses changed hands are marked, and, if the speaker's reach changed,
    /// those that nobody announces.
    pub fn observe_speaker(&mut self, view: &SpeakerView) {
        let node = view.node.clone();
        let before = self
            .speakers
            .insert(node.clone(), view.clone())
            .unwrap_or_default();
        if before == *view {
            return;
        }
        if before.interfaces != view.interfaces {
            self.observe_interfaces(view);
        }
        let live = |view: &SpeakerView| {
            if view.live {
                view.owned.clone()
            } else {
                BTreeSet::new()
            }
        };
        let (had, has) = (live(&before), live(view));
        for address in had.symmetric_difference(&has) {
            let owners = self.owners.entry(*address).or_default();
            if has.contains(address) {
                owners.insert(node.clone());
            } else {
                owners.remove(&node);
            }
            if owners.is_empty() {
                self.owners.remove(address);
            }
            self.mark_holders(*address);
        }
        if before.conflicts != view.conflicts || before.live != view.live {
            for (address, _) in before.conflicts.iter().chain(&view.conflicts) {
                self.mark_holders(*address);
            }
        }
        if before.doubt != view.doubt {
            for address in had.intersection(&has) {
                self.mark_holders(*address);
            }
        }
        if before.live != view.live || before.interfaces != view.interfaces {
            self.mark_unannounced();
        }
    }

    /// A speaker's liveness, which follows from the observer's clock.
    pub fn set_speaker_live(&mut self, node: &str, live: bool) {
        if let Some(view) = self.speakers.get(node)
            && view.live != live
        {
            let view = SpeakerView {
                live,
                ..view.clone()
            };
            self.observe_speaker(&view);
        }
    }

    /// A speaker that is gone.
    pub fn forget_speaker(&mut self, node: &str) {
        if let Some(view) = self.speakers.get(node) {
            let silent = SpeakerView {
                node: view.node.clone(),
                ..SpeakerView::default()
            };
            self.observe_speaker(&silent);
        }
        self.speakers.remove(node);
    }
}
