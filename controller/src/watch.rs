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

/// What can be watched.
pub(crate) trait Watched:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static> Watched
    for K
{
}

/// The watches of one owner: whom they tell.
pub(crate) struct Watches<T> {
    client: Client,
    to: mpsc::Sender<T>,
    metrics: Metrics,
}

impl<T> Clone for Watches<T> {
    fn clone(&self) -> Self {
        Self::new(&self.client, &self.to, &self.metrics)
    }
}

impl<T: Send + 'static> Watches<T> {
    /// Watches all objects of `K`.
    pub(crate) fn all<K, V>(&self, view: fn(&K) -> V, wrap: fn(Change<V>) -> T)
    where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn("", watch::channel(0).1, view, wrap);
    }

    /// Watches all objects of `K`; a new value in `relist` begins with a fresh list.
    pub(crate) fn relisted<K, V>(
        &self,
        relist: watch::Receiver<u64>,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn("", relist, view, wrap);
    }

    /// Watches the objects of `K` that a label selector selects.
    pub(crate) fn labelled<K, V>(
        &self,
        selector: &'static str,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn(selector, watch::channel(0).1, view, wrap);
    }

    /// Until the receiver goes.
    fn spawn<K, V>(
        &self,
        selector: &'static str,
        mut relist: watch::Receiver<u64>,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
        V: Send + 'static,
    {
        let watches = self.clone();
        let span = info_span!("watch", kind = %K::kind(&()));
        let watching = async move {
            loop {
                let term = *relist.borrow_and_update();
                let seen = watches.stream(selector, term, view, wrap);
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
        };
        tokio::spawn(watching.instrument(span));
    }

    async fn stream<K, V>(
        &self,
        selector: &str,
        term: u64,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
    {
        let kind = K::kind(&()).into_owned();
        // Each object is decoded by itself.
        let api: Api<DeserializeGuard<K>> = Api::all(self.client.clone());
        let mut config = watcher::Config::default().timeout(TIMEOUT_SECONDS);
        if !selector.is_empty() {
            config = config.labels(selector);
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
                    unreadable.push(report(
                        &kind,
                        &invalid.metadata,
                        &invalid.error,
                        &self.metrics,
                    ));
                    continue;
                }
                Ok(watcher::Event::InitDone) => Change::All {
                    views: std::mem::take(&mut views),
                    unreadable: std::mem::take(&mut unreadable),
                    term,
                },
                Ok(watcher::Event::Apply(DeserializeGuard(Ok(object)))) => {
                    Change::One(view(&object))
                }
                Ok(watcher::Event::Apply(DeserializeGuard(Err(invalid)))) => {
                    report(&kind, &invalid.metadata, &invalid.error, &self.metrics);
                    continue;
                }
                Ok(watcher::Event::Delete(DeserializeGuard(object))) => Change::Gone(key_of(
                    object.as_ref().map_or_else(|i| &i.metadata, |o| o.meta()),
                )),
                Err(error) => {
                    self.metrics.watch_error(&kind);
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "watching failed, trying again"
                    );
                    continue;
                }
            };
            if self.to.send(wrap(change)).await.is_err() {
                return;
            }
        }
    }
}

impl<T> Watches<T> {
    pub(crate) fn new(client: &Client, to: &mpsc::Sender<T>, metrics: &Metrics) -> Self {
        Self {
            client: client.clone(),
            to: to.clone(),
            metrics: metrics.clone(),
        }
    }
}

fn report(kind: &str, metadata: &ObjectMeta, error: &str, metrics: &Metrics) -> ServiceKey {
    let key = key_of(metadata);
    metrics.unreadable(kind);
    warn!(%key, error, "the object cannot be read and is left as it was last known");
    key
}
