//! When to try a failed write again: exponential, spread, one timetable for each key.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use herald_core::ServiceKey;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Keys whose last write failed. A key waits for one attempt at most, however often it fails meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    /// Failures since the last success, and when the next attempt is due unless it is under way.
    failures: HashMap<ServiceKey, (u32, Option<Instant>)>,
    due: BTreeSet<(Instant, ServiceKey)>,
    spread: RandomState,
}

impl Retries {
    /// Schedules another attempt for `key` and says in how long.
    pub(crate) fn failed(&mut self, key: &ServiceKey, now: Instant) -> Duration {
        let (attempt, due) = self.failures.entry(key.clone()).or_default();
        let delay = FIRST.saturating_mul(1 << (*attempt).min(10)).min(LONGEST);
        *attempt = attempt.saturating_add(1);
        // Between the delay and one and a half of it, so that keys that failed together do not return together.
        let spread =
            u32::try_from(self.spread.hash_one((key, *attempt)) % 1000).unwrap_or_default();
        let delay = delay + delay.saturating_mul(spread) / 2000;
        if let Some(earlier) = due.replace(now + delay) {
            self.due.remove(&(earlier, key.clone()));
        }
        self.due.insert((now + delay, key.clone()));
        delay
    }

    /// Whether the last write of `key` failed.
    pub(crate) fn is_failing(&self, key: &ServiceKey) -> bool {
        self.failures.contains_key(key)
    }

    /// Forgets the failures of `key`: it succeeded, or is gone.
    pub(crate) fn forget(&mut self, key: &ServiceKey) {
        if let Some((_, Some(due))) = self.failures.remove(key) {
            self.due.remove(&(due, key.clone()));
        }
    }

    /// Forgets the keys that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ServiceKey) -> bool) {
        self.failures.retain(|key, _| keep(key));
        self.due.retain(|(_, key)| keep(key));
    }

    /// Takes a key whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ServiceKey> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        if let Some((_, due)) = self.failures.get_mut(&key) {
            *due = None;
        }
        Some(key)
    }

    /// When the next key is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.failures.clear();
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
        assert_eq!(retries.pop_due(now + delays[11]), Some(key.clone()));
        retries.forget(&key);
        assert!(retries.failed(&key, now) < FIRST * 2);
    }

    #[test]
    fn a_key_that_fails_again_and_again_waits_for_one_attempt() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let (key, other) = (ServiceKey::new("a", "b"), ServiceKey::new("a", "c"));
        let last = (0..5).map(|_| retries.failed(&key, now)).last().unwrap();
        assert_eq!(retries.next(), Some(now + last));
        assert_eq!(retries.pop_due(now + LONGEST), Some(key.clone()));
        assert_eq!(retries.pop_due(now + LONGEST), None);
        assert!(retries.is_failing(&key));
        retries.failed(&key, now);
        retries.failed(&other, now);
        retries.retain(|kept| *kept == other);
        assert!(!retries.is_failing(&key));
        retries.forget(&other);
        assert_eq!(retries.next(), None);
    }
}
