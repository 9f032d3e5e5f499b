use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::metrics::Metrics;

fn service(ports: &Value) -> Read<Service> {
    let object = json!({
        "metadata": { "namespace": "default", "name": "web", "uid": "u1" },
        "spec": { "type": "LoadBalancer", "ports": ports },
    });
    serde_json::from_str(&object.to_string()).unwrap()
}

fn pool() -> Read<herald_api::AddressPool> {
    let object = json!({ "metadata": { "name": "lan", "uid": "u2" }, "spec": { "addresses": 7 } });
    serde_json::from_str(&object.to_string()).unwrap()
}

/// Events as they are posted, to a server that takes all.
fn events() -> (Events, mpsc::Receiver<Value>) {
    let (to, from) = mpsc::channel(16);
    let answer = move |request: axum::http::Request<kube::client::Body>| {
        let to = to.clone();
        async move {
            let bytes = request.into_body().collect_bytes().await.unwrap();
            let _ = to.send(serde_json::from_slice(&bytes).unwrap()).await;
            let body = kube::client::Body::from(bytes);
            Ok::<_, std::io::Error>(axum::http::Response::new(body))
        }
    };
    let client = Client::new(tower::service_fn(answer), "default");
    (Events::start(client, "test".into(), Metrics::new()), from)
}

#[tokio::test]
async fn the_leader_tells_each_object_once() {
    let losses = Losses::default();
    let garbled = json!([{ "port": 80, "nodePort": [] }]);
    let (events, mut posted) = events();
    let (lead, leadership) = watch::channel(Leadership::Following);
    tokio::spawn(losses.clone().tell(events, leadership));

    let said = losses.note(&service(&garbled)).unwrap();
    assert_eq!(
        said,
        "cannot read spec.ports[0].nodePort: they are left out, and the rest of the object counts; correct them"
    );
    // Two watches see the same object.
    assert_eq!(losses.note(&service(&garbled)), None);
    assert!(
        losses
            .note(&pool())
            .unwrap()
            .contains("as it was last known")
    );
    assert!(posted.try_recv().is_err());

    lead.send_replace(Leadership::Leading {
        term: 1,
        renewed: Instant::now(),
    });
    let mut next = async || {
        let event = timeout(Duration::from_secs(10), posted.recv()).await;
        event.unwrap().unwrap()
    };
    let event = next().await;
    assert_eq!(event["regarding"]["kind"], "AddressPool");
    assert_eq!(event["regarding"]["apiVersion"], "heraldlb.io/v1alpha1");
    assert_eq!(event["regarding"]["uid"], "u2");
    assert_eq!(event["metadata"]["namespace"], "default");
    assert!(event["regarding"].get("namespace").is_none());
    let event = next().await;
    assert_eq!(event["regarding"]["kind"], "Service");
    assert_eq!(
        (&event["reason"], &event["type"]),
        (&json!("Unreadable"), &json!("Warning"))
    );
    assert_eq!(event["note"], said);

    // Corrected, and garbled again in another way.
    assert_eq!(losses.note(&service(&json!([]))), None);
    losses.note(&service(&json!([{ "port": "80" }]))).unwrap();
    let event = next().await;
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .contains("spec.ports[0].port:")
    );
}

#[test]
fn an_object_that_is_garbled_throughout_names_some_fields() {
    let ports: Vec<Value> = (0..20).map(|_| json!({ "port": "80" })).collect();
    let losses = Losses::default();
    let said = losses.note(&service(&json!(ports))).unwrap();
    assert!(said.contains("spec.ports[7].port and 12 more: "), "{said}");
    losses.forget(&service(&json!([])));
    assert!(losses.known().is_empty());
}
