//! The controllers' calls, from the log of the AWS they were made to.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use herald_tests::moto::{Call, Moto};

use crate::api_aws::aws::KEY;

/// The controllers' calls with a number above `mark`.
pub(crate) fn since(moto: &Moto, mark: u64) -> Result<Vec<Call>> {
    let mut calls = moto.calls_after(mark)?;
    calls.retain(|call| call.access_key != KEY);
    Ok(calls)
}

/// The number of the last call made by anybody.
pub(crate) fn mark(moto: &Moto) -> Result<u64> {
    Ok(moto.calls()?.last().map_or(0, |call| call.number))
}

/// Those that change something.
pub(crate) fn changing(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.changing).collect()
}

/// Whether a parameter holds this text.
pub(crate) fn names(call: &Call, text: &str) -> bool {
    call.params.values().any(|value| value.contains(text))
}

/// How many of each action.
pub(crate) fn counts<'a>(calls: impl IntoIterator<Item = &'a Call>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.action.clone()).or_default() += 1;
    }
    counts
}

/// No changing call since `mark`.
pub(crate) fn nothing_changed(moto: &Moto, mark: u64, why: &str) -> Result<()> {
    let calls = since(moto, mark)?;
    let changes = counts(changing(&calls));
    ensure!(changes.is_empty(), "{why}: {changes:?}");
    Ok(())
}

/// The calls of any span of time are no more than the rate allows. `slack` is how long a busy machine may have held calls
/// up on their way, so that they came in closer together than they were sent.
pub(crate) fn within_rate(calls: &[&Call], per_second: f64, burst: f64, slack: f64) -> Result<()> {
    let mut times: Vec<f64> = calls.iter().map(|call| call.time).collect();
    times.sort_by(f64::total_cmp);
    // A bucket that is fuller than the limiter's by what may have been held up never runs dry.
    let (most, mut level, mut last) = (burst + per_second * slack, burst + per_second * slack, 0.0);
    for (n, time) in times.iter().enumerate() {
        level = most.min(level + (time - last) * per_second) - 1.0;
        last = *time;
        ensure!(
            level >= 0.0,
            "more than {per_second}/s and {burst} at once by call {n} of {}",
            times.len()
        );
    }
    Ok(())
}

/// One line for each call, for people.
pub(crate) fn lines(calls: &[Call]) -> String {
    let line = |call: &Call| {
        let what = call.params.iter().filter(|(key, _)| {
            ["Name", "Arn", "GroupId", "GroupName"]
                .iter()
                .any(|end| key.ends_with(end))
        });
        let what: Vec<&str> = what.map(|(_, value)| value.as_str()).collect();
        let code = if call.code.is_empty() {
            "ok"
        } else {
            &call.code
        };
        let status = call.status.map_or("under way", |_| code);
        format!(
            "{} {:.3} {} {} {}: {status}",
            call.number,
            call.time,
            call.access_key,
            call.action,
            what.join(" ")
        )
    };
    calls.iter().map(line).collect::<Vec<_>>().join("\n")
}
