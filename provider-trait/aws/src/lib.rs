//! AWS Network Load Balancers for Services of type LoadBalancer.
//!
//! ```text
//! annotations ─▶ Settings ─┐
//!                          ├▶ Wanted ─┐
//! subnets, names, tags ────┘          ├▶ plan ─▶ Steps ─▶ Api ─▶ AWS
//!                          Inventory ─┘                    │
//!                              ▲────────── absorb ◀────────┘
//! ```
//!
//! Everything up to the steps is pure. A [`Step`](step::Step) is one call, as data. What exists is found again by
//! tags alone ([`tags`]), so a crash at any call is the ordinary case.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod annotations;
mod api;
pub mod call;
#[cfg(feature = "client")]
pub mod client;
mod config;
pub mod inventory;
pub mod model;
pub mod names;
pub mod plan;
mod provider;
pub mod step;
pub mod subnets;
pub mod tags;
pub mod targets;
pub mod wanted;

pub use api::Api;
pub use config::Config;
pub use provider::{AwsProvider, Seen};
