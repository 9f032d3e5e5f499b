//! Leadership over a coordination Lease, as a pure decision: the record, when *we* first saw it, and our own clock.
//!
//! Other nodes' clocks are never trusted: a record runs out when we have watched it unchanged for its whole duration.
//! Times are durations since the process started.

use std::time::Duration;

/// How long a lease lasts and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others may take over when the record did not change for this long.
    pub duration: Duration,
    /// The leader stops by its own clock when it could not renew for this long; shorter than `duration`, and the difference
    /// is longer than any request may take.
    pub deadline: Duration,
    /// Time between attempts.
    pub retry: Duration,
}

impl Default for Timing {
    /// As kube-controller-manager: 15 s, 10 s, 2 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What the Lease object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `spec.holderIdentity`; empty after a release.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write the record with ourselves as holder.
    Acquire,
    /// We lead: write the record anew.
    Renew,
    /// Another leads; nothing changes before this instant unless the record does.
    Wait(Duration),
    /// We led and must stop writing at once.
    Lost(Loss),
}

/// How a leader lost the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is our own, and was not renewed in time.
    Late,
    /// It is another's.
    Taken,
    /// It was given back or deleted, and not by us.
    Gone,
}

impl Loss {
    /// What to say of the lease.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "was not renewed in time",
            Self::Taken => "is another's",
            Self::Gone => "is nobody's: somebody deleted or emptied it",
        }
    }
}

/// Decides from a record (`None`: no Lease object) that we saw in its present form since `first_seen`.
///
/// `renewed` is when we *began* the last successful write of the record, if we lead.
pub fn evaluate(
    record: Option<&Record>,
    first_seen: Duration,
    me: &str,
    renewed: Option<Duration>,
    now: Duration,
    timing: &Timing,
) -> Decision {
    let mine = record.is_some_and(|record| record.holder == me);
    if let Some(renewed) = renewed {
        return match record {
            Some(_) if mine && may_write(renewed, now, timing) => Decision::Renew,
            Some(_) if mine => Decision::Lost(Loss::Late),
            Some(record) if !record.holder.is_empty() => Decision::Lost(Loss::Taken),
            _ => Decision::Lost(Loss::Gone),
        };
    }
    match record {
        // Ourselves before a restart: the same identity never runs twice.
        _ if mine => Decision::Acquire,
        Some(record) if !record.holder.is_empty() => {
            let until = first_seen.saturating_add(record.duration);
            if now >= until {
                Decision::Acquire
            } else {
                Decision::Wait(until)
            }
        }
        _ => Decision::Acquire,
    }
}

/// Whether a leader that began its last successful renewal at `renewed` may still write.
pub fn may_write(renewed: Duration, now: Duration, timing: &Timing) -> bool {
    now < renewed.saturating_add(timing.deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn record(holder: &str) -> Record {
        Record {
            holder: holder.into(),
            duration: at(15),
        }
    }

    #[test]
    fn table() {
        let timing = Timing::default();
        let (a, b, free) = (record("a"), record("b"), record(""));
        for (name, record, first_seen, renewed, now, expected) in [
            ("no lease", None, 0, None, 0, Decision::Acquire),
            ("released", Some(&free), 0, None, 1, Decision::Acquire),
            (
                "ours before a restart",
                Some(&a),
                5,
                None,
                5,
                Decision::Acquire,
            ),
            (
                "another's, fresh",
                Some(&b),
                10,
                None,
                11,
                Decision::Wait(at(25)),
            ),
            (
                "another's, one tick early",
                Some(&b),
                10,
                None,
                24,
                Decision::Wait(at(25)),
            ),
            (
                "another's, run out",
                Some(&b),
                10,
                None,
                25,
                Decision::Acquire,
            ),
            ("ours", Some(&a), 0, Some(20), 22, Decision::Renew),
            (
                "ours, not renewed for too long",
                Some(&a),
                0,
                Some(20),
                30,
                Decision::Lost(Loss::Late),
            ),
            (
                "taken from us",
                Some(&b),
                22,
                Some(20),
                22,
                Decision::Lost(Loss::Taken),
            ),
            (
                "released by somebody while we lead",
                Some(&free),
                22,
                Some(20),
                22,
                Decision::Lost(Loss::Gone),
            ),
            (
                "deleted while we lead",
                None,
                22,
                Some(20),
                22,
                Decision::Lost(Loss::Gone),
            ),
        ] {
            let decision = evaluate(
                record,
                at(first_seen),
                "a",
                renewed.map(at),
                at(now),
                &timing,
            );
            assert_eq!(decision, expected, "{name}");
        }
    }

    /// Whatever the skew of the observers' start times, nobody acquires while the leader may still write.
    #[test]
    fn the_leader_stops_before_others_may_start() {
        let timing = Timing::default();
        let theirs = record("a");
        // The leader began its last renewal at 100 and another saw it at 100 or later: seeing comes after writing.
        for seen in 100..110 {
            for now in 100..140 {
                let takes = evaluate(Some(&theirs), at(seen), "b", None, at(now), &timing)
                    == Decision::Acquire;
                assert!(
                    !(takes && may_write(at(100), at(now), &timing)),
                    "seen {seen} now {now}"
                );
            }
        }
    }
}
