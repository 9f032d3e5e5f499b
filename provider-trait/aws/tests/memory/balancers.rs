//! What AWS accepts of load balancers and listeners.

use std::collections::{BTreeMap, BTreeSet};

use herald_provider_aws::call::{Answer, Change};
use herald_provider_aws::model::{Listener, LoadBalancer, State, Wire};

use super::rules::{Result, id, terminal};
use super::{Nlb, PROVISIONING, World};

pub(super) fn load_balancer(world: &mut World, change: &Change) -> Result<Answer> {
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
            let listener = world.listener(load_balancer, spec.port)?;
            let kept = listener.spec.alpn.take();
            listener.spec = spec.clone();
            // What is not named stays, unless TLS ends.
            if spec.protocol == Wire::Tls {
                listener.spec.alpn = spec.alpn.clone().or(kept);
            } else {
                listener.certificates.clear();
            }
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
            if attributes
                .keys()
                .any(|key| key != "tcp.idle_timeout.seconds")
            {
                return terminal("ValidationError", port);
            }
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
            if listener.spec.protocol != Wire::Tls {
                return terminal("InvalidConfigurationRequest", port);
            }
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
