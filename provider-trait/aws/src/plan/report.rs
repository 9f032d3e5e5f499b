use std::time::Duration;

use herald_provider::{
    Ingress, Outcome, PortKey, PortReport, Reason, Report, ServiceReport, ServiceRequest,
    TargetCount,
};

use super::{View, endpoints, reads, target_groups};
use crate::model::{Health, LoadBalancer, TargetGroup};
use crate::targets;
use crate::wanted::{Wanted, WantedPort};

/// When to look again at a load balancer that is being made.
pub(super) const WAIT: Duration = Duration::from_secs(15);

/// What a load balancer adds to `status.loadBalancer.ingress`.
pub(super) fn ingress(lb: &LoadBalancer) -> Ingress {
    Ingress::Hostname(lb.dns_name.to_ascii_lowercase())
}

/// How things stand.
pub(super) fn report(view: &View<'_>) -> Report {
    let services = view.request.services.iter().enumerate();
    let services = services.map(|(index, service)| {
        let mut report = match &view.built.wanted {
            Ok(wanted) => one(view, wanted, index, service),
            Err(reason) => refused(view, index, service, reason),
        };
        report
            .warnings
            .clone_from(&view.built.parsed[index].warnings);
        report
    });
    Report {
        services: services.collect(),
        look_again: None,
    }
}

fn refused(
    view: &View<'_>,
    index: usize,
    service: &ServiceRequest,
    reason: &Reason,
) -> ServiceReport {
    let own = view.built.parsed[index].errors.iter();
    let mut reason = reason.clone();
    let messages: Vec<&str> = own.map(|error| error.message.as_str()).collect();
    if !messages.is_empty() {
        reason.message = messages.join("; ");
    }
    let outcome = Outcome::Refused { reason };
    let ports = service.ports.iter().map(|port| PortReport {
        port: port.key,
        outcome: outcome.clone(),
        targets: still_served(view, service, port.key),
    });
    ServiceReport {
        service: service.key.clone(),
        ports: ports.collect(),
        outcome,
        ingress: Vec::new(),
        endpoints: endpoints::health(view, service),
        warnings: Vec::new(),
    }
}

fn one(view: &View<'_>, wanted: &Wanted, index: usize, service: &ServiceRequest) -> ServiceReport {
    let lb = view.current(wanted);
    let active = lb.filter(|lb| lb.active());
    let ports: Vec<PortReport> = service
        .ports
        .iter()
        .map(|port| port_report(view, wanted, index, port.key))
        .collect();
    let mut outcome = Outcome::of_ports(&ports);
    let mut published = Vec::new();
    if let Some(lb) = active {
        let ingress = ingress(lb);
        let replacing = !service.published.is_empty() && service.published != [ingress.clone()];
        // While another one serves, clients are sent to the new one only once it can serve them.
        let able = ports.iter().all(|p| {
            let able = p.targets.healthy > 0 || p.targets.registered == 0;
            able || !served_elsewhere(view, lb, p.port)
        });
        let serves = |o: &Outcome| matches!(o, Outcome::Ready | Outcome::Partial { .. });
        let listening = ports.iter().any(|p| serves(&p.outcome));
        if replacing && !able {
            let message = format!("{} has no healthy targets yet; the old one serves", lb.name);
            outcome = Outcome::Partial {
                reason: Reason::new("Replacing", message),
                retry_after: Some(WAIT),
            };
        } else if listening {
            published.push(ingress);
        }
    }
    ServiceReport {
        service: service.key.clone(),
        outcome,
        ports,
        ingress: published,
        endpoints: endpoints::health(view, service),
        warnings: Vec::new(),
    }
}

/// Whether another load balancer has healthy targets behind this port.
fn served_elsewhere(view: &View<'_>, lb: &LoadBalancer, key: PortKey) -> bool {
    let others = view.own.load_balancers.values();
    let listeners = others
        .filter(|other| other.arn != lb.arn && other.active())
        .filter_map(|other| other.listeners.as_ref()?.get(&key.port));
    let mut groups =
        listeners.filter_map(|l| view.own.target_groups.get(&l.spec.target_group.name));
    groups.any(|group| {
        let mut health = group.targets.iter().flat_map(|all| all.values());
        health.any(|health| *health == Health::Healthy)
    })
}

fn port_report(view: &View<'_>, wanted: &Wanted, index: usize, key: PortKey) -> PortReport {
    if let Some(reason) = wanted.refused.get(&(index, key)) {
        let outcome = Outcome::Refused {
            reason: reason.clone(),
        };
        return PortReport {
            port: key,
            outcome,
            targets: still_served(view, &view.request.services[index], key),
        };
    }
    let port = wanted
        .ports
        .iter()
        .find(|p| p.service == index && p.keys.contains(&key));
    let group = port.and_then(|port| view.own.target_groups.get(&port.group.name));
    let targets = group.map(count).unwrap_or_default();
    let outcome = match port {
        Some(port) if listening(view, wanted, port) => served(view, port),
        _ => Outcome::Pending {
            reason: awaited(view, wanted),
            retry_after: WAIT,
        },
    };
    PortReport {
        port: key,
        outcome,
        targets,
    }
}

fn listening(view: &View<'_>, wanted: &Wanted, port: &WantedPort) -> bool {
    let lb = view.current(wanted).filter(|lb| lb.active());
    let listener = lb
        .and_then(|lb| lb.listeners.as_ref())
        .and_then(|listeners| listeners.get(&port.listener.port));
    listener.is_some_and(|l| {
        l.spec.protocol == port.listener.protocol && l.spec.target_group.name == port.group.name
    })
}

/// The outcome of a port that is listened on.
fn served(view: &View<'_>, port: &WantedPort) -> Outcome {
    let left_out = target_groups::left_out(view, port);
    if left_out == 0 {
        return Outcome::Ready;
    }
    let most = targets::MOST;
    let message = format!(
        "{} targets, but a target group takes {most}: {left_out} are left out; choose fewer nodes with \
         aws-load-balancer-target-node-labels, or spread the pods over several Services",
        most + left_out
    );
    Outcome::Partial {
        reason: Reason::new("TooManyTargets", message),
        retry_after: None,
    }
}

fn awaited(view: &View<'_>, wanted: &Wanted) -> Reason {
    match view.current(wanted) {
        Some(lb) if lb.active() => Reason::new("Working", format!("{} is being set up", lb.name)),
        _ => Reason::new("Provisioning", format!("{} is not active yet", wanted.name)),
    }
}

/// The targets of a port that is refused, if it is listened on from before.
fn still_served(view: &View<'_>, service: &ServiceRequest, key: PortKey) -> TargetCount {
    let groups = view.own.target_groups.values();
    let mut own = groups.filter(|group| {
        let purpose = target_groups::purpose(view, group);
        purpose.is_some_and(|(owner, port, _)| owner.key == service.key && port.key == key)
            && reads::attached(view.own, &group.spec.name)
    });
    own.next().map(count).unwrap_or_default()
}

fn count(group: &TargetGroup) -> TargetCount {
    let targets = group.targets.iter().flat_map(|targets| targets.values());
    let meant = targets.filter(|health| **health != Health::Draining);
    TargetCount {
        registered: meant.clone().count(),
        healthy: meant.filter(|health| **health == Health::Healthy).count(),
    }
}
