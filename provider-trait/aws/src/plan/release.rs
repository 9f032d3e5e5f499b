use std::time::Duration;

use herald_provider::{LoadBalancerId, Plan, Reason, Release};

use super::{reads, security};
use crate::call::Change;
use crate::config::Config;
use crate::inventory::{Inventory, Own};
use crate::names;
use crate::step::Step;

/// The steps that remove a load balancer and all that was made for it; the last one takes the cluster's backend
/// group along, and the rules that let it in.
pub fn release(config: &Config, inventory: &Inventory, id: &LoadBalancerId) -> Plan<Step, Release> {
    let Some(own) = inventory.own.get(id) else {
        return last(config, inventory, id);
    };
    let reads = reads::doubts(config, &inventory.shared, id, own);
    if !reads.is_empty() {
        return Plan {
            steps: reads,
            verdict: releasing(),
        };
    }
    let load_balancers = own.load_balancers.values().map(|lb| {
        let load_balancer = lb.reference();
        Step::whole(id, Change::DeleteLoadBalancer { load_balancer })
    });
    let groups = own.target_groups.values().map(|group| {
        let group = group.reference();
        Step::whole(id, Change::DeleteTargetGroup { group })
    });
    let fronts = own.security_groups.values().map(|group| {
        let group = group.reference();
        Step::whole(id, Change::DeleteSecurityGroup { group })
    });
    let mut steps: Vec<Step> = load_balancers.chain(groups).chain(fronts).collect();
    let last = last(config, inventory, id);
    let verdict = if steps.is_empty() {
        last.verdict
    } else {
        releasing()
    };
    steps.extend(last.steps);
    Plan { steps, verdict }
}

/// What goes with the last load balancer of the cluster.
fn last(config: &Config, inventory: &Inventory, id: &LoadBalancerId) -> Plan<Step, Release> {
    let exists = |own: &Own| !own.is_empty() || !own.suspects.is_empty();
    let others = inventory
        .own
        .iter()
        .any(|(other, own)| other != id && exists(own));
    let own_group = inventory.shared.backend.as_ref();
    let ours = own_group.is_some_and(|group| group.name == names::backend_group(config));
    if others || !ours {
        return Plan {
            steps: Vec::new(),
            verdict: Release::Done,
        };
    }
    let changes = security::close(&inventory.shared);
    let steps = changes
        .into_iter()
        .map(|change| Step::whole(id, change))
        .collect();
    Plan {
        steps,
        verdict: releasing(),
    }
}

fn releasing() -> Release {
    Release::Releasing {
        reason: Reason::new("Releasing", "the load balancer is being removed"),
        retry_after: Duration::from_secs(10),
    }
}
