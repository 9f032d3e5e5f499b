use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cloud::{Cloud, LoadBalancer, TargetSet};
use super::plan;
use crate::{
    Doubt, Gate, Identity, LoadBalancerId, LoadBalancerRequest, Plan, PortKey, Provider,
    ProviderError, Release, Report, Scope, Step, UnixTime,
};

/// The annotation that sets a load balancer's scheme, which is fixed at creation.
pub const SCHEME: &str = "fake.heraldlb.io/scheme";

/// A provider over a [`Cloud`].
#[derive(Debug)]
pub struct FakeProvider {
    cloud: Cloud,
    identity: Identity,
}

impl FakeProvider {
    /// A provider that has observed nothing yet.
    pub fn new(cloud: Cloud) -> Self {
        let identity = Identity {
            name: "fake",
            class: "heraldlb.io/fake".into(),
            finalizer: "heraldlb.io/fake".into(),
            takes_classless: false,
        };
        Self { cloud, identity }
    }
}

/// What exists, by load balancer; `None` when it has to be read again.
#[derive(Clone, Debug, Default)]
pub struct FakeInventory {
    pub(super) known: BTreeMap<LoadBalancerId, Option<Known>>,
}

/// What exists for one load balancer, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Load balancers; two while one replaces the other.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// Target sets.
    pub sets: BTreeMap<String, TargetSet>,
    /// The cloud's time when this was read.
    pub read_at: u64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum FakeStep {
    Read {
        id: LoadBalancerId,
    },
    CreateSet {
        id: LoadBalancerId,
        set: String,
        port: PortKey,
    },
    Register {
        id: LoadBalancerId,
        set: String,
        port: PortKey,
        targets: Vec<String>,
    },
    CreateLoadBalancer {
        id: LoadBalancerId,
        name: String,
        scheme: String,
    },
    AddListener {
        id: LoadBalancerId,
        name: String,
        port: PortKey,
        set: String,
    },
    Deregister {
        id: LoadBalancerId,
        set: String,
        port: PortKey,
        targets: Vec<String>,
    },
    RemoveListener {
        id: LoadBalancerId,
        name: String,
        port: PortKey,
    },
    Retire {
        id: LoadBalancerId,
        name: String,
        at: Option<UnixTime>,
    },
    DeleteLoadBalancer {
        id: LoadBalancerId,
        name: String,
    },
    DeleteSet {
        id: LoadBalancerId,
        set: String,
    },
}

impl FakeStep {
    fn id(&self) -> &LoadBalancerId {
        match self {
            Self::Read { id }
            | Self::CreateSet { id, .. }
            | Self::Register { id, .. }
            | Self::CreateLoadBalancer { id, .. }
            | Self::AddListener { id, .. }
            | Self::Deregister { id, .. }
            | Self::RemoveListener { id, .. }
            | Self::Retire { id, .. }
            | Self::DeleteLoadBalancer { id, .. }
            | Self::DeleteSet { id, .. } => id,
        }
    }
}

impl fmt::Display for FakeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { id } => write!(f, "read {id}"),
            Self::CreateSet { set, .. } => write!(f, "create target set {set}"),
            Self::Register { set, targets, .. } => write!(f, "register {targets:?} in {set}"),
            Self::CreateLoadBalancer { name, .. } => write!(f, "create load balancer {name}"),
            Self::AddListener {
                name, port, set, ..
            } => {
                write!(f, "listen on {port} of {name} for {set}")
            }
            Self::Deregister { set, targets, .. } => write!(f, "deregister {targets:?} from {set}"),
            Self::RemoveListener { name, port, .. } => {
                write!(f, "stop listening on {port} of {name}")
            }
            Self::Retire {
                name, at: Some(at), ..
            } => write!(f, "retire {name} at {at}"),
            Self::Retire { name, at: None, .. } => write!(f, "keep {name}"),
            Self::DeleteLoadBalancer { name, .. } => write!(f, "delete load balancer {name}"),
            Self::DeleteSet { set, .. } => write!(f, "delete target set {set}"),
        }
    }
}

impl Step for FakeStep {
    fn scope(&self) -> Scope {
        match self {
            Self::Read { .. } | Self::CreateLoadBalancer { .. } => Scope::LoadBalancer,
            Self::CreateSet { port, .. }
            | Self::Register { port, .. }
            | Self::AddListener { port, .. }
            | Self::Deregister { port, .. } => Scope::Ports([*port].into()),
            Self::RemoveListener { .. }
            | Self::Retire { .. }
            | Self::DeleteLoadBalancer { .. }
            | Self::DeleteSet { .. } => Scope::Cleanup,
        }
    }

