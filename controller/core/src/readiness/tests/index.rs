use super::*;

#[test]
fn an_endpoint_is_taken_up_while_its_pod_waits_and_passes_are_asked_for() {
    let mut index = GateIndex::default();
    index.observe_service(&key("web"), Some(service("web")));
    let mut starting = pod("a");
    starting.containers_ready = false;
    assert_eq!(index.observe_pod(starting).len(), 0);
    let address = FOUR.parse().unwrap();
    assert!(index.place(&key("a"), address) == Place::Ordinary);
    assert_eq!(index.observe_pod(pod("a")), BTreeSet::from([key("web")]));
    assert!(index.place(&key("a"), address) == Place::Waits);
    assert!(index.place(&key("a"), SIX.parse().unwrap()) == Place::Ordinary);
    assert_eq!(index.observe_pod(pod("a")).len(), 0, "nothing is new");
    let mut held = pod("a");
    held.others = vec!["x.io/y".into()];
    assert_eq!(index.observe_pod(held).len(), 1);
    assert!(
        index.place(&key("a"), address) == Place::Ordinary,
        "the other gate comes first"
    );
    assert_eq!(index.observe_pod(pod("a")).len(), 1);
    let mut done = pod("a");
    let gate = GateCondition {
        status: true,
        reason: "Healthy".into(),
        message: String::new(),
    };
    done.gate = Some((gate, "".into()));
    let mut beside = done.clone();
    beside.beside = true;
    assert_eq!(index.observe_pod(beside).len(), 0);
    assert!(
        index.place(&key("a"), address) == Place::Waits,
        "it keeps its place while the gate of another controller is open"
    );
    assert_eq!(index.open(), 0);
    assert_eq!(index.observe_pod(done).len(), 1, "it waits no more");
    assert!(index.place(&key("a"), address) == Place::Keeps);
    // What a slow watch tells of the time before our write.
    let mut late = pod("a");
    late.version = 0;
    assert_eq!(index.observe_pod(late).len(), 0);
    assert!(index.place(&key("a"), address) == Place::Keeps);
    // Its containers fail: what the slice says counts.
    let mut failed = pod("a");
    failed.gate = index.pod(&key("a")).unwrap().gate.clone();
    failed.containers_ready = false;
    assert_eq!(
        index.observe_pod(failed),
        BTreeSet::from([key("web")]),
        "the slice may have said so before"
    );
    assert_eq!(index.place(&key("a"), address), Place::Ordinary);
    // The next pod of this name, as of a StatefulSet.
    let mut next = pod("a");
    next.uid = "another".into();
    assert_eq!(index.observe_pod(next).len(), 1);
    assert!(index.place(&key("a"), address) == Place::Waits);
}

#[test]
fn only_what_concerns_a_pod_makes_it_be_decided_again() {
    fn taken(index: &mut GateIndex) -> Vec<ServiceKey> {
        std::iter::from_fn(|| index.pop_dirty()).collect()
    }
    let mut index = GateIndex::default();
    let mut far = pod("b");
    far.labels = labels("other");
    assert_eq!(index.observe_pods(vec![pod("a"), far], &[]).len(), 0);
    assert_eq!(taken(&mut index), [key("a"), key("b")]);
    index.observe_service(&key("web"), Some(service("web")));
    assert_eq!(taken(&mut index), [key("a")]);
    index.observe_service(&key("web"), Some(service("web")));
    let (found, given) = (
        report("web", Outcome::Ready, health(&[], &[FOUR])),
        request("web", &[gated(FOUR)]),
    );
    assert_eq!(taken(&mut index), []);
    report_to(&mut index, &found, &given);
    assert_eq!(taken(&mut index), [key("a")]);
    report_to(&mut index, &found, &given);
    assert_eq!(taken(&mut index), [], "the same as before");
    // Of a Service that was deleted and made again.
    let mut earlier = given.clone();
    earlier.uid = "earlier".into();
    report_to(
        &mut index,
        &report("web", Outcome::Ready, health(&[FOUR], &[])),
        &earlier,
    );
    assert_eq!(says(&index), "False Initial");
    let mut again = service("web");
    again.uid = "again".into();
    index.observe_service(&key("web"), Some(again));
    assert_eq!(
        says(&index),
        "False NotObserved",
        "what was found was of its predecessor"
    );
    report_to(&mut index, &found, &request("web", &[]));
    assert_eq!(index.open(), 2);
    index.observe_pods(vec![], &[key("a")]);
    assert_eq!(index.pods().count(), 1, "what cannot be read is not gone");
    index.forget_targets();
    index.mark(&key("b"));
    taken(&mut index);
    assert_eq!(says(&index), "False NotObserved");
}
