use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cloud::LoadBalancer;
use super::gates;
use super::provider::{FakeInventory, FakeStep, Known, SCHEME};
use crate::{
    EndpointTarget, Ingress, LoadBalancerId, LoadBalancerRequest, Outcome, Plan, PortKey,
    PortReport, PortRequest, Reason, Release, Report, ServiceReport, ServiceRequest, TargetCount,
    UnixTime,
};

/// How long an old load balancer stays after the status names the new one.
const GRACE: Duration = Duration::from_mins(5);

fn hostname(name: &str) -> Ingress {
    Ingress::Hostname(format!("{name}.fake.test"))
}

fn targets(service: &ServiceRequest, port: PortKey) -> BTreeSet<String> {
    let Some(port) = service.port(port) else {
        return BTreeSet::new();
    };
    let wanted = service.endpoints.iter().filter(|e| e.wanted());
    wanted.filter_map(|e| target(e, port)).collect()
}

pub(super) fn target(endpoint: &EndpointTarget, port: &PortRequest) -> Option<String> {
    let number = endpoint.port_for(port)?;
    Some(format!("{} {number}", endpoint.address))
}

pub(super) fn set_name(load_balancer: &str, port: PortKey) -> String {
    format!("{load_balancer}-{}-{}", port.port, port.protocol)
}

/// Registers what is missing in a set, then deregisters what should not be there.
fn targets_of(
    id: &LoadBalancerId,
    known: &Known,
    service: &ServiceRequest,
    port: PortKey,
    set: &str,
) -> Vec<FakeStep> {
    let wanted = targets(service, port);
    let have: BTreeSet<String> = known
        .sets
        .get(set)
        .map(|s| s.targets.keys().cloned().collect())
        .unwrap_or_default();
    let mut steps = Vec::new();
    let (id, set) = (id.clone(), set.to_owned());
    let new: Vec<_> = wanted.difference(&have).cloned().collect();
    if !new.is_empty() {
        let (id, set) = (id.clone(), set.clone());
        steps.push(FakeStep::Register {
            id,
            set,
            port,
            targets: new,
        });
    }
    let old: Vec<_> = have.difference(&wanted).cloned().collect();
    if !old.is_empty() {
        steps.push(FakeStep::Deregister {
            id,
            set,
            port,
            targets: old,
        });
    }
    steps
}

/// The steps towards `request`, and how things stand.
pub(super) fn ensure(
    inventory: &FakeInventory,
    request: &LoadBalancerRequest,
    now: UnixTime,
) -> Plan<FakeStep, Report> {
    let id = &request.id;
    let nothing = Known::default();
    let known = match inventory.known.get(id) {
        Some(None) => {
            let steps = vec![FakeStep::Read { id: id.clone() }];
            return Plan {
                steps,
                verdict: report(request, &nothing, "", now),
            };
        }
        Some(Some(known)) => known,
        None => &nothing,
    };
    let scheme = request
        .services
        .iter()
        .find_map(|s| s.annotations.get(SCHEME));
    let scheme = scheme.map_or("internal", String::as_str);
    let name = format!("{id}-{scheme}");
    let mut steps = Vec::new();
    let current = known.load_balancers.get(&name);
    let mut sets = BTreeSet::new();
    for service in &request.services {
        for port in &service.ports {
            let set = set_name(&name, port.key);
            if !known.sets.contains_key(&set) {
                let (id, port) = (id.clone(), port.key);
                steps.push(FakeStep::CreateSet {
                    id,
                    set: set.clone(),
                    port,
                });
            }
            // An old load balancer serves clients until it goes, so its targets are kept right too.
            let old = known
                .load_balancers
                .keys()
                .map(|old| set_name(old, port.key));
            let old = old.filter(|old| *old != set && known.sets.contains_key(old));
            for set in old.chain([set.clone()]) {
                steps.extend(targets_of(id, known, service, port.key, &set));
            }
            sets.insert(set);
        }
    }
    if current.is_none() {
        let scheme = scheme.to_owned();
        let create = FakeStep::CreateLoadBalancer {
            id: id.clone(),
            name: name.clone(),
            scheme,
        };
        steps.push(create);
    }
    if current.is_some_and(|lb| lb.retire_at.is_some()) {
        steps.push(FakeStep::Retire {
            id: id.clone(),
            name: name.clone(),
            at: None,
        });
    }
    let none = BTreeMap::new();
    let listeners = current.map_or(&none, |lb| &lb.listeners);
    for port in request
        .services
        .iter()
        .flat_map(|s| &s.ports)
        .map(|p| p.key)
    {
        if !listeners.contains_key(&port) {
            let set = set_name(&name, port);
            steps.push(FakeStep::AddListener {
                id: id.clone(),
                name: name.clone(),
                port,
                set,
            });
        }
    }
    let wanted: BTreeSet<_> = request
        .services
        .iter()
        .flat_map(|s| &s.ports)
        .map(|p| p.key)
        .collect();
    for port in listeners.keys().filter(|p| !wanted.contains(p)) {
        steps.push(FakeStep::RemoveListener {
            id: id.clone(),
            name: name.clone(),
            port: *port,
        });
    }
    let mut look_again = None;
    for (old, lb) in known
        .load_balancers
        .iter()
        .filter(|(other, _)| **other != name)
    {
        match retirement(request, current, &name, lb, now) {
            Retirement::Keep => {
                look_again = Some(Duration::from_secs(5));
                sets.extend(lb.listeners.values().cloned());
            }
            Retirement::Note => {
                let at = Some(now.after(GRACE));
                steps.push(FakeStep::Retire {
                    id: id.clone(),
                    name: old.clone(),
                    at,
                });
                look_again = Some(GRACE);
                sets.extend(lb.listeners.values().cloned());
            }
            Retirement::Wait(left) => {
                look_again = Some(left);
                sets.extend(lb.listeners.values().cloned());
            }
            Retirement::Delete => {
                steps.push(FakeStep::DeleteLoadBalancer {
                    id: id.clone(),
                    name: old.clone(),
                });
            }
        }
    }
    for set in known.sets.keys().filter(|set| !sets.contains(*set)) {
        steps.push(FakeStep::DeleteSet {
            id: id.clone(),
            set: set.clone(),
        });
    }
    let mut verdict = report(request, known, &name, now);
    let gates = verdict.services.iter().filter_map(|s| s.endpoints.as_ref());
    if gates.into_iter().any(|e| !e.waiting.is_empty()) {
        let soon = look_again.map_or(gates::LOOK_AGAIN, |other| other.min(gates::LOOK_AGAIN));
        look_again = Some(soon);
    }
    verdict.look_again = look_again;
    Plan { steps, verdict }
}

