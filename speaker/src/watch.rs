//! Watches of the API server, one task for each kind: objects → views → observations.
//!
//! A watch goes on for ever: errors are logged, counted and waited out. An object that cannot be decoded stops nothing
//! ([`DeserializeGuard`]); what was known of it stays.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures::StreamExt;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
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
    /// Wraps a change of this kind.
    pub(crate) observe: fn(Change<K, V>) -> Observation,
}

/// Watches one kind until the receiver is gone.
pub(crate) async fn watch<O, K, V>(
    client: Client,
    kind: Kind<O, K, V>,
    observations: mpsc::Sender<Observation>,
    metrics: Metrics,
) where
    O: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static,
    K: Debug,
{
    let api: Api<DeserializeGuard<O>> = Api::all(client);
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
    if !kind.labels.is_empty() {
        config = config.labels(&kind.labels);
    }
    let mut events = std::pin::pin!(watcher(api, config));
    let mut pause = FIRST_PAUSE;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    pause = FIRST_PAUSE;
                }
                let Some(change) = translate(&kind, event) else {
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
    event: Event<DeserializeGuard<O>>,
) -> Option<Change<K, V>>
where
    O: Resource<DynamicType = ()>,
    K: Debug,
{
    Some(match event {
        Event::Init => Change::Listing,
        Event::InitDone => Change::Listed,
        Event::Delete(DeserializeGuard(Ok(object))) => Change::Gone((kind.key)(object.meta())?),
        Event::Delete(DeserializeGuard(Err(object))) => Change::Gone((kind.key)(&object.metadata)?),
        Event::Apply(DeserializeGuard(Err(object)))
        | Event::InitApply(DeserializeGuard(Err(object))) => {
            let key = (kind.key)(&object.metadata)?;
            tracing::warn!(kind = kind.name, object = ?key, error = object.error, "cannot read the object; what was known of it stays");
            Change::Unreadable(key)
        }
        Event::Apply(DeserializeGuard(Ok(object)))
        | Event::InitApply(DeserializeGuard(Ok(object))) => {
            let key = (kind.key)(object.meta())?;
            match (kind.view)(&object) {
                Some(view) => Change::Set(key, view),
                None => Change::Gone(key),
            }
        }
    })
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
