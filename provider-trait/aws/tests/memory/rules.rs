//! What AWS accepts.

use std::collections::{BTreeMap, BTreeSet};

use herald_provider::{ErrorKind, ProviderError};
use herald_provider_aws::call::{Answer, Change};
use herald_provider_aws::model::{
    Listener, ListenerSpec, Ref, SecurityGroup, Source, TargetGroup, Wire,
};

use super::{DRAINING, Group, Nlb, Registered, World, error};

pub(super) type Result<T> = std::result::Result<T, ProviderError>;

pub(super) fn terminal<T>(code: &str, what: &impl ToString) -> Result<T> {
    Err(error(ErrorKind::Terminal, code, what))
}

fn in_use<T>(code: &str, what: &impl ToString) -> Result<T> {
    Err(error(ErrorKind::Retryable, code, what))
}

pub(super) fn id(reference: &Ref) -> Result<&str> {
    match reference.id.as_deref() {
        Some(id) => Ok(id),
        None => terminal("NotCreatedYet", reference),
    }
}

impl World {
    pub(super) fn nlb(&mut self, lb: &Ref) -> Result<&mut Nlb> {
        let arn = id(lb)?.to_owned();
        let found = self
            .load_balancers
            .values_mut()
            .find(|nlb| nlb.spec.arn == arn);
        found.ok_or_else(|| error(ErrorKind::Terminal, "LoadBalancerNotFound", lb))
    }

    fn group(&mut self, group: &Ref) -> Result<&mut Group> {
        let arn = id(group)?.to_owned();
        let found = self.groups.values_mut().find(|found| found.arn == arn);
        found.ok_or_else(|| error(ErrorKind::Terminal, "TargetGroupNotFound", group))
    }

    pub(super) fn listener(&mut self, lb: &Ref, port: u16) -> Result<&mut Listener> {
        let found = self.nlb(lb)?.listeners.get_mut(&port);
        found.ok_or_else(|| error(ErrorKind::Terminal, "ListenerNotFound", &port))
    }

    pub(super) fn security_group(&mut self, group: &Ref) -> Result<&mut SecurityGroup> {
        let found = self.security_groups.get_mut(id(group)?);
        found.ok_or_else(|| error(ErrorKind::Terminal, "InvalidGroup.NotFound", group))
    }

    pub(super) fn tags(&mut self, resource: &Ref) -> Result<&mut BTreeMap<String, String>> {
        let arn = id(resource)?;
        if let Some(group) = self.groups.values_mut().find(|n| n.arn == arn) {
            return Ok(&mut group.spec.tags);
        }
        for nlb in self.load_balancers.values_mut() {
            if nlb.spec.arn == arn {
                return Ok(&mut nlb.spec.tags);
            }
            if let Some(listener) = nlb.listeners.values_mut().find(|l| l.arn == arn) {
                return Ok(&mut listener.tags);
            }
        }
        terminal("NotFound", resource)
    }

    /// A listener and its target group have to fit, and a group belongs to one load balancer only.
    pub(super) fn check(&mut self, lb: &Ref, spec: &ListenerSpec) -> Result<()> {
        let lb = id(lb)?.to_owned();
        let target = self.group(&spec.target_group)?.spec.protocol;
        let fits = match spec.protocol {
            Wire::Tls => target == Wire::Tls || target == Wire::Tcp,
            other => other == target,
        };
        if !fits {
            return terminal("IncompatibleProtocols", &spec.port);
        }
        if (spec.protocol == Wire::Tls) != spec.certificate.is_some() {
            return terminal("CertificateNotFound", &spec.port);
        }
        let uses = |nlb: &Nlb| {
            nlb.spec.arn != lb
                && nlb
                    .listeners
                    .values()
                    .any(|l| l.spec.target_group.id == spec.target_group.id)
        };
        if self.load_balancers.values().any(uses) {
            return terminal("TargetGroupAssociationLimit", &spec.target_group);
        }
        Ok(())
    }
}

