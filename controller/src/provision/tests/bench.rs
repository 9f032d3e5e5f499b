//! What the provisioner's tests need: an API server of Services, a cloud whose calls can be slow or fail, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use herald_core::ServiceKey;
use herald_provider::testing::fake::{Cloud, FakeInventory, FakeProvider, FakeSeen, FakeStep};
use herald_provider::{
    Doubt, ErrorKind, Gate, Identity, LoadBalancerId, LoadBalancerRequest, Mode, Plan, Provider,
    ProviderError, Release, Report, Step as _, UnixTime,
};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::events::Events;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::provision::view::provided_view;
use crate::provision::{Connect, Connected, Input, Pace, Parts, Provisioner};
use crate::watch::Change;

pub(super) const FINALIZER: &str = "heraldlb.io/fake";
/// Long enough for everything that comes to come.
pub(super) const EVER: Duration = Duration::from_secs(3600);

// === API server ===

#[derive(Debug, Default)]
struct Stored {
    services: BTreeMap<String, Value>,
    version: u64,
    writes: usize,
    /// Changing calls the cloud had seen when the finalizer was set.
    finalized: BTreeMap<String, usize>,
    /// Type and reason of the Events, by Service.
    events: Vec<(String, String, String)>,
    /// How long an answer takes after its write.
    lag: Duration,
}

/// An API server that keeps Services and takes Events.
#[derive(Clone, Debug)]
pub(super) struct Server {
    stored: Arc<Mutex<Stored>>,
    cloud: Cloud,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let (code, answer) = server.answer(parts.uri.path(), &body);
                let lag = server.stored.lock().unwrap().lag;
                if !lag.is_zero() {
                    tokio::time::sleep(lag).await;
                }
                let bytes = answer.to_string().into_bytes();
                let answer = axum::http::Response::builder().status(code);
                let answer = answer.body(kube::client::Body::from(bytes));
                Ok::<_, std::io::Error>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut stored = self.stored.lock().unwrap();
        let stored = &mut *stored;
        if path.ends_with("/events") {
            let name = body["regarding"]["name"].as_str().unwrap().to_owned();
            let word = |field: &str| body[field].as_str().unwrap().to_owned();
            stored.events.push((name, word("type"), word("reason")));
            return (201, body.clone());
        }
        let (path, status) = path
            .strip_suffix("/status")
            .map_or((path, false), |path| (path, true));
        let name = path.rsplit('/').next().unwrap();
        let Some(object) = stored.services.get_mut(name) else {
            let gone = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "gone" });
            return (404, gone);
        };
        assert_eq!(body["metadata"]["uid"], object["metadata"]["uid"]);
        stored.version += 1;
        stored.writes += 1;
        object["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        if status {
            object["status"]["conditions"] = body["status"]["conditions"].clone();
            // As server-side apply: what is not sent again goes.
            object["status"]["loadBalancer"] = body["status"]
                .get("loadBalancer")
                .cloned()
                .unwrap_or_else(|| json!({}));
        } else {
            let finalizers = &body["metadata"]["finalizers"];
            object["metadata"]["finalizers"] = finalizers.clone();
            if *finalizers == json!([FINALIZER]) {
                let calls = self.cloud.log().len();
                stored.finalized.entry(name.to_owned()).or_insert(calls);
            }
        }
        let answer = object.clone();
        let ended = answer["metadata"]["finalizers"] == json!([]);
        if ended && answer["metadata"]["deletionTimestamp"].is_string() {
            stored.services.remove(name);
        }
        (200, answer)
    }

    pub(super) fn add(&self, name: &str) {
        let mut stored = self.stored.lock().unwrap();
        stored.version += 1;
        let version = stored.version.to_string();
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "namespace": "default", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version,
                "annotations": {},
            },
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "heraldlb.io/fake", "ipFamilies": ["IPv4"],
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
            },
        });
        stored.services.insert(name.to_owned(), object);
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut stored = self.stored.lock().unwrap();
        stored.version += 1;
        let version = json!(stored.version.to_string());
        let object = stored.services.get_mut(name).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = version;
    }

    /// From now on answers come this long after their writes.
    pub(super) fn lag(&self, lag: Duration) {
        self.stored.lock().unwrap().lag = lag;
    }

    pub(super) fn delete(&self, name: &str) {
        self.change(name, |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
        });
    }

    pub(super) fn object(&self, name: &str) -> Option<Value> {
        self.stored.lock().unwrap().services.get(name).cloned()
    }

    /// Writes to Services so far.
    pub(super) fn writes(&self) -> usize {
        self.stored.lock().unwrap().writes
    }

    /// Changing calls the cloud had seen when the Service's finalizer was set.
    pub(super) fn calls_before_finalizer(&self, name: &str) -> Option<usize> {
        self.stored.lock().unwrap().finalized.get(name).copied()
    }

    /// The reasons of a Service's Events.
    pub(super) fn reasons(&self, name: &str) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        let of = stored.events.iter().filter(|(service, ..)| service == name);
        of.map(|(_, _, reason)| reason.clone()).collect()
    }

    pub(super) fn has_warned(&self, name: &str) -> bool {
        let stored = self.stored.lock().unwrap();
        let mut events = stored.events.iter();
        events.any(|(service, kind, _)| service == name && kind == "Warning")
    }
}

