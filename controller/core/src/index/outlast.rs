//! What must not end with its cause: pools until they are protected or given up, addresses that came shared, the last word of a
//! speaker.

use std::net::IpAddr;
use std::sync::Arc;

use herald_core::ServiceKey;

use super::Index;
use crate::service::ServiceView;

impl Index {
    /// Whether a pool may give addresses in a moment, when its finalizer is on it.
    pub(crate) fn awaits_finalizer(&self) -> bool {
        let mut waiting = self.allocator.unprotected();
        waiting.any(|name| !self.unprotectable.contains(name))
    }

    /// Whether pool `name`'s finalizer could not be written.
    pub(crate) fn is_unprotectable(&self, name: &str) -> bool {
        self.unprotectable.contains(name)
    }

    /// The speakers that are silent and whose last word still stands: it is to be marked.
    pub fn silent_speakers(&self) -> impl Iterator<Item = &Arc<str>> {
        let silent = self
            .speakers
            .values()
            .filter(|view| !view.live && view.speaks);
        silent.map(|view| &view.node)
    }

    /// Lets `key` keep what its status shows beside others of the same sharing key that show it too: they came together from a
    /// load balancer that lets Services share an address, and moving one would break it.
    pub(super) fn share(&mut self, key: &ServiceKey, shown: &[IpAddr]) {
        for address in shown {
            let shares = |other: &ServiceKey| {
                let of = |key| self.services.get(key).and_then(ServiceView::share_key);
                of(key).is_some() && of(key) == of(other)
            };
            let holders = self.allocator.holders(*address);
            if !holders.is_empty() && holders.iter().all(shares) {
                self.allocator.share(key, *address);
            }
        }
        self.mark_sharers(key);
    }

    /// Each of several Services on one address names the others.
    pub(super) fn mark_sharers(&mut self, key: &ServiceKey) {
        if self.leading {
            for other in self.allocator.sharers(key) {
                self.dirty.services.push(other);
            }
        }
    }

    /// Pools that are being deleted go as soon as nothing needs them.
    pub(super) fn mark_leaving_pools(&mut self) {
        let leaving = self.pools.values().filter(|pool| pool.deleting);
        self.dirty
            .pools
            .extend(leaving.map(|pool| pool.name.clone()));
    }
}
