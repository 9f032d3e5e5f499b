//! What a speaker decides: who owns an address, what it answers on the wire, how its node forwards Services.
//!
//! Pure: plain structs in, data out. No Kubernetes types, no sockets, no clock; time, randomness and the node's name are
//! arguments. The binary's `index.rs` fills a [`Snapshot`] from what it watches, and its tasks apply what the functions
//! here return.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod addresses;
pub mod announce;
mod election;
mod eligible;
mod forward;
mod mending;
mod model;
mod ownership;
pub mod ruleset;
mod snapshot;
mod soundness;
pub mod wire;

pub use addresses::{Addresses, Refusal, api_service};
pub use election::{elect, score};
pub use eligible::Ineligible;
pub use forward::{
    Backend, ForwardConfig, Frontend, FrontendForwarding, MASQUERADE_MARK, NodeForwarding, Outcome,
    Role, STEP_ASIDE_AFTER, ServiceForwarding, ServiceProxy, forward, forward_node,
};
pub use mending::Mending;
pub use model::{
    AdvertisementView, EndpointView, Interface, LinkView, Mac, NodeView, PoolView, ServiceKind,
    ServicePort, ServiceView, SlicePort, SliceView, SpeakerView, TrafficPolicy,
};
pub use ownership::{
    AddressOwnership, LISTED_NODES_MAX, NobodyReason, Owner, own_targets, ownership,
    published_interfaces,
};
pub use snapshot::Snapshot;
pub use soundness::Soundness;
