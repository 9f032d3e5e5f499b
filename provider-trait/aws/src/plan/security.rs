use std::collections::BTreeSet;

use super::View;
use crate::call::Change;
use crate::config::Config;
use crate::inventory::Shared;
use crate::model::{Ref, Rule, SecurityGroup};
use crate::step::Step;
use crate::wanted::{RULE, Wanted, backend_rules};
use crate::{names, tags};

/// The steps that let traffic in: groups first, then rules. Nothing is revoked here.
pub(super) fn open(view: &View<'_>, wanted: &Wanted) -> Vec<Step> {
    let mut steps = Vec::new();
    if wanted.backend {
        steps.extend(backend(view));
    }
    if let Some((name, rules)) = &wanted.front {
        let group = view.own.security_groups.get(name);
        if group.is_none() {
            let extra = tags::of_load_balancer(view.config, "front", view.id(), &tags_of(wanted));
            let create = Change::CreateSecurityGroup {
                name: name.clone(),
                description: format!("Herald: clients of {}", view.request.services[0].key),
                vpc: view.config.vpc.clone(),
                tags: extra,
            };
            steps.push(Step::whole(view.id(), create));
        }
        let reference = group.map_or_else(|| Ref::to_come(name), SecurityGroup::reference);
        let missing = missing(group, rules);
        if !missing.is_empty() {
            let allow = Change::AuthorizeIngress {
                group: reference,
                rules: missing,
            };
            steps.push(Step::whole(view.id(), allow));
        }
    }
    steps
}

/// The user's tags among the load balancer's.
fn tags_of(wanted: &Wanted) -> crate::model::Tags {
    let mut tags = wanted.tags.clone();
    tags.retain(|key, _| !tags::reserved(key));
    tags
}

fn backend(view: &View<'_>) -> Vec<Step> {
    let shared = &view.inventory.shared;
    let mut steps = Vec::new();
    let name = names::backend_group(view.config);
    if shared.backend.is_none() {
        let create = Change::CreateSecurityGroup {
            name: name.clone(),
            description: format!("Herald: load balancers of {}", view.config.cluster),
            vpc: view.config.vpc.clone(),
            tags: tags::of_cluster(view.config, "backend"),
        };
        steps.push(Step::whole(view.id(), create));
    }
    let backend = backend_ref(view.config, shared);
    for (id, rules) in backend_rules(view.config, &backend) {
        let group = shared.others.get(&id);
        let missing = missing(group, &rules);
        if !missing.is_empty() {
            let group = group.map_or_else(|| Ref::to(&id, &id), SecurityGroup::reference);
            let allow = Change::AuthorizeIngress {
                group,
                rules: missing,
            };
            steps.push(Step::whole(view.id(), allow));
        }
    }
    steps
}

/// The backend group, whether it exists or is to come.
pub(super) fn backend_ref(config: &Config, shared: &Shared) -> Ref {
    let name = names::backend_group(config);
    shared
        .backend
        .as_ref()
        .map_or_else(|| Ref::to_come(name), SecurityGroup::reference)
}

/// The security groups a load balancer should have.
pub(super) fn groups(view: &View<'_>, wanted: &Wanted) -> BTreeSet<Ref> {
    let mut groups = wanted.given.clone();
    if let Some((name, _)) = &wanted.front {
        let group = view.own.security_groups.get(name);
        groups.insert(group.map_or_else(|| Ref::to_come(name), SecurityGroup::reference));
    }
    if wanted.backend {
        groups.insert(backend_ref(view.config, &view.inventory.shared));
    }
    groups
}

/// Two rules that AWS takes for the same: it does not tell rules apart by description, nor a group by its name.
fn same(one: &Rule, other: &Rule) -> bool {
    use crate::model::Source::{Group, Net, Other};
    let source = match (&one.source, &other.source) {
        (Net(one), Net(other)) => one == other,
        (Group(one), Group(other)) => one.id.is_some() && one.id == other.id,
        (Other, _) | (_, Other) | (Net(_), Group(_)) | (Group(_), Net(_)) => false,
    };
    source && one.protocol == other.protocol && one.first == other.first && one.last == other.last
}

fn missing(group: Option<&SecurityGroup>, want: &BTreeSet<Rule>) -> BTreeSet<Rule> {
    let has = |rule: &Rule| group.is_some_and(|g| g.ingress.iter().any(|have| same(have, rule)));
    want.iter().filter(|rule| !has(rule)).cloned().collect()
}

/// The rules of Herald's own group that are not wanted any more.
pub(super) fn extra(group: &SecurityGroup, want: &BTreeSet<Rule>) -> BTreeSet<Rule> {
    let wanted = |rule: &Rule| want.iter().any(|want| same(rule, want));
    group
        .ingress
        .iter()
        .filter(|rule| !wanted(rule))
        .cloned()
        .collect()
}

/// The steps that take the backend group back out of the groups of nodes and pods, and delete it.
pub(super) fn close(config: &Config, shared: &Shared) -> Vec<Change> {
    let Some(backend) = &shared.backend else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    for id in config.node_groups.union(&config.pod_groups) {
        let Some(group) = shared.others.get(id) else {
            continue;
        };
        let ours = group.ingress.iter().filter(|rule| {
            let from_backend = matches!(&rule.source, crate::model::Source::Group(g) if g.id.as_ref() == Some(&backend.id));
            from_backend && rule.description == RULE
        });
        let rules: BTreeSet<Rule> = ours.cloned().collect();
        if !rules.is_empty() {
            changes.push(Change::RevokeIngress {
                group: group.reference(),
                rules,
            });
        }
    }
    changes.push(Change::DeleteSecurityGroup {
        group: backend.reference(),
    });
    changes
}
