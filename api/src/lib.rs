//! Herald's custom resources and the annotations, conditions and names that controller, speaker and users share.
//!
//! Types only. The CRDs in `deploy/crds` are printed from here by `crdgen`; what a rule cannot see (the order of two addresses,
//! other objects) is a condition that the controller writes. A field arrives here together with the code that honours it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![allow(
    clippy::duplicated_attributes,
    reason = "every printcolumn() of a resource has a type_"
)]

mod address_pool;
pub mod annotations;
pub mod conditions;
mod l2_advertisement;
pub mod names;
mod schema;
mod selector;
pub mod speaker;

pub use address_pool::{AddressPool, AddressPoolSpec, AddressPoolStatus, ServiceAllocation};
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec};
pub use selector::{LabelSelector, LabelSelectorOperator, LabelSelectorRequirement, selectors};
pub use speaker::{Speaker, SpeakerSpec, SpeakerStatus};
