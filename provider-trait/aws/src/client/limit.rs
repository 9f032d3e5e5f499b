//! How fast calls may go: token buckets in virtual time.
//!
//! A call reserves its place at once and then waits for its time, so places are given in the order of asking: with
//! one call at a time per load balancer, nobody can crowd out the others.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate and how much may go at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls per second.
    pub per_second: f64,
    /// Calls that may go at once after a pause.
    pub burst: u32,
}

/// The rates of all kinds of calls. AWS gives an account and region 40 reads at once and 10 a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Calls that read.
    pub read: Rate,
    /// Calls that change something.
    pub change: Rate,
    /// Registering and deregistering targets.
    pub targets: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            read: Rate {
                per_second: 10.0,
                burst: 40,
            },
            change: Rate {
                per_second: 3.0,
                burst: 20,
            },
            targets: Rate {
                per_second: 4.0,
                burst: 20,
            },
        }
    }
}

/// A token bucket. Times are durations since an arbitrary start.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    interval: Duration,
    tolerance: Duration,
    /// When the next call would be due if calls came evenly.
    due: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate.per_second.max(0.001));
        let tolerance = interval.saturating_mul(rate.burst.saturating_sub(1));
        Self {
            interval,
            tolerance,
            due: Duration::ZERO,
        }
    }

    /// Takes the next place and returns how long to wait for it.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        let due = self.due.max(now);
        self.due = due + self.interval;
        (due.saturating_sub(self.tolerance)).saturating_sub(now)
    }
}

/// A bucket that many tasks share.
#[derive(Debug)]
pub(super) struct Limiter {
    start: Instant,
    bucket: Mutex<Bucket>,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            start: Instant::now(),
            bucket: Mutex::new(Bucket::new(rate)),
        }
    }

    /// Waits for this call's turn.
    pub(super) async fn wait(&self) {
        let wait = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.reserve(self.start.elapsed())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_evenly() {
        let mut bucket = Bucket::new(Rate {
            per_second: 10.0,
            burst: 3,
        });
        let now = Duration::from_secs(5);
        let waits: Vec<u128> = (0..6).map(|_| bucket.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        let later = now + Duration::from_secs(60);
        let waits: Vec<u128> = (0..4).map(|_| bucket.reserve(later).as_millis()).collect();
        assert_eq!(
            waits,
            [0, 0, 0, 100],
            "it fills up, and not beyond the burst"
        );
    }

    #[test]
    fn over_any_time_the_rate_holds() {
        let mut bucket = Bucket::new(Rate {
            per_second: 4.0,
            burst: 20,
        });
        let mut now = Duration::ZERO;
        for _ in 0..400 {
            now += bucket.reserve(now);
        }
        // 20 at once, the other 380 at 4 a second.
        assert_eq!(now, Duration::from_secs(95));
    }
}
