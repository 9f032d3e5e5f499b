//! Ends a process whose main loop hangs. The kubelet's liveness probe cannot tell hanging from slow, nor our port from
//! another program's; this counts only time in which the process itself was running.

use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// So many looks without progress are a hang. A process that was stopped, or a machine that slept, costs one look.
const LOOKS: u32 = 30;

/// Starts a thread that looks at `progress`, which must change while the program works, and ends the process with an error
/// when it has not for five minutes.
///
/// # Errors
/// If the thread cannot be started.
pub fn watchdog<P, F>(what: &'static str, progress: F) -> std::io::Result<()>
where
    P: PartialEq,
    F: Fn() -> P + Send + 'static,
{
    let watch = move || {
        let mut patience = Patience::new(progress());
        loop {
            std::thread::sleep(LOOK_EVERY);
            if patience.is_over(progress()) {
                tracing::error!(
                    "{what} has hung for {:?}: ending, to be restarted",
                    LOOK_EVERY * LOOKS
                );
                std::process::exit(70);
            }
        }
    };
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(watch)
        .map(|_| ())
}

struct Patience<P> {
    last: P,
    looks: u32,
}

impl<P: PartialEq> Patience<P> {
    fn new(last: P) -> Self {
        Self { last, looks: 0 }
    }

    fn is_over(&mut self, now: P) -> bool {
        if now == self.last {
            self.looks += 1;
        } else {
            self.last = now;
            self.looks = 0;
        }
        self.looks >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standing_still_look_after_look_is_a_hang() {
        let mut patience = Patience::new(0);
        for round in 1..5 {
            for look in 1..LOOKS {
                assert!(!patience.is_over(round - 1), "{look}");
            }
            assert!(!patience.is_over(round));
        }
        assert!((0..LOOKS).any(|_| patience.is_over(4)));
    }
}
