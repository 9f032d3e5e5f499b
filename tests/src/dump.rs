//! All that may explain a failure, in one folder that outlives the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::capture;
use crate::cluster::Cluster;
use crate::process::output;
use crate::topology::Place;

/// Set to a folder (for example one that CI keeps) to have dumps written there.
const FOLDER_VARIABLE: &str = "HERALD_LAB_DUMPS";

/// Writes logs, objects, events, rulesets, neighbours and packets. What cannot be had is left out.
pub(crate) fn write(cluster: &Cluster, reason: &str) -> Result<PathBuf> {
    let base = std::env::var_os(FOLDER_VARIABLE).map_or_else(
        || std::env::temp_dir().join("herald-lab-dumps"),
        PathBuf::from,
    );
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let name = format!("{}-{seconds}-{}", cluster.name(), slug(reason));
    let folder = base.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(folder.join("reason.txt"), reason)?;
    copy(&cluster.folder().join("logs"), &folder.join("logs"));
    copy(&cluster.folder().join("captures"), &folder.join("captures"));
    copy_pod_logs(cluster, &folder.join("pods"));
    thread::scope(|scope| {
        scope.spawn(|| write_objects(cluster, &folder));
        scope.spawn(|| write_places(cluster, &folder));
        scope.spawn(|| write_packets(&folder.join("captures")));
    });
    Ok(folder)
}

/// Text for a file name: letters and digits, at most 40.
fn slug(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    text.chars().take(40).map(plain).collect()
}

fn copy(from: &Path, to: &Path) {
    // Whatever fails to be copied is not there to be looked at; the rest is.
    drop(fs::create_dir_all(to));
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            drop(fs::copy(entry.path(), target));
        }
    }
}

/// Logs of all containers, also of those whose pods are gone from the API, as the nodes keep them.
fn copy_pod_logs(cluster: &Cluster, to: &Path) {
    for number in 1..=cluster.nodes() {
        let label = Place::Node(number).label();
        copy(
            &cluster.folder().join(&label).join("log/pods"),
            &to.join(label),
        );
    }
}

fn write_objects(cluster: &Cluster, folder: &Path) {
    if cluster.state().relay_port == 0 {
        return;
    }
    let questions: [(&str, &[&str]); 5] = [
        ("nodes.txt", &["describe", "nodes"]),
        ("pods.txt", &["get", "pods", "-A", "-o", "wide"]),
        (
            "events.txt",
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ),
        (
            "objects.yaml",
            &[
                "get",
                "services,endpointslices,deployments,daemonsets,leases",
                "-A",
                "-o",
                "yaml",
            ],
        ),
        (
            "herald.yaml",
            &[
                "get",
                "addresspools,l2advertisements,speakers",
                "-A",
                "-o",
                "yaml",
            ],
        ),
    ];
    for (file, question) in questions {
        let question = [question, &["--request-timeout=20s"]].concat();
        let text = cluster
            .kubectl(&question)
            .unwrap_or_else(|error| format!("{error:#}\n"));
        drop(fs::write(folder.join(file), text));
    }
    let pods = cluster.kubectl_json(&["get", "pods", "-A", "--request-timeout=20s"]);
    let Ok(pods) = pods else { return };
    for pod in pods["items"].as_array().into_iter().flatten() {
        write_previous_log(cluster, pod, folder);
    }
}

/// The log of a container's last run, which says why it was started again.
fn write_previous_log(cluster: &Cluster, pod: &Value, folder: &Path) {
    let containers = pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    for container in containers.filter(|container| container["restartCount"] != 0) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (
            text(&pod["metadata"]["namespace"]),
            text(&pod["metadata"]["name"]),
        );
        let container = text(&container["name"]);
        let question = [
            "logs",
            "--previous",
            "-n",
            &namespace,
            &name,
            "-c",
            &container,
        ];
        if let Ok(log) = cluster.kubectl(&question) {
            let file = format!("previous-{namespace}-{name}-{container}.log");
            drop(fs::write(folder.join(file), log));
        }
    }
}

/// What each place's kernel knows.
fn write_places(cluster: &Cluster, folder: &Path) {
    let mut questions: Vec<(&str, Vec<&str>)> = vec![
        ("links", vec!["ip", "-d", "-s", "link"]),
        ("addresses", vec!["ip", "address"]),
        ("routes", vec!["sh", "-c", "ip route; ip -6 route"]),
        ("neighbours", vec!["ip", "neighbour"]),
        ("sockets", vec!["ss", "-anptu"]),
    ];
    for place in cluster.state().places() {
        if matches!(place, Place::Node(_)) {
            questions.push(("ruleset", vec!["nft", "list", "ruleset"]));
            questions.push((
                "conntrack",
                vec!["sh", "-c", "conntrack -L; conntrack -L -f ipv6"],
            ));
        }
        for (what, question) in &questions {
            let text = match cluster.exec(place, question) {
                Ok(output) => [output.stdout, output.stderr].concat(),
                Err(error) => format!("{error:#}\n").into_bytes(),
            };
            drop(fs::write(
                folder.join(format!("{}-{what}.txt", place.label())),
                text,
            ));
        }
        if matches!(place, Place::Node(_)) {
            questions.truncate(5);
        }
    }
}

/// The captured ARP and NDP as text: who answered for what is mostly what one wants to know.
fn write_packets(captures: &Path) {
    for entry in fs::read_dir(captures).into_iter().flatten().flatten() {
        let path = entry.path();
        let mut tcpdump = Command::new("tcpdump");
        tcpdump
            .args(["-n", "-e", "-tttt", "-r"])
            .arg(&path)
            .arg("arp or icmp6");
        if let Ok(output) = output(&mut tcpdump) {
            let name = format!("{}-arp-ndp.txt", entry.file_name().to_string_lossy());
            drop(fs::write(path.with_file_name(name), output.stdout));
        }
    }
}

/// Packets of the LAN seen lately, oldest first, in the form of [`capture::read`].
pub(crate) fn lan_packets(cluster: &Cluster) -> Result<Vec<String>> {
    let folder = cluster.folder().join("captures");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        lines.extend(capture::read(&entry?.path())?);
    }
    // Lines begin with the time, all with the same number of digits.
    lines.sort();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_make_file_names() {
        assert_eq!(slug("no Ready node/1: x"), "no-ready-node-1--x");
    }
}
