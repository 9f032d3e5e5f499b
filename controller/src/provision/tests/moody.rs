//! A provider in memory whose calls can be slow or fail.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald_provider::testing::fake::{Cloud, FakeInventory, FakeProvider, FakeSeen, FakeStep};
use herald_provider::{
    Doubt, ErrorKind, Gate, Identity, LoadBalancerId, LoadBalancerRequest, Plan, Provider,
    ProviderError, Release, Report, Step as _, UnixTime,
};

/// Switches of the provider.
#[derive(Debug, Default)]
pub(super) struct Knobs {
    pub(super) listings: AtomicUsize,
    pub(super) unreadable: AtomicBool,
    /// Slow reads under way.
    pub(super) reading: AtomicUsize,
    pub(super) unconnected: Mutex<Option<ErrorKind>>,
}

/// The in-memory provider; load balancers of Services named `slow-…` take 5 s a changing call, those of `lazy-…` 5 s a read, and
/// those of `bad-…` take 30 s and fail.
#[derive(Debug)]
pub(super) struct Moody {
    pub(super) inner: FakeProvider,
    pub(super) cloud: Cloud,
    pub(super) knobs: Arc<Knobs>,
}

impl Provider for Moody {
    type Inventory = FakeInventory;
    type Seen = FakeSeen;
    type Step = FakeStep;

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    async fn observe(&self) -> Result<FakeInventory, ProviderError> {
        let listed = self.inner.observe().await;
        // What comes meanwhile is not in it.
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.knobs.listings.fetch_add(1, Ordering::Relaxed);
        if self.knobs.unreadable.load(Ordering::Relaxed) {
            return Err(failed("List"));
        }
        listed
    }

    fn plan(
        &self,
        inventory: &FakeInventory,
        request: &LoadBalancerRequest,
        _now: UnixTime,
    ) -> Plan<FakeStep, Report> {
        self.inner.plan(inventory, request, self.cloud.now())
    }

    fn plan_release(
        &self,
        inventory: &FakeInventory,
        id: &LoadBalancerId,
        _now: UnixTime,
    ) -> Plan<FakeStep, Release> {
        self.inner.plan_release(inventory, id, self.cloud.now())
    }

    async fn apply(&self, step: &FakeStep, gate: &dyn Gate) -> Result<FakeSeen, ProviderError> {
        let text = format!("{step:?}");
        if text.contains("uid-bad-") {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Err(failed("Change"));
        }
        if !step.changes() && self.knobs.unreadable.load(Ordering::Relaxed) {
            return Err(failed("Read"));
        }
        if text.contains("uid-lazy-") && !step.changes() {
            self.knobs.reading.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.knobs.reading.fetch_sub(1, Ordering::Relaxed);
        }
        let seen = self.inner.apply(step, gate).await;
        if text.contains("uid-slow-") && step.changes() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        seen
    }

    fn absorb(&self, inventory: &mut FakeInventory, seen: FakeSeen) {
        self.inner.absorb(inventory, seen);
    }

    fn forget(
        &self,
        inventory: &mut FakeInventory,
        id: &LoadBalancerId,
        doubt: Doubt<'_, FakeStep>,
    ) {
        self.inner.forget(inventory, id, doubt);
    }

    fn carry_over(
        &self,
        inventory: &mut FakeInventory,
        older: &FakeInventory,
        id: &LoadBalancerId,
    ) {
        self.inner.carry_over(inventory, older, id);
    }

    fn found(&self, inventory: &FakeInventory) -> BTreeSet<LoadBalancerId> {
        self.inner.found(inventory)
    }
}

fn failed(operation: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Retryable, operation, "the cloud", "no answer")
}
