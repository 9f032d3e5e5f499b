use std::time::Duration;

use herald_controller_core::ServiceView;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::index::service_view;

fn service(name: &str, version: u64) -> Value {
    json!({
        "metadata": { "namespace": "default", "name": name, "uid": name, "resourceVersion": version.to_string() },
        "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.10" }] } },
    })
}

/// An API server with these Services, whose watches tell these events and then nothing.
fn server(services: &[Value], events: &[Value]) -> Client {
    let list = json!({
        "apiVersion": "v1", "kind": "ServiceList", "metadata": { "resourceVersion": "100" }, "items": services,
    });
    let events: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
    let events = events.concat();
    let answer = move |request: axum::http::Request<kube::client::Body>| {
        let watches = request
            .uri()
            .query()
            .is_some_and(|q| q.contains("watch=true"));
        let (list, events) = (list.to_string(), events.clone());
        async move {
            let body = if watches {
                let told = futures::stream::iter([Ok::<_, std::io::Error>(events)]);
                let open = told.chain(futures::stream::pending());
                axum::body::Body::from_stream(open)
            } else {
                axum::body::Body::from(list)
            };
            Ok::<_, std::io::Error>(axum::http::Response::new(body))
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

#[tokio::test]
async fn a_field_that_cannot_be_read_never_costs_the_service() {
    let mut odd = service("odd", 7);
    odd["status"]["conditions"] = json!([
        { "type": "Other", "status": "True", "reason": "E2E", "message": "", "lastTransitionTime": null },
    ]);
    odd["spec"]["ports"] = json!([{ "port": 80, "nodePort": "30080" }]);
    let mut doubtful = service("doubtful", 8);
    doubtful["spec"]["type"] = json!(["LoadBalancer"]);
    let mut still = doubtful.clone();
    still["metadata"]["resourceVersion"] = json!("101");
    let events = [
        json!({ "type": "MODIFIED", "object": still }),
        json!({ "type": "ADDED", "object": service("late", 102) }),
    ];
    let client = server(&[odd, doubtful, service("web", 9)], &events);
    let (to, mut from) = mpsc::channel(16);
    let metrics = Metrics::new();
    let relist = Relist {
        every: Duration::from_mins(10),
        who: "test".into(),
    };
    let watches =
        Watches::<Change<ServiceView>>::new(&client, &to, &metrics, &Losses::default(), &relist);
    watches.all::<Service, _>(service_view, |change| change);
    let mut next = async || timeout(Duration::from_secs(10), from.recv()).await.unwrap();

    let Some(Change::All {
        views, unreadable, ..
    }) = next().await
    else {
        panic!("no list");
    };
    let names: Vec<&str> = views.iter().map(|view| &*view.key.name).collect();
    assert_eq!(names, ["odd", "web"]);
    assert_eq!(views[0].ingress, views[1].ingress);
    assert_eq!(unreadable, [ServiceKey::new("default", "doubtful")]);
    // What changed of the doubtful one is not told: it stays as it was.
    let Some(Change::One(view)) = next().await else {
        panic!("no change");
    };
    assert_eq!(&*view.key.name, "late");
    let text = metrics.render().unwrap();
    assert!(
        text.contains("heraldlb_controller_unreadable_objects_total{kind=\"Service\"} 2\n"),
        "{text}"
    );
}
