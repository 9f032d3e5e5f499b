//! The speaker: one per node.

pub mod announcer;
mod arp;
pub mod data_path;
pub mod link;
mod ndp;
mod packet_socket;