enum Retirement {
    /// The new one does not serve yet, or clients are still sent to this one.
    Keep,
    /// Clients are sent to the new one from now on.
    Note,
    Wait(Duration),
    Delete,
}

fn retirement(
    request: &LoadBalancerRequest,
    current: Option<&LoadBalancer>,
    name: &str,
    old: &LoadBalancer,
    now: UnixTime,
) -> Retirement {
    let published = request
        .services
        .iter()
        .all(|s| s.published == [hostname(name)]);
    if !published || current.is_none_or(|lb| lb.active_at > now) {
        return Retirement::Keep;
    }
    match old.retire_at {
        None => Retirement::Note,
        Some(at) if at > now => Retirement::Wait(now.until(at)),
        Some(_) => Retirement::Delete,
    }
}

fn report(request: &LoadBalancerRequest, known: &Known, name: &str, now: UnixTime) -> Report {
    let current = known.load_balancers.get(name);
    let active = current.is_some_and(|lb| lb.active_at <= now && lb.active_at.0 <= known.read_at);
    let services = request.services.iter().map(|service| {
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|p| port(p.key, current, known, active))
            .collect();
        let healthy = ports
            .iter()
            .all(|p| p.targets.healthy > 0 || p.targets.registered == 0);
        // While the old one serves, clients are sent to the new one only once its targets are healthy.
        let replacing = !service.published.is_empty() && service.published != [hostname(name)];
        let listening = ports.iter().any(|p| p.outcome == Outcome::Ready);
        let mut outcome = Outcome::of_ports(&ports);
        if replacing && active && !healthy {
            outcome = Outcome::Partial {
                reason: Reason::new(
                    "Replacing",
                    "the new load balancer has no healthy target yet",
                ),
                retry_after: Some(Duration::from_secs(5)),
            };
        }
        let publish = active && listening && (healthy || !replacing);
        ServiceReport {
            service: service.key.clone(),
            outcome,
            ports,
            ingress: if publish {
                vec![hostname(name)]
            } else {
                Vec::new()
            },
            endpoints: Some(gates::endpoints(service, known, name)),
            warnings: Vec::new(),
        }
    });
    Report {
        services: services.collect(),
        look_again: None,
    }
}

fn port(key: PortKey, current: Option<&LoadBalancer>, known: &Known, active: bool) -> PortReport {
    let set = current.and_then(|lb| lb.listeners.get(&key));
    let targets = set.and_then(|set| known.sets.get(set)).map(|s| &s.targets);
    let healthy = targets.iter().flat_map(|t| t.values());
    let count = TargetCount {
        registered: targets.map_or(0, BTreeMap::len),
        healthy: healthy.filter(|t| t.healthy_at.0 <= known.read_at).count(),
    };
    let outcome = if active && set.is_some() {
        Outcome::Ready
    } else {
        Outcome::Pending {
            reason: Reason::new("Provisioning", "the load balancer is not active yet"),
            retry_after: Duration::from_secs(5),
        }
    };
    PortReport {
        port: key,
        outcome,
        targets: count,
    }
}

/// The steps that remove everything of one load balancer.
pub(super) fn release(inventory: &FakeInventory, id: &LoadBalancerId) -> Plan<FakeStep, Release> {
    let known = match inventory.known.get(id) {
        None => {
            return Plan {
                steps: Vec::new(),
                verdict: Release::Done,
            };
        }
        Some(None) => {
            let steps = vec![FakeStep::Read { id: id.clone() }];
            return Plan {
                steps,
                verdict: releasing(),
            };
        }
        Some(Some(known)) => known,
    };
    let load_balancers = known
        .load_balancers
        .keys()
        .map(|name| FakeStep::DeleteLoadBalancer {
            id: id.clone(),
            name: name.clone(),
        });
    let sets = known.sets.keys().map(|set| FakeStep::DeleteSet {
        id: id.clone(),
        set: set.clone(),
    });
    let steps: Vec<_> = load_balancers.chain(sets).collect();
    let verdict = if steps.is_empty() {
        Release::Done
    } else {
        releasing()
    };
    Plan { steps, verdict }
}

fn releasing() -> Release {
    Release::Releasing {
        reason: Reason::new("Releasing", "the load balancer is being removed"),
        retry_after: Duration::from_secs(5),
    }
}
