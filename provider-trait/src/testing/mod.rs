//! For tests: a strict in-memory provider, and the conformance suite that every provider is run against.
//!
//! Cargo feature `testing`; nothing here is built into a released binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: an assertion that fails has to stop the test"
)]

pub mod conformance;
pub mod fake;
