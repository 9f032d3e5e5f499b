//! Endpoints as targets: which are healthy, what the others wait for, and when to look at them again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use herald_core::IpFamily;
use herald_provider::{
    EndpointHealth, EndpointTarget, PortRequest, Reason, Report, ServiceRequest,
};

use super::{View, reads, target_groups};
use crate::model::{GroupSpec, Health, LoadBalancer, Target, TargetType};
use crate::targets;

/// When to look again at targets that have just been registered.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How much longer each further wait is: what takes minutes is seen within about a tenth of that.
const LATER: Duration = Duration::from_secs(1);
/// The longest wait while something waits for a target: health checks that fail now may pass some day.
const SLOWEST: Duration = Duration::from_secs(30);
/// The longest wait while only the Service's condition would change.
const IDLE: Duration = Duration::from_mins(5);

/// A target group that a Service's endpoints should be healthy in.
struct Watched<'a> {
    port: &'a PortRequest,
    spec: &'a GroupSpec,
    targets: Option<&'a BTreeMap<Target, Health>>,
}

/// The Service's endpoints as targets: in the groups that are wanted, and in those that clients still reach.
pub(super) fn health(view: &View<'_>, service: &ServiceRequest) -> Option<EndpointHealth> {
    let groups = watched(view, service);
    if groups.is_empty() {
        return None;
    }
    let mut reasons: BTreeMap<(&str, State<'_>), Arc<Reason>> = BTreeMap::new();
    let mut all = EndpointHealth::default();
    let mut unhealthy = BTreeSet::new();
    for endpoint in service.endpoints.iter().filter(|e| !e.terminating) {
        let states = groups
            .iter()
            .filter_map(|group| Some((group, state(view, group, endpoint)?)));
        let mut open = states.filter(|(_, state)| *state != State::Known(&Health::Healthy));
        let Some((group, state)) = open.next() else {
            all.healthy.insert(endpoint.address);
            continue;
        };
        unhealthy.insert(endpoint.address);
        if endpoint.gated() {
            let reason = reasons
                .entry((&group.spec.name, state))
                .or_insert_with_key(|(_, state)| Arc::new(reason(group, state)));
            all.waiting.insert(endpoint.address, reason.clone());
        }
    }
    // An address may be that of two endpoints, such as pods on the host's network.
    all.healthy.retain(|address| !unhealthy.contains(address));
    Some(all)
}

/// When to look at targets again, if their health is awaited: a gate is open, a registration is under way, or a check fails.
///
/// Nothing is awaited of nodes that fail their checks under policy Local: those without a pod do so for ever.
pub(super) fn look_again(view: &View<'_>, report: &Report) -> Option<Duration> {
    let serving = |name: &str| {
        let active = view.own.load_balancers.values().filter(|lb| lb.active());
        let mut listeners = active.filter_map(|lb| lb.listeners.as_ref()).flatten();
        listeners.any(|(_, listener)| listener.spec.target_group.name == name)
    };
    let (mut initial, mut failing) = (false, false);
    let groups = view.own.target_groups.values();
    for group in groups.filter(|group| serving(&group.spec.name)) {
        let on_purpose = group.spec.target_type == TargetType::Instance
            && target_groups::purpose(view, group).is_none_or(|(owner, ..)| owner.local_traffic);
        for health in group.targets.iter().flat_map(BTreeMap::values) {
            initial |= *health == Health::Initial;
            failing |= matches!(health, Health::Unhealthy(_)) && !on_purpose;
        }
    }
    let gated = report
        .services
        .iter()
        .filter_map(|service| service.endpoints.as_ref())
        .any(|endpoints| !endpoints.waiting.is_empty());
    // Until a load balancer is active its own state is awaited, at its own pace.
    let active = view.own.load_balancers.values().any(LoadBalancer::active);
    let looks = view.own.looks;
    if initial || gated && active {
        let wait = FIRST_LOOK.saturating_add(LATER.saturating_mul(looks));
        return Some(wait.min(SLOWEST));
    }
    let wait = FIRST_LOOK.saturating_mul(1 << looks.min(16));
    failing.then(|| wait.min(IDLE))
}

fn watched<'a>(view: &'a View<'_>, service: &'a ServiceRequest) -> Vec<Watched<'a>> {
    let mut all = Vec::new();
    let is_wanted = |name: &str| {
        let mut ports = view.wanted().into_iter().flat_map(|w| &w.ports);
        ports.any(|port| port.group.name == name)
    };
    for group in view.own.target_groups.values() {
        let name = &group.spec.name;
        if !is_wanted(name) && !reads::attached(view.own, name) {
            continue;
        }
        if let Some((owner, port, _)) = target_groups::purpose(view, group)
            && owner.key == service.key
        {
            let (spec, targets) = (&group.spec, group.targets.as_ref());
            all.push(Watched {
                port,
                spec,
                targets,
            });
        }
    }
    for wanted in view.wanted().into_iter().flat_map(|w| &w.ports) {
        let spec = &wanted.group;
        let known = view.own.target_groups.contains_key(&spec.name);
        let owner = &view.request.services[wanted.service];
        let port = wanted.keys.iter().find_map(|key| service.port(*key));
        if let Some(port) = port.filter(|_| !known && owner.key == service.key) {
            all.push(Watched {
                port,
                spec,
                targets: None,
            });
        }
    }
    all.retain(|group| group.spec.target_type == TargetType::Ip);
    all
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum State<'a> {
    /// The group does not have it, as far as known.
    Missing,
    Known(&'a Health),
}

/// What the endpoint is in the group; `None` when it has no place in it.
fn state<'a>(view: &View<'_>, group: &Watched<'a>, endpoint: &EndpointTarget) -> Option<State<'a>> {
    if IpFamily::of(endpoint.address) != group.spec.family {
        return None;
    }
    let number = endpoint.port_for(group.port)?;
    let target = targets::target(endpoint.address, number, &view.inventory.shared.vpc);
    let known = group.targets.and_then(|targets| targets.get(&target));
    Some(known.map_or(State::Missing, State::Known))
}

impl State<'_> {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Missing => ("NotRegistered", "it is not registered yet"),
            Self::Known(Health::Healthy) => ("Healthy", "it is healthy"),
            Self::Known(Health::Initial) => ("Initial", "its first health checks are under way"),
            Self::Known(Health::Draining) => ("Draining", "it was deregistered and is draining"),
            Self::Known(Health::Unhealthy(code)) => match code.as_str() {
                "Target.NotInUse" => ("NotInUse", "the load balancer is not active yet"),
                "" => ("Unhealthy", "AWS gives no reason"),
                code => ("Unhealthy", code),
            },
        }
    }
}

fn reason(group: &Watched<'_>, state: &State<'_>) -> Reason {
    let (code, text) = state.words();
    let (key, name) = (group.port.key, &group.spec.name);
    Reason::new(code, format!("port {key}, target group {name}: {text}"))
}
