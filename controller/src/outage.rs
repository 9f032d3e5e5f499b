//! Whose trouble a failed write is. The API server's is told once when it begins and once when it is over, however many objects
//! wait for it; `heraldlb_controller_writes_total` counts the failures.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::apply::ApplyError;

/// Why a write failed, as far as the log is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It did not fail.
    None,
    /// This object's: refused, or in conflict.
    Object,
    /// This object is gone: no trouble at all.
    Gone,
    /// The API server does not answer, or not in time.
    Server,
}

/// An outage is over when no write has failed for this long: a slow API server lets some through.
const OVER: Duration = Duration::from_secs(30);

/// Failures that are the API server's, since an outage began.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    failures: u64,
    last: Option<Instant>,
}

impl Outage {
    /// Takes the outcome of a write into account, and says whose trouble it is.
    pub(crate) fn judge(&mut self, error: Option<&ApplyError>, now: Instant) -> Trouble {
        let trouble = error.map_or(Trouble::None, trouble);
        if let (Trouble::Server, Some(error)) = (trouble, error) {
            self.failures += 1;
            self.last = Some(now);
            if self.failures == 1 {
                warn!(
                    error = error as &dyn std::error::Error,
                    "the API server is slow or away: writes are tried again, and counted in heraldlb_controller_writes_total"
                );
            }
        } else if self
            .last
            .is_some_and(|last| now.duration_since(last) > OVER)
        {
            info!(failed = self.failures, "the API server takes writes again");
            *self = Self::default();
        }
        trouble
    }
}

fn trouble(error: &ApplyError) -> Trouble {
    match error {
        ApplyError::Api(kube::Error::Api(status)) => match status.code {
            404 => Trouble::Gone,
            // Too many requests.
            429 => Trouble::Server,
            400..=499 => Trouble::Object,
            _ => Trouble::Server,
        },
        ApplyError::NotLeading => Trouble::Gone,
        ApplyError::Api(_) | ApplyError::Timeout => Trouble::Server,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> ApplyError {
        let status = Status {
            code,
            ..Status::default()
        };
        ApplyError::Api(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn the_api_servers_trouble_is_told_once_and_an_objects_each_time() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            for error in [ApplyError::Timeout, answered(503), answered(429)] {
                assert_eq!(outage.judge(Some(&error), now), Trouble::Server);
            }
            // Some get through, or are refused: that ends nothing.
            assert_eq!(outage.judge(None, now), Trouble::None);
            assert_eq!(outage.judge(Some(&answered(409)), now), Trouble::Object);
            assert_eq!(outage.judge(Some(&answered(422)), now), Trouble::Object);
            assert_eq!(outage.judge(Some(&answered(404)), now), Trouble::Gone);
        }
        assert_eq!(outage.failures, 300);
        outage.judge(None, start + Duration::from_secs(129));
        assert_eq!(outage.failures, 300);
        outage.judge(None, start + Duration::from_secs(130));
        assert_eq!(outage.failures, 0);
    }
}
