//! The speaker: one per node. It watches the API server and its node, plans with `herald-speaker-core`, and applies the
//! plans to nf_tables and to ARP and NDP sockets. [`runtime`] is the map.

mod admin;
pub mod announcer;
pub mod args;
mod arp;
mod cleanup;
mod client;
pub mod data_path;
pub mod engine;
mod gateway;
pub mod index;
pub mod kernel;
pub mod link;
mod metrics;
mod ndp;
mod own_daemonset;
pub mod packet_socket;
pub mod runtime;
mod status;
mod watch;
