//! When to try a failed write again: exponential, spread, one timetable for each key.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use herald_core::ServiceKey;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Keys waiting for another attempt.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    attempts: HashMap<ServiceKey, u32>,
    due: BinaryHeap<Reverse<(Instant, ServiceKey)>>,
    spread: RandomState,
}

impl Retries {
    /// Schedules another attempt for `key` and says in how long.
    pub(crate) fn failed(&mut self, key: &ServiceKey, now: Instant) -> Duration {
        let attempt = self.attempts.entry(key.clone()).or_default();
        let delay = FIRST.saturating_mul(1 << (*attempt).min(10)).min(LONGEST);
        *attempt = attempt.saturating_add(1);
        // Between the delay and one and a half of it, so that keys that failed together do not return together.
        let spread =
            u32::try_from(self.spread.hash_one((key, *attempt)) % 1000).unwrap_or_default();
        let delay = delay + delay.saturating_mul(spread) / 2000;
        self.due.push(Reverse((now + delay, key.clone())));
        delay
    }

    /// Forgets the failures of `key`.
    pub(crate) fn succeeded(&mut self, key: &ServiceKey) {
        self.attempts.remove(key);
    }

    /// Takes a key whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ServiceKey> {
        if self.due.peek()?.0.0 > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, key))| key)
    }

    /// When the next key is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.attempts.clear();
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_start_over_after_a_success() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let key = ServiceKey::new("a", "b");
        let delays: Vec<Duration> = (0..12).map(|_| retries.failed(&key, now)).collect();
        assert!(delays[0] >= FIRST && delays[0] < FIRST * 2);
        assert!(delays[11] >= LONGEST && delays[11] <= LONGEST * 3 / 2);
        assert!(retries.pop_due(now).is_none());
        assert_eq!(retries.pop_due(now + delays[0]), Some(key.clone()));
        retries.succeeded(&key);
        assert!(retries.failed(&key, now) < FIRST * 2);
    }
}
