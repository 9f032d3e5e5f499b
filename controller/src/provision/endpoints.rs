//! EndpointSlices by Service: what each Service's endpoints are.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_controller_core::Place;
use herald_core::ServiceKey;
use herald_provider::EndpointTarget;

use super::view::SliceView;

/// All slices. A Service's endpoints are put together when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// By Service, then by the slice's own name. Empty when the last slice has gone.
    services: HashMap<ServiceKey, BTreeMap<Arc<str>, SliceView>>,
    /// The Service each slice belongs to.
    owners: HashMap<ServiceKey, ServiceKey>,
}

impl Slices {
    /// Enters a slice; gives the Services whose endpoints changed.
    pub(crate) fn enter(&mut self, slice: SliceView) -> Vec<ServiceKey> {
        let mut changed = Vec::new();
        let owner = self.owners.get(&slice.key);
        if owner.is_some_and(|owner| *owner != slice.service) {
            changed.extend(self.remove(&slice.key.clone()));
        }
        let of_service = self.services.entry(slice.service.clone()).or_default();
        let known = of_service.get(&slice.key.name);
        if known.is_none_or(|known| *known != slice) {
            changed.push(slice.service.clone());
            self.owners.insert(slice.key.clone(), slice.service.clone());
            of_service.insert(slice.key.name.clone(), slice);
        }
        changed
    }

    /// Forgets a slice; gives the Service whose endpoints changed.
    pub(crate) fn remove(&mut self, key: &ServiceKey) -> Option<ServiceKey> {
        let service = self.owners.remove(key)?;
        if let Some(slices) = self.services.get_mut(&service) {
            slices.remove(&key.name);
        }
        Some(service)
    }

    /// Whether a slice of the Service was ever seen: the last one may be gone.
    pub(crate) fn knows(&self, service: &ServiceKey) -> bool {
        self.services.contains_key(service)
    }

    /// Nobody asks for this Service: without slices nothing is kept of it.
    pub(crate) fn forget(&mut self, service: &ServiceKey) {
        if self.services.get(service).is_some_and(BTreeMap::is_empty) {
            self.services.remove(service);
        }
    }

    /// The slices that are known.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.owners.keys()
    }

    /// The endpoints of a Service, in a lasting order. One that is in two slices for a moment counts once, as ready if it is in
    /// either. `place` says of a pod and an address of it what the pod's readiness gate makes of it.
    pub(crate) fn of(
        &self,
        service: &ServiceKey,
        place: impl Fn(&ServiceKey, IpAddr) -> Place,
    ) -> Arc<[EndpointTarget]> {
        let slices = self.services.get(service).into_iter().flatten();
        let endpoints = slices.flat_map(|(_, slice)| &slice.endpoints);
        let endpoints = endpoints.map(|one| {
            let mut target = one.target.clone();
            let pod = one.pod.as_ref();
            let pod = pod.map(|pod| ServiceKey::new(service.namespace.clone(), pod.clone()));
            match pod.map_or(Place::Ordinary, |pod| place(&pod, target.address)) {
                Place::Ordinary => {}
                // A Service may publish addresses that are not ready, as ready.
                Place::Waits => (target.ready, target.containers_ready) = (false, true),
                Place::Keeps => target.containers_ready = true,
            }
            target
        });
        let mut all: Vec<EndpointTarget> = endpoints.collect();
        let ports =
            |one: &EndpointTarget| -> Vec<u16> { one.ports.iter().map(|p| p.port).collect() };
        all.sort_by_key(|one| (one.address, ports(one), !one.ready));
        all.dedup_by(|later, first| later.address == first.address && later.ports == first.ports);
        all.into()
    }
}

#[cfg(test)]
mod tests;
