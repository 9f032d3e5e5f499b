use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::call::Change;
use crate::config::Config;
use crate::inventory::Shared;
use crate::model::{Ref, Rule, RuleProtocol, SecurityGroup, Source};
use crate::step::Step;
use crate::wanted::{RULE, Wanted, backend_rules};
use crate::{names, tags};

/// How many rules of one family AWS allows in a group, unless the quota was raised.
const RULES: usize = 60;

/// The steps that let traffic in: groups first, then rules. Nothing is revoked here, unless old and new rules do not
/// fit into the group together.
pub(super) fn open(view: &View<'_>, wanted: &Wanted) -> Vec<Step> {
    let mut steps = Vec::new();
    if wanted.backend {
        steps.extend(backend(view));
    }
    if let Some((name, rules)) = &wanted.front {
        let group = view.own.security_groups.get(name);
        if group.is_none() {
            let mut tags =
                tags::of_load_balancer(view.config, "front", view.id(), &tags_of(wanted));
            let service = view.request.services[0].key.to_string();
            tags.insert(tags::SERVICE.into(), service.clone());
            let create = Change::CreateSecurityGroup {
                name: name.clone(),
                description: format!("Herald: clients of {service}"),
                vpc: view.config.vpc.clone(),
                tags,
            };
            steps.push(Step::whole(view.id(), create));
        }
        let reference = group.map_or_else(|| Ref::to_come(name), SecurityGroup::reference);
        let changes = allow(&reference, group, rules);
        steps.extend(changes.into_iter().map(|c| Step::whole(view.id(), c)));
    }
    steps
}

/// Lets in what is missing; if that does not fit beside what is to go, a part of it comes after that went.
fn allow(group: &Ref, have: Option<&SecurityGroup>, want: &BTreeSet<Rule>) -> Vec<Change> {
    let authorize = |rules| Change::AuthorizeIngress {
        group: group.clone(),
        rules,
    };
    let missing = missing(have, want);
    let extra = have.map(|have| extra(have, want)).unwrap_or_default();
    let mut room = [false, true].map(|v6| {
        let have = have.iter().flat_map(|have| &have.ingress);
        RULES.saturating_sub(have.filter(|rule| rule.is_v6() == v6).count())
    });
    let fits = |rule: &Rule| {
        let room = &mut room[usize::from(rule.is_v6())];
        let fits = *room > 0;
        *room = room.saturating_sub(1);
        fits
    };
    let (first, rest): (BTreeSet<_>, BTreeSet<_>) = missing.iter().cloned().partition(fits);
    let mut changes = Vec::new();
    if missing.is_empty() {
        return changes;
    }
    if rest.is_empty() || extra.is_empty() {
        // Without anything to revoke, AWS knows whether the quota was raised.
        changes.push(authorize(missing));
        return changes;
    }
    if !first.is_empty() {
        changes.push(authorize(first));
    }
    changes.push(revoke(group, extra));
    changes.push(authorize(rest));
    changes
}

fn revoke(group: &Ref, rules: BTreeSet<Rule>) -> Change {
    let group = group.clone();
    Change::RevokeIngress { group, rules }
}

/// The step that closes what the front group lets in although nobody wants it any more. Nothing else stops it: a port
/// that fails must not leave the others open.
pub(super) fn narrow(view: &View<'_>, wanted: &Wanted) -> Option<Step> {
    let (name, rules) = wanted.front.as_ref()?;
    let group = view.own.security_groups.get(name)?;
    let rules = extra(group, rules);
    let step = |rules| {
        let change = revoke(&group.reference(), rules);
        Step::part(view.id(), &BTreeSet::new(), change)
    };
    (!rules.is_empty()).then(|| step(rules))
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
    for (id, rules) in backend_rules(view.config, shared, &backend) {
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
    use Source::{Group, Net, Other};
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

/// The rules of Herald's own group that are not wanted any more. Those of a kind that Herald does not make, such as
/// ICMP, are somebody's purpose: they stay.
pub(super) fn extra(group: &SecurityGroup, want: &BTreeSet<Rule>) -> BTreeSet<Rule> {
    let wanted = |rule: &Rule| want.iter().any(|want| same(rule, want));
    let foreign =
        |rule: &Rule| rule.protocol == RuleProtocol::Other || rule.source == Source::Other;
    let rules = group.ingress.iter();
    rules
        .filter(|rule| !wanted(rule) && !foreign(rule))
        .cloned()
        .collect()
}

/// The groups of nodes and pods that are or were opened for load balancers.
pub(super) fn concerned<'a>(
    config: &Config,
    shared: &'a Shared,
) -> impl Iterator<Item = &'a SecurityGroup> {
    let wanted = backend_rules(config, shared, &backend_ref(config, shared));
    let backend = shared.backend.as_ref();
    let open = move |group: &SecurityGroup| {
        let from = |rule: &Rule| backend.is_some_and(|backend| rule.source.is(&backend.id));
        group.ingress.iter().any(from)
    };
    let all = shared.others.values();
    all.filter(move |group| wanted.contains_key(&group.id) || open(group))
}

/// The changes that close what was opened for the backend group in groups of nodes and pods, but for `wanted`. The
/// groups may be other ones than those that are named today.
pub(super) fn stale(shared: &Shared, wanted: &BTreeMap<String, BTreeSet<Rule>>) -> Vec<Change> {
    let Some(backend) = &shared.backend else {
        return Vec::new();
    };
    let nothing = BTreeSet::new();
    let mut changes = Vec::new();
    for group in shared.others.values() {
        let wanted = wanted.get(&group.id).unwrap_or(&nothing);
        let ours = |rule: &&Rule| rule.source.is(&backend.id) && rule.description == RULE;
        let stale = |rule: &&Rule| !wanted.iter().any(|want| same(rule, want));
        let rules: BTreeSet<Rule> = group
            .ingress
            .iter()
            .filter(ours)
            .filter(stale)
            .cloned()
            .collect();
        if !rules.is_empty() {
            changes.push(revoke(&group.reference(), rules));
        }
    }
    changes
}

/// The changes that take the backend group back out of the groups of nodes and pods, and delete it.
pub(super) fn close(shared: &Shared) -> Vec<Change> {
    let mut changes = stale(shared, &BTreeMap::new());
    let delete = |backend: &SecurityGroup| Change::DeleteSecurityGroup {
        group: backend.reference(),
    };
    changes.extend(shared.backend.as_ref().map(delete));
    changes
}
