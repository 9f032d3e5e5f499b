//! What is wanted: the forwarding of every Service, and who has a frontend that several claim.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use herald_core::ServiceKey;

use super::change::Shared;
use crate::{Frontend, FrontendForwarding, Role, ServiceForwarding, TrafficPolicy};

/// The wanted state. The lowest (role, key) has a frontend; the next takes over when it goes.
#[derive(Debug, Default)]
pub(super) struct Claims {
    services: HashMap<ServiceKey, ServiceForwarding>,
    frontends: HashMap<Frontend, Vec<(Role, ServiceKey)>>,
    shared: HashMap<Shared, usize>,
}

impl Claims {
    /// Takes a Service's new forwarding. Returns the frontends and shared elements that may have to change.
    pub(super) fn replace(&mut self, new: ServiceForwarding) -> (Vec<Frontend>, Vec<Shared>) {
        let key = new.key.clone();
        let old = self.services.remove(&key);
        let old_frontends = old.as_ref().map_or(&[][..], |s| &s.frontends);
        let mut touched = Vec::new();
        for forwarding in old_frontends {
            let same = new
                .frontends
                .binary_search_by_key(&forwarding.frontend, |f| f.frontend)
                .is_ok_and(|at| &new.frontends[at] == forwarding);
            if !same {
                self.unclaim(&forwarding.frontend, &key);
                touched.push(forwarding.frontend);
            }
        }
        for forwarding in &new.frontends {
            let claims = self.frontends.entry(forwarding.frontend).or_default();
            let claim = (forwarding.role, key.clone());
            if let Err(place) = claims.binary_search(&claim) {
                claims.insert(place, claim);
                touched.push(forwarding.frontend);
            }
        }
        let old_shared = shared_of(old_frontends);
        let new_shared = shared_of(&new.frontends);
        let mut changed = Vec::new();
        for shared in &old_shared {
            if new_shared.binary_search(shared).is_err() {
                if let Entry::Occupied(mut uses) = self.shared.entry(*shared) {
                    *uses.get_mut() -= 1;
                    if *uses.get() == 0 {
                        uses.remove();
                    }
                }
                changed.push(*shared);
            }
        }
        for shared in &new_shared {
            if old_shared.binary_search(shared).is_err() {
                *self.shared.entry(*shared).or_insert(0) += 1;
                changed.push(*shared);
            }
        }
        if !new.frontends.is_empty() {
            self.services.insert(key, new);
        }
        touched.sort_unstable();
        touched.dedup();
        (touched, changed)
    }

    fn unclaim(&mut self, frontend: &Frontend, key: &ServiceKey) {
        if let Entry::Occupied(mut claims) = self.frontends.entry(*frontend) {
            claims.get_mut().retain(|(_, claimant)| claimant != key);
            if claims.get().is_empty() {
                claims.remove();
            }
        }
    }

    /// The Service that has a frontend, and how it forwards it.
    pub(super) fn winner(&self, frontend: &Frontend) -> Option<(&ServiceKey, &FrontendForwarding)> {
        let (_, key) = self.frontends.get(frontend)?.first()?;
        let frontends = &self.services.get(key)?.frontends;
        let at = frontends
            .binary_search_by_key(frontend, |f| f.frontend)
            .ok()?;
        Some((key, frontends.get(at)?))
    }

    pub(super) fn frontends(&self) -> impl Iterator<Item = Frontend> {
        self.frontends.keys().copied()
    }

    pub(super) fn shared(&self) -> impl Iterator<Item = Shared> {
        self.shared.keys().copied()
    }

    pub(super) fn wants(&self, shared: &Shared) -> bool {
        self.shared.contains_key(shared)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceForwarding> {
        self.services.values()
    }

    pub(super) fn service(&self, key: &ServiceKey) -> Option<&ServiceForwarding> {
        self.services.get(key)
    }
}

/// The shared elements that a Service needs, sorted. A connection of a backend to itself can only happen through frontends
/// that keep the source; only there are hairpin elements needed.
fn shared_of(frontends: &[FrontendForwarding]) -> Vec<Shared> {
    let mut shared = Vec::new();
    for forwarding in frontends {
        if let Frontend::Address { address, .. } = forwarding.frontend {
            shared.push(match forwarding.role {
                Role::ClusterIp => Shared::ClusterIp(address),
                _ => Shared::Address(address),
            });
            if forwarding.ours {
                shared.push(Shared::Own(address));
            }
        }
        let keeps_source =
            forwarding.role == Role::ClusterIp || forwarding.policy == TrafficPolicy::Local;
        if keeps_source {
            let backends = forwarding.cluster.iter().chain(&*forwarding.local);
            let local = backends.filter(|b| b.local).map(|b| b.address.ip());
            shared.extend(local.map(Shared::Hairpin));
        }
    }
    shared.sort_unstable();
    shared.dedup();
    shared
}
