//! A provisioner over an API server and a cloud in memory, and time for all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use herald_core::ServiceKey;
use herald_provider::testing::fake::{Cloud, FakeProvider};
use herald_provider::{ErrorKind, Mode, Provider as _, ProviderError};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::moody::{Knobs, Moody};
use super::server::Server;
use crate::events::Events;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::provision::view::provided_view;
use crate::provision::{Connect, Connected, Input, Pace, Parts, Provisioner};
use crate::watch::Change;

pub(super) const FINALIZER: &str = "heraldlb.io/fake";
/// Long enough for everything that comes to come.
pub(super) const EVER: Duration = Duration::from_secs(3600);

pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) cloud: Cloud,
    knobs: Arc<Knobs>,
    leadership: watch::Sender<Leadership>,
    term: u64,
    relisted: watch::Receiver<u64>,
    inputs: mpsc::Sender<Input>,
    idle: Option<(Parts<Moody>, mpsc::Receiver<Input>)>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Bench {
    /// A provisioner that does not lead yet, over these Services.
    pub(super) fn new(services: &[&str]) -> Self {
        let cloud = Cloud::default();
        let server = Server {
            stored: Arc::default(),
            cloud: cloud.clone(),
        };
        for name in services {
            server.add(name);
        }
        let knobs = Arc::new(Knobs::default());
        let (leadership, leading) = watch::channel(Leadership::Following);
        let (relist, relisted) = watch::channel(0);
        let (stop_to, stop) = watch::channel(false);
        let (inputs, from_inputs) = mpsc::channel(1024);
        let (metrics, client) = (Metrics::new(), server.client());
        let parts = Parts {
            identity: FakeProvider::new(cloud.clone()).identity().clone(),
            connect: connect(&cloud, &knobs),
            pace: Pace {
                parallel: 16,
                audit: Duration::from_secs(30),
                resync: Duration::from_secs(3600),
                mode: Mode::Live,
            },
            events: Events::start(client.clone(), "me".into(), metrics.clone()),
            client,
            metrics,
            leadership: leading,
            relist,
            stop,
        };
        Self {
            server,
            cloud,
            knobs,
            leadership,
            term: 0,
            relisted,
            inputs,
            idle: Some((parts, from_inputs)),
            stop: stop_to,
            running: None,
        }
    }

    pub(super) fn set_resync(&mut self, resync: Duration) {
        self.idle.as_mut().unwrap().0.pace.resync = resync;
    }

    pub(super) fn dry_run(&mut self) {
        self.idle.as_mut().unwrap().0.pace.mode = Mode::DryRun;
    }

    /// Leads in `term`, and knows everything.
    pub(super) async fn lead(&mut self, term: u64) {
        self.leading(term);
        self.pass_time(Duration::from_secs(1)).await;
        self.list_services(term).await;
    }

    /// Leads in `term`, without a list of Services.
    pub(super) fn leading(&mut self, term: u64) {
        if let Some((parts, from)) = self.idle.take() {
            self.running = Some(tokio::spawn(Provisioner::new(parts).run(from)));
            for input in [
                Input::Nodes(all(Vec::new(), 0)),
                Input::Slices(all(Vec::new(), 0)),
                Input::Pods(all(Vec::new(), 0)),
            ] {
                self.inputs.try_send(input).unwrap();
            }
        }
        self.term = term;
        self.renew();
    }

    pub(super) fn follow(&mut self) {
        self.term = 0;
        self.renew();
    }

    /// Tells it to end, and waits for that.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.running.take().unwrap().await.unwrap();
    }

    fn renew(&self) {
        self.leadership.send_replace(match self.term {
            0 => Leadership::Following,
            term => Leadership::Leading {
                term,
                renewed: Instant::now(),
            },
        });
    }

    /// Tells all Services, as the list of this term.
    pub(super) async fn list_services(&self, term: u64) {
        let stored = self.server.stored.lock().unwrap().services.clone();
        let services = stored
            .into_values()
            .map(|object| provided_view(&crate::index::watched(object)));
        let list = Input::Services(all(services.collect(), term));
        assert!(self.inputs.send(list).await.is_ok());
    }

    /// Tells how a Service is now.
    pub(super) async fn tell(&self, name: &str) {
        let object = self.server.object(name).unwrap();
        let view = provided_view(&crate::index::watched(object));
        let told = Input::Services(Change::One(view));
        assert!(self.inputs.send(told).await.is_ok());
    }

    pub(super) async fn explain(&self, key: &ServiceKey) -> String {
        let (answer, answered) = oneshot::channel();
        let question = Input::Explain(key.clone(), answer);
        assert!(self.inputs.send(question).await.is_ok());
        answered.await.unwrap()
    }

    /// Lets time pass, here and in the cloud; the lease is renewed.
    pub(super) async fn pass_time(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let step = Duration::from_secs(1);
            tokio::time::sleep(step).await;
            self.cloud.advance(step);
            self.renew();
        }
    }

    /// Lets time pass until something holds.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + EVER;
        while !holds(self) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            self.pass_time(Duration::from_secs(1)).await;
        }
    }

    /// The Service, once it is provisioned.
    pub(super) async fn provisioned(&self, name: &str) -> Value {
        self.until(name, |bench| bench.condition(name, true, "Provisioned"))
            .await;
        self.server.object(name).unwrap()
    }

    pub(super) fn condition(&self, name: &str, status: bool, reason: &str) -> bool {
        let shown = self.provisioned_condition(name);
        let status = if status { "True" } else { "False" };
        shown["status"] == status && shown["reason"] == reason
    }

    pub(super) fn status_of(&self, name: &str) -> Option<String> {
        let shown = self.provisioned_condition(name);
        shown["status"].as_str().map(str::to_owned)
    }

    fn provisioned_condition(&self, name: &str) -> Value {
        let object = self.server.object(name).unwrap_or_default();
        let conditions = object["status"]["conditions"].as_array().cloned();
        let mut conditions = conditions.unwrap_or_default().into_iter();
        let found = conditions.find(|one| one["type"] == "heraldlb.io/Provisioned");
        found.unwrap_or_default()
    }

    /// Names of the load balancers there are.
    pub(super) fn made(&self) -> Vec<String> {
        self.cloud.load_balancers().into_keys().collect()
    }

    pub(super) fn listings(&self) -> usize {
        self.knobs.listings.load(Ordering::Relaxed)
    }

    pub(super) fn asked_for_list(&self) -> u64 {
        *self.relisted.borrow()
    }

    /// Slow reads under way.
    pub(super) fn reading(&self) -> usize {
        self.knobs.reading.load(Ordering::Relaxed)
    }

    pub(super) fn fail_reads(&self, fail: bool) {
        self.knobs.unreadable.store(fail, Ordering::Relaxed);
    }

    pub(super) fn break_connection(&self, kind: ErrorKind) {
        *self.knobs.unconnected.lock().unwrap() = Some(kind);
    }

    pub(super) fn mend_connection(&self) {
        *self.knobs.unconnected.lock().unwrap() = None;
    }
}

fn connect(cloud: &Cloud, knobs: &Arc<Knobs>) -> Connect<Moody> {
    let (cloud, knobs) = (cloud.clone(), knobs.clone());
    Arc::new(move || {
        let (cloud, knobs) = (cloud.clone(), knobs.clone());
        async move {
            if let Some(kind) = *knobs.unconnected.lock().unwrap() {
                let error = ProviderError::new(kind, "connect to", "the cloud", "no credentials");
                return Err(error.with_code("NoCredentials"));
            }
            let provider = Moody {
                inner: FakeProvider::new(cloud.clone()),
                cloud,
                knobs,
            };
            Ok(Connected {
                provider: Arc::new(provider),
                calls: Arc::new(Box::new(Vec::new)),
            })
        }
        .boxed()
    })
}

fn all<V>(views: Vec<V>, term: u64) -> Change<V> {
    Change::All {
        views,
        unreadable: Vec::new(),
        term,
    }
}
