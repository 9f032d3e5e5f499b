//! From what a pass achieved to status, conditions and Events.

use std::fmt::Write as _;

use herald_provider::{
    Ensured, Ingress, Outcome, PortReport, Reason, Release, ServiceReport, TargetCount,
};

use super::{IngressEntry, PortEntry, ProvidedCondition, ProvidedKind, ProvidedView, Want};

/// What our part of a Service's status should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvidedDesired {
    /// `status.loadBalancer.ingress`; when empty the field is left out.
    pub ingress: Vec<IngressEntry>,
    /// Our conditions; absent ones are removed.
    pub conditions: Vec<ProvidedCondition>,
}

/// An Event to be emitted once the write it belongs to has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedNotice {
    /// A Warning, or Normal.
    pub warning: bool,
    /// The Event's reason.
    pub reason: String,
    /// The Event's message.
    pub message: String,
}

/// The write that makes a Service's status true, and the Events that tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvidedPlan {
    /// `None` when the status says it already.
    pub write: Option<ProvidedDesired>,
    /// Events.
    pub notices: Vec<ProvidedNotice>,
}

/// What the status should say after a pass that made a load balancer.
///
/// `Provisioned` is True when a host name is published that does what the Service asks for, or did before: waiting, and calls
/// that fail, never turn it False; a refused request does.
pub fn plan_provided(
    view: &ProvidedView,
    report: &ServiceReport,
    ensured: &Ensured,
) -> ProvidedPlan {
    let ingress = if report.ingress.is_empty() {
        // Server-side apply would remove what we do not send again.
        view.status.ingress.clone()
    } else {
        let entries = report.ingress.iter();
        entries.map(|one| entry(one, &report.ports)).collect()
    };
    let failed = !ensured.errors.is_empty();
    let provisioned = provisioned(view, report, &ingress, failed);
    let kept = view.condition(ProvidedKind::TargetsHealthy);
    let counts = count(&report.ports);
    // A pass that failed or was held back may not know the targets.
    let unknown = counts == TargetCount::default() && (failed || !ensured.held.is_empty());
    let health = match kept {
        Some(kept) if unknown => Some(kept.clone()),
        None if ingress.is_empty() => None,
        _ => Some(targets_healthy(counts)),
    };
    let worth_a_warning = failed
        || matches!(
            report.outcome,
            Outcome::Refused { .. } | Outcome::Partial { .. }
        ) && ensured.held.is_empty();
    let notice = notice(view, &provisioned, worth_a_warning);
    let mut conditions = vec![provisioned];
    conditions.extend(health);
    plan(
        view,
        Want::Ensure,
        ProvidedDesired {
            ingress,
            conditions,
        },
        notice,
    )
}

/// What the status should say while the provider cannot be used at all, because of `reason`. Nothing on a Service that is
/// provisioned and stays so: its load balancer does not depend on us.
pub fn plan_unreachable(view: &ProvidedView, want: Want, reason: &Reason) -> ProvidedPlan {
    if view.is_provisioned() && want == Want::Ensure {
        return ProvidedPlan::default();
    }
    let condition = condition(false, reason);
    let notice = notice(view, &condition, true);
    let desired = ProvidedDesired {
        ingress: published(view, want),
        conditions: vec![condition],
    };
    plan(view, want, desired, notice)
}

/// What the status should say while a load balancer is being removed.
pub fn plan_releasing(view: &ProvidedView, release: &Release) -> ProvidedPlan {
    let (reason, warning) = match release {
        Release::Done => return plan_cleared(view),
        Release::Releasing { reason, .. } => (reason, false),
        Release::Blocked { reason, .. } => (reason, true),
    };
    let condition = condition(false, reason);
    let notice = notice(view, &condition, warning);
    let desired = ProvidedDesired {
        ingress: published(view, Want::Release),
        conditions: vec![condition],
    };
    plan(view, Want::Release, desired, notice)
}

/// Takes everything of ours off the status: the load balancer is gone and the Service stays.
pub fn plan_cleared(view: &ProvidedView) -> ProvidedPlan {
    let notice = ProvidedNotice {
        warning: false,
        reason: "Released".into(),
        message: "the load balancer and all that was made for it are gone".into(),
    };
    let shows = view.load_balancer && !view.status.ingress.is_empty();
    let nothing = view.status.conditions.is_empty() && !shows;
    ProvidedPlan {
        write: (!nothing && !view.deleting).then(ProvidedDesired::default),
        notices: vec![notice],
    }
}

/// One word that conditions, Events and port errors accept: letters and digits, beginning with a letter.
pub fn word(code: &str) -> String {
    let letters = code.chars().filter(char::is_ascii_alphanumeric);
    let word: String = letters
        .skip_while(|c| !c.is_ascii_alphabetic())
        .take(100)
        .collect();
    if word.is_empty() {
        "Unknown".into()
    } else {
        word
    }
}

