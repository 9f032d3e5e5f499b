//! Listing everything at the provider: at the start of each term, and every so often.
//!
//! Passes go on beside a listing, on the inventory before it. What they changed may be missing in the new one, so whatever ran
//! beside the listing is read again one by one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald_provider::{Backoff, LoadBalancerId, Provider, ProviderError, Reason, lock};
use tokio::time::Instant;
use tracing::{info, warn};

use super::pass::random;
use super::{Connected, Done, Provisioner};

/// What came of a listing.
pub(super) struct Listed<P: Provider> {
    term: u64,
    connected: Option<Connected<P>>,
    result: Result<P::Inventory, ProviderError>,
    took: Duration,
}

impl<P: Provider + 'static> Provisioner<P>
where
    P::Inventory: 'static,
{
    /// The first listing of a term waits for the passes of the last one: what they still do would be missing in it.
    pub(super) fn may_list(&self) -> bool {
        self.inventory.is_some() || self.running.is_empty()
    }

    pub(super) fn list_if_due(&mut self) {
        let Some(term) = self.leads() else { return };
        if self.listing.is_some() || !self.may_list() || Instant::now() < self.list_at {
            return;
        }
        self.listing = Some(self.running.keys().cloned().collect());
        let (connected, connect) = (self.connected.clone(), self.parts.connect.clone());
        let began = Instant::now();
        self.jobs.spawn(async move {
            let connected = match connected {
                Some(connected) => Ok(connected),
                None => connect().await,
            };
            let (connected, result) = match connected {
                Ok(connected) => {
                    let result = connected.provider.observe().await;
                    (Some(connected), result)
                }
                Err(error) => (None, Err(error)),
            };
            Done::Listed(Box::new(Listed {
                term,
                connected,
                result,
                took: began.elapsed(),
            }))
        });
    }

    pub(super) fn listed(&mut self, listed: Listed<P>) {
        let beside = self.listing.take().unwrap_or_default();
        self.connected = listed.connected;
        if self.leads() != Some(listed.term) {
            return;
        }
        let provider = self.parts.identity.name;
        match listed.result {
            Ok(inventory) => {
                let ms = listed.took.as_millis();
                self.enter(inventory, &beside);
                info!(provider, found = self.found.len(), ms, "listed what exists");
            }
            Err(error) => {
                let delay = Backoff::for_kind(error.kind).delay(self.list_failures, random());
                let delay = delay.max(error.retry_after.unwrap_or_default());
                self.list_failures = self.list_failures.saturating_add(1);
                self.list_at = Instant::now() + delay;
                self.parts.metrics.provider().listed(provider, false);
                warn!(provider, %error, again = ?delay, "listing what exists failed, trying again");
                if self.inventory.is_none() {
                    let reason = Reason::new(error.code.clone(), error.to_string());
                    if self.unreachable.as_ref() != Some(&reason) {
                        self.unreachable = Some(reason);
                        self.touch_all();
                    }
                }
            }
        }
    }

    fn enter(&mut self, mut inventory: P::Inventory, beside: &HashSet<LoadBalancerId>) {
        let Some(connected) = &self.connected else {
            return;
        };
        self.found = connected.provider.found(&inventory);
        if let Some(older) = &self.inventory {
            let older = lock(older);
            for id in beside {
                connected.provider.carry_over(&mut inventory, &older, id);
            }
        }
        // Passes under way end on the inventory they began with, and what they do there is carried over then.
        self.inventory = Some(Arc::new(Mutex::new(inventory)));
        self.list_failures = 0;
        self.list_at = Instant::now() + self.parts.pace.resync;
        self.unreachable = None;
        let provider = self.parts.identity.name;
        self.parts.metrics.provider().listed(provider, true);
        self.touch_all();
    }

    /// Carries over what a pass that has ended did on an inventory that was replaced meanwhile.
    pub(super) fn carry_over(&self, of_pass: &Arc<Mutex<P::Inventory>>, id: &LoadBalancerId) {
        let (Some(connected), Some(current)) = (&self.connected, &self.inventory) else {
            return;
        };
        if !Arc::ptr_eq(of_pass, current) {
            let older = lock(of_pass);
            let mut current = lock(current);
            connected.provider.carry_over(&mut current, &older, id);
        }
    }
}
