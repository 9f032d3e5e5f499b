//! What every provider must do, as test cases over a [`Harness`].
//!
//! A harness is a world of its own with the provider under test in it. Each case takes a maker of fresh worlds.
//! [`conformance!`](crate::conformance) turns all of them into `#[test]` functions:
//!
//! ```
//! use herald_provider::testing::conformance::block_on;
//! use herald_provider::testing::fake::FakeHarness;
//!
//! herald_provider::conformance!(block_on, FakeHarness::make);
//! # fn main() {}
//! ```

mod change;
mod crash;
mod fault;
mod gates;
mod life;
mod settle;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

pub use change::*;
pub use crash::*;
pub use fault::*;
pub use gates::*;
pub use life::*;
pub use settle::{Session, Work, crashed_and_restarted};

use crate::testing::fake::When;
use crate::{ErrorKind, Ingress, LoadBalancerRequest, PortKey, Provider, UnixTime};

/// A world with a provider in it.
pub trait Harness {
    /// The provider under test.
    type Provider: Provider;

    /// A fresh instance of the provider over this world, as after a restart.
    fn connect(&self) -> Self::Provider;

    /// A request that this provider can fulfil: one Service of that name with ports 80/TCP and 443/TCP and two targets.
    fn request(&self, name: &str) -> LoadBalancerRequest;

    /// The same request with another set of targets: none of the old ones if `generation` differs.
    fn with_targets(&self, request: &LoadBalancerRequest, generation: u8) -> LoadBalancerRequest;

    /// The same request with a difference that takes a new load balancer.
    fn replaced(&self, request: &LoadBalancerRequest) -> LoadBalancerRequest;

    /// The world's time.
    fn now(&self) -> UnixTime;

    /// Lets time pass in the world.
    fn advance(&self, duration: Duration) -> impl Future<Output = ()>;

    /// How many changing calls took effect so far.
    fn changes(&self) -> impl Future<Output = usize>;

    /// Everything that exists, by kind and name: the same text for the same thing in every world of this kind.
    fn resources(&self) -> impl Future<Output = BTreeSet<String>>;

    /// Adds things that look like the provider's own but are somebody else's; they are part of [`Harness::resources`].
    fn add_foreign(&self) -> impl Future<Output = ()>;

    /// How many targets take traffic that clients send to this port of what is published.
    fn serving(&self, ingress: &Ingress, port: PortKey) -> impl Future<Output = usize>;

    /// The next `times` changing calls meet an error of this kind, before they take effect.
    fn fail(&self, kind: ErrorKind, times: usize) -> impl Future<Output = ()>;

    /// Ends the faults.
    fn heal(&self) -> impl Future<Output = ()>;

    /// The process dies at changing call number `n` from now; nothing gets through until [`Harness::revive`].
    fn crash_at(&self, n: usize, when: When) -> impl Future<Output = ()>;

    /// Whether the process died.
    fn crashed(&self) -> impl Future<Output = bool>;

    /// Forgets the crash, whether or not it happened: calls get through again.
    fn revive(&self) -> impl Future<Output = ()>;

    /// Somebody removes a listener of this request's load balancer behind the provider's back.
    fn remove_a_listener(&self, request: &LoadBalancerRequest) -> impl Future<Output = ()>;

    /// Somebody protects the request's load balancer against deletion, or ends that.
    fn protect(&self, request: &LoadBalancerRequest, on: bool) -> impl Future<Output = ()>;
}

/// Runs a future that never waits for anything outside of it.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = TaskContext::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// Makes a `#[test]` of every case: `conformance!(block_on, make)`, where `make()` is a future of a fresh [`Harness`].
#[macro_export]
macro_rules! conformance {
    ($run:expr, $make:expr) => {
        $crate::conformance!(@ $run, $make,
            creates_and_settles
            does_nothing_when_nothing_differs
            plans_the_same_after_a_restart
            removes_everything
            removing_nothing_is_done
            leaves_what_is_not_its_own
            adds_and_removes_ports
            never_without_a_target_while_targets_change
            repairs_what_somebody_removed
            replaces_without_a_gap
            tells_which_endpoints_are_healthy
            a_replacement_counts_in_both_load_balancers
            serves_two_load_balancers_apart
            removes_what_an_older_listing_lacks
            leaves_what_an_older_listing_lacks
            throttled_is_pending_and_recovers
            forbidden_is_pending_and_recovers
            refused_is_refused_and_recovers
            one_failed_call_is_made_up_for
            a_closed_gate_changes_nothing
            a_dry_run_changes_nothing
            a_paused_load_balancer_stays_as_it_is
            a_protected_load_balancer_blocks_until_it_may_go
            converges_from_every_crash_of_a_creation
            converges_from_every_crash_of_an_update
            converges_from_every_crash_of_a_replacement
            converges_from_every_crash_of_a_removal
        );
    };
    (@ $run:expr, $make:expr, $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $run($crate::testing::conformance::$case($make));
            }
        )*
    };
}
