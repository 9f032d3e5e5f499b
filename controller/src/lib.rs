//! Herald's controller: gives Services of type LoadBalancer their addresses from pools, and load balancers from clouds.
//!
//! `runtime` is the map of the tasks, `index` turns Kubernetes objects into the plain structs that `herald-controller-core`
//! decides with, `apply` writes what it decided. Everything between is wiring.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "aws"),
    allow(
        dead_code,
        reason = "what serves every provider is used by none when none is built in"
    )
)]

mod admin;
mod apply;
mod args;
#[cfg(feature = "aws")]
mod aws;
mod client;
mod events;
mod index;
mod lease;
mod losses;
mod metrics;
mod outage;
mod planner;
mod provision;
mod retry;
mod runtime;
mod watch;

#[cfg(feature = "aws")]
pub use args::AwsArgs;
pub use args::{Args, LogFormat};
pub use runtime::run;
