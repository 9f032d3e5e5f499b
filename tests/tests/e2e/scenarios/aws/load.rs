//! Requests at a fixed rate, each over a new connection, whatever the earlier ones do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use herald_tests::{Cluster, Netns, Place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a request may take. Longer than the machine is ever busy: what fails is not late, it is lost.
const LIMIT: Duration = Duration::from_secs(15);
/// A first packet that gets lost is sent again after one second: slower is a lost packet, or a busy machine.
const SLOW: Duration = Duration::from_secs(1);
/// Failures that are told in full.
const SHOWN: usize = 10;

/// Requests under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally>>,
    /// What is asked, for the report.
    of: String,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    pub(crate) took: Duration,
    /// When after the beginning, and why.
    pub(crate) failed: Vec<(Duration, String)>,
    /// When requests began that took longer than a second, in whole seconds after the beginning, and how many.
    pub(crate) slow: BTreeMap<u64, usize>,
    pub(crate) slowest: Duration,
}

impl Load {
    /// Begins to ask the line servers at `to` from behind the router, in turn, so many times a second together.
    pub(crate) fn start(cluster: &Cluster, to: Vec<SocketAddr>, rate: u32) -> Result<Self> {
        Self::start_from(cluster, Place::Remote, to, rate)
    }

    /// The same from elsewhere.
    pub(crate) fn start_from(
        cluster: &Cluster,
        from: Place,
        to: Vec<SocketAddr>,
        rate: u32,
    ) -> Result<Self> {
        ensure!(!to.is_empty(), "nobody to ask");
        let of = format!("{rate}/s to {to:?}");
        let place = Netns::open(&from.netns(cluster.name()));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            // One thread: its sockets are of the namespace it has entered.
            place.enter(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok(runtime.block_on(run(&to, rate, &stopped)))
            })?
        });
        Ok(Self { stop, thread, of })
    }

    /// Ends it once every request has ended, and says what became of them.
    pub(crate) fn finish(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let tally = self
            .thread
            .join()
            .map_err(|_| anyhow!("the load panicked"))??;
        println!(
            "{}: {} requests over new connections in {:.1} s, {} failed, {} took longer than {SLOW:?} (second: number {:?}), the slowest {} ms",
            self.of,
            tally.asked,
            tally.took.as_secs_f64(),
            tally.failed.len(),
            tally.slow.values().sum::<usize>(),
            tally.slow,
            tally.slowest.as_millis(),
        );
        Ok(tally)
    }

    /// As [`Load::finish`], and an error if a request failed.
    pub(crate) fn finish_without_failure(self) -> Result<Tally> {
        let tally = self.finish()?;
        let told: Vec<String> = tally
            .failed
            .iter()
            .take(SHOWN)
            .map(|(at, error)| format!("after {:.2} s: {error}", at.as_secs_f64()))
            .collect();
        ensure!(
            told.is_empty(),
            "{} of {} requests failed:\n{}",
            tally.failed.len(),
            tally.asked,
            told.join("\n")
        );
        Ok(tally)
    }
}

async fn run(to: &[SocketAddr], rate: u32, stop: &AtomicBool) -> Tally {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut asked = JoinSet::new();
    let mut tick = interval(Duration::from_secs(1) / rate);
    // After a pause those that were missed are made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            _ = tick.tick() => {
                let to = to[tally.asked % to.len()];
                tally.asked += 1;
                asked.spawn(request(to, begun));
            }
            Some(ended) = asked.join_next() => tally.enter(ended),
        }
    }
    while let Some(ended) = asked.join_next().await {
        tally.enter(ended);
    }
    tally.took = begun.elapsed();
    tally
}

type Ended = (Duration, Duration, Result<(), String>);

async fn request(to: SocketAddr, begun: Instant) -> Ended {
    let at = begun.elapsed();
    let result = match timeout(LIMIT, ask(to)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{to}: {error:#}")),
        Err(_) => Err(format!("{to}: no answer within {LIMIT:?}")),
    };
    (at, begun.elapsed().saturating_sub(at), result)
}

async fn ask(to: SocketAddr) -> Result<()> {
    let connected = TcpStream::connect(to).await;
    let mut stream = connected.map_err(|error| anyhow!("connect: {error}"))?;
    stream
        .write_all(b"who\n")
        .await
        .map_err(|error| anyhow!("send: {error}"))?;
    let mut answer = String::new();
    stream.shutdown().await?;
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(|error| anyhow!("read after {answer:?}: {error}"))?;
    ensure!(answer.starts_with("pod="), "the answer is {answer:?}");
    Ok(())
}

impl Tally {
    fn enter(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok((at, took, result)) => {
                self.slowest = self.slowest.max(took);
                if took > SLOW {
                    *self.slow.entry(at.as_secs()).or_default() += 1;
                }
                self.failed.extend(result.err().map(|error| (at, error)));
            }
            Err(error) => self.failed.push((Duration::ZERO, error.to_string())),
        }
    }
}
