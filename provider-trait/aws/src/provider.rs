use std::collections::BTreeSet;

use herald_provider::{
    Doubt, Gate, Identity, LoadBalancerId, LoadBalancerRequest, Plan, Provider, ProviderError,
    Release, Report, UnixTime,
};

use crate::api::Api;
use crate::call::{Answer, Call};
use crate::config::Config;
use crate::inventory::Inventory;
use crate::plan;
use crate::step::Step;

/// Network Load Balancers as a [`Provider`].
#[derive(Debug)]
pub struct AwsProvider<A> {
    api: A,
    config: Config,
    identity: Identity,
}

impl<A: Api> AwsProvider<A> {
    /// A provider that has observed nothing yet.
    pub fn new(api: A, config: Config) -> Self {
        let identity = Identity {
            name: "aws-nlb",
            class: config.class.clone(),
            finalizer: "heraldlb.io/aws-nlb".into(),
            takes_classless: config.takes_classless,
        };
        Self {
            api,
            config,
            identity,
        }
    }
}

/// What one call showed.
#[derive(Debug)]
pub struct Seen {
    id: LoadBalancerId,
    call: Call,
    answer: Answer,
}

impl<A: Api> Provider for AwsProvider<A> {
    type Inventory = Inventory;
    type Seen = Seen;
    type Step = Step;

    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn observe(&self) -> Result<Inventory, ProviderError> {
        let listing = self.api.list().await?;
        Ok(Inventory::from_listing(&self.config, listing))
    }

    fn plan(
        &self,
        inventory: &Inventory,
        request: &LoadBalancerRequest,
        now: UnixTime,
    ) -> Plan<Step, Report> {
        plan::ensure(&self.config, inventory, request, now)
    }

    fn plan_release(
        &self,
        inventory: &Inventory,
        id: &LoadBalancerId,
        _now: UnixTime,
    ) -> Plan<Step, Release> {
        plan::release(&self.config, inventory, id)
    }

    async fn apply(&self, step: &Step, gate: &dyn Gate) -> Result<Seen, ProviderError> {
        let answer = match &step.call {
            Call::Ask(query) => self.api.ask(query).await?,
            Call::Change(change) => self.api.change(change, gate).await?,
        };
        Ok(Seen {
            id: step.id.clone(),
            call: step.call.clone(),
            answer,
        })
    }

    fn absorb(&self, inventory: &mut Inventory, seen: Seen) {
        inventory.absorb(&self.config, &seen.id, &seen.call, seen.answer);
    }

    fn forget(&self, inventory: &mut Inventory, id: &LoadBalancerId, doubt: Doubt<'_, Step>) {
        inventory.forget(id, &doubt);
    }

    fn carry_over(&self, inventory: &mut Inventory, older: &Inventory, id: &LoadBalancerId) {
        inventory.carry_over(older, id);
    }

    fn found(&self, inventory: &Inventory) -> BTreeSet<LoadBalancerId> {
        let own = inventory.own.iter().filter(|(_, own)| !own.is_empty());
        own.map(|(id, _)| id.clone()).collect()
    }
}
