//! What the controller decides, without Kubernetes types, clock or I/O: who gets which address, and what each status says.
//!
//! `Index` holds all there is to know; [`plan`] turns one Service into a [`Plan`], [`plan_announced`] and [`plan_pool`] do the
//! same for the condition Announced and for a pool. All are pure; the same index gives the same answer.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod allocator;
mod announce;
mod choose;
mod exchange;
mod external;
mod family;
mod index;
mod interval;
pub mod lease;
mod plan;
mod plan_pool;
mod pool;
#[cfg(test)]
mod pool_histories;
mod provided;
mod readiness;
mod request;
mod service;
mod status;
#[cfg(test)]
mod world;

pub use allocator::{Allocator, LeftOut, PoolCounts};
pub use announce::{AdvertisementView, AnnouncedStep, SpeakerView, plan_announced};
pub use family::{FAMILIES, FamilyRequest, PerFamily};
pub use index::{Dirty, Index, Queue, Settings, Standing};
pub use interval::IntervalSet;
pub use plan::{Plan, Write, plan};
pub use plan_pool::{PoolObserved, PoolPlan, PoolStatus, Ready, plan_pool};
pub use pool::{PoolScope, PoolView, Readiness};
pub use provided::{
    IngressEntry, PortEntry, ProvidedCondition, ProvidedDesired, ProvidedKind, ProvidedNotice,
    ProvidedPlan, ProvidedStatus, ProvidedView, Want, plan_cleared, plan_provided, plan_releasing,
    plan_unreachable, want, word,
};
pub use readiness::{
    GateCondition, GateIndex, GateService, GateTargets, Place, PodView, TARGET_HEALTH,
};
pub use service::{RequestText, ServiceView};
pub use status::{Condition, ConditionKind, Desired, Notice, Observed, Problem, Reason};
