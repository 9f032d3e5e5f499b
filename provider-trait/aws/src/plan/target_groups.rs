use std::collections::BTreeSet;
use std::time::Duration;

use herald_core::Labels;
use herald_provider::{PortKey, PortRequest, ServiceRequest};

use super::{View, attributes, reads};
use crate::call::Change;
use crate::model::{Health, Ref, Target, TargetGroup};
use crate::step::Step;
use crate::wanted::Wanted;
use crate::{tags, targets};

/// How many targets go into one call.
const CHUNK: usize = 200;
/// When to look again at targets that are not healthy yet.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Creates target groups and brings health checks, attributes and tags in line.
pub(super) fn groups(view: &View<'_>, wanted: &Wanted) -> Vec<Step> {
    let mut steps = Vec::new();
    for port in &wanted.ports {
        let found = view.own.target_groups.get(&port.group.name);
        let noted = found
            .map(|g| tags::noted(&g.spec.tags, tags::MANAGED))
            .unwrap_or_default();
        let difference = attributes::difference(
            found.and_then(|g| g.attributes.as_ref()),
            &port.group_attributes,
            &noted,
            attributes::group_default,
        );
        let mut spec = port.group.clone();
        if let Some(note) = difference.note {
            spec.tags.insert(tags::MANAGED.into(), note);
        }
        let reference = found.map_or_else(|| Ref::to_come(&spec.name), TargetGroup::reference);
        let mut push = |change| steps.push(Step::ports(view.id(), &port.keys, change));
        match found {
            None => push(Change::CreateTargetGroup(spec)),
            Some(found) => {
                if found.spec.health_check != spec.health_check {
                    let (group, health_check) = (reference.clone(), spec.health_check.clone());
                    push(Change::ModifyTargetGroup {
                        group,
                        health_check,
                    });
                }
                for change in retag(&reference, &found.spec.tags, &spec.tags) {
                    push(change);
                }
            }
        }
        if !difference.set.is_empty() {
            push(Change::SetGroupAttributes {
                group: reference,
                attributes: difference.set,
            });
        }
    }
    steps
}

/// The changes that bring the tags of a resource in line.
pub(super) fn retag(
    resource: &Ref,
    have: &crate::model::Tags,
    want: &crate::model::Tags,
) -> Vec<Change> {
    let (set, stale) = tags::difference(have, want);
    let mut changes = Vec::new();
    // First what goes: the note of the users' tags, which tells it, is among what is set.
    if !stale.is_empty() {
        let resource = resource.clone();
        changes.push(Change::RemoveTags {
            resource,
            keys: stale,
        });
    }
    if !set.is_empty() {
        let resource = resource.clone();
        changes.push(Change::AddTags {
            resource,
            tags: set,
        });
    }
    changes
}

/// What has to happen to targets.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) register: Vec<Step>,
    pub(super) deregister: Vec<Step>,
    /// Old targets stay until new ones are healthy.
    pub(super) waiting: bool,
}

/// Targets of every group in use: the wanted ones, and those of a load balancer that still serves clients.
pub(super) fn targets(view: &View<'_>) -> Targets {
    let mut all = Targets::default();
    for group in view.own.target_groups.values() {
        let wanted = view
            .wanted()
            .and_then(|w| w.ports.iter().find(|p| p.group.name == group.spec.name));
        if wanted.is_none() && !reads::attached(view.own, &group.spec.name) {
            continue;
        }
        let Some((service, port, labels)) = purpose(view, group) else {
            continue;
        };
        let keys = wanted.map_or_else(|| BTreeSet::from([port.key]), |w| w.keys.clone());
        one(view, group, service, port, labels, &keys, &mut all);
    }
    // A group that is yet to come gets its targets as soon as it exists.
    for wanted in view.wanted().iter().flat_map(|w| &w.ports) {
        if view.own.target_groups.contains_key(&wanted.group.name) {
            continue;
        }
        let service = &view.request.services[wanted.service];
        let Some(port) = wanted.keys.iter().next().and_then(|key| service.port(*key)) else {
            continue;
        };
        let labels = &view.built.parsed[wanted.service].settings.node_labels;
        let (spec, vpc) = (&wanted.group, &view.inventory.shared.vpc);
        let nodes = &view.request.nodes;
        let want = targets::wanted(
            service,
            port,
            spec.target_type,
            spec.family,
            labels,
            nodes,
            vpc,
        );
        let group = Ref::to_come(&spec.name);
        for targets in chunks(&want.unwrap_or_default()) {
            let change = Change::RegisterTargets {
                group: group.clone(),
                targets,
            };
            all.register
                .push(Step::ports(view.id(), &wanted.keys, change));
        }
    }
    all
}

fn one(
    view: &View<'_>,
    group: &TargetGroup,
    service: &ServiceRequest,
    port: &PortRequest,
    labels: &Labels,
    keys: &BTreeSet<PortKey>,
    all: &mut Targets,
) {
    let (nodes, vpc) = (&view.request.nodes, &view.inventory.shared.vpc);
    let spec = &group.spec;
    let Some(want) = targets::wanted(
        service,
        port,
        spec.target_type,
        spec.family,
        labels,
        nodes,
        vpc,
    ) else {
        return;
    };
    let Some(known) = &group.targets else { return };
    let have: BTreeSet<Target> = known
        .iter()
        .filter(|(_, health)| **health != Health::Draining)
        .map(|(target, _)| target.clone())
        .collect();
    let health = |target: &Target| known.get(target);
    let new: BTreeSet<Target> = want.difference(&have).cloned().collect();
    let mut old: BTreeSet<Target> = have.difference(&want).cloned().collect();
    let healthy = |target: &&Target| health(target) == Some(&Health::Healthy);
    let relieved = want.iter().any(|target| healthy(&target)) || want.is_empty();
    if !relieved && old.iter().any(|target| healthy(&target)) {
        // The only ones that serve: they go when one of the new ones is healthy, or when they themselves fail.
        old.retain(|target| !healthy(&target));
        all.waiting = true;
    }
    for targets in chunks(&new) {
        let change = Change::RegisterTargets {
            group: group.reference(),
            targets,
        };
        all.register.push(Step::ports(view.id(), keys, change));
    }
    for targets in chunks(&old) {
        let change = Change::DeregisterTargets {
            group: group.reference(),
            targets,
        };
        all.deregister.push(Step::ports(view.id(), keys, change));
    }
}

/// The Service port a target group is for, by its tags.
pub(super) fn purpose<'a>(
    view: &'a View<'_>,
    group: &TargetGroup,
) -> Option<(&'a ServiceRequest, &'a PortRequest, &'a Labels)> {
    let tags = &group.spec.tags;
    let (key, number) = (tags.get(tags::SERVICE)?, tags.get(tags::PORT)?);
    let index = view
        .request
        .services
        .iter()
        .position(|s| s.key.to_string() == *key)?;
    let service = &view.request.services[index];
    let port = service
        .ports
        .iter()
        .find(|p| p.key.to_string() == *number)?;
    Some((
        service,
        port,
        &view.built.parsed[index].settings.node_labels,
    ))
}

fn chunks(targets: &BTreeSet<Target>) -> Vec<BTreeSet<Target>> {
    let all: Vec<&Target> = targets.iter().collect();
    all.chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|t| (*t).clone()).collect())
        .collect()
}