pub(super) fn change(world: &mut World, change: &Change) -> Result<Answer> {
    match change {
        Change::CreateSecurityGroup { name, tags, .. } => {
            let same = world
                .security_groups
                .values()
                .find(|group| group.name == *name);
            if let Some(same) = same {
                return if same.tags == *tags {
                    Ok(Answer::SecurityGroup(same.id.clone()))
                } else {
                    terminal("InvalidGroup.Duplicate", name)
                };
            }
            let id = format!("sg-{:04}", world.serial());
            let (name, tags) = (name.clone(), tags.clone());
            let group = SecurityGroup {
                id: id.clone(),
                name,
                tags,
                ingress: BTreeSet::new(),
            };
            world.security_groups.insert(id.clone(), group);
            return Ok(Answer::SecurityGroup(id));
        }
        Change::AuthorizeIngress { group, rules } => {
            for rule in rules {
                if let Source::Group(source) = &rule.source {
                    world.security_group(source)?;
                }
            }
            let found = world.security_group(group)?;
            let mut all = found.ingress.clone();
            all.extend(rules.iter().cloned());
            if all.iter().filter(|rule| !rule.is_v6()).count() > 60 {
                return terminal("RulesPerSecurityGroupLimitExceeded", group);
            }
            found.ingress = all;
        }
        Change::RevokeIngress { group, rules } => {
            world
                .security_group(group)?
                .ingress
                .retain(|rule| !rules.contains(rule));
        }
        Change::DeleteSecurityGroup { group } => {
            let own = id(group)?.to_owned();
            let member = |nlb: &Nlb| nlb.spec.security_groups.contains(&own);
            let source = |other: &SecurityGroup| {
                let from =
                    |s: &Source| matches!(s, Source::Group(g) if g.id.as_ref() == Some(&own));
                other.ingress.iter().any(|rule| from(&rule.source))
            };
            if world.load_balancers.values().any(member)
                || world.security_groups.values().any(source)
            {
                return in_use("DependencyViolation", group);
            }
            world.security_groups.remove(&own);
        }
        Change::CreateTargetGroup(spec) => {
            if let Some(same) = world.groups.get(&spec.name) {
                if same.spec != *spec {
                    return terminal("DuplicateTargetGroupName", &spec.name);
                }
            } else {
                let arn = format!("arn:tg/{}/{}", spec.name, world.serial());
                let group = Group {
                    arn,
                    spec: spec.clone(),
                    attributes: BTreeMap::new(),
                    targets: BTreeMap::new(),
                };
                world.groups.insert(spec.name.clone(), group);
            }
            let arn = world.groups[&spec.name].arn.clone();
            return Ok(Answer::TargetGroup(TargetGroup {
                arn,
                spec: spec.clone(),
                attributes: None,
                targets: Some(BTreeMap::new()),
            }));
        }
        Change::ModifyTargetGroup {
            group,
            health_check,
        } => {
            world.group(group)?.spec.health_check = health_check.clone();
        }
        Change::SetGroupAttributes { group, attributes } => {
            world.group(group)?.attributes.extend(attributes.clone());
        }
        Change::DeleteTargetGroup { group } => {
            let arn = id(group)?.to_owned();
            let uses = |n: &Nlb| {
                n.listeners
                    .values()
                    .any(|l| l.spec.target_group.id.as_ref() == Some(&arn))
            };
            if world.load_balancers.values().any(uses) {
                return in_use("ResourceInUse", group);
            }
            world.groups.retain(|_, found| found.arn != arn);
        }
        Change::RegisterTargets { group, targets } => {
            let since = world.now;
            let found = world.group(group)?;
            if let Some(gone) = targets.iter().find(|target| target.id.contains("gone")) {
                return terminal("InvalidTarget", gone);
            }
            let live = found.targets.iter().filter(|(_, t)| t.draining.is_none());
            let live = live.filter(|(target, _)| !targets.contains(*target));
            if live.count() + targets.len() > 1000 {
                return terminal("TooManyTargets", group);
            }
            for target in targets {
                let fresh = Registered {
                    since,
                    draining: None,
                };
                let kept = found
                    .targets
                    .get(target)
                    .filter(|t| t.draining.is_none())
                    .copied();
                found.targets.insert(target.clone(), kept.unwrap_or(fresh));
            }
        }
        Change::DeregisterTargets { group, targets } => {
            let until = world.now.after(DRAINING);
            let found = world.group(group)?;
            for target in targets {
                match found.targets.get_mut(target) {
                    Some(state) => state.draining = Some(until),
                    None => return terminal("InvalidTarget", target),
                }
            }
        }
        other => return super::balancers::load_balancer(world, other),
    }
    Ok(Answer::Done)
}
