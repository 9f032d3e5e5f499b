//! Watches of the API server, one task for each kind: objects → views → observations.
//!
//! A watch goes on for ever: errors are logged, counted and waited out. Objects are read field by field ([`Read`]): what cannot
//! be read costs that field, and where that would change what is decided, what was known of the object stays.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use futures::StreamExt;
use herald_kube::{Cause, Pace, Read, Readable, relisting};
use kube::api::ObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource as _};
use tokio::sync::mpsc;

use crate::engine::{Change, Observation};
use crate::metrics::Metrics;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server ends a watch after this time, and we give it up 5 s later: a connection that died silently is noticed then.
const WATCH_SECONDS: u32 = 120;

/// How one kind is read.
pub(crate) struct Kind<O, K, V> {
    /// Plural name, for logs and metrics.
    pub(crate) name: &'static str,
    /// Label selector; empty for all.
    pub(crate) labels: String,
    /// The object's key.
    pub(crate) key: fn(&ObjectMeta) -> Option<K>,
    /// The object's view; `None` when it does not matter.
    pub(crate) view: fn(&O) -> Option<V>,
    /// Whether an object that lost a field that decides, and of which nothing was known before, counts as far as it can be read.
    pub(crate) counts_in_part: bool,
    /// Wraps a change of this kind.
    pub(crate) observe: fn(Change<K, V>) -> Observation,
}

/// Watches one kind until the receiver is gone.
pub(crate) async fn watch<O, K, V>(
    client: Client,
    kind: Kind<O, K, V>,
    observations: mpsc::Sender<Observation>,
    metrics: Metrics,
    pace: Pace,
) where
    O: Readable + Clone + Debug + Send + 'static,
    K: Debug + Clone + Eq + Hash,
{
    let api: Api<Read<O>> = Api::all(client);
    let mut losses = Losses::new(kind.name, metrics.clone());
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
    if !kind.labels.is_empty() {
        config = config.labels(&kind.labels);
    }
    let (counted, name) = (metrics.clone(), kind.name);
    let tell = move |cause: Cause| {
        counted.relisted(name, cause.as_str());
        match cause {
            Cause::Age => tracing::debug!(kind = name, "listing anew: the last list is old"),
            Cause::History => tracing::warn!(
                kind = name,
                "listing anew: the API server's versions went back, as after a restore of etcd from a backup"
            ),
        }
    };
    let mut events = std::pin::pin!(relisting(api, config, pace, tell));
    let mut pause = FIRST_PAUSE;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    pause = FIRST_PAUSE;
                }
                let Some(change) = translate(&kind, &mut losses, event) else {
                    continue;
                };
                if observations.send((kind.observe)(change)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                metrics.watch_failed(kind.name);
                tracing::warn!(kind = kind.name, error = %chain(&error), retry_in = ?pause, "cannot watch");
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn translate<O, K, V>(
    kind: &Kind<O, K, V>,
    losses: &mut Losses<K>,
    event: Event<Read<O>>,
) -> Option<Change<K, V>>
where
    O: Readable,
    K: Debug + Clone + Eq + Hash,
{
    Some(match event {
        Event::Init => Change::Listing,
        Event::InitDone => Change::Listed,
        Event::Delete(object) => {
            let key = (kind.key)(object.meta())?;
            losses.said.remove(&key);
            Change::Gone(key)
        }
        Event::Apply(object) | Event::InitApply(object) => {
            let Some(key) = (kind.key)(object.meta()) else {
                losses.nameless();
                return None;
            };
            losses.note(&key, object.lost(), object.doubtful());
            let view = object.object().and_then(kind.view);
            match (view, object.doubtful()) {
                (Some(view), false) => Change::Set(key, view),
                (None, false) => Change::Gone(key),
                (Some(view), true) if kind.counts_in_part => Change::InPart(key, view),
                (_, true) => Change::Unreadable(key),
            }
        }
    })
}

/// What could not be read of which object, so that it is said once.
struct Losses<K> {
    kind: &'static str,
    metrics: Metrics,
    said: HashMap<K, Vec<String>>,
}

impl<K: Debug + Clone + Eq + Hash> Losses<K> {
    fn new(kind: &'static str, metrics: Metrics) -> Self {
        Self {
            kind,
            metrics,
            said: HashMap::new(),
        }
    }

    fn note(&mut self, key: &K, lost: &[String], doubtful: bool) {
        if lost.is_empty() {
            self.said.remove(key);
            return;
        }
        if self.said.get(key).is_some_and(|said| said == lost) {
            return;
        }
        self.said.insert(key.clone(), lost.to_vec());
        self.metrics.unreadable(self.kind);
        let kind = self.kind;
        let fields = lost.join(", ");
        if doubtful {
            tracing::warn!(kind, object = ?key, fields, "cannot read fields that decide; what was known of the object stays. Correct them");
        } else {
            tracing::warn!(kind, object = ?key, fields, "cannot read these fields; they are left out. Correct them");
        }
    }

    fn nameless(&self) {
        self.metrics.unreadable(self.kind);
        tracing::warn!(
            kind = self.kind,
            "an object without a readable name is left out"
        );
    }
}

/// Up to a quarter less, so that the speakers of many nodes do not come back at one time.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 256).unwrap_or(0);
    pause.saturating_sub(pause / 1024 * random)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
