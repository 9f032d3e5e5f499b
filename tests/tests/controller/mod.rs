//! The controller's program on a real API server.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod bench;
pub(crate) mod objects;
pub(crate) mod process;
pub(crate) mod remedies;
