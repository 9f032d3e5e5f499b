//! Counting tests in the output of test programs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// Tests that passed and failed, and whether the program that ran them failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// The names of those that failed.
    pub(super) names: Vec<String>,
    /// The exit code, if it was not 0; -1 for a program that a signal ended.
    code: Option<i32>,
}

impl Tally {
    /// An error if anything failed.
    pub(super) fn verdict(&self) -> Result<()> {
        match self {
            Self {
                failed: 0,
                code: None,
                ..
            } => Ok(()),
            Self {
                failed: 0,
                code: Some(code),
                ..
            } => bail!("exit code {code}; see above"),
            Self { failed, .. } => bail!("{failed} tests failed; see above"),
        }
    }

    /// Adds what a line of output reports: `test result: ok. 3 passed; 0 failed; …` or `test name ... FAILED`.
    fn count(&mut self, line: &str) {
        let test = line.trim_end().strip_suffix("... FAILED");
        if let Some(name) = test.and_then(|line| line.strip_prefix("test ")) {
            self.names.push(name.trim_end().to_owned());
        }
        let result = line.strip_prefix("test result: ");
        let Some((_, counts)) = result.and_then(|result| result.split_once(". ")) else {
            return;
        };
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Runs a command, passing its output on to `out` as it comes, and counts.
pub(super) fn stream(mut command: Command, out: &mut impl Write) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| anyhow!("no output to read"))?;
    let mut tally = Tally::default();
    // Lines by hand: a test may print bytes that are no text.
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        tally.count(&String::from_utf8_lossy(&line));
        out.write_all(&line)?;
        out.flush()?;
        line.clear();
    }
    let status = child.wait()?;
    tally.code = (!status.success()).then(|| status.code().unwrap_or(-1));
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Tally {
        let mut shell = Command::new("sh");
        shell.args(["-c", text]);
        let mut out = Vec::new();
        let tally = stream(shell, &mut out).unwrap();
        assert!(text.starts_with("echo") != out.is_empty());
        tally
    }

    #[test]
    fn results_are_summed() {
        let tally = script(
            "echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'
             echo 'test a ... ok'; echo 'test b::c ... FAILED'; printf '\\377\\n'
             echo 'test result: FAILED. 10 passed; 2 failed; 0 ignored'",
        );
        assert_eq!((tally.passed, tally.failed), (13, 2));
        assert_eq!(tally.names, ["b::c"]);
        assert!(tally.verdict().is_err());
    }

    #[test]
    fn an_exit_code_counts_without_any_test() {
        assert!(script("true").verdict().is_ok());
        assert!(
            script("exit 3")
                .verdict()
                .unwrap_err()
                .to_string()
                .contains('3')
        );
        assert!(script("kill -9 $$").verdict().is_err());
    }
}
