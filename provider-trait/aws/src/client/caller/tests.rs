use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::client::limit::Rate;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(1),
    cap: Duration::from_millis(2),
};

fn caller() -> Caller {
    Caller::new(Limits::default(), BACKOFF)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap().block_on(future)
}

struct Lease(AtomicBool);

impl Gate for Lease {
    fn check(&self) -> Result<(), ProviderError> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = "the lease has run out";
        Err(ProviderError::new(
            ErrorKind::Retryable,
            "lease",
            "leader",
            message,
        ))
    }
}

/// How many requests a call makes whose first `failing` ones end so.
fn requests(operation: Operation<'_>, failure: &Failure, failing: u32) -> (u32, bool) {
    let made = Cell::new(0);
    let caller = caller();
    let result = run(caller.call(operation, || {
        made.set(made.get() + 1);
        let result = if made.get() <= failing {
            Err(failure.clone())
        } else {
            Ok(())
        };
        async move { result }
    }));
    (made.get(), result.is_ok())
}

#[test]
fn throttled_calls_are_made_again_and_broken_ones_only_if_they_read() {
    let gate = herald_provider::OpenGate;
    let throttled = Failure::answered("Throttling", "Rate exceeded", 400);
    let broken = Failure::answered("", "", 503);
    let refused = Failure::answered("TooManyListeners", "", 400);
    let change = Operation::change("CreateListener", "web", &gate);
    let read = Operation::read("DescribeListeners", "web");
    assert_eq!(requests(change, &throttled, 2), (3, true));
    assert_eq!(requests(change, &throttled, 99), (TRIES, false));
    assert_eq!(requests(read, &broken, 2), (3, true));
    assert_eq!(requests(change, &broken, 2), (1, false));
    assert_eq!(requests(read, &refused, 2), (1, false));
}

#[test]
fn the_gate_is_asked_before_every_request() {
    let gate = Lease(AtomicBool::new(true));
    let operation = Operation::change("CreateListener", "web", &gate);
    let made = Cell::new(0);
    let caller = caller();
    let result: Result<(), _> = run(caller.call(operation, || {
        made.set(made.get() + 1);
        // The lease runs out while the answer is awaited.
        gate.0.store(false, Ordering::Relaxed);
        async { Err(Failure::answered("Throttling", "", 400)) }
    }));
    assert_eq!(made.get(), 1);
    assert_eq!(result.unwrap_err().operation, "lease");
}

#[test]
fn every_request_is_counted_by_its_result() {
    let caller = caller();
    let made = Cell::new(0);
    let operation = Operation::read("DescribeTags", "web");
    let done: Result<(), _> = run(caller.call(operation, || {
        made.set(made.get() + 1);
        let first = made.get() == 1;
        async move {
            if first {
                Err(Failure::answered("Throttling", "", 400))
            } else {
                Ok(())
            }
        }
    }));
    done.unwrap();
    let counts: Vec<_> = caller
        .metrics()
        .counts()
        .into_iter()
        .map(|c| (c.result, c.count))
        .collect();
    assert_eq!(counts, [("Throttling".to_owned(), 1), ("ok".to_owned(), 1)]);
}

#[test]
fn calls_of_one_class_do_not_wait_for_another() {
    let slow = Rate {
        per_second: 0.001,
        burst: 1,
    };
    let limits = Limits {
        change: slow,
        ..Limits::default()
    };
    let caller = Caller::new(limits, BACKOFF);
    let gate = herald_provider::OpenGate;
    run(async {
        let ok = || async { Ok::<_, Failure>(()) };
        caller
            .call(Operation::change("A", "a", &gate), ok)
            .await
            .unwrap();
        let second = caller.call(Operation::change("A", "a", &gate), ok);
        let waited = tokio::time::timeout(Duration::from_millis(5), second).await;
        assert!(waited.is_err(), "the second change has to wait");
        caller.call(Operation::read("B", "b"), ok).await.unwrap();
        caller
            .call(Operation::targets("C", "c", &gate), ok)
            .await
            .unwrap();
    });
}
