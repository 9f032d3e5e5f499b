//! The metrics of the external providers; label `provider` tells them apart.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Provider {
    provider: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    provider: &'static str,
    operation: &'static str,
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Passes {
    provider: &'static str,
    state: &'static str,
}

/// 10 ms to 5 min: a pass makes many calls, and waits for its turn before each.
const SECONDS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0,
];

/// What a provisioner counts from its stores.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderLevels {
    /// Services by what their last pass came to.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// Passes under way.
    pub(crate) running: usize,
    /// Passes that wait because too many that failed are under way.
    pub(crate) held: usize,
    /// Load balancers found that no Service wants.
    pub(crate) unwanted: usize,
    /// Pods whose containers are ready and whose readiness gate is open.
    pub(crate) open_gates: usize,
}

/// Metrics of all providers; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProviderMetrics {
    calls: Family<Call, Counter>,
    services: Family<Outcome, Gauge>,
    passes: Family<Outcome, Counter>,
    pass_seconds: Family<Provider, Histogram, fn() -> Histogram>,
    queue: Family<Passes, Gauge>,
    listings: Family<Outcome, Counter>,
    listed: Family<Provider, Gauge>,
    unwanted: Family<Provider, Gauge>,
    open_gates: Family<Provider, Gauge>,
}

impl Default for ProviderMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            services: Family::default(),
            passes: Family::default(),
            pass_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            queue: Family::default(),
            listings: Family::default(),
            listed: Family::default(),
            unwanted: Family::default(),
            open_gates: Family::default(),
        }
    }
}

impl ProviderMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("provider");
        registry.register("calls", "Requests to the provider", self.calls.clone());
        registry.register(
            "services",
            "Services of the provider, by what their last pass came to",
            self.services.clone(),
        );
        registry.register(
            "passes",
            "Passes over one load balancer",
            self.passes.clone(),
        );
        registry.register(
            "pass_seconds",
            "Time of a pass, waiting for its turn included",
            self.pass_seconds.clone(),
        );
        registry.register("passes_now", "Passes at this moment", self.queue.clone());
        registry.register(
            "listings",
            "Listings of everything that exists",
            self.listings.clone(),
        );
        registry.register(
            "last_listing_timestamp_seconds",
            "When everything was last listed",
            self.listed.clone(),
        );
        registry.register(
            "load_balancers_unwanted",
            "Load balancers of this cluster that no Service wants",
            self.unwanted.clone(),
        );
        registry.register(
            "open_gates",
            "Pods whose containers are ready and whose readiness gate is open",
            self.open_gates.clone(),
        );
    }

    pub(crate) fn levels(&self, provider: &'static str, levels: &ProviderLevels) {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        for outcome in OUTCOMES {
            let count = levels.outcomes.get(outcome).copied().unwrap_or_default();
            let labels = Outcome { provider, outcome };
            self.services.get_or_create(&labels).set(number(count));
        }
        for (state, count) in [("running", levels.running), ("held", levels.held)] {
            let labels = Passes { provider, state };
            self.queue.get_or_create(&labels).set(number(count));
        }
        let labels = Provider { provider };
        let unwanted = number(levels.unwanted);
        self.unwanted.get_or_create(&labels).set(unwanted);
        let open = number(levels.open_gates);
        self.open_gates.get_or_create(&labels).set(open);
    }

    /// Enters the counts of requests, which only grow.
    pub(crate) fn calls(&self, provider: &'static str, calls: Vec<(&'static str, String, u64)>) {
        for (operation, result, count) in calls {
            let labels = Call {
                provider,
                operation,
                result,
            };
            let counter = self.calls.get_or_create(&labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn passed(&self, provider: &'static str, outcome: &'static str, took: Duration) {
        let labels = Outcome { provider, outcome };
        self.passes.get_or_create(&labels).inc();
        let seconds = self.pass_seconds.get_or_create(&Provider { provider });
        seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn listed(&self, provider: &'static str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        let labels = Outcome { provider, outcome };
        self.listings.get_or_create(&labels).inc();
        if ok {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let seconds = since.map_or(0, |since| since.as_secs());
            let gauge = self.listed.get_or_create(&Provider { provider });
            gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// One sample of each, for the test that compares names with the documentation.
    #[cfg(test)]
    pub(super) fn example(&self) {
        self.levels("aws-nlb", &ProviderLevels::default());
        self.calls("aws-nlb", vec![("CreateLoadBalancer", "ok".into(), 1)]);
        self.passed("aws-nlb", "ready", Duration::from_secs(1));
        self.listed("aws-nlb", true);
    }
}

/// What a pass can come to; `waiting` is before the first.
const OUTCOMES: [&str; 10] = [
    "waiting",
    "ready",
    "partial",
    "pending",
    "refused",
    "releasing",
    "blocked",
    "unreachable",
    "unwritten",
    "released",
];
