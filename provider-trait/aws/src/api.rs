use std::future::Future;

use herald_provider::{Gate, ProviderError};

use crate::call::{Answer, Change, Listing, Query};

/// The calls to AWS.
///
/// Changes are idempotent: creating what exists as wanted answers with what exists; adding what is there and removing
/// what is not there succeed.
pub trait Api: Send + Sync {
    /// Lists all there is; fails as a whole rather than returning a part.
    fn list(&self) -> impl Future<Output = Result<Listing, ProviderError>> + Send;

    /// Makes a reading call.
    fn ask(&self, query: &Query) -> impl Future<Output = Result<Answer, ProviderError>> + Send;

    /// Makes a changing call. `gate` is asked right before the request leaves, after any waiting.
    fn change(
        &self,
        change: &Change,
        gate: &dyn Gate,
    ) -> impl Future<Output = Result<Answer, ProviderError>> + Send;
}
