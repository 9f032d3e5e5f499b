use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

fn pod(change: impl FnOnce(&mut Value)) -> Option<PodView> {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "default", "name": "a", "uid": "uid-a", "resourceVersion": "7", "labels": { "app": "web" },
        },
        "spec": {
            "containers": [],
            "readinessGates": [{ "conditionType": "x.io/other" }, { "conditionType": TARGET_HEALTH }],
        },
        "status": {
            "phase": "Running",
            "podIPs": [{ "ip": "10.0.1.10" }, { "ip": "2001:db8::10" }],
            "conditions": [
                { "type": "ContainersReady", "status": "True" },
                { "type": "Ready", "status": "False" },
                { "type": "x.io/other", "status": "True" },
            ],
        },
    });
    change(&mut body);
    pod_view(&crate::index::watched(body))
}

fn waiting() -> PodView {
    pod(|_| ()).unwrap()
}

#[test]
fn a_pod_is_read_with_its_gates() {
    let view = waiting();
    assert_eq!(view.key, ServiceKey::new("default", "a"));
    assert_eq!((&*view.uid, view.version), ("uid-a", 7));
    assert_eq!(view.addresses.len(), 2, "both families");
    assert!(view.waits_for_traffic());
    assert_eq!(
        pod(|p| p["spec"]["readinessGates"] = json!([{ "conditionType": "x.io/other" }])),
        None
    );
    assert_eq!(pod(|p| p["spec"] = json!({ "containers": [] })), None);
    let changed = |change: fn(&mut Value)| pod(change).unwrap();
    let other = |p: &mut Value| p["status"]["conditions"][2]["status"] = json!("False");
    assert_eq!(changed(other).others, ["x.io/other"]);
    let gates = json!([{ "conditionType": "target-health.elbv2.k8s.aws/x" }, { "conditionType": TARGET_HEALTH }]);
    let moving = pod(|p| p["spec"]["readinessGates"] = gates).unwrap();
    assert!(moving.beside && moving.others.is_empty() && moving.waits_for_traffic());
    let starting = |p: &mut Value| p["status"]["conditions"][0]["status"] = json!("False");
    assert!(!changed(starting).containers_ready);
    assert!(changed(|p| p["status"]["phase"] = json!("Failed")).ended);
    assert!(changed(|p| p["metadata"]["deletionTimestamp"] = json!("2026-11-21T15:00:00Z")).ended);
    let new = changed(|p| drop(p.as_object_mut().unwrap().remove("status")));
    assert!(!new.containers_ready && new.addresses.is_empty() && new.gate.is_none());
    let judged = changed(|p| {
        p["status"]["conditions"][1] = json!({
            "type": TARGET_HEALTH, "status": "True", "reason": "Healthy", "message": "all is well",
            "lastTransitionTime": "2026-11-21T15:00:00Z",
        });
    });
    let (gate, since) = judged.gate.clone().unwrap();
    assert_eq!(
        (gate.status, gate.reason.as_str(), &*since),
        (true, "Healthy", "2026-11-21T15:00:00Z")
    );
    assert!(!judged.waits_for_traffic());
}

/// Requests as the API server got them: path and body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that writes what it is asked to, after these answers, the last one first.
fn server(answers: Vec<u16>) -> (Client, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let answers = Arc::new(Mutex::new(answers));
    let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        let (log, answers) = (log.clone(), answers.clone());
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            log.lock().unwrap().push((path, body.clone()));
            let first = answers.lock().unwrap().pop();
            let (code, answer) = if let Some(code) = first {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "as the test says", "reason": "Test", "code": code,
                });
                (code, status)
            } else {
                let mut written = serde_json::to_value(object()).unwrap();
                written["metadata"]["resourceVersion"] = json!("8");
                let condition = body["status"]["conditions"][0].clone();
                let conditions = written["status"]["conditions"].as_array_mut().unwrap();
                conditions.push(condition);
                (200, written)
            };
            let mut response = axum::http::Response::new(kube::client::Body::from(
                answer.to_string().into_bytes(),
            ));
            *response.status_mut() = axum::http::StatusCode::from_u16(code).unwrap();
            Ok::<_, std::io::Error>(response)
        }
    });
    (Client::new(service, "default"), asked)
}

fn object() -> Pod {
    let mut found = None;
    pod(|body| found = Some(serde_json::from_value(body.clone()).unwrap()));
    found.unwrap()
}

