//! The words the controller says about a Service: conditions, their reasons, and problems with a request.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// A condition type of ours on a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    /// Whether the Service has an address.
    Allocated,
    /// Whether its addresses are announced, and by whom.
    Announced,
    /// False while a pool no longer holds an address in use; absent otherwise.
    AddressInPool,
    /// False while an external IP is somebody's; absent otherwise.
    ExternalIps,
}

impl ConditionKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Allocated,
        Self::Announced,
        Self::AddressInPool,
        Self::ExternalIps,
    ];

    /// The condition's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "heraldlb.io/Allocated",
            Self::Announced => "heraldlb.io/Announced",
            Self::AddressInPool => "heraldlb.io/AddressInPool",
            Self::ExternalIps => "heraldlb.io/ExternalIPs",
        }
    }
}

/// Why a condition is what it is, and the reason of the Event that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The Service has what it asked for.
    Allocated,
    /// Event only: an address found in the status was kept and marked as ours.
    Adopted,
    /// Event only: the addresses are free again.
    Released,
    /// It keeps the address it has, because what it asks for now cannot be had.
    RequestNotMet,
    /// It has its address together with another Service, as it came from another load balancer.
    SharedAddress,
    /// No pool may serve it.
    NoPool,
    /// The pool it names does not exist.
    PoolNotFound,
    /// The pool it names may not give it an address.
    PoolNotAllowed,
    /// No address is left.
    PoolExhausted,
    /// The address belongs to another Service.
    AddressTaken,
    /// The address it names is in no pool, or not in the one it names.
    AddressNotInPool,
    /// The address it names, or has, is somebody's.
    AddressReserved,
    /// An external IP is somebody's.
    ExternalIpRefused,
    /// No pool in question has addresses of a family it needs.
    FamilyNotAvailable,
    /// The request cannot be read or contradicts itself.
    InvalidRequest,
    /// Its status holds something that is not from a pool; it is left alone.
    ForeignStatus,
    /// The pool it came from no longer holds the address.
    PoolChanged,
    /// The pool it came from is gone.
    PoolDeleted,
    /// A node announces every address.
    Announced,
    /// No L2Advertisement selects the pool and the Service.
    NoAdvertisement,
    /// No node may announce the address.
    NoEligibleNode,
    /// A node may announce the address and has not said so yet.
    Pending,
    /// A host that is not ours answers for the address.
    AddressConflict,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Allocated,
        Self::Adopted,
        Self::Released,
        Self::RequestNotMet,
        Self::SharedAddress,
        Self::NoPool,
        Self::PoolNotFound,
        Self::PoolNotAllowed,
        Self::PoolExhausted,
        Self::AddressTaken,
        Self::AddressNotInPool,
        Self::AddressReserved,
        Self::ExternalIpRefused,
        Self::FamilyNotAvailable,
        Self::InvalidRequest,
        Self::ForeignStatus,
        Self::PoolChanged,
        Self::PoolDeleted,
        Self::Announced,
        Self::NoAdvertisement,
        Self::NoEligibleNode,
        Self::Pending,
        Self::AddressConflict,
    ];

    /// The word in `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "Allocated",
            Self::Adopted => "Adopted",
            Self::Released => "Released",
            Self::RequestNotMet => "RequestNotMet",
            Self::SharedAddress => "SharedAddress",
            Self::NoPool => "NoPool",
            Self::PoolNotFound => "PoolNotFound",
            Self::PoolNotAllowed => "PoolNotAllowed",
            Self::PoolExhausted => "PoolExhausted",
            Self::AddressTaken => "AddressTaken",
            Self::AddressNotInPool => "AddressNotInPool",
            Self::AddressReserved => "AddressReserved",
            Self::ExternalIpRefused => "ExternalIPRefused",
            Self::FamilyNotAvailable => "FamilyNotAvailable",
            Self::InvalidRequest => "InvalidRequest",
            Self::ForeignStatus => "ForeignStatus",
            Self::PoolChanged => "PoolChanged",
            Self::PoolDeleted => "PoolDeleted",
            Self::Announced => "Announced",
            Self::NoAdvertisement => "NoAdvertisement",
            Self::NoEligibleNode => "NoEligibleNode",
            Self::Pending => "Pending",
            Self::AddressConflict => "AddressConflict",
        }
    }
}

/// A condition, without the time of its last transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: ConditionKind,
    /// True or False.
    pub status: bool,
    /// One word for programs.
    pub reason: Cow<'static, str>,
    /// What to do, for people.
    pub message: String,
}

impl Condition {
    /// A condition with one of our reasons.
    pub fn new(kind: ConditionKind, status: bool, reason: Reason, message: String) -> Self {
        Self {
            kind,
            status,
            reason: reason.as_str().into(),
            message,
        }
    }
}

/// A condition as found on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it says.
    pub condition: Condition,
    /// `lastTransitionTime`, as written.
    pub since: Arc<str>,
}

/// Why a request cannot be met: a reason and a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: Reason,
    /// What to do.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(reason: Reason, message: String) -> Self {
        Self { reason, message }
    }
}

/// What `status` and our annotation of a Service should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// `status.loadBalancer.ingress`; `None` leaves it to whoever wrote it.
    pub ingress: Option<Vec<IpAddr>>,
    /// Annotation `heraldlb.io/allocated-from`: one pool for each address.
    pub allocated_from: Option<String>,
    /// Annotation `heraldlb.io/earlier-pools`: for each address the pools it was in before, the latest first.
    pub earlier_pools: Vec<Vec<String>>,
    /// Annotation `heraldlb.io/requested-pool`.
    pub requested_pool: Option<String>,
    /// Conditions Allocated, AddressInPool and ExternalIPs; absent ones are removed.
    pub conditions: Vec<Condition>,
}

impl Desired {
    /// These conditions, and nothing else of ours.
    pub(crate) fn conditions(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            ingress: None,
            allocated_from: None,
            earlier_pools: Vec::new(),
            requested_pool: None,
            conditions: conditions.into_iter().collect(),
        }
    }
}

/// An Event to be emitted once the write it belongs to has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A Warning, or Normal.
    pub warning: bool,
    /// The Event's reason.
    pub reason: Reason,
    /// The Event's message.
    pub message: String,
}
