//! Waiting for a named condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::sys;

const PAUSE: Duration = Duration::from_millis(100);

/// An error after which waiting on is of no use: what should have done it is gone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Hopeless(pub String);

/// Asks `condition` until it gives a value. `Ok(None)` and errors both mean "not yet", except [`Hopeless`]; the
/// last error is what the message tells was seen instead.
///
/// # Errors
/// When `deadline` has passed (the message names `what`), or on Ctrl-C once
/// [`catch_interrupts`](crate::catch_interrupts) is on.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_regardless(what, deadline, || {
        if sys::interrupted() {
            return Ok(Some(Err(anyhow!("interrupted while waiting for {what}"))));
        }
        Ok(condition()?.map(Ok))
    })?
}

/// As [`wait_for`], but goes on after Ctrl-C: for taking down.
pub(crate) fn wait_regardless<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) if error.is::<Hopeless>() => {
                return Err(error.context(format!("waited for {what}")));
            }
            Err(error) => Some(error),
        };
        if begun.elapsed() >= deadline {
            let seen = seen.map_or_else(|| "nothing yet".to_owned(), |error| format!("{error:#}"));
            return Err(anyhow!(
                "no {what} within {deadline:?}; seen instead: {seen}"
            ));
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn gives_the_value_once_it_is_there() {
        let mut asked = 0;
        let value = wait_for("third answer", Duration::from_secs(30), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn names_what_was_waited_for_and_what_was_seen() {
        let error = wait_for("Ready node n1", Duration::ZERO, || -> Result<Option<()>> {
            bail!("n1 is NotReady")
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains("Ready node n1"), "{message}");
        assert!(message.contains("n1 is NotReady"), "{message}");
    }

    #[test]
    fn gives_up_at_once_when_it_is_hopeless() {
        let mut asked = 0;
        let error = wait_for(
            "answer",
            Duration::from_secs(600),
            || -> Result<Option<()>> {
                asked += 1;
                Err(Hopeless("it has ended".to_owned()).into())
            },
        );
        assert_eq!(asked, 1);
        assert!(format!("{:#}", error.unwrap_err()).contains("it has ended"));
    }
}