/// Whether the Service has another class by now: what it shows is another's to write.
fn is_anothers(view: &ProvidedView, want: Want) -> bool {
    want == Want::Release && view.load_balancer && !view.deleting
}

/// What the status may go on showing by us: the API server takes no ingress on other types.
fn published(view: &ProvidedView, want: Want) -> Vec<IngressEntry> {
    if view.load_balancer && !is_anothers(view, want) {
        view.status.ingress.clone()
    } else {
        Vec::new()
    }
}

fn plan(
    view: &ProvidedView,
    want: Want,
    desired: ProvidedDesired,
    notice: Option<ProvidedNotice>,
) -> ProvidedPlan {
    let shown = view
        .status
        .conditions
        .iter()
        .map(|(condition, _)| condition);
    let same = (is_anothers(view, want) || desired.ingress == view.status.ingress)
        && shown.clone().count() == desired.conditions.len()
        && desired
            .conditions
            .iter()
            .all(|wanted| shown.clone().any(|shown| shown == wanted));
    ProvidedPlan {
        write: (!same).then_some(desired),
        notices: notice.into_iter().collect(),
    }
}

fn provisioned(
    view: &ProvidedView,
    report: &ServiceReport,
    ingress: &[IngressEntry],
    failed: bool,
) -> ProvidedCondition {
    let names: Vec<&str> = ingress
        .iter()
        .filter_map(|entry| entry.hostname.as_deref().or(entry.ip.as_deref()))
        .collect();
    let names = names.join(", ");
    let serving = !ingress.is_empty();
    let stays = serving && view.is_provisioned();
    let (status, reason) = match &report.outcome {
        Outcome::Ready => {
            let message = if serving {
                format!("{names} is active and listens on every port")
            } else {
                "nothing to listen on".to_owned()
            };
            return ProvidedCondition {
                kind: ProvidedKind::Provisioned,
                status: serving,
                reason: "Provisioned".into(),
                message,
            };
        }
        Outcome::Partial { reason, .. } => (serving, reason),
        Outcome::Pending { reason, .. } => (stays, reason),
        Outcome::Refused { reason } => (stays && failed, reason),
    };
    let mut condition = condition(status, reason);
    if status {
        condition.message = format!("{names} is active; {}", condition.message);
    }
    condition
}

fn condition(status: bool, reason: &Reason) -> ProvidedCondition {
    ProvidedCondition {
        kind: ProvidedKind::Provisioned,
        status,
        reason: word(&reason.code),
        message: steady(&reason.message),
    }
}

/// A message without what differs each time it is asked for: an unchanged problem must not cost a write.
fn steady(message: &str) -> String {
    let end = message.find("Encoded authorization failure message");
    let mut text = message[..end.unwrap_or(message.len())]
        .trim_end()
        .to_owned();
    if text.len() > MESSAGE {
        text.truncate(text.floor_char_boundary(MESSAGE));
        let _ = write!(text, " …");
    }
    text
}

/// Longest message of a condition, in bytes; the API takes 32 KiB.
const MESSAGE: usize = 2048;

fn entry(ingress: &Ingress, ports: &[PortReport]) -> IngressEntry {
    let ports = ports.iter().map(|port| PortEntry {
        port: port.port,
        error: match &port.outcome {
            Outcome::Ready | Outcome::Partial { .. } => None,
            Outcome::Pending { reason, .. } | Outcome::Refused { reason } => {
                Some(word(&reason.code))
            }
        },
    });
    let (hostname, ip, ip_mode) = match ingress {
        Ingress::Hostname(name) => (Some(name.clone()), None, None),
        Ingress::Ip(address) => (None, Some(address.to_string()), Some("Proxy".to_owned())),
    };
    IngressEntry {
        hostname,
        ip,
        ip_mode,
        ports: ports.collect(),
    }
}

fn count(ports: &[PortReport]) -> TargetCount {
    ports.iter().fold(TargetCount::default(), |mut sum, port| {
        sum.registered += port.targets.registered;
        sum.healthy += port.targets.healthy;
        sum
    })
}

fn targets_healthy(counts: TargetCount) -> ProvidedCondition {
    let TargetCount {
        registered,
        healthy,
        ..
    } = counts;
    let (status, reason) = match (registered, healthy) {
        (0, _) => (false, "NoTargets"),
        (_, 0) => (false, "Unhealthy"),
        _ if healthy < registered => (false, "SomeUnhealthy"),
        _ => (true, "Healthy"),
    };
    ProvidedCondition {
        kind: ProvidedKind::TargetsHealthy,
        status,
        reason: reason.into(),
        message: format!("{healthy} of {registered} targets are healthy"),
    }
}

/// An Event when the reason changes.
fn notice(
    view: &ProvidedView,
    condition: &ProvidedCondition,
    warning: bool,
) -> Option<ProvidedNotice> {
    let shown = view.condition(ProvidedKind::Provisioned);
    let same = shown
        .is_some_and(|shown| shown.status == condition.status && shown.reason == condition.reason);
    (!same).then(|| ProvidedNotice {
        warning,
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}