fn listed(client: Client) -> Gates {
    let mut gates = Gates::new(client, Metrics::new());
    gates.observe(Change::All {
        views: vec![Some(waiting()), None],
        unreadable: Vec::new(),
        term: 0,
    });
    gates
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_written_once_by_the_leader_only() {
    let (client, asked) = server(Vec::new());
    let mut gates = listed(client);
    assert_eq!(gates.open(), 1);
    gates.dispatch(false);
    assert!(gates.busy.is_empty(), "this replica does not lead");
    gates.dispatch(true);
    assert_eq!(gates.busy.len(), 1);
    gates.turn(true).await;
    gates.dispatch(true);
    assert!(gates.busy.is_empty());
    assert_eq!(gates.open(), 0);
    // The watch tells of the time before the write.
    gates.observe(Change::One(Some(waiting())));
    gates.dispatch(true);
    assert!(gates.busy.is_empty());
    let asked = asked.lock().unwrap();
    let [(path, body)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(path, "/api/v1/namespaces/default/pods/a/status");
    assert_eq!(body["metadata"]["uid"], "uid-a");
    let condition = &body["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!(TARGET_HEALTH), &json!("True"))
    );
    assert_eq!(condition["reason"], "NoLoadBalancer");
    assert!(
        condition["lastTransitionTime"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_all_pods_are_listed() {
    let (client, asked) = server(Vec::new());
    let mut gates = Gates::new(client, Metrics::new());
    gates.observe(Change::One(Some(waiting())));
    gates.dispatch(true);
    assert!(gates.busy.is_empty() && !gates.listed());
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_and_one_to_a_pod_that_is_gone_is_not() {
    let (client, asked) = server(vec![403, 500]);
    let mut gates = listed(client);
    for attempt in 1..=3 {
        gates.dispatch(true);
        gates.turn(true).await;
        assert_eq!(asked.lock().unwrap().len(), attempt);
        // Until the next one is due.
        if attempt < 3 {
            assert_eq!(gates.open(), 1);
            gates.dispatch(true);
            assert!(gates.busy.is_empty(), "it waits first");
            gates.turn(true).await;
        }
    }
    assert_eq!(gates.open(), 0);
    assert_eq!(gates.retries.next(), None);
    for code in [404, 409] {
        let (client, asked) = server(vec![code]);
        let mut gates = listed(client);
        gates.dispatch(true);
        gates.turn(true).await;
        gates.dispatch(true);
        assert!(gates.busy.is_empty());
        assert_eq!(
            (gates.retries.next(), asked.lock().unwrap().len()),
            (None, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_wakes_nobody_who_may_not_write() {
    let (client, asked) = server(vec![500]);
    let mut gates = listed(client);
    gates.dispatch(true);
    // The leadership ends while the write is under way.
    gates.follow();
    gates.turn(false).await;
    let wait = Duration::from_secs(60);
    let woken = tokio::time::timeout(wait, gates.turn(false)).await;
    assert!(woken.is_err(), "there is nothing to do");
    // A lease that was renewed late: it goes on.
    gates.turn(true).await;
    gates.dispatch(true);
    gates.turn(true).await;
    assert_eq!((gates.open(), asked.lock().unwrap().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_term_could_not_write_is_written_in_the_next() {
    let (client, asked) = server(vec![500]);
    let mut gates = listed(client);
    gates.dispatch(true);
    gates.turn(true).await;
    // Nobody tells of the pod again.
    gates.follow();
    gates.dispatch(true);
    gates.end().await;
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_for_its_service_and_only_a_few_writes_run_at_once() {
    let (client, asked) = server(Vec::new());
    let mut gates = Gates::new(client, Metrics::new());
    let selector = [("app".to_owned(), "web".to_owned())].into();
    let service = GateService {
        uid: "uid-web".into(),
        selector,
        held: false,
    };
    let key = ServiceKey::new("default", "web");
    gates.service(&key, Some(service));
    let many = (0..20).map(|n| {
        let mut one = waiting();
        one.key = ServiceKey::new("default", format!("a{n}"));
        Some(one)
    });
    let touched = gates.observe(Change::All {
        views: many.collect(),
        unreadable: Vec::new(),
        term: 0,
    });
    assert_eq!(touched, BTreeSet::from([key.clone()]));
    let place = gates.place(
        &ServiceKey::new("default", "a3"),
        "10.0.1.10".parse().unwrap(),
    );
    assert_eq!(place, Place::Waits);
    gates.dispatch(true);
    assert_eq!(gates.busy.len(), WRITES);
    gates.end().await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), WRITES);
    assert!(
        asked
            .iter()
            .all(|(_, body)| body["status"]["conditions"][0]["reason"] == "NotObserved")
    );
}
