//! Processes: long-running ones that outlive us and are found again, and those that a handle owns.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::sys::{self, Before};
use crate::wait::{wait_for, wait_regardless};

/// Every process of a cluster carries this variable with the cluster's name, so that none is lost even if
/// the lab itself was killed before it could write the id down.
pub(crate) const MARK: &str = "HERALD_LAB";

/// A process as written down: the id alone could be another's by now, with the start time it cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// What it is, for example `n1-kubelet`; also the name of its log.
    pub role: String,
    pub pid: u32,
    /// Clock ticks from boot to its start (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
}

impl Recorded {
    /// True while this very process runs (a zombie does not).
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Collects it if it was a child of this process and has ended, so that no zombie stays.
    pub(crate) fn reap(&self) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        if parse_stat(&stat).is_some_and(|(zombie, start)| zombie && start == self.start_time) {
            sys::reap(self.pid);
        }
    }
}

/// Start time of a running process; none if it is gone or a zombie.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat).and_then(|(zombie, start)| (!zombie).then_some(start))
}

/// Whether it is a zombie, and its start time.
fn parse_stat(stat: &str) -> Option<(bool, u64)> {
    // The second field, the name in parentheses, may itself hold blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((matches!(state, "Z" | "X"), fields.nth(18)?.parse().ok()?))
}

/// Starts a process that outlives us: own session, no terminal, output appended to `log`.
pub(crate) fn start(
    role: &str,
    mut command: Command,
    log: &Path,
    mut before: Vec<Before>,
) -> Result<Recorded> {
    let out = File::options().create(true).append(true).open(log);
    let out = out.with_context(|| format!("open {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    before.insert(0, Before::NewSession);
    sys::before_exec(&mut command, before);
    let child = command
        .spawn()
        .with_context(|| format!("start {role}: {command:?}"))?;
    let pid = child.id();
    // No start time: it has ended already, and is not alive() whatever we write.
    Ok(Recorded {
        role: role.to_owned(),
        pid,
        start_time: start_time(pid).unwrap_or(0),
    })
}

/// Ends processes: asks, waits up to `grace`, then kills; returns when all are gone.
pub(crate) fn end(processes: &[Recorded], grace: Duration) -> Result<()> {
    let alive = || {
        processes
            .iter()
            .filter(|process| process.alive())
            .collect::<Vec<_>>()
    };
    for process in alive() {
        sys::signal(process.pid, libc::SIGTERM);
    }
    let all_gone = || Ok(alive().is_empty().then_some(()));
    if wait_regardless("end of processes", grace, all_gone).is_ok() {
        return Ok(());
    }
    for process in alive() {
        sys::signal(process.pid, libc::SIGKILL);
    }
    wait_regardless("end of killed processes", Duration::from_secs(30), || {
        let left = alive();
        if left.is_empty() {
            return Ok(Some(()));
        }
        bail!("still running: {left:?}")
    })
}

/// Kills processes; returns when all are gone.
pub(crate) fn kill(processes: &[Recorded]) -> Result<()> {
    for process in processes.iter().filter(|process| process.alive()) {
        sys::signal(process.pid, libc::SIGKILL);
    }
    end(processes, Duration::ZERO)
}

/// Running processes that `choose` picks by id.
pub(crate) fn find(choose: impl Fn(u32) -> bool) -> Vec<Recorded> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && choose(*pid))
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Some(Recorded {
                role: name.trim().to_owned(),
                pid,
                start_time: start_time(pid)?,
            })
        })
        .collect()
}

/// Running processes that were started for the cluster `name`, or by one that was.
pub(crate) fn marked(name: &str) -> Vec<Recorded> {
    let wanted = format!("{MARK}={name}");
    find(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// Ids of the processes in a cgroup folder and below.
pub(crate) fn in_cgroup(folder: &Path) -> BTreeSet<u32> {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut pids: BTreeSet<u32> = listed
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(in_cgroup(&entry.path()));
        }
    }
    pids
}

/// A process that a test owns: ended when the handle goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// The process id, for example to stop it with SIGSTOP.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has printed so far.
    pub fn output(&self) -> Result<String> {
        let text = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Sends a signal (`libc::SIGTERM`, `SIGSTOP`, `SIGCONT`, `SIGKILL` …).
    pub fn signal(&self, signal: i32) {
        sys::signal(self.child.id(), signal);
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!(
            "end of process {} (log {})",
            self.child.id(),
            self.log.display()
        );
        wait_for(&what, deadline, || Ok(self.child.try_wait()?))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.wait(deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command to its end and gives what it printed; its error output is in the message if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever its exit status.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).output().with_context(|| {
        format!("cannot run {program}; `cargo xtask setup` installs what the lab needs")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_start_time_past_a_hostile_name() {
        let stat = "42 (a) Z 1 (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        assert_eq!(parse_stat(stat), Some((false, 98765)));
        let zombie = "42 (x) Z 1 42 42 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 98765 1";
        assert_eq!(parse_stat(zombie), Some((true, 98765)));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn a_recycled_id_is_not_the_recorded_process() {
        let me = std::process::id();
        let now = start_time(me).unwrap();
        let role = String::new();
        assert!(
            Recorded {
                role: role.clone(),
                pid: me,
                start_time: now
            }
            .alive()
        );
        assert!(
            !Recorded {
                role,
                pid: me,
                start_time: now - 1
            }
            .alive()
        );
    }

    #[test]
    fn ends_a_process_that_ignores_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]);
        let log = folder.path().join("log");
        let process = start("deaf", command, &log, Vec::new()).unwrap();
        wait_for("deaf process", Duration::from_secs(30), || {
            Ok(fs::read_to_string(&log)?.contains("deaf").then_some(()))
        })
        .unwrap();
        end(std::slice::from_ref(&process), Duration::from_millis(300)).unwrap();
        assert!(!process.alive());
    }
}
