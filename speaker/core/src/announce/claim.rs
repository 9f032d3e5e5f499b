use std::time::Duration;

use super::timing::{
    DEFENCE, DEFENCE_GRACE, PROBE_INTERVAL, PROBES, REFRESH, ROUNDS, SEND_RETRY, WATCH,
    WATCH_PROBE, backoff,
};
use super::{ClaimKey, ClaimState, Counts};
use crate::Mac;
use crate::election::spread;

/// One address on one interface.
#[derive(Debug)]
pub(super) struct Claim {
    phase: Phase,
    pub(super) counts: Counts,
}

#[derive(Debug)]
enum Phase {
    Down,
    Probing(Probing),
    Announcing(Announcing),
}

#[derive(Debug)]
struct Probing {
    /// Probes of this series.
    sent: u8,
    next: Duration,
    conflict: Option<Mac>,
    /// Series in a row that met another host.
    refusals: u32,
}

#[derive(Debug)]
struct Announcing {
    round: usize,
    announce_at: Duration,
    probe_at: Duration,
    watch_until: Duration,
    defended: Option<Duration>,
}

/// What another host was heard to say about the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is mine.
    Claim,
    /// Is it anyone's?
    Probe,
    /// Who has it? An ordinary request.
    Question,
}

/// What a due claim wants sent.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) probe: bool,
    pub(super) announce: bool,
    /// It can only go on once everything received has been read.
    pub(super) blocked: bool,
}

impl Claim {
    /// A new claim; with a link that is up its first probe is due at `at`.
    pub(super) fn new(up: bool, at: Duration) -> Self {
        let phase = if up {
            Phase::Probing(Probing::new(at))
        } else {
            Phase::Down
        };
        Self {
            phase,
            counts: Counts::default(),
        }
    }

    pub(super) fn state(&self) -> ClaimState {
        match &self.phase {
            Phase::Down => ClaimState::LinkDown,
            Phase::Probing(Probing {
                conflict: Some(mac),
                ..
            }) => ClaimState::Conflict { mac: *mac },
            Phase::Probing(_) => ClaimState::Probing,
            Phase::Announcing(_) => ClaimState::Announcing,
        }
    }

    /// When [`Claim::step`] is due.
    pub(super) fn timer(&self) -> Duration {
        match &self.phase {
            Phase::Down => Duration::MAX,
            Phase::Probing(probing) => probing.next,
            Phase::Announcing(announcing) => announcing.announce_at.min(announcing.probe_at),
        }
    }

    /// The link may have changed.
    pub(super) fn handle_link(&mut self, up: bool, new_mac: bool, now: Duration) {
        match &mut self.phase {
            Phase::Down if up => self.phase = Phase::Probing(Probing::new(now)),
            Phase::Down => {}
            _ if !up => self.phase = Phase::Down,
            Phase::Probing(probing) if new_mac => *probing = Probing::new(now),
            // Nobody else got hold of the address: tell everyone where it is now.
            Phase::Announcing(announcing) if new_mac => *announcing = Announcing::new(now),
            _ => {}
        }
    }

