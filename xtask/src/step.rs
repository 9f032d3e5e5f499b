//! Steps: what is being done, that it still is, and how long it took.

use std::fmt::Display;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A step that takes longer says so this often.
const STILL: Duration = Duration::from_secs(15);

/// Runs `work`, printing when it begins and when it ends, and that it goes on if it takes long.
///
/// # Errors
/// That of `work`, with the step's name before it.
pub(crate) fn step<T>(name: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let name = name.to_string();
    println!("==> {name}");
    let start = Instant::now();
    let result = while_reporting(&name, start, work);
    let took = seconds(start.elapsed());
    match &result {
        Ok(_) => println!("<== {name}: done in {took}"),
        Err(_) => println!("<== {name}: FAILED after {took}"),
    }
    result.with_context(|| name)
}

fn while_reporting<T>(name: &str, start: Instant, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(STILL) == Err(RecvTimeoutError::Timeout) {
                println!("    … {name}: {} so far", seconds(start.elapsed()));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// A duration for people: `0.4 s`, `12.3 s`, `4 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_step() {
        let error = step("sweep", || -> Result<()> { anyhow::bail!("no broom") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "sweep: no broom");
        assert_eq!(step("sweep", || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(440)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }
}
