use std::collections::BTreeSet;

use super::{View, attributes, security};
use crate::call::Query;
use crate::config::Config;
use crate::inventory::{Own, Shared, Unsure};
use crate::names;
use crate::step::Step;

use herald_provider::LoadBalancerId;

/// What has to be read before anything can be planned.
pub(super) fn reads(view: &View<'_>) -> Vec<Step> {
    let doubts = doubts(view.config, &view.inventory.shared, view.id(), view.own);
    if !doubts.is_empty() {
        return doubts;
    }
    let mut queries = Vec::new();
    let wanted = view.wanted();
    for lb in view.own.load_balancers.values() {
        if lb.listeners.is_none() {
            queries.push(Query::Listeners(lb.reference()));
        }
        let current = wanted.filter(|wanted| view.current(wanted) == Some(lb));
        let needed = current.is_some_and(|w| attributes::needed(&w.attributes, &lb.tags));
        if lb.attributes.is_none() && needed {
            queries.push(Query::Attributes(lb.reference()));
        }
        for (port, listener) in lb.listeners.iter().flatten() {
            let want = current.and_then(|w| w.ports.iter().find(|p| p.listener.port == *port));
            let needed =
                want.is_some_and(|w| attributes::needed(&w.listener_attributes, &listener.tags));
            if listener.attributes.is_none() && needed {
                let (load_balancer, port) = (lb.reference(), *port);
                let listener = crate::model::Ref::to(port.to_string(), &listener.arn);
                queries.push(Query::ListenerAttributes {
                    load_balancer,
                    listener,
                    port,
                });
            }
        }
    }
    for group in view.own.target_groups.values() {
        let want = wanted.and_then(|w| w.ports.iter().find(|p| p.group.name == group.spec.name));
        let used = want.is_some() || attached(view.own, &group.spec.name);
        if group.targets.is_none() && used {
            queries.push(Query::Targets(group.reference()));
        }
        let needed =
            want.is_some_and(|w| attributes::needed(&w.group_attributes, &group.spec.tags));
        if group.attributes.is_none() && needed {
            queries.push(Query::GroupAttributes(group.reference()));
        }
    }
    queries
        .into_iter()
        .map(|query| Step::ask(view.id(), query))
        .collect()
}

/// Whether a listener forwards to this target group.
pub(super) fn attached(own: &Own, group: &str) -> bool {
    let listeners = own
        .load_balancers
        .values()
        .filter_map(|lb| lb.listeners.as_ref());
    listeners
        .flat_map(|all| all.values())
        .any(|l| l.spec.target_group.name == group)
}

/// The read that settles a doubt.
pub(super) fn doubts(
    config: &Config,
    shared: &Shared,
    id: &LoadBalancerId,
    own: &Own,
) -> Vec<Step> {
    let query = match own.doubt {
        Unsure::Sure => return Vec::new(),
        Unsure::States if own.load_balancers.is_empty() => return Vec::new(),
        Unsure::States => Query::States {
            id: id.clone(),
            arns: own
                .load_balancers
                .values()
                .map(|lb| lb.arn.clone())
                .collect(),
        },
        Unsure::Everything if own.load_balancers.is_empty() => Query::Network(id.clone()),
        Unsure::Things | Unsure::Everything => {
            let with = |known: BTreeSet<String>| known.union(&own.suspects).cloned().collect();
            let mut security_groups: BTreeSet<String> =
                with(own.security_groups.keys().cloned().collect());
            security_groups.insert(names::backend_group(config));
            // Somebody may have closed what is open for the load balancers.
            let others = security::concerned(config, shared);
            security_groups.extend(others.map(|group| group.name.clone()));
            Query::Names {
                id: id.clone(),
                load_balancers: with(own.load_balancers.keys().cloned().collect()),
                target_groups: with(own.target_groups.keys().cloned().collect()),
                security_groups,
            }
        }
    };
    vec![Step::ask(id, query)]
}