    fn changes(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// What a call showed: all there is for one load balancer.
#[derive(Debug)]
pub struct FakeSeen(LoadBalancerId, Known);

impl FakeProvider {
    fn known(&self, id: &LoadBalancerId) -> Result<Known, ProviderError> {
        let read_at = self.cloud.now().0;
        self.cloud.read("Read", |load_balancers, sets| Known {
            load_balancers: owned(load_balancers, id, |lb| lb.owner.as_ref()),
            sets: owned(sets, id, |set| set.owner.as_ref()),
            read_at,
        })
    }
}

fn owned<T: Clone>(
    all: &BTreeMap<String, T>,
    id: &LoadBalancerId,
    owner: impl Fn(&T) -> Option<&LoadBalancerId>,
) -> BTreeMap<String, T> {
    let own = all.iter().filter(|(_, one)| owner(one) == Some(id));
    own.map(|(name, one)| (name.clone(), one.clone())).collect()
}

impl Provider for FakeProvider {
    type Inventory = FakeInventory;
    type Seen = FakeSeen;
    type Step = FakeStep;

    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn observe(&self) -> Result<FakeInventory, ProviderError> {
        let ids: BTreeSet<_> = self.cloud.read("List", |load_balancers, sets| {
            let of = load_balancers.values().map(|lb| lb.owner.clone());
            of.chain(sets.values().map(|set| set.owner.clone()))
                .flatten()
                .collect()
        })?;
        let known = ids
            .into_iter()
            .map(|id| self.known(&id).map(|known| (id, Some(known))));
        Ok(FakeInventory {
            known: known.collect::<Result<_, _>>()?,
        })
    }

    fn plan(
        &self,
        inventory: &FakeInventory,
        request: &LoadBalancerRequest,
        now: UnixTime,
    ) -> Plan<FakeStep, Report> {
        plan::ensure(inventory, request, now)
    }

    fn plan_release(
        &self,
        inventory: &FakeInventory,
        id: &LoadBalancerId,
        _now: UnixTime,
    ) -> Plan<FakeStep, Release> {
        plan::release(inventory, id)
    }

    async fn apply(&self, step: &FakeStep, gate: &dyn Gate) -> Result<FakeSeen, ProviderError> {
        let id = step.id();
        if step.changes() {
            gate.check()?;
            self.call(step).await?;
        }
        Ok(FakeSeen(id.clone(), self.known(id)?))
    }

    fn absorb(&self, inventory: &mut FakeInventory, FakeSeen(id, known): FakeSeen) {
        inventory.known.insert(id, Some(known));
    }

    fn forget(&self, inventory: &mut FakeInventory, id: &LoadBalancerId, _: Doubt<'_, FakeStep>) {
        inventory.known.insert(id.clone(), None);
    }

    fn carry_over(&self, inventory: &mut FakeInventory, _: &FakeInventory, id: &LoadBalancerId) {
        inventory.known.insert(id.clone(), None);
    }

    fn found(&self, inventory: &FakeInventory) -> BTreeSet<LoadBalancerId> {
        inventory.known.keys().cloned().collect()
    }
}

impl FakeProvider {
    async fn call(&self, step: &FakeStep) -> Result<(), ProviderError> {
        let cloud = &self.cloud;
        let id = step.id();
        match step {
            FakeStep::Read { .. } => Ok(()),
            FakeStep::CreateSet { set, .. } => {
                let change = cloud.change(id, "CreateSet", set, |w| w.create_set(set, id));
                change.await
            }
            FakeStep::Register { set, targets, .. } => {
                let change = cloud.change(id, "Register", set, |w| w.register(set, targets));
                change.await
            }
            FakeStep::CreateLoadBalancer { name, scheme, .. } => {
                let change = cloud.change(id, "CreateLoadBalancer", name, |w| {
                    w.create_load_balancer(name, id, scheme)
                });
                change.await
            }
            FakeStep::AddListener {
                name, port, set, ..
            } => {
                let change = cloud.change(id, "AddListener", name, |w| {
                    w.add_listener(name, *port, set)
                });
                change.await
            }
            FakeStep::Deregister { set, targets, .. } => {
                let change = cloud.change(id, "Deregister", set, |w| w.deregister(set, targets));
                change.await
            }
            FakeStep::RemoveListener { name, port, .. } => {
                let change = cloud.change(id, "RemoveListener", name, |w| {
                    w.remove_listener(name, *port)
                });
                change.await
            }
            FakeStep::Retire { name, at, .. } => {
                cloud
                    .change(id, "Retire", name, |w| w.retire(name, *at))
                    .await
            }
            FakeStep::DeleteLoadBalancer { name, .. } => {
                let change = cloud.change(id, "DeleteLoadBalancer", name, |w| {
                    w.delete_load_balancer(name)
                });
                change.await
            }
            FakeStep::DeleteSet { set, .. } => {
                cloud
                    .change(id, "DeleteSet", set, |w| w.delete_set(set))
                    .await
            }
        }
    }
}
