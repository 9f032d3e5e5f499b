//! What AWS accepts.

use std::collections::{BTreeMap, BTreeSet};

use herald_provider::{ErrorKind, ProviderError};
use herald_provider_aws::call::{Answer, Change};
use herald_provider_aws::model::{
    Listener, ListenerSpec, LoadBalancer, Ref, SecurityGroup, Source, State, TargetGroup, Wire,
};

use super::{DRAINING, Group, Nlb, PROVISIONING, Registered, World, error};

type Result<T> = std::result::Result<T, ProviderError>;

fn terminal<T>(code: &str, what: &impl ToString) -> Result<T> {
    Err(error(ErrorKind::Terminal, code, what))
}

fn in_use<T>(code: &str, what: &impl ToString) -> Result<T> {
    Err(error(ErrorKind::Retryable, code, what))
}

fn id(reference: &Ref) -> Result<&str> {
    match reference.id.as_deref() {
        Some(id) => Ok(id),
        None => terminal("NotCreatedYet", reference),
    }
}

impl World {
    fn nlb(&mut self, lb: &Ref) -> Result<&mut Nlb> {
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

    fn listener(&mut self, lb: &Ref, port: u16) -> Result<&mut Listener> {
        let found = self.nlb(lb)?.listeners.get_mut(&port);
        found.ok_or_else(|| error(ErrorKind::Terminal, "ListenerNotFound", &port))
    }

    fn security_group(&mut self, group: &Ref) -> Result<&mut SecurityGroup> {
        let found = self.security_groups.get_mut(id(group)?);
        found.ok_or_else(|| error(ErrorKind::Terminal, "InvalidGroup.NotFound", group))
    }

    fn tags(&mut self, resource: &Ref) -> Result<&mut BTreeMap<String, String>> {
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
    fn check(&mut self, lb: &Ref, spec: &ListenerSpec) -> Result<()> {
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
            world
                .security_group(group)?
                .ingress
                .extend(rules.iter().cloned());
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
        other => return load_balancer(world, other),
    }
    Ok(Answer::Done)
}

fn load_balancer(world: &mut World, change: &Change) -> Result<Answer> {
    match change {
        Change::CreateLoadBalancer {
            name,
            scheme,
            address_type,
            mappings,
            security_groups,
            tags,
        } => {
            let groups: BTreeSet<String> = security_groups
                .iter()
                .map(|g| id(g).map(str::to_owned))
                .collect::<Result<_>>()?;
            for group in security_groups {
                world.security_group(group)?;
            }
            for mapping in mappings {
                if !world.subnets.iter().any(|s| s.id == mapping.subnet) {
                    return terminal("SubnetNotFound", &mapping.subnet);
                }
            }
            let serial = world.serial();
            let spec = LoadBalancer {
                arn: format!("arn:nlb/{name}/{serial}"),
                name: name.clone(),
                dns_name: format!("{name}-{serial}.elb.us-east-1.amazonaws.com"),
                scheme: *scheme,
                address_type: *address_type,
                state: State::Provisioning,
                vpc: world.vpc.id.clone(),
                mappings: mappings.clone(),
                security_groups: groups,
                tags: tags.clone(),
                attributes: None,
                listeners: Some(BTreeMap::new()),
            };
            if let Some(same) = world.load_balancers.get(name) {
                let keep = (same.spec.arn.clone(), same.spec.dns_name.clone());
                let again = LoadBalancer {
                    arn: keep.0,
                    dns_name: keep.1,
                    ..spec
                };
                return if again == same.spec {
                    Ok(Answer::LoadBalancer(LoadBalancer {
                        listeners: None,
                        ..again
                    }))
                } else {
                    terminal("DuplicateLoadBalancerName", name)
                };
            }
            let nlb = Nlb {
                spec: spec.clone(),
                active_at: world.now.after(PROVISIONING),
                attributes: BTreeMap::new(),
                listeners: BTreeMap::new(),
            };
            world.load_balancers.insert(name.clone(), nlb);
            return Ok(Answer::LoadBalancer(spec));
        }
        Change::SetSubnets {
            load_balancer,
            mappings,
            address_type,
        } => {
            let nlb = world.nlb(load_balancer)?;
            if !nlb.spec.mappings.is_subset(mappings) {
                return terminal("InvalidConfigurationRequest", load_balancer);
            }
            nlb.spec.mappings.clone_from(mappings);
            nlb.spec.address_type = *address_type;
        }
        Change::SetSecurityGroups {
            load_balancer,
            security_groups,
        } => {
            let ids: BTreeSet<String> = security_groups
                .iter()
                .map(|g| id(g).map(str::to_owned))
                .collect::<Result<_>>()?;
            let nlb = world.nlb(load_balancer)?;
            if nlb.spec.security_groups.is_empty() || ids.is_empty() {
                return terminal("InvalidConfigurationRequest", load_balancer);
            }
            nlb.spec.security_groups = ids;
        }
        Change::SetAddressType {
            load_balancer,
            address_type,
        } => {
            world.nlb(load_balancer)?.spec.address_type = *address_type;
        }
        Change::SetAttributes {
            load_balancer,
            attributes,
        } => {
            world
                .nlb(load_balancer)?
                .attributes
                .extend(attributes.clone());
        }
        Change::DeleteLoadBalancer { load_balancer } => {
            let arn = id(load_balancer)?.to_owned();
            let protected = |n: &Nlb| {
                n.spec.arn == arn
                    && n.attributes
                        .get("deletion_protection.enabled")
                        .is_some_and(|v| v == "true")
            };
            if world.load_balancers.values().any(protected) {
                return terminal("OperationNotPermitted", load_balancer);
            }
            world.load_balancers.retain(|_, nlb| nlb.spec.arn != arn);
        }
        Change::CreateListener {
            load_balancer,
            spec,
            tags,
        } => {
            world.check(load_balancer, spec)?;
            let serial = world.serial();
            let nlb = world.nlb(load_balancer)?;
            if nlb.listeners.contains_key(&spec.port) {
                return terminal("DuplicateListener", &spec.port);
            }
            if nlb.listeners.len() >= 50 {
                return terminal("TooManyListeners", &spec.port);
            }
            let listener = Listener {
                arn: format!("arn:listener/{}/{serial}", nlb.spec.name),
                spec: spec.clone(),
                certificates: BTreeSet::new(),
                attributes: None,
                tags: tags.clone(),
            };
            nlb.listeners.insert(spec.port, listener.clone());
            return Ok(Answer::Listener(listener));
        }
        Change::ModifyListener {
            load_balancer,
            spec,
            ..
        } => {
            world.check(load_balancer, spec)?;
            world.listener(load_balancer, spec.port)?.spec = spec.clone();
        }
        Change::DeleteListener {
            load_balancer,
            port,
            ..
        } => {
            world.listener(load_balancer, *port)?;
            world.nlb(load_balancer)?.listeners.remove(port);
        }
        Change::SetListenerAttributes {
            load_balancer,
            port,
            attributes,
            ..
        } => {
            let listener = world.listener(load_balancer, *port)?;
            listener
                .attributes
                .get_or_insert_default()
                .extend(attributes.clone());
        }
        Change::AddCertificates {
            load_balancer,
            port,
            certificates,
            ..
        } => {
            let listener = world.listener(load_balancer, *port)?;
            listener.certificates.extend(certificates.iter().cloned());
        }
        Change::RemoveCertificates {
            load_balancer,
            port,
            certificates,
            ..
        } => {
            let listener = world.listener(load_balancer, *port)?;
            listener.certificates.retain(|c| !certificates.contains(c));
        }
        Change::AddTags { resource, tags } => world.tags(resource)?.extend(tags.clone()),
        Change::RemoveTags { resource, keys } => {
            world.tags(resource)?.retain(|key, _| !keys.contains(key));
        }
        other => return terminal("Unexpected", other),
    }
    Ok(Answer::Done)
}
