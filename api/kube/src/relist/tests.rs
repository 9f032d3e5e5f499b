use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Service;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;

/// Name and version of the Services there are, and the version of now.
#[derive(Clone, Debug, Default)]
struct Store {
    services: BTreeMap<&'static str, u64>,
    version: u64,
    /// Told to the watches that are open.
    told: Vec<(&'static str, u64)>,
    /// Watches are ended with an error.
    broken: bool,
}

fn object(name: &str, version: u64) -> Value {
    json!({ "metadata": { "namespace": "default", "name": name, "resourceVersion": version.to_string() } })
}

/// An API server that answers lists with what there is, and whose watches tell only what was put into `told`: as one whose history
/// is behind what its clients saw.
fn server(store: watch::Sender<Store>) -> (Client, Arc<Mutex<usize>>) {
    let lists = Arc::new(Mutex::new(0));
    let counted = lists.clone();
    // Each is told once, whichever watch is open.
    let told = Arc::new(Mutex::new(0));
    let answer = move |request: axum::http::Request<kube::client::Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (mut seen, counted, told) = (store.subscribe(), counted.clone(), told.clone());
        async move {
            let now = seen.borrow_and_update().clone();
            let body = if query.contains("watch=true") {
                let events = unfold((seen, told), |(mut seen, told)| async move {
                    let next = *told.lock().unwrap();
                    seen.wait_for(|store| store.broken || store.told.len() > next)
                        .await
                        .ok()?;
                    let now = seen.borrow().clone();
                    let Some((name, version)) = now.told.get(next) else {
                        let error = std::io::Error::other("the server ended");
                        return Some((Err(error), (seen, told)));
                    };
                    *told.lock().unwrap() += 1;
                    let event = json!({ "type": "MODIFIED", "object": object(name, *version) });
                    Some((Ok(format!("{event}\n")), (seen, told)))
                });
                axum::body::Body::from_stream(events)
            } else {
                if !query.contains("limit=1&") && !query.ends_with("limit=1") {
                    *counted.lock().unwrap() += 1;
                }
                let items: Vec<Value> = now.services.iter().map(|(n, v)| object(n, *v)).collect();
                let list = json!({
                    "apiVersion": "v1", "kind": "ServiceList",
                    "metadata": { "resourceVersion": now.version.to_string() }, "items": items,
                });
                axum::body::Body::from(list.to_string())
            };
            Ok::<_, std::io::Error>(axum::http::Response::new(body))
        }
    };
    (Client::new(tower::service_fn(answer), "default"), lists)
}

/// Follows a watch until it has seen exactly these names, as a store with the semantics of lists would; gives the causes of lists.
async fn follow(
    client: Client,
    store: &watch::Sender<Store>,
    change: impl FnOnce(&mut Store),
) -> Vec<Cause> {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let heard = causes.clone();
    let pace = Pace::new(Duration::from_mins(10), "n1", "services");
    let tell = move |cause| heard.lock().unwrap().push(cause);
    let api: Api<Read<Service>> = Api::all(client);
    let mut events = pin!(relisting(api, Config::default().timeout(120), pace, tell));
    let (mut known, mut listing) = (Vec::new(), Vec::new());
    let mut change = Some(change);
    let done = timeout(Duration::from_hours(2), async {
        loop {
            match events.next().await.unwrap() {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => listing.push(object.name_any()),
                Ok(Event::InitDone) => {
                    known = std::mem::take(&mut listing);
                    match change.take() {
                        Some(change) => store.send_modify(change),
                        None => return,
                    }
                }
                Ok(Event::Apply(object)) if !known.contains(&object.name_any()) => {
                    known.push(object.name_any());
                }
                Ok(_) => {}
                // As both programs do before they go on.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    });
    done.await.expect("no list anew");
    let now: Vec<String> = store
        .borrow()
        .services
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(known, now);
    let causes = causes.lock().unwrap();
    causes.clone()
}

fn five() -> watch::Sender<Store> {
    let names = ["a", "b", "c", "d", "e"];
    let services = (100..).zip(names).map(|(version, name)| (name, version));
    watch::Sender::new(Store {
        services: services.collect(),
        version: 104,
        ..Store::default()
    })
}

fn restore(store: &mut Store) {
    store.services.retain(|name, _| *name < "d");
    store.version = 102;
}

#[tokio::test(start_paused = true)]
async fn a_history_that_went_back_in_silence_is_noticed_by_a_list_anew() {
    let store = five();
    let (client, lists) = server(store.clone());
    let began = Instant::now();
    assert_eq!(follow(client, &store, restore).await, [Cause::Age]);
    assert_eq!(*lists.lock().unwrap(), 2);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(450) && took <= Duration::from_secs(760),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_lower_version_makes_it_list_at_once() {
    let store = five();
    let (client, _) = server(store.clone());
    let began = Instant::now();
    let back = |store: &mut Store| {
        restore(store);
        store.services.insert("a", 103);
        store.version = 103;
        store.told.push(("a", 103));
    };
    assert_eq!(follow(client, &store, back).await, [Cause::History]);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn after_an_interruption_the_version_is_asked_for() {
    let store = five();
    let (client, _) = server(store.clone());
    let began = Instant::now();
    let ended = |store: &mut Store| {
        restore(store);
        store.broken = true;
    };
    assert_eq!(follow(client, &store, ended).await, [Cause::History]);
    assert!(began.elapsed() <= CHECK_WITHIN + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn versions_that_only_rise_cause_no_list() {
    let store = five();
    let (client, lists) = server(store.clone());
    let began = Instant::now();
    let rise = |store: &mut Store| {
        store.version = 106;
        store.told.extend([("a", 105), ("a", 105), ("b", 106)]);
    };
    assert_eq!(follow(client, &store, rise).await, [Cause::Age]);
    assert!(began.elapsed() >= Duration::from_secs(450));
    assert_eq!(*lists.lock().unwrap(), 2);
}

#[test]
fn lists_of_many_watches_are_spread() {
    let every = Duration::from_mins(10);
    let waits = (0..200).map(|node| Pace::new(every, &format!("n{node}"), "services").after(0));
    let mut waits: Vec<Duration> = waits.collect();
    waits.sort();
    assert!(waits[0] >= every * 3 / 4 && waits[199] <= every * 5 / 4);
    // No minute has more than three times its share.
    for window in waits.windows(121) {
        assert!(window[120] > window[0] + every / 10, "{window:?}");
    }
    let pace = Pace::new(every, "n1", "services");
    assert_ne!(pace.after(0), pace.after(1));
}

#[test]
fn intervals_are_read_as_flags_write_them() {
    assert_eq!(interval("10m"), Ok(Duration::from_mins(10)));
    assert_eq!(interval("30s"), Ok(Duration::from_secs(30)));
    for text in ["", "10", "9s", "25h", "m", "-1m", "1d"] {
        assert!(interval(text).is_err(), "{text}");
    }
}
