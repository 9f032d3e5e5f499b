//! `cargo xtask test`: everything CI runs, cheapest first. A failed step does not end the run; all failures are listed at
//! its end.

mod core_deps;
pub(crate) mod soak;
mod tally;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::image::Profile;
use crate::step::{seconds, step};
use tally::Tally;

/// Test targets of herald-tests begin so, by what they need; in the order they run.
const RUNGS: [&str; 5] = ["netns_", "aws_", "api_", "lab_", "e2e_"];
/// Those that run without a cluster.
const WITHOUT_CLUSTER: [&str; 2] = ["netns_", "aws_"];
/// The steps that make what the steps on a cluster need.
const CLUSTER_NEEDS: [&str; 2] = ["setup", "images"];

/// A step and what it runs.
struct Step {
    name: String,
    /// Whether it runs on a cluster, which needs the real parts and the images.
    cluster: bool,
    run: Box<dyn FnOnce() -> Result<Tally>>,
}

impl Step {
    fn check(name: &str, check: impl FnOnce() -> Result<()> + 'static) -> Self {
        let run = || check().map(|()| Tally::default());
        Self {
            name: name.to_owned(),
            cluster: false,
            run: Box::new(run),
        }
    }

    fn cargo(name: &str, args: &[&str]) -> Self {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Self {
            name: name.to_owned(),
            cluster: false,
            run: Box::new(move || cargo(&args)),
        }
    }

    fn cluster(name: &str, args: &[&str]) -> Self {
        Self {
            cluster: true,
            ..Self::cargo(name, args)
        }
    }
}

/// Runs the steps whose names contain one of `filters`, or all; `list` prints them instead.
pub(crate) fn run(filters: &[String], list: bool) -> Result<()> {
    let steps = selected(steps(&Targets::find()?), filters)?;
    if list {
        for step in steps {
            println!("{}", step.name);
        }
        return Ok(());
    }
    let start = Instant::now();
    let outcomes = run_all(steps);
    print_summary(&outcomes, start.elapsed());
    let failures = failures(&outcomes);
    if failures.is_empty() {
        return Ok(());
    }
    bail!("failed:\n  {}", failures.join("\n  "))
}

/// What became of a step.
struct Outcome {
    name: String,
    tally: Tally,
    took: Duration,
    result: Result<()>,
}

/// Runs every step, but for those on a cluster once what they need could not be made.
fn run_all(steps: Vec<Step>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut missing = None;
    for one in steps {
        let Step { name, cluster, run } = one;
        let began = Instant::now();
        let mut tally = Tally::default();
        let result = match &missing {
            Some(missing) if cluster => {
                Err(anyhow!("not run, because {missing} failed").context(name.clone()))
            }
            _ => step(&name, || {
                tally = run()?;
                tally.verdict()
            }),
        };
        // A step that failed without a failed test (it does not build, say) counts as one.
        tally.failed = tally.failed.max(u64::from(result.is_err()));
        if result.is_err() && CLUSTER_NEEDS.contains(&name.as_str()) {
            missing = Some(name.clone());
        }
        outcomes.push(Outcome {
            name,
            tally,
            took: began.elapsed(),
            result,
        });
    }
    outcomes
}

/// A line for each failed test, and for each step that failed without one.
fn failures(outcomes: &[Outcome]) -> Vec<String> {
    let lines = outcomes.iter().flat_map(|outcome| {
        let Outcome { name, tally, .. } = outcome;
        let error = outcome.result.as_ref().err();
        let tests = tally
            .names
            .iter()
            .map(move |test| format!("{name}: {test}"));
        let alone = error.filter(|_| tally.names.is_empty());
        tests.chain(alone.map(|error| format!("{error:#}")))
    });
    lines.collect()
}

/// All steps, in order.
fn steps(targets: &Targets) -> Vec<Step> {
    let mut steps = vec![
        Step::check("setup", crate::setup::setup),
        Step::cargo("fmt", &["fmt", "--all", "--check"]),
        Step::check("core-deps", core_deps::check),
        Step::cargo(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::check("crds", crate::crds::check),
        Step::check("images", || crate::image::ensure(Profile::Image).map(drop)),
    ];
    // Always the whole workspace: fewer packages would mean other features, and other builds.
    let test = ["test", "--workspace", "--no-fail-fast"];
    let mut unit: Vec<&str> = [&test[..], &["--lib", "--bins"]].concat();
    unit.extend(targets.unit.iter().flat_map(|target| ["--test", target]));
    steps.push(Step::cargo("unit", &unit));
    steps.push(Step::cargo("doc", &[&test[..], &["--doc"]].concat()));
    for target in &targets.rungs {
        let args = [&test[..], &["--test", target, "--", "--test-threads=1"]].concat();
        let alone = WITHOUT_CLUSTER.iter().any(|rung| target.starts_with(rung));
        steps.push(if alone {
            Step::cargo(target, &args)
        } else {
            Step::cluster(target, &args)
        });
    }
    steps
}

/// Steps that match, and what those that run on a cluster need.
fn selected(steps: Vec<Step>, filters: &[String]) -> Result<Vec<Step>> {
    if filters.is_empty() {
        return Ok(steps);
    }
    let matches = |step: &Step| filters.iter().any(|filter| step.name.contains(filter));
    let cluster = steps.iter().any(|step| matches(step) && step.cluster);
    let needed = |step: &Step| cluster && CLUSTER_NEEDS.contains(&step.name.as_str());
    let names: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
    let steps: Vec<Step> = steps
        .into_iter()
        .filter(|step| matches(step) || needed(step))
        .collect();
    if steps.is_empty() {
        bail!(
            "no step matches {filters:?}; there are: {}",
            names.join(", ")
        );
    }
    Ok(steps)
}

/// Test targets of the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Targets {
    /// Those that need nothing special.
    unit: BTreeSet<String>,
    /// Those of [`RUNGS`], in order.
    rungs: Vec<String>,
}

