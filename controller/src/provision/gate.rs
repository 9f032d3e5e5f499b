//! The right to change something at the provider: we lead in this term, and the lease lasts long enough.

use std::time::Duration;

use herald_controller_core::lease::Timing;
use herald_provider::{ErrorKind, Gate, ProviderError};
use tokio::sync::watch;

use crate::lease::Leadership;

/// Time that must be left of the lease, by our own clock, when a changing call leaves.
///
/// A cloud has no fencing: what was sent cannot be called back. Its own answer may take longer than this; what makes that harmless
/// is that a new leader lists everything first, and that names are the same for both.
const LEFT: Duration = Duration::from_secs(7);

/// The code of the error that says that the right has ended.
const NOT_LEADING: &str = "NotLeading";

/// Whether a pass was cut off: what failed is nothing that its Service's users could act on.
pub(super) fn cut_off(errors: &[ProviderError]) -> bool {
    errors.iter().any(|error| error.code == NOT_LEADING)
}

/// Open while we lead in one term and are not told to stop.
#[derive(Clone, Debug)]
pub(crate) struct LeaderGate {
    /// Its only value to come is true.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) term: u64,
}

impl LeaderGate {
    /// Whether a request to the API server may be sent.
    pub(crate) fn may_write(&self) -> bool {
        self.leadership.borrow().term() == Some(self.term)
    }
}

impl Gate for LeaderGate {
    fn check(&self) -> Result<(), ProviderError> {
        let leadership = *self.leadership.borrow();
        let refused = |message: &str| {
            let kind = ErrorKind::Retryable;
            Err(
                ProviderError::new(kind, "change", "this load balancer", message)
                    .with_code(NOT_LEADING),
            )
        };
        if *self.stop.borrow() {
            return refused("the controller is stopping");
        }
        match leadership {
            Leadership::Leading { term, renewed } if term == self.term => {
                let left = Timing::default().duration.saturating_sub(renewed.elapsed());
                if left >= LEFT {
                    return Ok(());
                }
                refused("the lease of this replica was not renewed for too long")
            }
            _ => refused("this replica does not lead any more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_closes_before_the_lease_runs_out_and_with_the_term() {
        let renewed = Instant::now();
        let (to, leadership) = watch::channel(Leadership::Leading { term: 2, renewed });
        let (stop_to, stop) = watch::channel(false);
        let gate = LeaderGate {
            stop,
            leadership,
            term: 2,
        };
        assert!(gate.check().is_ok() && gate.may_write());
        advance(Duration::from_secs(8)).await;
        assert!(gate.check().is_ok());
        advance(Duration::from_millis(1)).await;
        assert!(gate.check().is_err(), "7 s have to be left of 15");
        assert!(gate.may_write(), "the API server answers sooner");
        advance(Duration::from_secs(2)).await;
        assert!(!gate.may_write());
        let renewed = Instant::now();
        to.send_replace(Leadership::Leading { term: 3, renewed });
        assert!(gate.check().is_err() && !gate.may_write());
        to.send_replace(Leadership::Leading { term: 2, renewed });
        assert!(gate.check().is_ok());
        stop_to.send_replace(true);
        assert!(gate.check().is_err(), "stopping");
        to.send_replace(Leadership::Following);
        assert!(gate.check().is_err());
    }
}
