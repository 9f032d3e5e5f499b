//! How often rules that another program damages are mended: at once, but not as often as that program damages them.
//!
//! A few times in a row damage is mended as it is noticed, after that at a steady pace. Whoever needs more than the few is
//! in a fight with another program, and the rules are not to be relied on until it has been quiet for a while.

use std::time::{Duration, Instant};

/// Mended at once, one after the other.
const AT_ONCE: u32 = 4;
/// Between two times once those are used up; as long until one of them is there again.
const PACE: Duration = Duration::from_millis(500);

/// The account of one data path.
#[derive(Clone, Copy, Debug)]
pub struct Mending {
    /// When the account is full again; every time costs it [`PACE`].
    full_at: Instant,
    damaged: bool,
    fought: bool,
}

impl Mending {
    /// A full account, no damage.
    pub fn new(now: Instant) -> Self {
        Self {
            full_at: now,
            damaged: false,
            fought: false,
        }
    }

    /// Damage was noticed. True when that was not known yet.
    pub fn damage(&mut self, now: Instant) -> bool {
        let new = !self.damaged;
        self.damaged = true;
        self.fought |= now < self.due_at();
        new
    }

    /// Whether there is damage.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// From when on damage may be mended.
    pub fn due_at(&self) -> Instant {
        let credit = PACE * (AT_ONCE - 1);
        self.full_at.checked_sub(credit).unwrap_or(self.full_at)
    }

    /// The rules were brought in line again, in a time of `took`: it is paid back as pause, so that mending large rules takes
    /// a share of the processor at most.
    pub fn mended(&mut self, now: Instant, took: Duration) {
        self.damaged = false;
        self.full_at = self.full_at.max(now) + PACE.max(took * 2);
    }

    /// Whether the rules may be relied on: not damaged, and after a fight not before it has been quiet for a while.
    pub fn sound(&mut self, now: Instant) -> bool {
        self.fought &= now < self.full_at;
        !self.damaged && !self.fought
    }

    /// When to look again at [`Self::due_at`] or [`Self::sound`]; `None` when nothing is pending.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.damaged {
            Some(self.due_at())
        } else {
            self.fought.then_some(self.full_at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(mending: &mut Mending, now: Instant) {
        mending.mended(now, Duration::from_millis(1));
    }

    #[test]
    fn single_damage_is_mended_at_once_and_all_is_well() {
        let now = Instant::now();
        let mut mending = Mending::new(now);
        assert!(mending.sound(now));
        for minute in 1..100 {
            let now = now + Duration::from_secs(60 * minute);
            assert!(mending.damage(now));
            assert!(!mending.damage(now), "known already");
            assert!(!mending.sound(now));
            assert!(mending.due_at() <= now);
            mend(&mut mending, now);
            assert!(mending.sound(now));
            assert_eq!(mending.wake_at(), None);
        }
    }

    #[test]
    fn a_fight_is_paced_and_over_when_it_has_been_quiet() {
        let start = Instant::now();
        let mut mending = Mending::new(start);
        let mut times = 0;
        let mut last = start;
        for tick in 0..1000u32 {
            let now = start + Duration::from_millis(10) * tick;
            mending.damage(now);
            if mending.due_at() <= now {
                mend(&mut mending, now);
                (times, last) = (times + 1, now);
                // From the second after the few on, the rules are not to be relied on although they are mended.
                assert!(times <= AT_ONCE || !mending.sound(now), "{times}");
            }
        }
        // Ten seconds at the pace, and the few at the start.
        assert!((20..=24).contains(&times), "{times}");
        let pause = Duration::from_millis(400);
        mending.damage(last + pause);
        let due = mending.due_at();
        assert!(due <= last + Duration::from_millis(500), "within a second");
        mend(&mut mending, due);
        assert!(!mending.sound(due));
        let quiet = mending.wake_at().unwrap();
        assert!(quiet <= due + PACE * AT_ONCE);
        assert!(mending.sound(quiet));
        assert_eq!(mending.wake_at(), None);
    }

    #[test]
    fn what_takes_long_is_done_less_often() {
        let start = Instant::now();
        let mut mending = Mending::new(start);
        let took = Duration::from_secs(1);
        let mut now = start;
        for _ in 0..20 {
            mending.damage(now);
            now = now.max(mending.due_at());
            mending.mended(now + took, took);
            now += took;
        }
        assert!(now - start > took * 2 * 18, "{:?}", now - start);
    }
}
