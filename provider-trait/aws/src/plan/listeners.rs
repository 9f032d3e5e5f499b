use std::collections::BTreeSet;

use super::target_groups::retag;
use super::{View, attributes};
use crate::call::Change;
use crate::model::{Listener, LoadBalancer, Ref, TargetGroup, Wire};
use crate::step::Step;
use crate::tags;
use crate::wanted::{Wanted, WantedPort};

/// Creates listeners and brings them in line: a change of protocol, certificate or target group is one call.
pub(super) fn steps(view: &View<'_>, wanted: &Wanted) -> Vec<Step> {
    let lb = view.current(wanted);
    let reference = lb.map_or_else(|| Ref::to_come(&wanted.name), LoadBalancer::reference);
    let mut steps = Vec::new();
    for port in &wanted.ports {
        let listeners = lb.and_then(|lb| lb.listeners.as_ref());
        let found = listeners.and_then(|all| all.get(&port.listener.port));
        let changes = one(view, &reference, port, found);
        steps.extend(
            changes
                .into_iter()
                .map(|c| Step::ports(view.id(), &port.keys, c)),
        );
    }
    steps
}

fn one(view: &View<'_>, lb: &Ref, want: &WantedPort, found: Option<&Listener>) -> Vec<Change> {
    let number = want.listener.port;
    let mut spec = want.listener.clone();
    if let Some(group) = view.own.target_groups.get(&want.group.name) {
        spec.target_group = TargetGroup::reference(group);
    }
    let noted = found
        .map(|l| tags::noted(&l.tags, tags::MANAGED))
        .unwrap_or_default();
    let difference = attributes::difference(
        found.and_then(|l| l.attributes.as_ref()),
        &want.listener_attributes,
        &noted,
        |key| attributes::of_listener(spec.protocol, key),
    );
    let mut want_tags = want.group.tags.clone();
    want_tags.insert(tags::ROLE.into(), "listener".into());
    want_tags.extend(difference.note.map(|note| (tags::MANAGED.to_owned(), note)));
    let mut changes = Vec::new();
    let tls = spec.protocol == Wire::Tls;
    let none = BTreeSet::new();
    let (have, listener) = match found {
        None => {
            let (load_balancer, tags) = (lb.clone(), want_tags);
            changes.push(Change::CreateListener {
                load_balancer,
                spec,
                tags,
            });
            (&none, Ref::to_come(format!("listener {number} of {lb}")))
        }
        Some(found) => {
            let listener = Ref::to(format!("listener {number} of {lb}"), &found.arn);
            if found.spec != spec {
                let (load_balancer, listener) = (lb.clone(), listener.clone());
                changes.push(Change::ModifyListener {
                    load_balancer,
                    listener,
                    spec,
                });
            }
            changes.extend(retag(&listener, &found.tags, &want_tags));
            // With TLS its certificates go.
            (if tls { &found.certificates } else { &none }, listener)
        }
    };
    let add: BTreeSet<String> = want.certificates.difference(have).cloned().collect();
    if !add.is_empty() {
        changes.push(Change::AddCertificates {
            load_balancer: lb.clone(),
            listener: listener.clone(),
            port: number,
            certificates: add,
        });
    }
    let remove: BTreeSet<String> = have.difference(&want.certificates).cloned().collect();
    if !remove.is_empty() {
        changes.push(Change::RemoveCertificates {
            load_balancer: lb.clone(),
            listener: listener.clone(),
            port: number,
            certificates: remove,
        });
    }
    if !difference.set.is_empty() {
        changes.push(Change::SetListenerAttributes {
            load_balancer: lb.clone(),
            listener,
            port: number,
            attributes: difference.set,
        });
    }
    changes
}
