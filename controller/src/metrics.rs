//! Every metric of the controller. Documented in docs/reference/controller-metrics.md.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod provider;

pub(crate) use provider::{ProviderLevels, ProviderMetrics};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Relisted {
    kind: String,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    object: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    family: &'static str,
}

/// All metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    services: Gauge,
    waiting: Gauge,
    queue: Family<QueueLabels, Gauge>,
    plans: Counter,
    writes: Family<WriteLabels, Counter>,
    write_seconds: Histogram,
    allocation_seconds: Histogram,
    assigned: Family<PoolLabels, Gauge>,
    available: Family<PoolLabels, Gauge>,
    watch_errors: Family<Kind, Counter>,
    relists: Family<Relisted, Counter>,
    unreadable: Family<Kind, Counter>,
    events: Family<Outcome, Counter>,
    speakers: Gauge,
    provider: ProviderMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Gauges that the planner sets from its index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) leading: bool,
    pub(crate) services: usize,
    pub(crate) waiting: usize,
    pub(crate) queued: usize,
    pub(crate) queued_announced: usize,
    pub(crate) live_speakers: usize,
}

/// 1 ms to about 30 s.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("heraldlb_controller");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the controller", build);
        let mut metrics = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            services: Gauge::default(),
            waiting: Gauge::default(),
            queue: Family::default(),
            plans: Counter::default(),
            writes: Family::default(),
            write_seconds: Histogram::new(SECONDS),
            allocation_seconds: Histogram::new(SECONDS),
            assigned: Family::default(),
            available: Family::default(),
            watch_errors: Family::default(),
            unreadable: Family::default(),
            relists: Family::default(),
            events: Family::default(),
            speakers: Gauge::default(),
            provider: ProviderMetrics::default(),
        };
        let m = &metrics;
        registry.register("leader", "1 while this replica leads", m.leader.clone());
        registry.register("services", "Services known", m.services.clone());
        registry.register(
            "services_waiting",
            "Services that would take an address if one became free",
            m.waiting.clone(),
        );
        registry.register(
            "queue_length",
            "Services that wait for a plan",
            m.queue.clone(),
        );
        registry.register("plans", "Plans made for Services", m.plans.clone());
        registry.register("writes", "Writes to the API server", m.writes.clone());
        registry.register(
            "write_seconds",
            "Time of a write to the API server",
            m.write_seconds.clone(),
        );
        registry.register(
            "allocation_seconds",
            "Time from seeing a Service without an address to its written status",
            m.allocation_seconds.clone(),
        );
        registry.register(
            "pool_addresses_assigned",
            "Addresses of the pool in use",
            m.assigned.clone(),
        );
        registry.register(
            "pool_addresses_available",
            "Addresses the pool can give",
            m.available.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed and were begun anew",
            m.watch_errors.clone(),
        );
        registry.register(
            "relists",
            "Lists anew of watches that had not failed",
            m.relists.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Objects seen that could not be read",
            m.unreadable.clone(),
        );
        registry.register("events", "Kubernetes Events", m.events.clone());
        registry.register(
            "speakers_live",
            "Speakers that renewed lately",
            m.speakers.clone(),
        );
        m.provider.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }

    pub(crate) fn levels(&self, levels: Levels) {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.leader.set(i64::from(levels.leading));
        set(&self.services, levels.services);
        set(&self.waiting, levels.waiting);
        set(&self.speakers, levels.live_speakers);
        set(
            &self.queue.get_or_create(&QueueLabels { queue: "services" }),
            levels.queued,
        );
        set(
            &self
                .queue
                .get_or_create(&QueueLabels { queue: "announced" }),
            levels.queued_announced,
        );
    }

    /// Sets the counters of a pool, for IPv4 and IPv6.
    pub(crate) fn pool(&self, pool: &str, assigned: [i64; 2], available: [i64; 2]) {
        for (n, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let labels = PoolLabels {
                pool: pool.to_owned(),
                family,
            };
            self.assigned.get_or_create(&labels).set(assigned[n]);
            self.available.get_or_create(&labels).set(available[n]);
        }
    }

    /// Forgets a pool that is gone.
    pub(crate) fn forget_pool(&self, pool: &str) {
        for family in ["IPv4", "IPv6"] {
            let labels = PoolLabels {
                pool: pool.to_owned(),
                family,
            };
            self.assigned.remove(&labels);
            self.available.remove(&labels);
        }
    }

    /// Those of the providers.
    pub(crate) fn provider(&self) -> &ProviderMetrics {
        &self.provider
    }

    pub(crate) fn planned(&self) {
        self.plans.inc();
    }

    pub(crate) fn wrote(&self, object: &'static str, outcome: &'static str, took: Duration) {
        self.writes
            .get_or_create(&WriteLabels { object, outcome })
            .inc();
        self.write_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn allocated(&self, took: Duration) {
        self.allocation_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn watch_error(&self, kind: &str) {
        self.watch_errors
            .get_or_create(&Kind {
                kind: kind.to_owned(),
            })
            .inc();
    }

    pub(crate) fn relisted(&self, kind: &str, cause: &'static str) {
        let labels = Relisted {
            kind: kind.to_owned(),
            cause,
        };
        self.relists.get_or_create(&labels).inc();
    }

    pub(crate) fn unreadable(&self, kind: &str) {
        self.unreadable
            .get_or_create(&Kind {
                kind: kind.to_owned(),
            })
            .inc();
    }

    pub(crate) fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&Outcome { outcome }).inc();
    }

    /// The text that Prometheus reads (`OpenMetrics`).
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Whether the controller works and what it knows, for /healthz and /readyz.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Milliseconds since start at which the planner last went round.
    pub(crate) beat: AtomicU64,
    /// Bit n is set once the n-th of [`STORES`] is complete.
    pub(crate) synced: AtomicU64,
}

/// What must be listed before anything is decided (I6).
pub(crate) const STORES: [&str; 8] = [
    "services",
    "addresspools",
    "namespaces",
    "l2advertisements",
    "speakers",
    "nodes",
    "the API servers' endpointslices",
    "servicecidrs",
];

/// [`Health::synced`] when all are.
pub(crate) const ALL_STORES: u64 = (1 << STORES.len()) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_our_prefix_and_is_documented() {
        let metrics = Metrics::new();
        metrics.levels(Levels {
            leading: true,
            ..Levels::default()
        });
        metrics.pool("lan", [1, 0], [255, 0]);
        metrics.wrote("service", "ok", Duration::from_millis(3));
        metrics.watch_error("Service");
        metrics.unreadable("Service");
        metrics.relisted("Service", "age");
        metrics.event("posted");
        metrics.provider().example();
        let text = metrics.render().unwrap();
        let docs = include_str!("../../docs/reference/controller-metrics.md");
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        assert!(names.len() >= 23, "{text}");
        for name in names {
            assert!(name.starts_with("heraldlb_controller_"), "{name}");
            assert!(
                docs.contains(&format!("`{name}")),
                "{name} is not in the documentation"
            );
        }
        metrics.forget_pool("lan");
        assert!(!metrics.render().unwrap().contains("pool=\"lan\""));
    }
}