    /// Whatever was known is in doubt.
    pub(super) fn probe_again(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Down => {}
            Phase::Probing(probing) => (probing.sent, probing.next) = (0, now),
            Phase::Announcing(_) => self.phase = Phase::Probing(Probing::new(now)),
        }
    }

    /// Something was heard from the first of `macs`, the second is ours. True when a question is to be answered.
    pub(super) fn hear(
        &mut self,
        heard: Heard,
        (other, ours): (Mac, Mac),
        deaf: bool,
        now: Duration,
    ) -> bool {
        if heard != Heard::Claim {
            self.counts.requests += 1;
        }
        let gives_way = match (&mut self.phase, heard) {
            (Phase::Announcing(_), Heard::Question | Heard::Probe) if !deaf => {
                self.counts.replies += 1;
                return true;
            }
            (Phase::Announcing(_) | Phase::Probing(_), Heard::Question) | (Phase::Down, _) => false,
            // It got no answer in time and may hold the address by now.
            (Phase::Announcing(_), Heard::Probe) | (Phase::Probing(_), Heard::Claim) => true,
            (Phase::Announcing(announcing), Heard::Claim) => {
                deaf || other < ours || !announcing.defend(now)
            }
            (Phase::Probing(_), Heard::Probe) => other < ours,
        };
        if gives_way {
            self.yield_to(other, now);
        }
        false
    }

    fn yield_to(&mut self, other: Mac, now: Duration) {
        if let Phase::Announcing(_) = self.phase {
            let series = Probing {
                sent: PROBES,
                ..Probing::new(now)
            };
            self.phase = Phase::Probing(series);
        }
        if let Phase::Probing(probing) = &mut self.phase {
            self.counts.conflicts += u64::from(probing.conflict != Some(other));
            probing.refuse(other, now);
        }
    }

    pub(super) fn handle_send_failure(&mut self, probe: bool, now: Duration) {
        match &mut self.phase {
            Phase::Probing(probing) if probe => {
                (probing.sent, probing.next) = (0, now + SEND_RETRY);
            }
            Phase::Announcing(announcing) if !probe => {
                announcing.round = announcing.round.saturating_sub(1);
                announcing.announce_at = now + SEND_RETRY;
            }
            _ => {}
        }
    }

    /// Does what is due. Everything received before `caught_up` is known; `slow` is the pace of slow probes.
    pub(super) fn step(
        &mut self,
        key: &ClaimKey,
        (caught_up, slow): (Duration, Duration),
        now: Duration,
    ) -> Step {
        match &mut self.phase {
            Phase::Down => Step::default(),
            Phase::Probing(probing) if probing.sent < PROBES => {
                probing.sent += 1;
                probing.next = now + PROBE_INTERVAL;
                Step {
                    probe: true,
                    ..Step::default()
                }
            }
            // An answer may be waiting to be read.
            Phase::Probing(probing) if caught_up < probing.next => Step {
                blocked: true,
                ..Step::default()
            },
            Phase::Probing(_) => {
                let mut announcing = Announcing::new(now);
                let step = announcing.step(key, slow, now);
                self.phase = Phase::Announcing(announcing);
                step
            }
            Phase::Announcing(announcing) => announcing.step(key, slow, now),
        }
    }
}

impl Probing {
    fn new(at: Duration) -> Self {
        Self {
            sent: 0,
            next: at,
            conflict: None,
            refusals: 0,
        }
    }

    /// Another host has the better claim: wait and begin anew.
    fn refuse(&mut self, other: Mac, now: Duration) {
        self.conflict = Some(other);
        if self.sent > 0 {
            self.refusals = self.refusals.saturating_add(1);
            (self.sent, self.next) = (0, now + backoff(self.refusals));
        }
    }
}

impl Announcing {
    fn new(now: Duration) -> Self {
        Self {
            round: 0,
            announce_at: now,
            probe_at: now + WATCH_PROBE,
            watch_until: now + WATCH,
            defended: None,
        }
    }

    /// Another host claims the address and ours is the better claim: announce again. False when that did not help.
    fn defend(&mut self, now: Duration) -> bool {
        let since = self.defended.map(|at| now.saturating_sub(at));
        match since {
            Some(since) if since < DEFENCE_GRACE => true,
            Some(since) if since < DEFENCE => false,
            _ => {
                *self = Self {
                    defended: Some(now),
                    ..Self::new(now)
                };
                true
            }
        }
    }

    fn step(&mut self, key: &ClaimKey, slow: Duration, now: Duration) -> Step {
        let mut step = Step::default();
        if now >= self.announce_at {
            step.announce = true;
            let wait = ROUNDS.get(self.round).copied().unwrap_or(REFRESH);
            self.announce_at = now
                + if wait == REFRESH {
                    jitter(wait, key)
                } else {
                    wait
                };
            self.round = self.round.saturating_add(1).min(ROUNDS.len());
        }
        if now >= self.probe_at {
            step.probe = true;
            let watching = now < self.watch_until;
            self.probe_at = now
                + if watching {
                    WATCH_PROBE
                } else {
                    jitter(slow, key)
                };
        }
        step
    }
}

/// Between 0.9 and 1.1 of `base`, the same for an address every time, so that addresses taken together drift apart.
fn jitter(base: Duration, key: &ClaimKey) -> Duration {
    let per_mille = u32::try_from(spread(key.address) % 201).unwrap_or(0);
    base * (900 + per_mille) / 1000
}
