//! Services whose load balancer comes from a provider: which of them it serves, and what their status should say.
//!
//! The provider decides about load balancers; here its answers become words on a Service. Pure, like everything in this crate.

use std::sync::Arc;

use herald_core::{Labels, ServiceKey};
use herald_provider::{Identity, LoadBalancerId, PortKey, ServiceRequest};

mod status;
#[cfg(test)]
mod tests;

pub use status::{
    ProvidedDesired, ProvidedNotice, ProvidedPlan, plan_cleared, plan_provided, plan_releasing,
    plan_unreachable, word,
};

/// A Service as the owner of a provider knows it, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedView {
    /// The resource version as a number, 0 when it is none: an older observation never replaces a newer one.
    pub version: u64,
    /// `spec.type` is LoadBalancer.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<Arc<str>>,
    /// It is being deleted.
    pub deleting: bool,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// `spec.selector`: which pods are its own.
    pub selector: Labels,
    /// What it asks for. Its endpoints are kept elsewhere and entered when a pass begins.
    pub request: ServiceRequest,
    /// What its status says.
    pub status: ProvidedStatus,
}

/// The part of a Service's status that a provider's owner writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvidedStatus {
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressEntry>,
    /// The conditions of ours, with the time of their last transition as written.
    pub conditions: Vec<(ProvidedCondition, Arc<str>)>,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressEntry {
    /// `hostname`.
    pub hostname: Option<String>,
    /// `ip`.
    pub ip: Option<String>,
    /// `ipMode`, which belongs to `ip`.
    pub ip_mode: Option<String>,
    /// `ports`.
    pub ports: Vec<PortEntry>,
}

/// An entry of `status.loadBalancer.ingress[].ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Number and protocol.
    pub port: PortKey,
    /// Why it does not work: one word.
    pub error: Option<String>,
}

/// A condition type of ours on a Service with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProvidedKind {
    /// Whether the load balancer in the status does what the Service asks for.
    Provisioned,
    /// Whether its targets are healthy.
    TargetsHealthy,
}

impl ProvidedKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Provisioned, Self::TargetsHealthy];

    /// The condition's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "heraldlb.io/Provisioned",
            Self::TargetsHealthy => "heraldlb.io/TargetsHealthy",
        }
    }
}

/// A condition, without the time of its last transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedCondition {
    /// Its type.
    pub kind: ProvidedKind,
    /// True or False.
    pub status: bool,
    /// One word for programs.
    pub reason: String,
    /// What is the matter, for people.
    pub message: String,
}

impl ProvidedView {
    /// Namespace and name.
    pub fn key(&self) -> &ServiceKey {
        &self.request.key
    }

    /// The identity of its load balancer.
    pub fn id(&self) -> LoadBalancerId {
        LoadBalancerId::of_service(&self.request.uid)
    }

    /// Whether this finalizer is on it.
    pub fn holds(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|held| held == finalizer)
    }

    /// The condition of `kind` in its status.
    pub fn condition(&self, kind: ProvidedKind) -> Option<&ProvidedCondition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find_map(|(condition, _)| (condition.kind == kind).then_some(condition))
    }

    /// Whether it says that its load balancer is there.
    pub fn is_provisioned(&self) -> bool {
        self.condition(ProvidedKind::Provisioned)
            .is_some_and(|condition| condition.status)
    }

    /// Whether the two differ in nothing but version and status.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let Self {
            version: _,
            load_balancer,
            class,
            deleting,
            finalizers,
            selector,
            request,
            status: _,
        } = self;
        *load_balancer == other.load_balancer
            && *class == other.class
            && *deleting == other.deleting
            && *finalizers == other.finalizers
            && *selector == other.selector
            && ServiceRequest {
                published: other.request.published.clone(),
                ..request.clone()
            } == other.request
    }
}

/// What a provider has to do for a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// Make its load balancer as asked, and keep it so.
    Ensure,
    /// Remove what was made for it, then the finalizer.
    Release,
    /// Nothing: it is not this provider's.
    Ignore,
}

/// What the provider `who` has to do for a Service.
///
/// A Service without a class that carries the finalizer stays the provider's also when it takes no more such Services: a flag that
/// is turned off takes no working load balancer away. A changed type or class does.
pub fn want(view: &ProvidedView, who: &Identity) -> Want {
    let ours = view.holds(&who.finalizer);
    let claimed = who.claims(view.class.as_deref()) || (ours && view.class.is_none());
    if view.load_balancer && claimed && !view.deleting {
        Want::Ensure
    } else if ours {
        Want::Release
    } else {
        Want::Ignore
    }
}
