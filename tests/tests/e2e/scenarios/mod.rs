//! The scenarios. Which of them run on which cluster is said in `e2e_*.rs`.

pub mod addresses;
pub mod cluster_ips;
pub mod endpoints;
pub mod failover;
pub mod traffic;
