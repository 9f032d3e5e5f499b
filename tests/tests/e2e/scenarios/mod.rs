//! The scenarios. Which of them run on which cluster is said in `e2e_*.rs`.

pub(crate) mod addresses;
pub(crate) mod aws;
pub(crate) mod cluster_ips;
pub(crate) mod endpoints;
pub(crate) mod failover;
pub(crate) mod installation;
pub(crate) mod kernel;
pub(crate) mod not_ready;
pub(crate) mod removal;
pub(crate) mod reserved;
pub(crate) mod side_service;
pub(crate) mod traffic;
