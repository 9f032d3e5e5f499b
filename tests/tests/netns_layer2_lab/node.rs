//! A node: a child process in its own namespace that runs link monitor and announcer, told by lines on its input what to
//! hold, and printing lines about what happens. A process of its own, so that it can be stopped.
//!
//! | input | meaning |
//! | --- | --- |
//! | `hold <number> <interface> [address…]` | these are the targets; `applied <number>` follows |
//! | `count <number>` | `counted <number> <address> <requests> <replies> <announcements> <conflicts>`, one per address |

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use herald_speaker::announcer::{self, Targets};
use herald_speaker::link::{Links, watch_links};
use herald_speaker_core::announce::ClaimState;
use herald_tests::{Netns, run, wait_for};
use tokio::sync::{mpsc, watch};

use super::DEADLINE;

/// Set in a node's environment.
pub(crate) const CHILD: &str = "HERALD_LAYER2_NODE";

/// A node's process; ended with the handle.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) namespace: Netns,
    child: Child,
    input: Mutex<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    number: AtomicUsize,
}

impl Node {
    pub(crate) fn start(namespace: Netns) -> Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("path of the test is no text")?;
        let mut command = namespace.command(program)?;
        command
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("start a node")?;
        let input = Mutex::new(child.stdin.take().context("node's input")?);
        let output = BufReader::new(child.stdout.take().context("node's output")?);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let collected = Arc::clone(&lines);
        // Ends with the child.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                lock(&collected).push(line);
            }
        });
        let number = AtomicUsize::new(0);
        let node = Self {
            namespace,
            child,
            input,
            lines,
            number,
        };
        node.wait_line("links", "links ")?;
        Ok(node)
    }

    /// Everything it has said.
    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    /// Makes `addresses` its targets on "lan"; when it returns, it is silent about all others.
    pub(crate) fn hold(&self, addresses: &[IpAddr]) -> Result<()> {
        let number = self.ask_to_hold("lan", addresses)?;
        self.wait_line("targets applied", &format!("applied {number}"))
            .map(drop)
    }

    /// The same on another interface, without waiting.
    pub(crate) fn ask_to_hold(&self, interface: &str, addresses: &[IpAddr]) -> Result<usize> {
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.tell(&format!("hold {number} {interface} {}", list.join(" ")))?;
        Ok(number)
    }

    /// Requests, replies, announcements and conflicts of an address.
    pub(crate) fn counts(&self, address: IpAddr) -> Result<[u64; 4]> {
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        self.tell(&format!("count {number}"))?;
        let line = self.wait_line("counters", &format!("counted {number} {address} "))?;
        let numbers = line.split(' ').skip(3).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        <[u64; 4]>::try_from(numbers)
            .ok()
            .context("four counters expected")
    }

    /// What it last said of the address: `Probing`, `Announcing`, `Conflict 02:…`, `LinkDown` or `Withdrawn`.
    pub(crate) fn state(&self, address: IpAddr) -> String {
        let start = format!("state {address} ");
        let lines = lock(&self.lines);
        let last = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix(&start));
        last.unwrap_or("none").to_owned()
    }

    /// Waits until it says that of the address.
    pub(crate) fn wait_state(&self, address: IpAddr, state: &str) -> Result<()> {
        wait_for(&format!("state {state} of {address}"), DEADLINE, || {
            let now = self.state(address);
            anyhow::ensure!(now == state, "it is {now}");
            Ok(Some(()))
        })
    }

    /// The last line that begins so, once there is one.
    pub(crate) fn wait_line(&self, what: &str, start: &str) -> Result<String> {
        wait_for(what, DEADLINE, || {
            let lines = lock(&self.lines);
            Ok(lines
                .iter()
                .rev()
                .find(|line| line.starts_with(start))
                .cloned())
        })
    }

    /// Sends the process a signal: STOP, CONT or KILL.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", signal, &pid])).map(drop)
    }

    fn tell(&self, line: &str) -> Result<()> {
        writeln!(lock(&self.input), "{line}").context("tell a node")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The child.
pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(Into::into)
        .and_then(|r| r.block_on(serve()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    let (links_sender, mut links) = watch::channel(None);
    tokio::spawn(watch_links(links_sender));
    let (handle, mut reports) = announcer::spawn()?;
    let mut commands = input();
    let mut wanted: (String, Vec<IpAddr>) = (String::new(), Vec::new());
    loop {
        tokio::select! {
            changed = links.changed() => {
                changed?;
                say(&format!("links {}", describe(&current(&mut links))));
                handle.set_targets(targets(&wanted, current(&mut links)));
            }
            report = reports.recv() => {
                let report = report.context("the announcer has ended")?;
                let state = match report.state {
                    ClaimState::Conflict { mac } => format!("Conflict {mac}"),
                    other => format!("{other:?}"),
                };
                say(&format!("state {} {state}", report.key.address));
            }
            command = commands.recv() => {
                // The test has gone.
                let Some(command) = command else { return Ok(()) };
                let mut words = command.split_whitespace();
                let (verb, number) = (words.next(), words.next().unwrap_or_default());
                if verb == Some("hold") {
                    let interface = words.next().context("interface")?.to_owned();
                    wanted = (interface, words.map(str::parse).collect::<Result<_, _>>()?);
                    let generation = handle.set_targets(targets(&wanted, current(&mut links)));
                    handle.applied(generation).await?;
                    say(&format!("applied {number}"));
                } else {
                    for (address, c) in handle.counts().await? {
                        let (requests, replies) = (c.requests, c.replies);
                        let (announcements, conflicts) = (c.announcements, c.conflicts);
                        say(&format!(
                            "counted {number} {address} {requests} {replies} {announcements} {conflicts}"
                        ));
                    }
                }
            }
        }
    }
}

fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn current(links: &mut watch::Receiver<Option<Links>>) -> Links {
    links.borrow_and_update().clone().unwrap_or_default()
}

fn targets((interface, addresses): &(String, Vec<IpAddr>), links: Links) -> Targets {
    let indexes = links.values().filter(|link| *link.name == **interface);
    let indexes: BTreeSet<u32> = indexes.map(|link| link.index).collect();
    let addresses: BTreeMap<_, _> = addresses.iter().map(|a| (*a, indexes.clone())).collect();
    Targets { addresses, links }
}

fn describe(links: &Links) -> String {
    let one = |link: &herald_speaker_core::LinkView| {
        let up = if link.up { "up" } else { "down" };
        let addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
        let gateways: Vec<String> = link.gateways.iter().map(ToString::to_string).collect();
        let (addresses, gateways) = (addresses.join(","), gateways.join(","));
        format!("{}={up},{},{addresses};{gateways}", link.name, link.mac)
    };
    links.values().map(one).collect::<Vec<_>>().join(" ")
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // A test that no longer listens has ended.
    drop(writeln!(output, "{line}").and_then(|()| output.flush()));
}
