use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;

use crate::{
    LoadBalancerId, LoadBalancerRequest, PortKey, ProviderError, Release, Report, UnixTime,
};

/// Who a provider is, and which Services are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A short name for logs and metrics, such as `aws-nlb`.
    pub name: &'static str,
    /// The `spec.loadBalancerClass` it serves.
    pub class: String,
    /// The finalizer it sets before the first call that changes anything.
    pub finalizer: String,
    /// Whether it also takes Services without a class.
    pub takes_classless: bool,
}

impl Identity {
    /// Whether a Service with this `spec.loadBalancerClass` is this provider's.
    pub fn claims(&self, class: Option<&str>) -> bool {
        class.map_or(self.takes_classless, |class| class == self.class)
    }
}

/// What part of a load balancer a step is about: what its failure stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it: after a failure no further step of this pass is taken.
    LoadBalancer,
    /// These ports: after a failure the other ports go on.
    Ports(BTreeSet<PortKey>),
    /// A part of what these ports have, such as some of their targets, or of the whole if none is named: after a
    /// failure everything else goes on.
    Part(BTreeSet<PortKey>),
    /// Removing what is no longer used: taken only if nothing before it failed.
    Cleanup,
}

/// One call: self-contained, idempotent and printable (for logs and dry runs).
///
/// Most steps change something. A plan that lacks knowledge of one object starts with a step that reads it.
pub trait Step: Clone + PartialEq + fmt::Debug + fmt::Display + Send + Sync {
    /// What its failure stops.
    fn scope(&self) -> Scope;

    /// Whether it changes anything; `false` for a read.
    fn changes(&self) -> bool;
}

/// Ordered steps and what holds now, before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<S, V> {
    /// The steps in a safe order. Only the first one has to be ready to be taken: later ones may refer to things
    /// that earlier ones of the same port, or of the load balancer as a whole, create. Empty when nothing differs
    /// or when something has to be awaited.
    pub steps: Vec<S>,
    /// How things stand, as far as observed; with steps left, what they will bring is not part of it.
    pub verdict: V,
}

/// The right to make changing calls, asked before each: whether this process is still the leader.
///
/// Clouds have no fencing: a paused old leader that wakes must notice by itself that its lease has run out.
pub trait Gate: Send + Sync {
    /// `Err` with the reason when no changing call may be made now.
    fn check(&self) -> Result<(), ProviderError>;
}

/// A gate that is always open, for programs that are alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn check(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Why what is known of a load balancer has to be read again.
#[derive(Clone, Copy, Debug)]
pub enum Doubt<'a, S> {
    /// Something is awaited: states may have moved on by themselves.
    Awaiting,
    /// These steps failed in a way that leaves open whether they took effect; empty for the slow audit of everything.
    Unclear(&'a [S]),
}

/// An external source of load balancers.
///
/// Contract, checked by the conformance suite (`testing::conformance`):
/// - *Idempotent.* With nothing different, a plan has no steps; a step taken twice does no harm.
/// - *Own things only.* Only what carries this cluster's mark is changed or removed.
/// - *Order.* What replaces something works before that something goes.
/// - *Memory is in the cloud.* A fresh instance that has just observed plans the same as one that has run for days.
pub trait Provider: Send + Sync {
    /// What exists, as far as known; one shared view for all load balancers.
    type Inventory: Send;
    /// What one call showed.
    type Seen: Send;
    /// One call.
    type Step: Step;

    /// Who it is.
    fn identity(&self) -> &Identity;

    /// Lists all that exists for this cluster. Fails as a whole rather than returning a part (invariant I6).
    fn observe(&self) -> impl Future<Output = Result<Self::Inventory, ProviderError>> + Send;

    /// The steps from what exists to `request`. Pure.
    fn plan(
        &self,
        inventory: &Self::Inventory,
        request: &LoadBalancerRequest,
        now: UnixTime,
    ) -> Plan<Self::Step, Report>;

    /// The steps that remove the load balancer and all that was made for it. Pure.
    fn plan_release(
        &self,
        inventory: &Self::Inventory,
        id: &LoadBalancerId,
        now: UnixTime,
    ) -> Plan<Self::Step, Release>;

    /// Takes one step. `gate` is checked again right before each request leaves, after any waiting.
    fn apply(
        &self,
        step: &Self::Step,
        gate: &dyn Gate,
    ) -> impl Future<Output = Result<Self::Seen, ProviderError>> + Send;

    /// Enters what a call showed into the inventory.
    fn absorb(&self, inventory: &mut Self::Inventory, seen: Self::Seen);

    /// Marks what is known of one load balancer as doubtful, so that its next plan begins by reading.
    fn forget(
        &self,
        inventory: &mut Self::Inventory,
        id: &LoadBalancerId,
        doubt: Doubt<'_, Self::Step>,
    );

    /// Enters into a fresh inventory what an `older` one knows of a load balancer that was worked on while the fresh one was being
    /// listed: what was made meanwhile may be missing in it. The next plan begins by reading all of that.
    fn carry_over(
        &self,
        inventory: &mut Self::Inventory,
        older: &Self::Inventory,
        id: &LoadBalancerId,
    );

    /// The load balancers of this cluster that the inventory holds, wanted or not.
    fn found(&self, inventory: &Self::Inventory) -> BTreeSet<LoadBalancerId>;
}
