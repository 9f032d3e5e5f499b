use super::target_groups::retag;
use super::{View, attributes, security};
use crate::call::Change;
use crate::model::{LoadBalancer, Ref, State};
use crate::step::Step;
use crate::tags;
use crate::wanted::{Wanted, satisfies};

/// Creates the load balancer or brings it in line.
pub(super) fn steps(view: &View<'_>, wanted: &Wanted) -> Vec<Step> {
    let found = view.current(wanted);
    let noted = found
        .map(|lb| tags::noted(&lb.tags, tags::MANAGED))
        .unwrap_or_default();
    let have = found.and_then(|lb| lb.attributes.as_ref());
    let difference = attributes::difference(
        have,
        &wanted.attributes,
        &noted,
        attributes::of_load_balancer,
    );
    let mut want_tags = wanted.tags.clone();
    if let Some(note) = difference.note {
        want_tags.insert(tags::MANAGED.into(), note);
    }
    let mut changes = Vec::new();
    match found {
        None => {
            // One that failed gives up its name, and no client.
            let in_the_way = |old: &&LoadBalancer| {
                wanted.displaces || (old.state == State::Failed && old.name == wanted.name)
            };
            let all = view.own.load_balancers.values().filter(in_the_way);
            changes.extend(all.map(|old| Change::DeleteLoadBalancer {
                load_balancer: old.reference(),
            }));
            changes.push(Change::CreateLoadBalancer {
                name: wanted.name.clone(),
                scheme: wanted.scheme,
                address_type: wanted.address_type,
                mappings: wanted.mappings.clone(),
                security_groups: security::groups(view, wanted),
                tags: want_tags,
            });
        }
        Some(lb) => {
            changes.extend(retag(&lb.reference(), &lb.tags, &want_tags));
            changes.extend(update(view, wanted, lb));
        }
    }
    if !difference.set.is_empty() {
        let load_balancer =
            found.map_or_else(|| Ref::to_come(&wanted.name), LoadBalancer::reference);
        changes.push(Change::SetAttributes {
            load_balancer,
            attributes: difference.set,
        });
    }
    changes
        .into_iter()
        .map(|change| Step::whole(view.id(), change))
        .collect()
}

fn update(view: &View<'_>, wanted: &Wanted, lb: &LoadBalancer) -> Vec<Change> {
    let mut changes = Vec::new();
    let reference = lb.reference();
    if tags::retire_at(&lb.tags).is_some() {
        let keys = vec![tags::RETIRE_AT.to_owned()];
        changes.push(Change::RemoveTags {
            resource: reference.clone(),
            keys,
        });
    }
    let groups = security::groups(view, wanted);
    let ids: Option<std::collections::BTreeSet<String>> =
        groups.iter().map(|group| group.id.clone()).collect();
    if ids.as_ref() != Some(&lb.security_groups) {
        let load_balancer = reference.clone();
        changes.push(Change::SetSecurityGroups {
            load_balancer,
            security_groups: groups,
        });
    }
    let satisfied =
        |want: &crate::model::Mapping| lb.mappings.iter().any(|have| satisfies(have, want));
    if wanted.mappings.iter().all(satisfied) {
        if lb.address_type != wanted.address_type {
            let address_type = wanted.address_type;
            let load_balancer = reference;
            changes.push(Change::SetAddressType {
                load_balancer,
                address_type,
            });
        }
    } else {
        changes.push(Change::SetSubnets {
            load_balancer: reference,
            mappings: wanted.mappings.clone(),
            address_type: wanted.address_type,
        });
    }
    changes
}
