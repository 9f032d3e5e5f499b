//! The planner over an API server that answers as a test says, in virtual time.

use std::sync::Mutex;

use herald_controller_core::Settings;
use serde_json::{Value, json};

use super::*;
use crate::index::service_view;

/// Names of the Services whose status was asked to be written, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// An API server that never answers about Services whose name begins with `slow`.
fn server() -> (Client, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        let path = request.uri().path().to_owned();
        let name = path.split('/').rev().nth(1).unwrap_or_default().to_owned();
        log.lock().unwrap().push(name.clone());
        async move {
            if name.starts_with("slow") {
                std::future::pending::<()>().await;
            }
            let mut written = object(&name);
            written["metadata"]["resourceVersion"] = json!("2");
            written["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.0" }] } });
            let body = kube::client::Body::from(written.to_string().into_bytes());
            Ok::<_, std::io::Error>(axum::http::Response::new(body))
        }
    });
    (Client::new(service, "default"), asked)
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": name, "uid": name, "resourceVersion": "1" },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"] },
    })
}

fn service(name: &str) -> ServiceView {
    service_view(&crate::index::watched(object(name)))
}

fn pool() -> (PoolView, PoolObserved) {
    let view = PoolView {
        name: "lan".into(),
        addresses: vec!["192.0.2.0/24".into()],
        auto_assign: true,
        ..PoolView::default()
    };
    (view, PoolObserved::default())
}

fn all<V>(views: Vec<V>, term: u64) -> Change<V> {
    Change::All {
        views,
        unreadable: Vec::new(),
        term,
    }
}

struct Bench {
    planner: Planner,
    leadership: watch::Sender<Leadership>,
    relisted: watch::Receiver<u64>,
    asked: Asked,
}

impl Bench {
    /// A planner that leads term 1 over one pool and these Services.
    fn new(services: Vec<ServiceView>) -> Self {
        let (client, asked) = server();
        let (leadership_to, leadership) = watch::channel(Leadership::Following);
        let (relist, relisted) = watch::channel(0);
        let metrics = Metrics::new();
        let planner = Planner::new(Parts {
            index: Index::new(Settings {
                class: "heraldlb.io/pool".into(),
                claim_classless: true,
            }),
            events: Events::start(client.clone(), "me".into(), metrics.clone()),
            client,
            metrics,
            health: Arc::default(),
            start: Instant::now(),
            leadership,
            relist,
            api_servers: Vec::new(),
        });
        let mut bench = Self {
            planner,
            leadership: leadership_to,
            relisted,
            asked,
        };
        bench.lead(1);
        for input in [
            Input::Pools(all(vec![pool()], 0)),
            Input::Namespaces(all(Vec::new(), 0)),
            Input::Advertisements(all(Vec::new(), 0)),
            Input::Speakers(all(Vec::new(), 0)),
            Input::Nodes(all(Vec::new(), 0)),
            Input::ApiServers(all(Vec::new(), 0)),
            // An older cluster has none.
            Input::ServiceCidrs(Change::Unavailable),
            Input::Services(all(services, 1)),
        ] {
            bench.planner.observe(input);
        }
        bench
    }

    fn lead(&mut self, term: u64) {
        self.leadership.send_replace(Leadership::Leading {
            term,
            renewed: Instant::now(),
        });
        self.planner.leadership_changed();
    }

