use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{set_name, target};
use super::provider::Known;
use crate::{EndpointHealth, Reason, ServiceRequest};

/// When to look again at endpoints whose gate is open.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A Service's endpoints as targets: healthy in the load balancer `name` and in every other one there is.
pub(super) fn endpoints(service: &ServiceRequest, known: &Known, name: &str) -> EndpointHealth {
    let others = known.load_balancers.keys().map(String::as_str);
    let names: BTreeSet<&str> = others.chain([name]).collect();
    let reason = Arc::new(Reason::new("Initial", "the target is not healthy yet"));
    let mut health = EndpointHealth::default();
    let mut unhealthy = BTreeSet::new();
    for endpoint in service.endpoints.iter().filter(|e| !e.terminating) {
        let healthy = service.ports.iter().all(|port| {
            let Some(target) = target(endpoint, port) else {
                return true;
            };
            names.iter().all(|name| {
                let set = known.sets.get(&set_name(name, port.key));
                let state = set.and_then(|set| set.targets.get(&target));
                state.is_some_and(|state| state.healthy_at.0 <= known.read_at)
            })
        });
        if healthy {
            health.healthy.insert(endpoint.address);
            continue;
        }
        unhealthy.insert(endpoint.address);
        if endpoint.gated() {
            health.waiting.insert(endpoint.address, reason.clone());
        }
    }
    health
        .healthy
        .retain(|address| !unhealthy.contains(address));
    health
}
