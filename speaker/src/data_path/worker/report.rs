//! What the thread reports: each Service once it is in the kernel, and how the whole is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::ServiceKey;
use herald_speaker_core::{Frontend, Role};
use tokio::time::Instant;
use tracing::warn;

use super::super::kernel::Refused;
use super::super::{DataPathReport, SyncedService};
use super::{Phase, Retry, Worker};

impl Worker {
    /// After everything wanted was committed, but for what was `refused`.
    pub(super) fn report(&mut self, refused: Refused) {
        let mut by_error: BTreeMap<String, Vec<ServiceKey>> = BTreeMap::new();
        for (key, error) in refused {
            let previous = self.failed.get(&key).copied();
            self.failed.insert(key.clone(), Retry::after(previous));
            self.pending.insert(key.clone());
            by_error.entry(error).or_default().push(key);
        }
        for (error, keys) in by_error {
            warn!(?keys, %error, "the kernel refused Services");
            self.outbox
                .push_back(DataPathReport::Failed { keys, error });
        }
        let failed = &self.failed;
        let pending = std::mem::take(&mut self.pending);
        let (waiting, synced) = pending.into_iter().partition(|k| failed.contains_key(k));
        self.pending = waiting;
        let synced: BTreeSet<ServiceKey> = synced;
        if !synced.is_empty() {
            let services = synced.iter().map(|key| self.synced(key)).collect();
            self.push_synced(&synced, services);
        }
        let sound = self.mending.sound(Instant::now().into_std());
        if self.phase != Phase::Ready && sound {
            self.phase = Phase::Ready;
            self.outbox.push_back(DataPathReport::Ready);
        }
    }

    /// The addresses of a Service that lead to it: not those where another Service came first on every port.
    fn synced(&self, key: &ServiceKey) -> SyncedService {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let frontends = self.ruleset.service(key).map(|s| s.frontends.as_slice());
        for forwarding in frontends.unwrap_or_default() {
            let external = matches!(forwarding.role, Role::LoadBalancer | Role::ExternalIp);
            if let Frontend::Address { address, .. } = forwarding.frontend
                && external
                && self.ruleset.owner(&forwarding.frontend) == Some(key)
            {
                addresses.push(address);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        SyncedService {
            key: key.clone(),
            addresses,
        }
    }

    /// Reports that wait unread are merged, so that the outbox holds a Service once.
    fn push_synced(&mut self, keys: &BTreeSet<ServiceKey>, new: Vec<SyncedService>) {
        if let Some(DataPathReport::Synced { services }) = self.outbox.back_mut() {
            services.retain(|s| !keys.contains(&s.key));
            services.extend(new);
        } else {
            self.outbox
                .push_back(DataPathReport::Synced { services: new });
        }
    }
}
