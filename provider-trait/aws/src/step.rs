//! One call on behalf of one load balancer.

use std::collections::BTreeSet;
use std::fmt;

use herald_provider::{LoadBalancerId, PortKey, Scope};

use crate::call::{Call, Change, Query};

/// One call on behalf of one load balancer, and what its failure stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The load balancer.
    pub id: LoadBalancerId,
    /// What its failure stops.
    pub scope: Scope,
    /// The call.
    pub call: Call,
}

impl Step {
    /// A read.
    pub fn ask(id: &LoadBalancerId, query: Query) -> Self {
        Self {
            id: id.clone(),
            scope: Scope::LoadBalancer,
            call: Call::Ask(query),
        }
    }

    /// A change of the load balancer as a whole.
    pub fn whole(id: &LoadBalancerId, change: Change) -> Self {
        Self {
            id: id.clone(),
            scope: Scope::LoadBalancer,
            call: Call::Change(change),
        }
    }

    /// A change for some ports.
    pub fn ports(id: &LoadBalancerId, ports: &BTreeSet<PortKey>, change: Change) -> Self {
        Self {
            id: id.clone(),
            scope: Scope::Ports(ports.clone()),
            call: Call::Change(change),
        }
    }

    /// A change of a part of what some ports have, or of the whole if none is named.
    pub fn part(id: &LoadBalancerId, ports: &BTreeSet<PortKey>, change: Change) -> Self {
        Self {
            id: id.clone(),
            scope: Scope::Part(ports.clone()),
            call: Call::Change(change),
        }
    }

    /// The removal of something no longer used.
    pub fn cleanup(id: &LoadBalancerId, change: Change) -> Self {
        Self {
            id: id.clone(),
            scope: Scope::Cleanup,
            call: Call::Change(change),
        }
    }

    /// The name of what this step creates.
    pub fn creates(&self) -> Option<&str> {
        match &self.call {
            Call::Change(
                Change::CreateLoadBalancer { name, .. } | Change::CreateSecurityGroup { name, .. },
            ) => Some(name),
            Call::Change(Change::CreateTargetGroup(spec)) => Some(&spec.name),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl herald_provider::Step for Step {
    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn changes(&self) -> bool {
        matches!(self.call, Call::Change(_))
    }
}