// === provider ===

/// Switches of the provider.
#[derive(Debug, Default)]
struct Knobs {
    listings: AtomicUsize,
    unreadable: AtomicBool,
    /// Slow reads under way.
    reading: AtomicUsize,
    unconnected: Mutex<Option<ErrorKind>>,
}

/// The in-memory provider; load balancers of Services named `slow-…` take 5 s a changing call, those of `lazy-…` 5 s a read, and
/// those of `bad-…` take 30 s and fail.
#[derive(Debug)]
struct Moody {
    inner: FakeProvider,
    cloud: Cloud,
    knobs: Arc<Knobs>,
}

impl Provider for Moody {
    type Inventory = FakeInventory;
    type Seen = FakeSeen;
    type Step = FakeStep;

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    async fn observe(&self) -> Result<FakeInventory, ProviderError> {
        let listed = self.inner.observe().await;
        // What comes meanwhile is not in it.
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.knobs.listings.fetch_add(1, Ordering::Relaxed);
        if self.knobs.unreadable.load(Ordering::Relaxed) {
            return Err(failed("List"));
        }
        listed
    }

    fn plan(
        &self,
        inventory: &FakeInventory,
        request: &LoadBalancerRequest,
        _now: UnixTime,
    ) -> Plan<FakeStep, Report> {
        self.inner.plan(inventory, request, self.cloud.now())
    }

    fn plan_release(
        &self,
        inventory: &FakeInventory,
        id: &LoadBalancerId,
        _now: UnixTime,
    ) -> Plan<FakeStep, Release> {
        self.inner.plan_release(inventory, id, self.cloud.now())
    }

    async fn apply(&self, step: &FakeStep, gate: &dyn Gate) -> Result<FakeSeen, ProviderError> {
        let text = format!("{step:?}");
        if text.contains("uid-bad-") {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Err(failed("Change"));
        }
        if !step.changes() && self.knobs.unreadable.load(Ordering::Relaxed) {
            return Err(failed("Read"));
        }
        if text.contains("uid-lazy-") && !step.changes() {
            self.knobs.reading.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.knobs.reading.fetch_sub(1, Ordering::Relaxed);
        }
        let seen = self.inner.apply(step, gate).await;
        if text.contains("uid-slow-") && step.changes() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        seen
    }

    fn absorb(&self, inventory: &mut FakeInventory, seen: FakeSeen) {
        self.inner.absorb(inventory, seen);
    }

    fn forget(
        &self,
        inventory: &mut FakeInventory,
        id: &LoadBalancerId,
        doubt: Doubt<'_, FakeStep>,
    ) {
        self.inner.forget(inventory, id, doubt);
    }

    fn carry_over(
        &self,
        inventory: &mut FakeInventory,
        older: &FakeInventory,
        id: &LoadBalancerId,
    ) {
        self.inner.carry_over(inventory, older, id);
    }

    fn found(&self, inventory: &FakeInventory) -> BTreeSet<LoadBalancerId> {
        self.inner.found(inventory)
    }
}

fn failed(operation: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Retryable, operation, "the cloud", "no answer")
}

// === bench ===

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
            .map(|object| provided_view(&serde_json::from_value(object).unwrap()));
        let list = Input::Services(all(services.collect(), term));
        assert!(self.inputs.send(list).await.is_ok());
    }

    /// Tells how a Service is now.
    pub(super) async fn tell(&self, name: &str) {
        let object = self.server.object(name).unwrap();
        let view = provided_view(&serde_json::from_value(object).unwrap());
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
