use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Calls of one operation with one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallCount {
    /// The operation, as AWS names it.
    pub operation: &'static str,
    /// `ok`, or AWS's error code.
    pub result: String,
    /// How many requests were sent, retries included.
    pub count: u64,
}

/// Counts of the calls made, for the metrics endpoint.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, String), u64>>);

impl Metrics {
    pub(super) fn count(&self, operation: &'static str, result: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((operation, result.to_owned())).or_default() += 1;
    }

    /// All counts, by operation and result.
    pub fn counts(&self) -> Vec<CallCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |((operation, result), count): (&(&'static str, String), &u64)| CallCount {
            operation,
            result: result.clone(),
            count: *count,
        };
        counts.iter().map(one).collect()
    }
}
