//! What is known when a scenario fails.

use std::fmt::Write as _;

use serde_json::json;

use super::Site;

/// Calls that are told.
const CALLS: usize = 60;
/// Lines of the controller's log that are told.
const LINES: &str = "--tail=60";

/// Services and pods as kubectl describes them, load balancers and targets, the last calls and the controller's last words.
pub(super) fn of(site: &Site<'_>) -> String {
    let mut text = String::new();
    let mut part = |title: &str, found: anyhow::Result<String>| {
        let found = found.unwrap_or_else(|error| format!("cannot be had: {error:#}"));
        let _ = write!(text, "\n--- {title} ---\n{}\n", found.trim_end());
    };
    let kubectl = |words: &[&str]| site.cluster.kubectl(words);
    part(
        "services",
        kubectl(&["describe", "services", "-n", site.namespace]),
    );
    part(
        "pods",
        kubectl(&["get", "pods", "-n", site.namespace, "-o", "wide"]),
    );
    part("load balancers", balancers(site));
    part("calls", calls(site));
    let log = [
        "logs",
        "-n",
        "herald-system",
        "deployment/herald-controller",
        LINES,
    ];
    part("controller", kubectl(&log));
    text
}

fn balancers(site: &Site<'_>) -> anyhow::Result<String> {
    let mut text = String::new();
    for one in site.aws.load_balancers()? {
        let addresses = site.aws.addresses(&one.dns_name)?;
        writeln!(text, "{} {} at {addresses:?}", one.name, one.state)?;
        for listener in site.aws.listeners(&one.arn)? {
            writeln!(text, "  {} {}", listener.protocol, listener.port)?;
            for target in site.aws.targets(&listener.group)? {
                writeln!(text, "    {target:?}")?;
            }
        }
    }
    Ok(text)
}

fn calls(site: &Site<'_>) -> anyhow::Result<String> {
    let calls = site.aws.moto().calls()?;
    let mut text = format!("{} calls; the last:\n", calls.len());
    for call in &calls[calls.len().saturating_sub(CALLS)..] {
        let params = if call.changing {
            json!(call.params).to_string()
        } else {
            String::new()
        };
        writeln!(
            text,
            "{:.1} {} {} {params}",
            call.time, call.action, call.code
        )?;
    }
    Ok(text)
}
