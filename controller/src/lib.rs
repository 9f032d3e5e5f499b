//! Herald's controller: gives Services of type LoadBalancer their addresses from pools.
//!
//! `runtime` is the map of the tasks, `index` turns Kubernetes objects into the plain structs that `herald-controller-core`
//! decides with, `apply` writes what it decided. Everything between is wiring.

#![forbid(unsafe_code)]

mod admin;
mod apply;
mod args;
mod client;
mod events;
mod index;
mod lease;
mod metrics;
mod planner;
mod retry;
mod runtime;
mod watch;

pub use args::{Args, LogFormat};
pub use runtime::run;
