//! Failures and delays concern one port or one load balancer only (invariant I7).

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider::testing::fake::{FakeHarness, Fault};
use herald_provider::{
    Context, ErrorKind, Mode, OpenGate, Outcome, Provider, Release, ensure, release,
};

fn context(harness: &FakeHarness) -> Context<'static> {
    Context {
        gate: &OpenGate,
        now: harness.now(),
        mode: Mode::Live,
        failures: 3,
        random: 1 << 63,
    }
}

#[test]
fn a_slow_call_for_one_load_balancer_delays_no_other() {
    let harness = FakeHarness::default();
    let provider = harness.connect();
    let inventory = Mutex::new(block_on(provider.observe()).unwrap());
    let (slow, fast) = (harness.request("slow"), harness.request("fast"));
    harness.cloud.delay(&slow.id, Duration::from_hours(1));

    let mut waiting = pin!(ensure(&provider, &inventory, &slow, context(&harness)));
    let mut task = TaskContext::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut task).is_pending());
    let done = block_on(ensure(&provider, &inventory, &fast, context(&harness)));
    assert!(
        !done.applied.is_empty() && done.errors.is_empty(),
        "{done:?}"
    );
    assert!(
        waiting.as_mut().poll(&mut task).is_pending(),
        "the slow call is still under way"
    );

    harness.cloud.advance(Duration::from_hours(1));
    // Its first call is over; the following ones are as slow.
    while waiting.as_mut().poll(&mut task).is_pending() {
        harness.cloud.advance(Duration::from_hours(1));
    }
}

#[test]
fn a_port_that_is_refused_leaves_the_other_ports_working() {
    let harness = FakeHarness::default();
    let session = block_on(Session::start(&harness));
    let mut request = harness.request("web");
    harness.cloud.fail(Fault {
        operation: "AddListener".into(),
        kind: ErrorKind::Terminal,
        times: 1,
    });
    let done = block_on(session.ensure(&request));
    assert_eq!(done.errors.len(), 1, "{done:#?}");
    harness.cloud.heal();
    harness.cloud.fail(Fault {
        operation: "AddListener".into(),
        kind: ErrorKind::Terminal,
        times: 9,
    });
    block_on(harness.advance(Duration::from_mins(1)));
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    let of = |n: usize| &service.ports[n].outcome;
    assert!(matches!(of(0), Outcome::Refused { .. }), "{service:#?}");
    assert_eq!(*of(1), Outcome::Ready);
    assert!(
        matches!(service.outcome, Outcome::Partial { .. }),
        "{service:#?}"
    );
    assert_eq!(service.ingress.len(), 1, "what works is published");
    harness.cloud.heal();
    block_on(session.settle(&mut request));
}

#[test]
fn clients_come_when_everything_that_can_listen_does() {
    let harness = FakeHarness::default();
    let session = block_on(Session::start(&harness));
    let mut request = harness.request("web");
    let listeners = |kind| {
        harness.cloud.heal();
        harness.cloud.fail(Fault {
            operation: "AddListener".into(),
            kind,
            times: 1,
        });
    };
    listeners(ErrorKind::Retryable);
    block_on(session.ensure(&request));
    block_on(harness.advance(Duration::from_mins(1)));
    listeners(ErrorKind::Retryable);
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert_eq!(service.ports[1].outcome, Outcome::Ready, "{service:#?}");
    assert!(service.ingress.is_empty(), "a listener may yet come");
    listeners(ErrorKind::Terminal);
    let done = block_on(session.ensure(&request));
    assert_eq!(done.report.services[0].ingress.len(), 1, "{done:#?}");
    let again = done.report.retry_after().unwrap();
    assert!(again <= Duration::from_mins(1), "a quota may be raised");
    harness.cloud.heal();
    block_on(session.settle(&mut request));
}

#[test]
fn more_listeners_than_the_cloud_allows_are_named_one_by_one() {
    let harness = FakeHarness::default();
    let session = block_on(Session::start(&harness));
    let mut request = harness.request("web");
    let model = request.services[0].ports[0].clone();
    for n in 1..=5 {
        let mut port = model.clone();
        port.key.port = 9000 + n;
        port.name = format!("extra{n}");
        request.services[0].ports.push(port);
    }
    block_on(session.ensure(&request));
    block_on(harness.advance(Duration::from_mins(1)));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    let ready = ports.iter().filter(|p| p.outcome == Outcome::Ready).count();
    assert_eq!(ready, 5, "{ports:#?}");
    let refused = ports.iter().filter_map(|p| p.outcome.reason());
    let codes: Vec<_> = refused.map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["TooManyListeners", "TooManyListeners"]);
}

#[test]
fn a_failed_removal_of_something_old_is_a_warning_only() {
    let harness = FakeHarness::default();
    let session = block_on(Session::start(&harness));
    let mut request = harness.request("web");
    block_on(session.settle(&mut request));
    request.services[0].ports.truncate(1);
    harness.cloud.fail(Fault {
        operation: "DeleteSet".into(),
        kind: ErrorKind::Retryable,
        times: 9,
    });
    let done = block_on(session.ensure(&request));
    assert_eq!(done.report.services[0].outcome, Outcome::Ready, "{done:#?}");
    assert_eq!(done.report.services[0].warnings.len(), 1);
    assert!(done.report.retry_after().is_some(), "it is tried again");
    harness.cloud.heal();
    block_on(session.settle(&mut request));
    assert_eq!(harness.cloud.sets().len(), 1);
}

#[test]
fn the_wait_grows_with_failures_up_to_a_cap() {
    let harness = FakeHarness::default();
    let provider = harness.connect();
    let inventory = Mutex::new(block_on(provider.observe()).unwrap());
    let request = harness.request("web");
    let wait = |failures| {
        harness.cloud.fail(Fault {
            operation: String::new(),
            kind: ErrorKind::Throttled,
            times: 1,
        });
        let context = Context {
            failures,
            ..context(&harness)
        };
        let done = block_on(ensure(&provider, &inventory, &request, context));
        done.report.retry_after().unwrap()
    };
    // Half of the bound: random is in the middle.
    assert_eq!(wait(0), Duration::from_secs(1));
    assert_eq!(wait(4), Duration::from_secs(16));
    assert_eq!(wait(60), Duration::from_mins(1));
}

#[test]
fn a_removal_without_permission_is_blocked() {
    let harness = FakeHarness::default();
    let session = block_on(Session::start(&harness));
    let mut request = harness.request("web");
    block_on(session.settle(&mut request));
    harness.cloud.fail(Fault {
        operation: String::new(),
        kind: ErrorKind::Permission,
        times: 1,
    });
    let provider = harness.connect();
    let inventory = Mutex::new(block_on(provider.observe()).unwrap());
    let released = block_on(release(
        &provider,
        &inventory,
        &request.id,
        context(&harness),
    ));
    assert!(
        matches!(released.release, Release::Blocked { .. }),
        "{released:?}"
    );
    block_on(session.remove(&request.id));
}
