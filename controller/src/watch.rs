//! Guarded watches: one task for each kind. An object that cannot be read stops nothing, and is never taken for gone.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use herald_core::ServiceKey;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tracing::{Instrument as _, info_span, warn};

use crate::index::key_of;
use crate::metrics::Metrics;

/// A watch that hears nothing for this long, and a few seconds more, is begun anew: a silent connection is not trusted.
const TIMEOUT_SECONDS: u32 = 60;

/// What a watch has seen, as compact views.
#[derive(Debug)]
pub(crate) enum Change<V> {
    /// All there are. `term` is the relist it answers.
    All {
        /// The objects.
        views: Vec<V>,
        /// Objects that exist and cannot be read.
        unreadable: Vec<ServiceKey>,
        /// The value of the relist channel when the list began.
        term: u64,
    },
    /// One is new or changed.
    One(V),
    /// One is gone.
    Gone(ServiceKey),
}

/// Which objects a watch sees: a label selector, empty for all.
pub(crate) type Labelled = &'static str;

/// Watches the objects of `K` that `labelled` selects until the receiver goes; a new value in `relist` begins with a fresh list.
pub(crate) async fn watch<K, V, T>(
    client: Client,
    labelled: Labelled,
    view: fn(&K) -> V,
    wrap: fn(Change<V>) -> T,
    to: mpsc::Sender<T>,
    mut relist: watch::Receiver<u64>,
    metrics: Metrics,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    let span = info_span!("watch", %kind);
    async {
        loop {
            let term = *relist.borrow_and_update();
            let from = (client.clone(), labelled);
            let seen = stream(from, term, view, wrap, &to, &metrics);
            let again = async {
                if relist.changed().await.is_err() {
                    // Nobody can ask any more.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = seen => return,
                () = again => {}
            }
        }
    }
    .instrument(span)
    .await;
}

async fn stream<K, V, T>(
    (client, labelled): (Client, Labelled),
    term: u64,
    view: fn(&K) -> V,
    wrap: fn(Change<V>) -> T,
    to: &mpsc::Sender<T>,
    metrics: &Metrics,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    // Each object is decoded by itself.
    let api: Api<DeserializeGuard<K>> = Api::all(client);
    let mut config = watcher::Config::default().timeout(TIMEOUT_SECONDS);
    if !labelled.is_empty() {
        config = config.labels(labelled);
    }
    let mut events = pin!(watcher(api, config).default_backoff());
    let (mut views, mut unreadable) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(watcher::Event::Init) => {
                (views, unreadable) = (Vec::new(), Vec::new());
                continue;
            }
            Ok(watcher::Event::InitApply(DeserializeGuard(Ok(object)))) => {
                views.push(view(&object));
                continue;
            }
            Ok(watcher::Event::InitApply(DeserializeGuard(Err(invalid)))) => {
                unreadable.push(report(&kind, &invalid.metadata, &invalid.error, metrics));
                continue;
            }
            Ok(watcher::Event::InitDone) => Change::All {
                views: std::mem::take(&mut views),
                unreadable: std::mem::take(&mut unreadable),
                term,
            },
            Ok(watcher::Event::Apply(DeserializeGuard(Ok(object)))) => Change::One(view(&object)),
            Ok(watcher::Event::Apply(DeserializeGuard(Err(invalid)))) => {
                report(&kind, &invalid.metadata, &invalid.error, metrics);
                continue;
            }
            Ok(watcher::Event::Delete(DeserializeGuard(object))) => Change::Gone(key_of(
                object.as_ref().map_or_else(|i| &i.metadata, |o| o.meta()),
            )),
            Err(error) => {
                metrics.watch_error(&kind);
                warn!(
                    error = &error as &dyn std::error::Error,
                    "watching failed, trying again"
                );
                continue;
            }
        };
        if to.send(wrap(change)).await.is_err() {
            return;
        }
    }
}

fn report(kind: &str, metadata: &ObjectMeta, error: &str, metrics: &Metrics) -> ServiceKey {
    let key = key_of(metadata);
    metrics.unreadable(kind);
    warn!(%key, error, "the object cannot be read and is left as it was last known");
    key
}
