//! Kubernetes objects → the views that decide: the only place of this crate that reads both.
//!
//! Every function takes a whole object and returns its view at once, so that no whole object is ever kept. What a view
//! needs and the object lacks or garbles is left out with a warning that names the object; only an object that is of no
//! interest at all (headless, ExternalName, without a Service) gives `None`.

mod node;
mod parse;
mod resource;
mod service;
mod slice;
#[cfg(test)]
mod tests;

pub use node::node;
pub use resource::{advertisement, pool, speaker};
pub use service::service;
pub use slice::slice;

use std::fmt;
use std::sync::Arc;

use herald_core::ServiceKey;
use kube::api::ObjectMeta;

use crate::engine::SliceKey;

/// The key of a Service; `None` without a name, which the API never sends.
pub fn service_key(meta: &ObjectMeta) -> Option<ServiceKey> {
    Some(ServiceKey::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref()?,
    ))
}

/// The key of an EndpointSlice.
pub fn slice_key(meta: &ObjectMeta) -> Option<SliceKey> {
    Some(SliceKey {
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref()?.into(),
    })
}

/// The key of an object without a namespace.
pub fn name_key(meta: &ObjectMeta) -> Option<Arc<str>> {
    meta.name.as_deref().map(Arc::from)
}

/// Says once per object and change what of it was left out.
fn warn_left_out(kind: &str, object: &dyn fmt::Display, field: &str, value: &str) {
    tracing::warn!(%object, field, value, "{kind}: cannot read this value; it is left out");
}
