use std::collections::BTreeSet;
use std::time::Duration;

use super::{View, reads, report, security, soonest};
use crate::call::Change;
use crate::model::{LoadBalancer, Ref, State, Tags};
use crate::step::Step;
use crate::tags;
use crate::wanted::{Wanted, backend_rules};

/// Removals, and when to look again for those whose time has not come.
pub(super) struct Cleanup {
    pub(super) steps: Vec<Step>,
    pub(super) look_again: Option<Duration>,
}

/// Removes what is no longer used.
pub(super) fn steps(view: &View<'_>, wanted: &Wanted) -> Cleanup {
    let mut changes = Vec::new();
    let mut look_again = None;
    if let Some(lb) = view.current(wanted) {
        changes.extend(listeners(view, lb));
    }
    let old = view
        .own
        .load_balancers
        .values()
        .filter(|lb| view.current(wanted) != Some(*lb));
    for old in old {
        match retirement(view, wanted, old) {
            Retirement::Keep => look_again = Some(soonest(look_again, report::WAIT)),
            Retirement::Wait(left) => look_again = Some(soonest(look_again, left)),
            Retirement::Delete => {
                changes.push(Change::DeleteLoadBalancer {
                    load_balancer: old.reference(),
                });
            }
            Retirement::Note => {
                let at = view.now.after(view.config.replacement_grace).to_string();
                let tags = Tags::from([(tags::RETIRE_AT.to_owned(), at)]);
                changes.push(Change::AddTags {
                    resource: old.reference(),
                    tags,
                });
                look_again = Some(soonest(look_again, view.config.replacement_grace));
            }
        }
    }
    let wanted_groups: BTreeSet<&str> = wanted
        .ports
        .iter()
        .map(|port| port.group.name.as_str())
        .collect();
    for (name, group) in &view.own.target_groups {
        if !wanted_groups.contains(name.as_str()) && !reads::attached(view.own, name) {
            changes.push(Change::DeleteTargetGroup {
                group: group.reference(),
            });
        }
    }
    changes.extend(fronts(view, wanted));
    let backend = security::backend_ref(view.config, &view.inventory.shared);
    let open = backend_rules(view.config, &view.inventory.shared, &backend);
    changes.extend(security::stale(&view.inventory.shared, &open));
    let steps = changes
        .into_iter()
        .map(|change| Step::cleanup(view.id(), change))
        .collect();
    Cleanup { steps, look_again }
}

/// Listeners of ports that the Services no longer have. A port that is refused keeps the listener it had.
fn listeners(view: &View<'_>, lb: &LoadBalancer) -> Vec<Change> {
    let ports = view.request.services.iter().flat_map(|s| &s.ports);
    let ports: BTreeSet<u16> = ports.map(|p| p.key.port).collect();
    let listeners = lb
        .listeners
        .iter()
        .flatten()
        .filter(|(port, _)| !ports.contains(port));
    listeners
        .map(|(port, listener)| Change::DeleteListener {
            load_balancer: lb.reference(),
            listener: Ref::to(port.to_string(), &listener.arn),
            port: *port,
        })
        .collect()
}

enum Retirement {
    /// The new one does not serve yet, or clients are still sent to this one.
    Keep,
    /// From now on clients are sent to the new one.
    Note,
    /// Clients may still know this one.
    Wait(Duration),
    /// Its time has come.
    Delete,
}

fn retirement(view: &View<'_>, wanted: &Wanted, old: &LoadBalancer) -> Retirement {
    if old.state == State::Failed {
        return Retirement::Delete;
    }
    let current = view.current(wanted).filter(|lb| lb.active());
    let switched = current.is_some_and(|lb| {
        let ingress = [report::ingress(lb)];
        view.request.services.iter().all(|s| s.published == ingress)
    });
    if !switched {
        return Retirement::Keep;
    }
    match tags::retire_at(&old.tags) {
        None => Retirement::Note,
        Some(at) if at > view.now => Retirement::Wait(view.now.until(at)),
        Some(_) => Retirement::Delete,
    }
}

/// Front groups that no load balancer has.
fn fronts(view: &View<'_>, wanted: &Wanted) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, group) in &view.own.security_groups {
        let wanted = wanted
            .front
            .as_ref()
            .is_some_and(|(front, _)| front == name);
        let mut all = view.own.load_balancers.values();
        if !wanted && !all.any(|lb| lb.security_groups.contains(&group.id)) {
            changes.push(Change::DeleteSecurityGroup {
                group: group.reference(),
            });
        }
    }
    changes
}
