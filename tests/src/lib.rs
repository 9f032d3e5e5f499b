//! The lab: a real Kubernetes cluster in network namespaces of one machine, and the smaller things it is
//! made of, for tests that need less.
//!
//! ```no_run
//! use herald_tests::{Cluster, ClusterOptions, Place};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::up(&ClusterOptions::new("example"))?;
//! println!("{}", cluster.kubectl(&["get", "nodes"])?);
//! println!("{}", cluster.run(Place::Client, &["ping", "-c1", "10.77.0.11"])?);
//! cluster.down()
//! # }
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | topology | who has which address |
//! | netns, link, network | namespaces, cables, the lab's network |
//! | parts, archive, images | programs and images |
//! | certs, control_plane, node, node_config, relay | the cluster's processes |
//! | bring_up, inotify, cluster, rollout, install, speaker, status | using it |
//! | state, process, down | what is written down, and taking it down |
//! | moto | AWS, for the provider |
//! | aws | AWS beside a cluster, with a load balancer that carries traffic |
//! | capture, dump, wait | finding out |

mod archive;
pub mod aws;
mod bring_up;
mod capture;
mod certs;
mod cluster;
mod control_plane;
mod down;
mod dump;
mod images;
mod inotify;
mod install;
pub mod link;
pub mod moto;
mod netns;
mod network;
mod node;
mod node_config;
mod parts;
mod process;
mod relay;
mod rollout;
mod speaker;
mod state;
mod status;
mod sys;
mod topology;
mod wait;

pub use capture::{Capture, read as read_capture};
pub use cluster::{Cluster, ClusterOptions};
pub use control_plane::api_server;
pub use down::down;
pub use images::busybox;
pub use install::NAMESPACE;
pub use netns::Netns;
pub use parts::{Part, coredns_image, ensure as ensure_part};
pub use process::{Process, Recorded, run};
pub use state::{Phase, ServiceProxy, State, names as cluster_names};
pub use status::Status;
pub use sys::{catch_interrupts, interrupted};
pub use topology::{Place, node_name};
pub use wait::{Hopeless, wait_for};
