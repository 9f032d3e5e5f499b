//! Guarded watches: one task for each kind. Objects are read field by field ([`Read`]); one that lost what decides is never taken
//! for gone or changed.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use herald_core::ServiceKey;
use herald_kube::{Cause, Pace, Read, Readable, relisting};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _};
use tokio::sync::{mpsc, watch};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::index::key_of;
use crate::losses::Losses;
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
        /// Objects that exist and lost what decides: they are as they were last known.
        unreadable: Vec<ServiceKey>,
        /// The value of the relist channel when the list began.
        term: u64,
    },
    /// One is new or changed.
    One(V),
    /// One is gone.
    Gone(ServiceKey),
    /// The API server does not have the kind, or does not let us see it. Only watches that may do without say so.
    Unavailable,
}

/// Which objects of a kind are watched.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    Labelled(&'static str),
    /// Of that name, in every namespace; the rest need not be readable.
    Named(&'static str),
    /// All, if they can be had.
    Any,
}

impl Which {
    fn config(self) -> watcher::Config {
        let config = watcher::Config::default().timeout(TIMEOUT_SECONDS);
        match self {
            Self::All | Self::Any => config,
            Self::Labelled(selector) => config.labels(selector),
            Self::Named(name) => config.fields(&format!("metadata.name={name}")),
        }
    }

    /// Whether an answer means that there is nothing to wait for.
    fn gives_up(self, error: &watcher::Error) -> bool {
        use kube::Error::Api;
        let optional = matches!(self, Self::Named(_) | Self::Any);
        let code = match error {
            watcher::Error::InitialListFailed(Api(status))
            | watcher::Error::WatchStartFailed(Api(status)) => status.code,
            _ => return false,
        };
        optional && (code == 403 || code == 404)
    }
}

/// What can be watched.
pub(crate) trait Watched: Readable + Clone + Debug + Send + 'static {}

impl<K: Readable + Clone + Debug + Send + 'static> Watched for K {}

/// The watches of one owner: whom they tell.
pub(crate) struct Watches<T> {
    client: Client,
    to: mpsc::Sender<T>,
    metrics: Metrics,
    losses: Losses,
    relist: Relist,
}

/// How often watches list anew.
#[derive(Clone, Debug)]
pub(crate) struct Relist {
    /// The interval, more or less.
    pub(crate) every: std::time::Duration,
    /// Who we are: lists of different replicas are spread.
    pub(crate) who: String,
}

impl<T> Clone for Watches<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            to: self.to.clone(),
            metrics: self.metrics.clone(),
            losses: self.losses.clone(),
            relist: self.relist.clone(),
        }
    }
}

impl<T: Send + 'static> Watches<T> {
    /// Watches all objects of `K`.
    pub(crate) fn all<K, V>(&self, view: fn(&K) -> V, wrap: fn(Change<V>) -> T)
    where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn(Which::All, watch::channel(0).1, view, wrap);
    }

    /// Watches all objects of `K`, and does without if the API server does not have them or may not show them.
    pub(crate) fn any<K, V>(&self, view: fn(&K) -> V, wrap: fn(Change<V>) -> T)
    where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn(Which::Any, watch::channel(0).1, view, wrap);
    }

    /// Watches the objects of `K` of one name, and does without if that may not be.
    pub(crate) fn named<K, V>(
        &self,
        name: &'static str,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
        V: Send + 'static,
    {
        self.spawn(Which::Named(name), watch::channel(0).1, view, wrap);
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
        self.spawn(Which::All, relist, view, wrap);
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
        self.spawn(Which::Labelled(selector), watch::channel(0).1, view, wrap);
    }

    /// Until the receiver goes.
    fn spawn<K, V>(
        &self,
        which: Which,
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
                let seen = watches.stream(which, term, view, wrap);
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
        which: Which,
        term: u64,
        view: fn(&K) -> V,
        wrap: fn(Change<V>) -> T,
    ) where
        K: Watched,
    {
        let kind = K::kind(&()).into_owned();
        let api: Api<Read<K>> = Api::all(self.client.clone());
        let config = which.config();
        let (metrics, named) = (self.metrics.clone(), kind.clone());
        let tell = move |cause: Cause| {
            metrics.relisted(&named, cause.as_str());
            told(cause);
        };
        let pace = Pace::new(self.relist.every, &self.relist.who, &kind);
        let mut events = pin!(relisting(api, config, pace, tell).default_backoff());
        let mut given_up = false;
        let (mut views, mut unreadable) = (Vec::new(), Vec::new());
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(watcher::Event::Init) => {
                    (views, unreadable) = (Vec::new(), Vec::new());
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    self.note(&object);
                    match object.trusted() {
                        Some(object) => views.push(view(object)),
                        None => unreadable.push(key_of(object.meta())),
                    }
                    continue;
                }
                Ok(watcher::Event::InitDone) => Change::All {
                    views: std::mem::take(&mut views),
                    unreadable: std::mem::take(&mut unreadable),
                    term,
                },
                Ok(watcher::Event::Apply(object)) => {
                    self.note(&object);
                    match object.trusted() {
                        Some(object) => Change::One(view(object)),
                        None => continue,
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    self.losses.forget(&object);
                    Change::Gone(key_of(object.meta()))
                }
                Err(error) if which.gives_up(&error) => {
                    if std::mem::replace(&mut given_up, true) {
                        continue;
                    }
                    info!(
                        error = &error as &dyn std::error::Error,
                        "the API server does not show these; doing without"
                    );
                    Change::Unavailable
                }
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
    /// Says what could not be read of an object, once for each change of that.
    fn note<K: Readable>(&self, object: &Read<K>) {
        if let Some(message) = self.losses.note(object) {
            self.metrics.unreadable(&K::kind(&()));
            warn!(object = %key_of(object.meta()), "{message}");
        }
    }

    pub(crate) fn new(
        client: &Client,
        to: &mpsc::Sender<T>,
        metrics: &Metrics,
        losses: &Losses,
        relist: &Relist,
    ) -> Self {
        Self {
            client: client.clone(),
            to: to.clone(),
            metrics: metrics.clone(),
            losses: losses.clone(),
            relist: relist.clone(),
        }
    }
}

fn told(cause: Cause) {
    match cause {
        Cause::Age => debug!("listing anew: the last list is old"),
        Cause::History => warn!(
            "listing anew: the API server's versions went back, as after a restore of etcd from a backup"
        ),
    }
}

#[cfg(test)]
mod tests;
