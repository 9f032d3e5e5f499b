//! What a pod's condition should say.

use herald_provider::{EndpointHealth, Outcome, Reason, ServiceReport, ServiceRequest};

use super::{GateCondition, GateService, PodView};
use crate::provided::word;

/// Services that a message names; the others are counted.
const NAMED: usize = 3;

/// What is known of a Service's endpoints as targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GateTargets {
    /// Nothing: no pass over its load balancer has ended.
    #[default]
    Unknown,
    /// Its load balancer has nodes as targets.
    Nodes,
    /// It is refused and has no load balancer.
    Refused(Reason),
    /// Its targets as far as gates wait for them, and why it is not as asked for, as one word.
    Pods(EndpointHealth, Option<String>),
}

impl GateTargets {
    /// What a pass found that was made for `request`. What it says of endpoints that did not wait for it in there is of an earlier
    /// pod with the same address, and left out.
    pub fn of(report: &ServiceReport, request: &ServiceRequest) -> Self {
        let serves = !report.ingress.is_empty() || !request.published.is_empty();
        match (&report.outcome, &report.endpoints) {
            (Outcome::Refused { reason }, None) => Self::Refused(reason.clone()),
            (Outcome::Refused { reason }, _) if !serves => Self::Refused(reason.clone()),
            (_, None) => Self::Nodes,
            (outcome, Some(health)) => {
                let gated = request.endpoints.iter().filter(|endpoint| endpoint.gated());
                let healthy = gated.map(|endpoint| endpoint.address);
                let health = EndpointHealth {
                    healthy: healthy
                        .filter(|address| health.healthy.contains(address))
                        .collect(),
                    waiting: health.waiting.clone(),
                };
                Self::Pods(health, outcome.reason().map(|reason| reason.code.clone()))
            }
        }
    }
}

/// What the condition of a pod whose containers are ready should say, given the Services that select it.
pub(super) fn judge<'a>(
    pod: &PodView,
    services: impl Iterator<Item = (&'a str, &'a GateService, &'a GateTargets)>,
) -> GateCondition {
    let (mut healthy, mut open, mut aside) = (Vec::new(), Vec::new(), Vec::new());
    for (name, service, targets) in services {
        match (service.held, targets) {
            (true, _) => aside.push(format!("changes to Service {name} are held back")),
            (false, GateTargets::Refused(reason)) => {
                aside.push(format!("Service {name} has no load balancer: {reason}"));
            }
            (false, GateTargets::Nodes) => {
                aside.push(format!("the targets of Service {name} are nodes"));
            }
            (false, GateTargets::Unknown) => {
                let message = "its load balancer has not been looked at yet";
                open.push((name, Reason::new("NotObserved", message)));
            }
            (false, GateTargets::Pods(health, trouble)) => match wait(pod, health) {
                Some(mut reason) => {
                    if let Some(trouble) = trouble {
                        reason.message = format!("{} ({trouble})", reason.message);
                    }
                    open.push((name, reason));
                }
                None => healthy.push(name),
            },
        }
    }
    if let Some((_, first)) = open.first() {
        let messages: Vec<String> = open
            .iter()
            .map(|(name, reason)| format!("Service {name}: {}", reason.message))
            .collect();
        return GateCondition {
            status: false,
            reason: word(&first.code),
            message: some(&messages, "; "),
        };
    }
    let (reason, mut message) = if healthy.is_empty() {
        let message =
            "no Service that has pods as targets of a load balancer of Herald's selects this pod";
        ("NoLoadBalancer", message.to_owned())
    } else {
        (
            "Healthy",
            format!("a healthy target of Service {}", some(&healthy, ", ")),
        )
    };
    if !aside.is_empty() {
        message = format!("{message}; {}", some(&aside, "; "));
    }
    GateCondition {
        status: true,
        reason: reason.into(),
        message,
    }
}

/// What a pod waits for at one Service. Every address of it that is to be a target counts.
fn wait(pod: &PodView, health: &EndpointHealth) -> Option<Reason> {
    if !pod.others.is_empty() {
        let message = format!(
            "the pod becomes a target when its other readiness gates are closed: {}",
            some(&pod.others, ", ")
        );
        return Some(Reason::new("OtherReadinessGates", message));
    }
    if let Some(reason) = pod
        .addresses
        .iter()
        .find_map(|address| health.waiting.get(address))
    {
        return Some(Reason::clone(reason));
    }
    let healthy = pod
        .addresses
        .iter()
        .any(|address| health.healthy.contains(address));
    (!healthy).then(|| {
        Reason::new(
            "NotRegistered",
            "the pod has not been registered as a target yet",
        )
    })
}

/// The first few, and how many more there are.
fn some<T: AsRef<str>>(all: &[T], separator: &str) -> String {
    let named: Vec<&str> = all.iter().take(NAMED).map(AsRef::as_ref).collect();
    let named = named.join(separator);
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}{separator}and {more} more"),
    }
}
