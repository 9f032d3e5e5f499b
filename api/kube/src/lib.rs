//! Reading Kubernetes objects, field by field, and watches that do not believe for ever in what they saw.
//!
//! An object from the API server is the work of many hands. [`Read`] decodes only what Herald uses of it, and a value that is not
//! what it should be costs that field and nothing else: it is left out and named in [`Read::lost`]. What an object must be to be
//! read is data, one [`Shape`] for each kind. Where leaving a field out would change what is decided (an unreadable type would
//! make a ClusterIP Service of a LoadBalancer one), the object is [doubtful](Read::doubtful), and what was known of it stays.

#![forbid(unsafe_code)]

mod filter;
mod read;
mod relist;
mod shape;

pub use read::{Read, Readable};
pub use relist::{Cause, Pace, interval, relisting};
pub use shape::{Field, Lost, Shape};

#[cfg(test)]
mod tests;
