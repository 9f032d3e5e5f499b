//! The fields of a Service that allocation uses.

use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{Labels, ServiceKey};

use crate::family::FamilyRequest;
use crate::status::{Condition, ConditionKind, Observed};

/// A Service, compact: what decides, and what its status says now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts of an object, not states"
)]
pub struct ServiceView {
    /// Namespace and name.
    pub key: ServiceKey,
    /// Its unique id: another one is another Service of the same name.
    pub uid: Arc<str>,
    /// Creation time in seconds since the epoch: of two Services with the same address the older keeps it.
    pub created: i64,
    /// The resource version as a number, 0 when it is none: an older observation never replaces a newer one.
    pub version: u64,
    /// `spec.type` is LoadBalancer.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<Arc<str>>,
    /// Which families it asks for.
    pub families: FamilyRequest,
    /// What it asks for by annotation or field.
    pub request: RequestText,
    /// Its labels.
    pub labels: Labels,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// `spec.clusterIPs`, which are nobody else's.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses in `status.loadBalancer.ingress`.
    pub ingress: Vec<IpAddr>,
    /// An entry of `status.loadBalancer.ingress` is a host name or no address.
    pub foreign_ingress: bool,
    /// Our mark on what we allocated: annotation `heraldlb.io/allocated-from`.
    pub allocated_from: Option<String>,
    /// The pools its addresses were in before: annotation `heraldlb.io/earlier-pools`.
    pub earlier_pools: Vec<Vec<String>>,
    /// The pool it was given when it asked for that one: annotation `heraldlb.io/requested-pool`.
    pub requested_pool: Option<String>,
    /// The conditions of ours in its status.
    pub conditions: Vec<Observed>,
}

/// What a Service asks for, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestText {
    /// Annotation `heraldlb.io/address-pool` or its equivalent.
    pub pool: Option<String>,
    /// Annotation `heraldlb.io/addresses` or its equivalent.
    pub addresses: Option<String>,
    /// `spec.loadBalancerIP`.
    pub load_balancer_ip: Option<String>,
    /// `MetalLB`'s annotation `allow-shared-ip`.
    pub share_key: Option<String>,
}

impl ServiceView {
    /// The condition of `kind` in its status.
    pub fn condition(&self, kind: ConditionKind) -> Option<&Condition> {
        let observed = self
            .conditions
            .iter()
            .find(|observed| observed.condition.kind == kind)?;
        Some(&observed.condition)
    }

    /// The pool that our mark names for `address`.
    pub fn recorded_pool(&self, address: IpAddr) -> Option<&str> {
        let position = self.ingress.iter().position(|shown| *shown == address)?;
        let mut names = self.allocated_from.as_deref()?.split(',').map(str::trim);
        let first = names.clone().next()?;
        Some(names.nth(position).unwrap_or(first)).filter(|name| !name.is_empty())
    }

    /// The key by which it shares its address, for a load balancer that knows sharing.
    pub(crate) fn share_key(&self) -> Option<&str> {
        self.request.share_key.as_deref()
    }

    /// The pool it asks for by name.
    pub(crate) fn asked_pool(&self) -> Option<&str> {
        let asked = self.request.pool.as_deref().map(str::trim);
        asked.filter(|name| !name.is_empty())
    }

    /// Whether its addresses came from pool `asked` when it asked for that, wherever a pool edit has put them since.
    pub(crate) fn was_given(&self, asked: &str) -> bool {
        self.requested_pool.as_deref().map(str::trim) == Some(asked)
    }

    /// The pools that our mark names for `address`: the one it is in, then those it was in before, the latest first.
    pub fn recorded_pools(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let position = self.ingress.iter().position(|shown| *shown == address);
        let earlier = position.and_then(|at| self.earlier_pools.get(at));
        let earlier = earlier.into_iter().flatten().map(String::as_str);
        self.recorded_pool(address).into_iter().chain(earlier)
    }

    /// Whether its addresses are known to be ours. The annotation goes when its author replaces the whole object; the
    /// condition, being status, stays.
    pub fn is_allocated(&self) -> bool {
        let condition = self.condition(ConditionKind::Allocated);
        self.allocated_from.is_some() || condition.is_some_and(|condition| condition.status)
    }

    /// Whether anything that belongs to an allocation of ours is written on it. The annotation alone may be its author's, from a
    /// copied manifest.
    pub fn is_marked(&self) -> bool {
        let others = [ConditionKind::Announced, ConditionKind::ExternalIps];
        let allocation = |observed: &Observed| !others.contains(&observed.condition.kind);
        self.conditions.iter().any(allocation)
            || (self.allocated_from.is_some() && !self.ingress.is_empty())
    }
}
