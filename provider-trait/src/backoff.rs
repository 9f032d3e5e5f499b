use std::time::Duration;

use crate::ErrorKind;

/// Delays between tries: exponential with full jitter, so that many Services that failed together do not come back
/// together.
///
/// The delay is uniform between zero and `base · 2^failures`, at most `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the delay after the first failure.
    pub base: Duration,
    /// The largest bound.
    pub cap: Duration,
}

impl Backoff {
    /// The delays for errors of `kind`: a missing permission or a refusal is retried slowly, because a person has to act.
    pub fn for_kind(kind: ErrorKind) -> Self {
        let (base, cap) = match kind {
            ErrorKind::Retryable => (1, 120),
            ErrorKind::Throttled => (2, 120),
            ErrorKind::Permission => (15, 300),
            ErrorKind::Terminal => (60, 1800),
        };
        Self {
            base: Duration::from_secs(base),
            cap: Duration::from_secs(cap),
        }
    }

    /// The largest delay after `failures` earlier failures in a row.
    pub fn bound(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.min(31));
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The delay after `failures` earlier failures in a row; `random` is uniform over all of `u64`.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let nanos = self.bound(failures).as_nanos();
        // random / 2^64 of the bound, in integers.
        let part = nanos.saturating_mul(u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let backoff = Backoff {
            base: SECOND,
            cap: 10 * SECOND,
        };
        let bounds: Vec<u64> = (0..6).map(|n| backoff.bound(n).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.bound(u32::MAX), 10 * SECOND);
    }

    #[test]
    fn jitter_covers_everything_from_zero_to_the_bound() {
        let backoff = Backoff {
            base: SECOND,
            cap: 10 * SECOND,
        };
        assert_eq!(backoff.delay(2, 0), Duration::ZERO);
        assert_eq!(backoff.delay(2, 1 << 63), 2 * SECOND);
        let most = backoff.delay(2, u64::MAX);
        assert!(most <= 4 * SECOND && most > Duration::from_millis(3999));
    }
}
