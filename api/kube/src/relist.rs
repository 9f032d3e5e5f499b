//! Watches that list anew now and then, and as soon as the API server's history is seen to go back.
//!
//! A watch goes on from the last version it saw. After etcd was restored from a backup that version may lie in the future: nothing is
//! told, or only what came later, and what was seen of the lost history stays for good. A list is the truth whatever came before.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt as _, unfold};
use herald_core::parse_duration;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource as _};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{Read, Readable};

/// After an interruption the version is asked for within this time: all watches of a cluster are interrupted at once.
const CHECK_WITHIN: Duration = Duration::from_secs(15);
/// How long an answer to that may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Versions that go back make a watch list anew no oftener than this, whatever the API server does.
const CALM: Duration = Duration::from_secs(10);

/// Why a watch lists anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last list is old.
    Age,
    /// A version is lower than one seen before.
    History,
}

impl Cause {
    /// A word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::History => "history",
        }
    }
}

/// How often a watch lists anew.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    every: Duration,
    seed: u64,
}

impl Pace {
    /// About `every` so often. `who` (node or pod) and `what` (kind) spread the lists of many watches over time.
    pub fn new(every: Duration, who: &str, what: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (who, what).hash(&mut hasher);
        Self {
            every,
            seed: hasher.finish(),
        }
    }

    /// From the `count`th list to the next: between three quarters and five quarters of the interval.
    fn after(self, count: u64) -> Duration {
        self.every * 3 / 4 + self.part(count, self.every / 2)
    }

    /// Some part of a time, another one for each count.
    fn part(self, count: u64, of: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.seed, count).hash(&mut hasher);
        let part = u32::try_from(hasher.finish() % 1024).unwrap_or_default();
        of * part / 1024
    }
}

/// Reads an interval as flags write it: `10m`; from 10 s to 24 h.
pub fn interval(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|time| (Duration::from_secs(10)..=Duration::from_hours(24)).contains(time))
        .ok_or_else(|| "not a time from 10s to 24h; write 10m".into())
}

/// Watches `api` like [`watcher`], with lists anew: those begin with [`Event::Init`], as those after failures do. `tell` hears of each.
pub fn relisting<K>(
    api: Api<Read<K>>,
    config: Config,
    pace: Pace,
    tell: impl Fn(Cause) + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<Read<K>>>> + Send
where
    K: Readable + Clone + Debug + Send + 'static,
{
    let watch = Relisting {
        events: watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        pace,
        tell: Box::new(tell),
        highest: 0,
        lists: 0,
        age: None,
        check: None,
        back: false,
        calm_until: None,
    };
    unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((event, watch))
    })
}

struct Relisting<K> {
    events: BoxStream<'static, watcher::Result<Event<Read<K>>>>,
    api: Api<Read<K>>,
    config: Config,
    pace: Pace,
    tell: Box<dyn Fn(Cause) + Send>,
    /// The highest version seen since the last list.
    highest: u64,
    lists: u64,
    /// When the list is old; none while it is read.
    age: Option<Instant>,
    /// When the version is asked for, after an interruption.
    check: Option<Instant>,
    /// A version went back.
    back: bool,
    /// Before this, versions that go back are passed over.
    calm_until: Option<Instant>,
}

impl<K> Relisting<K>
where
    K: Readable + Clone + Debug + Send + 'static,
{
    async fn next(&mut self) -> Option<watcher::Result<Event<Read<K>>>> {
        loop {
            if std::mem::take(&mut self.back) {
                self.restart(Cause::History);
            }
            let far = Instant::now() + Duration::from_hours(24);
            let (age, check) = (self.age, self.check);
            tokio::select! {
                biased;
                () = sleep_until(age.unwrap_or(far)), if age.is_some() => self.restart(Cause::Age),
                () = sleep_until(check.unwrap_or(far)), if check.is_some() => self.look_back().await,
                event = self.events.next() => {
                    let event = event?;
                    self.see(&event);
                    return Some(event);
                }
            }
        }
    }

    fn see(&mut self, event: &watcher::Result<Event<Read<K>>>) {
        match event {
            Ok(Event::Init) => {
                self.highest = 0;
                self.age = None;
                self.check = None;
            }
            Ok(Event::InitApply(object)) => self.rise(version(object)),
            Ok(Event::InitDone) => {
                self.age = Some(Instant::now() + self.pace.after(self.lists));
                self.lists += 1;
            }
            Ok(Event::Apply(object)) => {
                self.back = self.went_back(version(object));
                self.rise(version(object));
            }
            Err(_) if self.age.is_some() => {
                let within = self.pace.part(self.lists, CHECK_WITHIN);
                self.check = self.check.or_else(|| Some(Instant::now() + within));
            }
            // What the version of a deleted object is depends on why it is gone.
            Ok(Event::Delete(_)) | Err(_) => {}
        }
    }

    fn rise(&mut self, version: Option<u64>) {
        self.highest = self.highest.max(version.unwrap_or_default());
    }

    /// Whether a version (none: unknown) is lower than one seen before.
    fn went_back(&self, version: Option<u64>) -> bool {
        let calm = self.calm_until.is_some_and(|until| Instant::now() < until);
        !calm && version.is_some_and(|version| version < self.highest)
    }

    /// Asks for the version of now: a list of one object says it.
    async fn look_back(&mut self) {
        let one = ListParams::default().limit(1);
        match timeout(ANSWER, self.api.list(&one)).await {
            Ok(Ok(list)) => {
                self.check = None;
                let version = list.metadata.resource_version;
                self.back = self.went_back(version.and_then(|version| version.parse().ok()));
            }
            // Still away.
            _ => self.check = Some(Instant::now() + CHECK_WITHIN),
        }
    }

    fn restart(&mut self, cause: Cause) {
        (self.tell)(cause);
        if cause == Cause::History {
            self.calm_until = Some(Instant::now() + CALM);
        }
        self.age = None;
        self.check = None;
        self.events = watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

/// An object's version, where it is a number: of built-in and custom resources it is, and numbers compare (KEP-5504).
fn version<K: Readable>(object: &Read<K>) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests;
