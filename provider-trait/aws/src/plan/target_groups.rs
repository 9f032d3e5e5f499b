use std::collections::BTreeSet;
use std::time::Duration;

use herald_core::Labels;
use herald_provider::{PortKey, PortRequest, ServiceRequest};

use super::{View, attributes, reads};
use crate::call::Change;
use crate::model::{Health, Ref, Target, TargetGroup};
use crate::step::Step;
use crate::wanted::{Wanted, WantedPort};
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
            |key| attributes::of_group(&port.group, key),
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
        let Some((_, port, _)) = purpose(view, group) else {
            continue;
        };
        let keys = wanted.map_or_else(|| BTreeSet::from([port.key]), |w| w.keys.clone());
        one(view, group, &keys, &mut all);
    }
    // A group that is yet to come gets its targets as soon as it exists.
    for wanted in view.wanted().iter().flat_map(|w| &w.ports) {
        if view.own.target_groups.contains_key(&wanted.group.name) {
            continue;
        }
        let group = Ref::to_come(&wanted.group.name);
        let want = targets::capped(meant(view, wanted).unwrap_or_default(), None);
        let step = |targets| register(view, &wanted.keys, &group, targets);
        all.register.extend(chunks(&want).into_iter().map(step));
    }
    all
}

/// A target that cannot be registered, such as an instance that is gone, must not stop the others.
fn register(
    view: &View<'_>,
    keys: &BTreeSet<PortKey>,
    group: &Ref,
    targets: BTreeSet<Target>,
) -> Step {
    let group = group.clone();
    Step::part(view.id(), keys, Change::RegisterTargets { group, targets })
}

/// All targets that a wanted port should have, however many.
fn meant(view: &View<'_>, wanted: &WantedPort) -> Option<BTreeSet<Target>> {
    let service = &view.request.services[wanted.service];
    let port = service.port(*wanted.keys.first()?)?;
    let labels = &view.built.parsed[wanted.service].settings.node_labels;
    let (nodes, vpc) = (&view.request.nodes, &view.inventory.shared.vpc);
    targets::wanted(service, port, &wanted.group, labels.as_ref(), nodes, vpc)
}

/// How many targets of a wanted port AWS does not take.
pub(super) fn left_out(view: &View<'_>, wanted: &WantedPort) -> usize {
    let meant = meant(view, wanted).unwrap_or_default();
    meant.len().saturating_sub(targets::MOST)
}

fn one(view: &View<'_>, group: &TargetGroup, keys: &BTreeSet<PortKey>, all: &mut Targets) {
    let (nodes, vpc) = (&view.request.nodes, &view.inventory.shared.vpc);
    let Some((service, port, labels)) = purpose(view, group) else {
        return;
    };
    let want = targets::wanted(service, port, &group.spec, labels, nodes, vpc);
    let (Some(want), Some(known)) = (want, &group.targets) else {
        return;
    };
    let want = targets::capped(want, Some(known));
    let have: BTreeSet<Target> = known
        .iter()
        .filter(|(_, health)| **health != Health::Draining)
        .map(|(target, _)| target.clone())
        .collect();
    let room = targets::MOST.saturating_sub(have.len());
    let new: BTreeSet<Target> = want.difference(&have).take(room).cloned().collect();
    let mut old: BTreeSet<Target> = have.difference(&want).cloned().collect();
    let healthy = |target: &&Target| known.get(target) == Some(&Health::Healthy);
    let relieved = want.iter().any(|target| healthy(&target)) || want.is_empty();
    if !relieved && old.iter().any(|target| healthy(&target)) {
        // The only ones that serve: they go when one of the new ones is healthy, or when they themselves fail.
        let (serving, failed): (BTreeSet<_>, BTreeSet<_>) =
            old.into_iter().partition(|target| healthy(&target));
        old = failed;
        all.waiting = true;
        if room == 0 && old.is_empty() && want.is_disjoint(&have) {
            // They fill the group: some of them make room for the first new ones.
            let some = CHUNK.min(serving.len() / 2);
            old = serving.into_iter().take(some).collect();
        }
    }
    let reference = group.reference();
    for targets in chunks(&new) {
        all.register.push(register(view, keys, &reference, targets));
    }
    for targets in chunks(&old) {
        let change = Change::DeregisterTargets {
            group: reference.clone(),
            targets,
        };
        all.deregister.push(Step::ports(view.id(), keys, change));
    }
}

/// The Service port a target group is for, by its tags.
pub(super) fn purpose<'a>(
    view: &'a View<'_>,
    group: &TargetGroup,
) -> Option<(&'a ServiceRequest, &'a PortRequest, Option<&'a Labels>)> {
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
        view.built.parsed[index].settings.node_labels.as_ref(),
    ))
}

fn chunks(targets: &BTreeSet<Target>) -> Vec<BTreeSet<Target>> {
    let all: Vec<&Target> = targets.iter().collect();
    all.chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|t| (*t).clone()).collect())
        .collect()
}