    async fn finish_one_write(&mut self) {
        let done = self.planner.writes.join_next().await.unwrap().unwrap();
        self.planner.written(done);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_term_lists_services_only_when_the_writes_of_the_last_have_ended() {
    let mut bench = Bench::new(vec![service("slow")]);
    assert_eq!(*bench.relisted.borrow(), 1);
    bench.planner.dispatch();
    assert_eq!(bench.planner.service_writes, 1);
    bench.lead(2);
    assert_eq!(*bench.relisted.borrow(), 1, "the write may still arrive");
    bench.finish_one_write().await;
    assert_eq!(*bench.relisted.borrow(), 2);
}

/// What is due and cannot be done would be due again at once, for ever.
#[tokio::test(start_paused = true)]
async fn nothing_is_due_while_the_planner_may_not_write() {
    let mut bench = Bench::new(vec![service("slow")]);
    bench.planner.dispatch();
    bench.finish_one_write().await;
    assert!(bench.planner.next_due().is_some(), "the failed write");
    bench.planner.tokens = 0.0;
    bench.planner.parts.index.mark_all();
    bench.leadership.send_replace(Leadership::Following);
    assert_eq!(bench.planner.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn services_that_always_fail_slowly_delay_no_other() {
    let slow: Vec<ServiceView> = (0..200).map(|n| service(&format!("slow-{n}"))).collect();
    let bench = Bench::new(slow);
    let (inputs, from_inputs) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let (leadership, asked) = (bench.leadership, bench.asked);
    let planner = tokio::spawn(bench.planner.run(from_inputs, stopped));
    // Long enough for each to have failed more than once.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        leadership.send_replace(Leadership::Leading {
            term: 1,
            renewed: Instant::now(),
        });
    }
    let quick = Input::Services(Change::One(service("quick")));
    assert!(inputs.send(quick).await.is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(asked.lock().unwrap().iter().any(|name| name == "quick"));
    stop.send_replace(true);
    planner.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_tried_again_while_the_service_is_there() {
    let mut bench = Bench::new(vec![service("slow")]);
    bench.planner.dispatch();
    bench.finish_one_write().await;
    let key = ServiceKey::new("default", "slow");
    assert!(bench.planner.retries.is_failing(&key));
    // A list without it: nothing remembers it.
    bench.planner.observe(Input::Services(all(Vec::new(), 1)));
    assert!(!bench.planner.retries.is_failing(&key));
    assert!(bench.planner.waiting_since.is_empty());
    // Gone while its write is under way: that write's failure is not tried again.
    bench
        .planner
        .observe(Input::Services(Change::One(service("slow"))));
    bench.planner.dispatch();
    bench
        .planner
        .observe(Input::Services(Change::Gone(key.clone())));
    bench.finish_one_write().await;
    assert!(!bench.planner.retries.is_failing(&key));
}

#[tokio::test(start_paused = true)]
async fn no_address_is_written_before_its_pool_has_the_finalizer() {
    let mut bench = Bench::new(Vec::new());
    let unprotected = PoolView {
        unprotected: true,
        ..pool().0
    };
    let seen = Input::Pools(Change::One((unprotected, PoolObserved::default())));
    bench.planner.observe(seen);
    bench
        .planner
        .observe(Input::Services(Change::One(service("web"))));
    bench.planner.dispatch();
    assert_eq!(bench.planner.service_writes, 0);
    // At once, not with the statuses of pools once a second.
    assert!(bench.planner.busy_pools.contains("lan"));
    bench.finish_one_write().await;
    assert_eq!(*bench.asked.lock().unwrap(), ["addresspools"]);
    bench.planner.observe(Input::Pools(Change::One(pool())));
    bench.planner.dispatch();
    assert_eq!(bench.planner.service_writes, 1);
}

fn report(renewal: &str, reason: &str) -> SpeakerReport {
    let object = json!({
        "apiVersion": "heraldlb.io/v1alpha1", "kind": "Speaker",
        "metadata": { "name": "n1", "uid": "u", "resourceVersion": renewal.len().to_string() },
        "status": { "renewTime": renewal, "conditions": [{
            "type": "Ready", "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] },
    });
    crate::index::speaker_report(&serde_json::from_value(object).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_speaker_that_is_not_renewed_is_marked_once_and_believed_again_when_it_speaks() {
    let mut bench = Bench::new(Vec::new());
    let see = |bench: &mut Bench, report| {
        bench.planner.observe(Input::Speakers(Change::One(report)));
        bench.lead(1);
        bench.planner.tick();
        bench.planner.busy_speakers.len()
    };
    let first = "2026-01-01T00:00:01.000000Z";
    assert_eq!(see(&mut bench, report(first, "Running")), 0);
    tokio::time::advance(SPEAKER_LIVE).await;
    let again = "2026-01-01T00:00:02.000000Z";
    assert_eq!(see(&mut bench, report(again, "Running")), 0);
    tokio::time::advance(SPEAKER_LIVE).await;
    assert_eq!(see(&mut bench, report(again, "Running")), 1);
    assert_eq!(
        see(&mut bench, report(again, "Running")),
        1,
        "once at a time"
    );
    while !bench.planner.busy_speakers.is_empty() {
        bench.finish_one_write().await;
    }
    // Marked: nothing more to do, also for the next controller, which does not take it for live.
    assert_eq!(see(&mut bench, report(again, "Silent")), 0);
    let mut next = Bench::new(Vec::new());
    assert_eq!(see(&mut next, report(again, "Silent")), 0);
    assert!(!next.planner.parts.index.speakers().any(|one| one.live));
    for bench in [&mut bench, &mut next] {
        let renewed = "2026-01-01T00:00:03.000000Z";
        assert_eq!(see(bench, report(renewed, "Running")), 0);
        assert!(bench.planner.parts.index.speakers().all(|one| one.live));
    }
}
