//! What an external source of load balancers (a cloud) must do for Herald: the trait [`Provider`] and its words.
//!
//! The unit is a *load balancer with one or more Services*. A provider [observes](Provider::observe) what exists,
//! [plans](Provider::plan) without I/O which steps lead to what is wanted, and [applies](Provider::apply) one step
//! at a time; [`ensure`] and [`release`] drive that loop for one load balancer:
//!
//! ```text
//!             ┌──────────────── absorb what the call showed ────────────────┐
//!             ▼                                                             │
//! observe ─▶ Inventory ─▶ plan(inventory, request, now) ─▶ first step ─▶ apply
//!                              └▶ no step left: Report (outcome per Service and port)
//! ```
//!
//! The plan is made anew after every step, from what that step showed. So a crash between any two calls is the
//! ordinary case: the next run observes, plans, and goes on. The address pools are not behind this trait: their
//! allocation is pure and has nothing to apply.
//!
//! No Kubernetes types, no runtime, no clock, no randomness: `now` and random numbers are arguments.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backoff;
mod drive;
mod error;
mod outcome;
mod provider;
mod request;
mod schedule;
#[cfg(feature = "testing")]
pub mod testing;
mod time;

pub use backoff::Backoff;
pub use drive::{Context, Ensured, Mode, Released, ensure, lock, release};
pub use error::{ErrorKind, ProviderError};
pub use outcome::{
    EndpointHealth, Ingress, Outcome, PortReport, Reason, Release, Report, ServiceReport,
    TargetCount,
};
pub use provider::{Doubt, Gate, Identity, OpenGate, Plan, Provider, Scope, Step};
pub use request::{
    EndpointPort, EndpointTarget, LoadBalancerId, LoadBalancerRequest, NodeTarget, PortKey,
    PortRequest, Readiness, ServiceRequest, Taint, TargetPort,
};
pub use schedule::{Schedule, Work};
pub use time::UnixTime;
