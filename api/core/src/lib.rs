//! The pure words that controller and speaker decide with: Service keys, IP families, address ranges, label selectors.
//!
//! No Kubernetes types, no clock, no I/O. Text from users becomes one of these types at the edge and is not parsed twice.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod duration;
mod key;
mod pool_record;
mod protocol;
mod range;
mod reserved;
mod selector;

pub use duration::parse_duration;
pub use key::ServiceKey;
pub use pool_record::{earlier_pools, remember_pools, write_earlier_pools};
pub use protocol::{IpFamily, Protocol};
pub use range::{AddressRange, ParseRangeError};
pub use reserved::{NodeAddresses, Reservation, ReservedAddresses, special_ranges, subnet_ends};
pub use selector::{Labels, Operator, Requirement, Selector};
