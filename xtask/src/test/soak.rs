//! `cargo xtask soak`: the same tests again and again on a machine that is busy, and what fell how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, bail};

use super::{Outcome, Targets, failures, print_summary, run_all, selected, steps};

/// Test targets that share a machine with others: a race shows in them first.
const DEFAULT: [&str; 3] = ["netns_", "api_", "e2e_"];

/// Keeps every core busy until it is dropped.
struct Load {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let ended = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || while !ended.load(Ordering::Relaxed) {})
        };
        Self {
            threads: (0..cores).map(spin).collect(),
            ended,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot have panicked.
            drop(thread.join());
        }
    }
}

/// Runs the steps whose names contain one of `filters` (or the netns, api and e2e tests) `times` times under load.
pub(crate) fn run(filters: &[String], times: u32) -> Result<()> {
    let mut filters = filters.to_vec();
    if filters.is_empty() {
        filters.extend(DEFAULT.map(String::from));
    }
    let begun = std::time::Instant::now();
    let mut fell = Fell::default();
    for round in 1..=times {
        println!("\n=== round {round} of {times}, every core busy");
        let steps = selected(steps(&Targets::find()?), &filters)?;
        let outcomes = {
            let _load = Load::start();
            run_all(steps)
        };
        print_summary(&outcomes, begun.elapsed());
        fell.add(&outcomes);
        println!("{}", fell.report());
    }
    if fell.failures.is_empty() {
        return Ok(());
    }
    bail!("not every test passed in every round")
}

/// What failed in which rounds.
#[derive(Default)]
struct Fell {
    rounds: u32,
    failures: BTreeMap<String, Vec<u32>>,
}

impl Fell {
    fn add(&mut self, outcomes: &[Outcome]) {
        self.rounds += 1;
        for failure in failures(outcomes) {
            self.failures.entry(failure).or_default().push(self.rounds);
        }
    }

    fn report(&self) -> String {
        let rounds = self.rounds;
        if self.failures.is_empty() {
            return format!("after {rounds} rounds: nothing fell");
        }
        let lines = self.failures.iter().map(|(failure, fell)| {
            format!(
                "\n  {} of {rounds} (rounds {fell:?}): {failure}",
                fell.len()
            )
        });
        format!("after {rounds} rounds fell:{}", lines.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;

    #[test]
    fn what_fell_is_counted_by_round() {
        let mut fell = Fell::default();
        fell.add(&run_all(vec![Step::check("netns_a", || Ok(()))]));
        assert_eq!(fell.report(), "after 1 rounds: nothing fell");
        fell.add(&run_all(vec![Step::check("netns_a", || {
            bail!("lost a frame")
        })]));
        fell.add(&run_all(vec![Step::check("netns_a", || {
            bail!("lost a frame")
        })]));
        assert_eq!(
            fell.report(),
            "after 3 rounds fell:\n  2 of 3 (rounds [2, 3]): netns_a: lost a frame"
        );
    }
}
