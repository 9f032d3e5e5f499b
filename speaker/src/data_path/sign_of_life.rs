//! When the speaker's sign of life in the kernel is renewed.

use std::time::Duration;

use tokio::time::Instant;

/// After a pause of this process (SIGSTOP, a stalled machine): what the watches missed arrives within this time.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The state of one sign. It says "these rules are kept true", so it is renewed by the thread that keeps them true, right
/// after everything wanted was committed, and by nobody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignOfLife {
    lasts: Duration,
    renewed: Option<Instant>,
    due: Instant,
}

impl SignOfLife {
    /// One that lasts this long in the kernel; due at once.
    pub(super) fn new(lasts: Duration, now: Instant) -> Self {
        Self {
            lasts,
            renewed: None,
            due: now,
        }
    }

    /// When to renew it. Two renewals may fail before it runs out.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It was committed.
    pub(super) fn renewed(&mut self, now: Instant) {
        self.renewed = Some(now);
        self.due = now + self.lasts / 3;
    }

    /// This process slept beyond `deadline`, when it meant to wake. `true` if the sign ran out meanwhile: rules are
    /// compared first then, and it comes back only after the watches have caught up.
    pub(super) fn overslept(&mut self, deadline: Instant, now: Instant) -> bool {
        let gone = self.renewed.is_some_and(|at| at + self.lasts <= now);
        let ran_out = gone && deadline + self.lasts / 3 <= now;
        if ran_out {
            self.renewed = None;
            self.due = now + CATCH_UP.min(self.lasts / 3);
        }
        ran_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_mins(1);

    #[test]
    fn it_is_renewed_well_before_it_runs_out() {
        let start = Instant::now();
        let mut sign = SignOfLife::new(LASTS, start);
        assert_eq!(sign.due(), start);
        sign.renewed(start);
        assert_eq!(sign.due(), start + LASTS / 3);
        assert!(!sign.overslept(sign.due(), sign.due()));
    }

    #[test]
    fn it_does_not_come_back_at_once_after_a_pause() {
        let start = Instant::now();
        let mut sign = SignOfLife::new(LASTS, start);
        sign.renewed(start);
        let woken = start + 2 * LASTS;
        assert!(sign.overslept(sign.due(), woken));
        assert_eq!(sign.due(), woken + CATCH_UP);
        assert!(!sign.overslept(sign.due(), sign.due()), "once");
    }

    #[test]
    fn a_short_pause_does_no_harm() {
        let start = Instant::now();
        let mut sign = SignOfLife::new(LASTS, start);
        sign.renewed(start);
        let woken = start + LASTS / 2;
        assert!(!sign.overslept(sign.due(), woken));
        assert!(sign.due() < woken, "renewed at once");
    }

    /// While the kernel refuses it the thread is awake, and what it wants is up to date.
    #[test]
    fn a_refused_sign_comes_back_as_soon_as_the_kernel_takes_it() {
        let start = Instant::now();
        let mut sign = SignOfLife::new(LASTS, start);
        sign.renewed(start);
        let retry = start + 2 * LASTS;
        assert!(!sign.overslept(retry, retry));
        assert!(sign.due() < retry);
    }
}
