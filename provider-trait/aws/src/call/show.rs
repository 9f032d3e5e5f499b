use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Call, Change, Query};

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names { id, .. } => write!(f, "look up what exists for {id}"),
            Self::Network(id) => write!(f, "read the VPC for {id}"),
            Self::States { id, .. } => write!(f, "read the state of {id}"),
            Self::Listeners(lb) => write!(f, "read the listeners of {lb}"),
            Self::ListenerAttributes {
                load_balancer,
                port,
                ..
            } => {
                write!(
                    f,
                    "read the attributes of listener {port} of {load_balancer}"
                )
            }
            Self::Attributes(lb) => write!(f, "read the attributes of {lb}"),
            Self::GroupAttributes(group) => {
                write!(f, "read the attributes of target group {group}")
            }
            Self::Targets(group) => write!(f, "read the targets of {group}"),
        }
    }
}

/// Many things in one line: all of a few, the number of many.
fn some<T: fmt::Display>(all: &BTreeSet<T>) -> String {
    let shown: Vec<String> = all.iter().take(4).map(ToString::to_string).collect();
    match all.len().checked_sub(shown.len()) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    some(&map.iter().map(|(k, v)| format!("{k}={v}")).collect())
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateSecurityGroup { name, .. } => write!(f, "create security group {name}"),
            Self::AuthorizeIngress { group, rules } => {
                write!(f, "in {group} allow {}", some(rules))
            }
            Self::RevokeIngress { group, rules } => write!(f, "in {group} revoke {}", some(rules)),
            Self::DeleteSecurityGroup { group } => write!(f, "delete security group {group}"),
            Self::CreateTargetGroup(spec) => write!(
                f,
                "create target group {} ({}, {} targets)",
                spec.name,
                spec.protocol,
                spec.target_type.as_str()
            ),
            Self::ModifyTargetGroup { group, .. } => write!(f, "set the health check of {group}"),
            Self::SetGroupAttributes { group, attributes } => {
                write!(f, "set {} of target group {group}", pairs(attributes))
            }
            Self::DeleteTargetGroup { group } => write!(f, "delete target group {group}"),
            Self::RegisterTargets { group, targets } => {
                write!(f, "register {} in {group}", some(targets))
            }
            Self::DeregisterTargets { group, targets } => {
                write!(f, "deregister {} from {group}", some(targets))
            }
            Self::CreateLoadBalancer {
                name,
                scheme,
                mappings,
                ..
            } => write!(
                f,
                "create {} load balancer {name} in {} subnets",
                scheme.as_str(),
                mappings.len()
            ),
            Self::SetSubnets {
                load_balancer,
                mappings,
                ..
            } => {
                write!(f, "put {load_balancer} into {} subnets", mappings.len())
            }
            Self::SetSecurityGroups {
                load_balancer,
                security_groups,
            } => {
                write!(
                    f,
                    "give {load_balancer} security groups {}",
                    some(security_groups)
                )
            }
            Self::SetAddressType {
                load_balancer,
                address_type,
            } => {
                write!(f, "make {load_balancer} {}", address_type.as_str())
            }
            Self::SetAttributes {
                load_balancer,
                attributes,
            } => {
                write!(f, "set {} of {load_balancer}", pairs(attributes))
            }
            Self::DeleteLoadBalancer { load_balancer } => {
                write!(f, "delete load balancer {load_balancer}")
            }
            Self::CreateListener {
                load_balancer,
                spec,
                ..
            } => write!(
                f,
                "listen on {} {} of {load_balancer} for {}",
                spec.protocol, spec.port, spec.target_group
            ),
            Self::ModifyListener {
                load_balancer,
                spec,
                ..
            } => write!(
                f,
                "change listener {} of {load_balancer} to {} for {}",
                spec.port, spec.protocol, spec.target_group
            ),
            Self::DeleteListener {
                load_balancer,
                port,
                ..
            } => {
                write!(f, "stop listening on {port} of {load_balancer}")
            }
            Self::SetListenerAttributes {
                load_balancer,
                port,
                attributes,
                ..
            } => {
                write!(
                    f,
                    "set {} of listener {port} of {load_balancer}",
                    pairs(attributes)
                )
            }
            Self::AddCertificates {
                load_balancer,
                port,
                certificates,
                ..
            } => {
                write!(
                    f,
                    "add {} to listener {port} of {load_balancer}",
                    some(certificates)
                )
            }
            Self::RemoveCertificates {
                load_balancer,
                port,
                certificates,
                ..
            } => {
                write!(
                    f,
                    "remove {} from listener {port} of {load_balancer}",
                    some(certificates)
                )
            }
            Self::AddTags { resource, tags } => write!(f, "tag {resource} with {}", pairs(tags)),
            Self::RemoveTags { resource, keys } => {
                write!(f, "remove tags {} from {resource}", keys.join(", "))
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(query) => query.fmt(f),
            Self::Change(change) => change.fmt(f),
        }
    }
}
