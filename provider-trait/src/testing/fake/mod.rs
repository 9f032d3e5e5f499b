//! A provider kept in memory, stricter than the clouds it stands for.
//!
//! Its [`Cloud`] knows load balancers, listeners and target sets, has a clock of its own that only moves when told,
//! refuses what a real cloud refuses (a taken name, a second listener on a port, a set in use), lets load balancers
//! become active and targets healthy only after a while, and can lose calls, answers, or the caller's process.

mod cloud;
mod gates;
mod harness;
mod plan;
mod provider;

pub use cloud::{Cloud, Fault, LoadBalancer, TargetSet, TargetState, When};
pub use harness::FakeHarness;
pub use provider::{FakeInventory, FakeProvider, FakeSeen, FakeStep, Known, SCHEME};
