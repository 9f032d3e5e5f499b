//! Every metric of the speaker. docs/reference/speaker-metrics.md describes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use herald_speaker_core::announce::Counts;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::data_path::AddressCounter;
use crate::engine::Engine;

const PREFIX: &str = "heraldlb_speaker";

type Labels = [(&'static str, &'static str); 1];

/// Handles to the metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    services: Gauge,
    endpoint_slices: Gauge,
    nodes: Gauge,
    live_speakers: Gauge,
    announced: Gauge,
    waiting: Gauge,
    unlisted: Gauge,
    ready: Gauge,
    backlog: Gauge,
    refused: Gauge,
    last_sync: Gauge<f64, AtomicU64>,
    differences: Gauge,
    damages: Counter,
    observations: Counter,
    plan_seconds: Histogram,
    watch_errors: Family<Labels, Counter>,
    unreadable: Family<Labels, Counter>,
    relists: Family<[(&'static str, &'static str); 2], Counter>,
    status_writes: Family<Labels, Counter>,
}

impl Metrics {
    /// All metrics at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let r = &mut registry;
        let gauge = |r: &mut Registry, name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            r.register(name, help, gauge.clone());
            gauge
        };
        let services = gauge(r, "services", "Services known");
        let endpoint_slices = gauge(r, "endpoint_slices", "EndpointSlices known");
        let nodes = gauge(r, "nodes", "Nodes known");
        let live_speakers = gauge(r, "live_speakers", "Speakers seen alive, this one included");
        let announced = gauge(r, "announced_addresses", "Addresses this node answers for");
        let waiting = gauge(
            r,
            "waiting_addresses",
            "Addresses to announce on a link that are not answered for there yet",
        );
        let unlisted = gauge(
            r,
            "unlisted_kinds",
            "Kinds whose first list is not complete",
        );
        let ready = gauge(r, "ready", "Whether the first state is in place");
        let backlog = gauge(
            r,
            "data_path_pending_services",
            "Services given to the data path and not confirmed yet",
        );
        let refused = gauge(
            r,
            "data_path_refused_services",
            "Services whose rules the kernel refused",
        );
        let differences = gauge(
            r,
            "full_pass_differences",
            "Services that full passes found planned otherwise than events had left them; not 0 is a bug",
        );
        let damages = Counter::default();
        r.register(
            "data_path_damages",
            "Times other programs were found to have changed this node's rules",
            damages.clone(),
        );
        let last_sync = Gauge::<f64, AtomicU64>::default();
        r.register_with_unit(
            "data_path_last_sync_age",
            "Time since the data path wrote last",
            Unit::Seconds,
            last_sync.clone(),
        );
        let observations = Counter::default();
        r.register(
            "observations",
            "Observations taken in",
            observations.clone(),
        );
        let plan_seconds =
            Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]);
        r.register_with_unit(
            "plan",
            "Time to take in a batch of observations and plan what they changed",
            Unit::Seconds,
            plan_seconds.clone(),
        );
        let watch_errors = Family::<Labels, Counter>::default();
        r.register(
            "watch_errors",
            "Failed lists and watches by kind",
            watch_errors.clone(),
        );
        let unreadable = Family::<Labels, Counter>::default();
        r.register(
            "unreadable_objects",
            "Objects with fields that cannot be read",
            unreadable.clone(),
        );
        let relists = Family::<[(&'static str, &'static str); 2], Counter>::default();
        r.register(
            "relists",
            "Lists anew of watches that had not failed",
            relists.clone(),
        );
        let status_writes = Family::<Labels, Counter>::default();
        r.register(
            "status_writes",
            "Writes of the Speaker object by result",
            status_writes.clone(),
        );
        Self {
            registry: Arc::new(registry),
            services,
            endpoint_slices,
            nodes,
            live_speakers,
            announced,
            waiting,
            unlisted,
            ready,
            backlog,
            refused,
            last_sync,
            differences,
            damages,
            observations,
            plan_seconds,
            watch_errors,
            unreadable,
            relists,
            status_writes,
        }
    }

    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&[("kind", kind)]).inc();
    }

    pub(crate) fn unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&[("kind", kind)]).inc();
    }

    pub(crate) fn relisted(&self, kind: &'static str, cause: &'static str) {
        let labels = [("kind", kind), ("cause", cause)];
        self.relists.get_or_create(&labels).inc();
    }

    pub(crate) fn status_written(&self) {
        self.status_writes.get_or_create(&[("result", "ok")]).inc();
    }

    pub(crate) fn status_failed(&self) {
        self.status_writes
            .get_or_create(&[("result", "error")])
            .inc();
    }

    pub(crate) fn planned(&self, observations: usize, took: Duration) {
        self.observations.inc_by(observations as u64);
        self.plan_seconds.observe(took.as_secs_f64());
    }

    /// Takes the gauges from the engine.
    pub(crate) fn show(&self, engine: &Engine) {
        let set = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let snapshot = engine.snapshot();
        set(&self.services, snapshot.services.len());
        set(
            &self.endpoint_slices,
            snapshot.slices.values().map(BTreeMap::len).sum(),
        );
        set(&self.nodes, snapshot.nodes.len());
        set(
            &self.live_speakers,
            snapshot.speakers.values().filter(|s| s.live).count(),
        );
        set(&self.announced, engine.owned().len());
        set(&self.waiting, engine.waiting().count());
        set(&self.unlisted, engine.unlisted().len());
        set(&self.ready, usize::from(engine.ready()));
        let (backlog, refused) = engine.backlog();
        set(&self.backlog, backlog);
        set(&self.refused, refused);
        self.differences
            .set(i64::try_from(engine.differences()).unwrap_or(i64::MAX));
        let damages = engine.damages().saturating_sub(self.damages.get());
        self.damages.inc_by(damages);
        if let Some(at) = engine.last_sync() {
            self.last_sync.set(at.elapsed().as_secs_f64());
        }
    }

    /// The text that Prometheus reads, with the counters of each address from data path and announcer.
    pub(crate) fn render(
        &self,
        forwarded: &[AddressCounter],
        announced: &BTreeMap<IpAddr, Counts>,
    ) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        let end = text
            .trim_end()
            .strip_suffix("# EOF")
            .map_or(text.len(), str::len);
        text.truncate(end);
        let forwarded = |read: fn(&AddressCounter) -> u64| -> Vec<(IpAddr, u64)> {
            forwarded.iter().map(|c| (c.address, read(c))).collect()
        };
        let announced = |read: fn(&Counts) -> u64| -> Vec<(IpAddr, u64)> {
            announced
                .iter()
                .map(|(address, c)| (*address, read(c)))
                .collect()
        };
        for (name, help, values) in [
            (
                "connections",
                "New connections to an address that this node forwarded",
                forwarded(|c| c.connections),
            ),
            (
                "bytes",
                "Bytes of the first packets of those connections",
                forwarded(|c| c.bytes),
            ),
            (
                "requests",
                "ARP requests and neighbour solicitations for an address of this node",
                announced(|c| c.requests),
            ),
            ("replies", "Answers given to them", announced(|c| c.replies)),
            (
                "announcements",
                "Rounds of gratuitous ARP or unsolicited neighbour advertisements sent",
                announced(|c| c.announcements),
            ),
            (
                "probes",
                "Probes sent for an address",
                announced(|c| c.probes),
            ),
            (
                "conflicts",
                "Times another host was found to hold an address",
                announced(|c| c.conflicts),
            ),
        ] {
            let name = format!("{PREFIX}_address_{name}");
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} counter");
            for (address, value) in values {
                let _ = writeln!(text, "{name}_total{{address=\"{address}\"}} {value}");
            }
        }
        text.push_str("# EOF\n");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_on_the_reference_page() {
        let page = include_str!("../../docs/reference/speaker-metrics.md");
        let metrics = Metrics::new();
        metrics.watch_failed("services");
        metrics.unreadable("services");
        metrics.relisted("services", "age");
        metrics.status_written();
        let counter = AddressCounter {
            address: "192.0.2.1".parse().unwrap(),
            connections: 3,
            bytes: 180,
        };
        let text = metrics.render(&[counter], &BTreeMap::new());
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        assert!(names.len() > 15, "{text}");
        for name in names {
            assert!(
                page.contains(&format!("`{name}")),
                "{name} is not on the page"
            );
        }
        assert!(
            text.contains("heraldlb_speaker_address_connections_total{address=\"192.0.2.1\"} 3")
        );
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    }
}
