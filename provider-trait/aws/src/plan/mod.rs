//! From what exists and what is wanted to ordered calls. Pure.
//!
//! Order: security groups, target groups and their new targets, the load balancer, listeners, old targets out, and
//! last the removal of what is no longer used. So everything is created before what it replaces is deleted, and
//! targets are registered before others are deregistered.

mod attributes;
mod cleanup;
mod endpoints;
mod listeners;
mod load_balancer;
mod reads;
mod release;
mod report;
mod security;
mod target_groups;

use std::time::Duration;

use herald_provider::{LoadBalancerId, LoadBalancerRequest, Plan, Report, UnixTime};

pub use release::release;

use crate::config::Config;
use crate::inventory::{Inventory, Own};
use crate::model::LoadBalancer;
use crate::step::Step;
use crate::wanted::{self, Built, Wanted};

/// Everything a part of the plan looks at.
struct View<'a> {
    config: &'a Config,
    inventory: &'a Inventory,
    own: &'a Own,
    request: &'a LoadBalancerRequest,
    built: &'a Built,
    now: UnixTime,
}

impl View<'_> {
    fn id(&self) -> &LoadBalancerId {
        &self.request.id
    }

    /// The load balancer that is to be what is wanted, if it exists.
    fn current(&self, wanted: &Wanted) -> Option<&LoadBalancer> {
        let found = self.own.load_balancers.get(&wanted.name);
        // One of the same name may have to go first.
        found.filter(|_| wanted.exists)
    }

    fn wanted(&self) -> Option<&Wanted> {
        self.built.wanted.as_ref().ok()
    }
}

/// The steps from what exists to `request`, and how things stand.
pub fn ensure(
    config: &Config,
    inventory: &Inventory,
    request: &LoadBalancerRequest,
    now: UnixTime,
) -> Plan<Step, Report> {
    let nothing = Own::default();
    let own = inventory.own.get(&request.id).unwrap_or(&nothing);
    let built = wanted::build(config, inventory, request);
    let view = View {
        config,
        inventory,
        own,
        request,
        built: &built,
        now,
    };
    let mut verdict = report::report(&view);
    let reads = reads::reads(&view);
    if !reads.is_empty() {
        return Plan {
            steps: reads,
            verdict,
        };
    }
    if let Some(wait) = endpoints::look_again(&view, &verdict) {
        verdict.look_again = Some(wait);
    }
    let targets = target_groups::targets(&view);
    if targets.waiting {
        verdict.look_again = Some(soonest(verdict.look_again, target_groups::LOOK_AGAIN));
    }
    let mut steps = Vec::new();
    // One that would listen on nothing is not made; one that is there goes on.
    let useful = |wanted: &&Wanted| !wanted.ports.is_empty() || !own.load_balancers.is_empty();
    if let Some(wanted) = view.wanted().filter(useful) {
        steps.extend(security::open(&view, wanted));
        steps.extend(target_groups::groups(&view, wanted));
        steps.extend(targets.register);
        steps.extend(load_balancer::steps(&view, wanted));
        steps.extend(listeners::steps(&view, wanted));
        steps.extend(targets.deregister);
        let cleanup = cleanup::steps(&view, wanted);
        steps.extend(security::narrow(&view, wanted));
        steps.extend(cleanup.steps);
        if let Some(wait) = cleanup.look_again {
            verdict.look_again = Some(soonest(verdict.look_again, wait));
        }
    } else {
        // What cannot be as asked goes on as it is, and its targets follow the pods and nodes.
        steps.extend(targets.register);
        steps.extend(targets.deregister);
    }
    Plan { steps, verdict }
}

fn soonest(one: Option<Duration>, other: Duration) -> Duration {
    one.map_or(other, |one| one.min(other))
}