impl Targets {
    fn find() -> Result<Self> {
        let mut cargo = crate::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        let output = cargo.output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        Ok(Self::within(&metadata))
    }

    /// From the output of `cargo metadata`.
    fn within(metadata: &Value) -> Self {
        let mut targets = Self::default();
        let packages = metadata["packages"].as_array().into_iter().flatten();
        for target in packages
            .filter_map(|package| package["targets"].as_array())
            .flatten()
        {
            if target["kind"][0] == "test" {
                let name = target["name"].as_str().unwrap_or_default().to_owned();
                if RUNGS.iter().any(|rung| name.starts_with(rung)) {
                    targets.rungs.push(name);
                } else {
                    targets.unit.insert(name);
                }
            }
        }
        let rung = |name: &String| RUNGS.iter().position(|rung| name.starts_with(rung));
        targets.rungs.sort_by_key(|name| (rung(name), name.clone()));
        targets
    }
}

/// Runs cargo, its output passed on, and counts the tests it reports.
fn cargo(args: &[OsString]) -> Result<Tally> {
    let mut cargo = crate::cargo();
    cargo
        .args(args)
        .env("HERALD_IMAGES", crate::image::folder(Profile::Image));
    tally::stream(cargo, &mut std::io::stdout())
}

fn print_summary(outcomes: &[Outcome], took: Duration) {
    println!(
        "\n{:<28} {:>10} {:>8} {:>8}",
        "step", "time", "passed", "failed"
    );
    let mut sum = Tally::default();
    for Outcome {
        name, tally, took, ..
    } in outcomes
    {
        let Tally { passed, failed, .. } = tally;
        println!("{name:<28} {:>10} {passed:>8} {failed:>8}", seconds(*took));
        sum.passed += passed;
        sum.failed += failed;
    }
    println!("{:<28} {:>10}", "all", seconds(took));
    println!("{} passed, {} failed", sum.passed, sum.failed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn targets() -> Targets {
        let target = |name: &str, kind: &str| json!({"name": name, "kind": [kind]});
        Targets::within(&json!({"packages": [
            {"targets": [target("herald-echo", "bin"), target("sockets", "test")]},
            {"targets": [target("e2e_basic", "test"), target("netns_b", "test"),
                target("lab_up", "test"), target("netns_a", "test")]},
        ]}))
    }

    fn names(filters: &[&str]) -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(|word| (*word).to_owned()).collect();
        let steps = selected(steps(&targets()), &filters).unwrap();
        steps.into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn targets_are_found_and_ordered() {
        let Targets { unit, rungs } = targets();
        assert_eq!(rungs, ["netns_a", "netns_b", "lab_up", "e2e_basic"]);
        assert_eq!(unit.into_iter().collect::<Vec<_>>(), ["sockets"]);
    }

    #[test]
    fn without_a_filter_everything_runs_cheapest_first() {
        let all = names(&[]);
        assert_eq!(all.first().map(String::as_str), Some("setup"));
        assert_eq!(all.last().map(String::as_str), Some("e2e_basic"));
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn a_failed_step_ends_nothing_but_what_needs_it() {
        let works = |name: &str| Step::check(name, || Ok(()));
        let fails = |name: &str| Step::check(name, || bail!("broken"));
        let on_cluster = |step| Step {
            cluster: true,
            ..step
        };
        let outcomes = run_all(vec![
            fails("unit"),
            works("netns_a"),
            on_cluster(works("e2e_a")),
        ]);
        assert_eq!(failures(&outcomes), ["unit: broken"]);
        assert!(outcomes[1].result.is_ok() && outcomes[2].result.is_ok());
        let outcomes = run_all(vec![
            fails("images"),
            works("netns_a"),
            on_cluster(works("e2e_a")),
        ]);
        assert_eq!(
            failures(&outcomes),
            ["images: broken", "e2e_a: not run, because images failed"]
        );
        let failed: Vec<u64> = outcomes
            .iter()
            .map(|outcome| outcome.tally.failed)
            .collect();
        assert_eq!(failed, [1, 0, 1]);
    }

    #[test]
    fn a_filter_selects_steps_and_brings_what_they_need() {
        assert_eq!(names(&["unit", "fmt"]), ["fmt", "unit"]);
        assert_eq!(names(&["netns"]), ["netns_a", "netns_b"]);
        assert_eq!(names(&["e2e"]), ["setup", "images", "e2e_basic"]);
        assert!(selected(steps(&targets()), &["nothing".to_owned()]).is_err());
    }
}
