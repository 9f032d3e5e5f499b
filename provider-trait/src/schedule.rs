use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::LoadBalancerId;

/// When to look at which load balancer: after a change, when a wait is over, and now and then for the audit.
///
/// Times are durations since an arbitrary start, on a clock that only goes forward. At most one pass runs over a load
/// balancer at a time; different ones do not wait for each other (invariant I7).
#[derive(Clone, Debug)]
pub struct Schedule {
    entries: BTreeMap<LoadBalancerId, Entry>,
    /// What waits for a time, in order of time.
    queue: BTreeSet<(Duration, LoadBalancerId)>,
    audit: Duration,
    audited: Option<LoadBalancerId>,
    next_audit: Duration,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    due: Option<Duration>,
    running: bool,
    /// It changed while its pass was running.
    again: bool,
    failures: u32,
}

/// A pass to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The load balancer.
    pub id: LoadBalancerId,
    /// How many passes over it failed in a row.
    pub failures: u32,
    /// It is an audit: everything is read again first (`Provider::forget` with no steps).
    pub audit: bool,
}

impl Schedule {
    /// An empty schedule that audits one load balancer every `audit`, all in turn.
    pub fn new(audit: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            audit,
            audited: None,
            next_audit: audit,
        }
    }

    /// Something about a load balancer changed, or it is new: its turn is now, whatever it waits for.
    pub fn touch(&mut self, id: &LoadBalancerId, now: Duration) {
        let entry = self.entries.entry(id.clone()).or_default();
        if entry.running {
            entry.again = true;
        } else {
            self.set(id, Some(now));
        }
    }

    /// Something about a load balancer can wait a little: its turn is at `at`, or before.
    pub fn touch_by(&mut self, id: &LoadBalancerId, at: Duration) {
        let due = self.entries.get(id).and_then(|entry| entry.due);
        self.touch(id, due.map_or(at, |due| due.min(at)));
    }

    /// Nothing is left of a load balancer.
    pub fn remove(&mut self, id: &LoadBalancerId) {
        self.set(id, None);
        self.entries.remove(id);
    }

    /// The next pass to make, if one is due; it has to be reported by [`Schedule::done`].
    pub fn next(&mut self, now: Duration) -> Option<Work> {
        let due = self
            .queue
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| id.clone());
        let (id, audit) = match due {
            Some(id) => (id, false),
            None => (self.next_audited(now)?, true),
        };
        self.set(&id, None);
        let entry = self.entries.get_mut(&id)?;
        entry.running = true;
        Some(Work {
            failures: entry.failures,
            id,
            audit,
        })
    }

    /// A pass ended. `retry_after` is when to look again; `failed` says whether it met an error.
    pub fn done(
        &mut self,
        id: &LoadBalancerId,
        retry_after: Option<Duration>,
        failed: bool,
        now: Duration,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.running = false;
        entry.failures = if failed {
            entry.failures.saturating_add(1)
        } else {
            0
        };
        let due = if std::mem::take(&mut entry.again) {
            Some(now)
        } else {
            retry_after.map(|wait| now.saturating_add(wait))
        };
        self.set(id, due);
    }

    /// How long nothing is due; `None` when there is nothing to wait for.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let due = self.queue.first().map(|(at, _)| *at);
        let idle = self.entries.values().any(|entry| !entry.running);
        let audit = idle.then_some(self.next_audit);
        due.into_iter()
            .chain(audit)
            .min()
            .map(|at| at.saturating_sub(now))
    }

    fn next_audited(&mut self, now: Duration) -> Option<LoadBalancerId> {
        if now < self.next_audit {
            return None;
        }
        self.next_audit = now.saturating_add(self.audit);
        let idle = |(id, entry): (&LoadBalancerId, &Entry)| (!entry.running).then(|| id.clone());
        let after = self.audited.clone();
        let later = self
            .entries
            .iter()
            .filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after))
            .find_map(idle);
        let id = later.or_else(|| self.entries.iter().find_map(idle))?;
        self.audited = Some(id.clone());
        Some(id)
    }

    fn set(&mut self, id: &LoadBalancerId, due: Option<Duration>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Some(old) = entry.due.take() {
            self.queue.remove(&(old, id.clone()));
        }
        entry.due = due;
        if let Some(at) = due {
            self.queue.insert((at, id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> LoadBalancerId {
        LoadBalancerId::of_service(name)
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn work(schedule: &mut Schedule, now: u64) -> Option<(String, u32, bool)> {
        schedule
            .next(s(now))
            .map(|w| (w.id.as_str().to_owned(), w.failures, w.audit))
    }

    #[test]
    fn a_change_during_a_pass_is_looked_at_after_it_and_never_beside_it() {
        let mut schedule = Schedule::new(s(1000));
        schedule.touch(&id("a"), s(1));
        assert_eq!(work(&mut schedule, 1), Some(("a".into(), 0, false)));
        schedule.touch(&id("a"), s(2));
        assert_eq!(work(&mut schedule, 2), None);
        schedule.done(&id("a"), Some(s(60)), false, s(3));
        assert_eq!(
            work(&mut schedule, 3),
            Some(("a".into(), 0, false)),
            "the wait is over"
        );
        schedule.done(&id("a"), None, false, s(4));
        assert_eq!(work(&mut schedule, 100), None);
    }

    #[test]
    fn what_can_wait_is_put_off_once_and_puts_nothing_off() {
        let mut schedule = Schedule::new(s(1000));
        schedule.touch_by(&id("a"), s(5));
        schedule.touch_by(&id("a"), s(8));
        assert_eq!(work(&mut schedule, 4), None);
        assert_eq!(work(&mut schedule, 5), Some(("a".into(), 0, false)));
        schedule.done(&id("a"), Some(s(2)), false, s(5));
        schedule.touch_by(&id("a"), s(9));
        assert_eq!(work(&mut schedule, 7), Some(("a".into(), 0, false)));
    }

    #[test]
    fn one_that_is_slow_or_fails_holds_up_no_other() {
        let mut schedule = Schedule::new(s(1000));
        schedule.touch(&id("slow"), s(0));
        assert!(work(&mut schedule, 0).is_some());
        schedule.touch(&id("bad"), s(0));
        assert_eq!(work(&mut schedule, 0), Some(("bad".into(), 0, false)));
        schedule.done(&id("bad"), Some(s(10)), true, s(1));
        assert_eq!(schedule.wait(s(1)), Some(s(10)));
        schedule.touch(&id("good"), s(2));
        assert_eq!(work(&mut schedule, 2), Some(("good".into(), 0, false)));
        assert_eq!(work(&mut schedule, 10), None);
        assert_eq!(work(&mut schedule, 11), Some(("bad".into(), 1, false)));
        schedule.done(&id("bad"), None, false, s(12));
        schedule.touch(&id("bad"), s(13));
        assert_eq!(
            work(&mut schedule, 13),
            Some(("bad".into(), 0, false)),
            "one success forgets"
        );
    }

    #[test]
    fn audits_come_at_their_rate_in_turn_and_skip_what_runs() {
        let mut schedule = Schedule::new(s(10));
        for name in ["a", "b", "c"] {
            schedule.touch(&id(name), s(0));
            assert!(work(&mut schedule, 0).is_some());
            schedule.done(&id(name), None, false, s(0));
        }
        assert_eq!(schedule.wait(s(4)), Some(s(6)));
        let mut seen = Vec::new();
        for now in 0..=45 {
            while let Some((name, _, audit)) = work(&mut schedule, now) {
                assert!(audit);
                seen.push(name.clone());
                if name != "b" {
                    schedule.done(&id(&name), None, false, s(now));
                }
            }
        }
        assert_eq!(seen, ["a", "b", "c", "a"]);
        assert_eq!(
            work(&mut schedule, 60),
            Some(("c".into(), 0, true)),
            "b is still running"
        );
    }

    #[test]
    fn what_is_gone_is_not_looked_at_again() {
        let mut schedule = Schedule::new(s(10));
        schedule.touch(&id("a"), s(0));
        assert!(work(&mut schedule, 0).is_some());
        schedule.remove(&id("a"));
        schedule.done(&id("a"), Some(s(1)), false, s(1));
        assert_eq!(work(&mut schedule, 100), None);
        assert_eq!(schedule.wait(s(100)), None);
    }
}
