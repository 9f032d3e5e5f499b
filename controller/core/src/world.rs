//! For tests: an index whose writes come back as observations, as the API server's do.

use std::net::IpAddr;

use herald_core::{IpFamily, ServiceKey};

use crate::announce::plan_announced;
use crate::family::FamilyRequest;
use crate::index::{Index, Settings};
use crate::plan::{Plan, Write, plan};
use crate::plan_pool::PoolObserved;
use crate::pool::PoolView;
use crate::service::{RequestText, ServiceView};
use crate::status::{Condition, ConditionKind, Observed};

pub(crate) fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

pub(crate) fn pool(name: &str, addresses: &[&str]) -> PoolView {
    PoolView {
        name: name.into(),
        created: 1,
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        auto_assign: true,
        ..PoolView::default()
    }
}

/// A class-less LoadBalancer Service with one family.
pub(crate) fn svc(name: &str) -> ServiceView {
    ServiceView {
        key: key(name),
        uid: format!("uid-{name}").into(),
        created: 100,
        version: 1,
        load_balancer: true,
        class: None,
        families: FamilyRequest::single(IpFamily::V4),
        request: RequestText::default(),
        labels: herald_core::Labels::new(),
        local: false,
        deleting: false,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        ingress: Vec::new(),
        foreign_ingress: false,
        allocated_from: None,
        earlier_pools: Vec::new(),
        requested_pool: None,
        conditions: Vec::new(),
    }
}

pub(crate) fn dual(name: &str, all: bool) -> ServiceView {
    let families = FamilyRequest {
        order: vec![IpFamily::V4, IpFamily::V6],
        all,
    };
    ServiceView {
        families,
        ..svc(name)
    }
}

/// Settings as the binary's defaults.
pub(crate) fn settings() -> Settings {
    Settings {
        class: "heraldlb.io/pool".into(),
        claim_classless: true,
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) index: Index,
    /// Reasons of all Events so far, with the Service's name.
    pub(crate) events: Vec<(String, &'static str)>,
    pub(crate) writes: usize,
    version: u64,
}

impl World {
    /// A leading controller over `pools` and `services`.
    pub(crate) fn new(
        pools: impl IntoIterator<Item = PoolView>,
        services: impl IntoIterator<Item = ServiceView>,
    ) -> Self {
        let mut index = Index::new(settings());
        for view in pools {
            index.observe_pool(view, PoolObserved::default());
        }
        let mut version = 10;
        for view in services {
            version = view.version.max(version);
            index.observe_service(view);
        }
        index.lead();
        let mut world = Self {
            index,
            events: Vec::new(),
            writes: 0,
            version,
        };
        world.run();
        world
    }

    /// The same objects seen by a new controller: nothing but their status survives.
    pub(crate) fn restart(&self) -> Self {
        let pools: Vec<PoolView> = self.index.allocator().pools().cloned().collect();
        let services: Vec<ServiceView> = self.index.services().cloned().collect();
        Self::new(pools, services)
    }

    /// Plans and writes until nothing is dirty.
    pub(crate) fn run(&mut self) {
        loop {
            if let Some(key) = self.index.dirty().services.pop() {
                let plan = plan(&key, &self.index);
                assert!(
                    self.index.commit(&plan).is_empty(),
                    "a plan chose a taken address"
                );
                self.write(plan);
            } else if let Some(key) = self.index.dirty().announced.pop() {
                let Some(step) = plan_announced(&key, &self.index) else {
                    continue;
                };
                let mut view = self.service(&key.name).clone();
                view.conditions
                    .retain(|c| c.condition.kind != ConditionKind::Announced);
                view.conditions.extend(step.condition.map(observed));
                self.observe(view);
            } else {
                break;
            }
        }
        self.check();
    }

    pub(crate) fn write(&mut self, plan: Plan) {
        let Some(write) = plan.write else { return };
        let Some(mut view) = self.index.service(&plan.key).cloned() else {
            return;
        };
        self.writes += 1;
        match write {
            Write::Apply(desired) => {
                view.conditions
                    .retain(|c| c.condition.kind == ConditionKind::Announced);
                view.conditions
                    .extend(desired.conditions.into_iter().map(observed));
                view.allocated_from = desired.allocated_from;
                view.earlier_pools = desired.earlier_pools;
                view.requested_pool = desired.requested_pool;
                if let Some(ingress) = desired.ingress {
                    view.ingress = ingress;
                }
            }
            Write::Clear => {
                view.conditions.clear();
                view.allocated_from = None;
                view.earlier_pools = Vec::new();
                view.requested_pool = None;
                view.ingress.clear();
            }
        }
        for notice in plan.notices {
            self.events
                .push((plan.key.name.to_string(), notice.reason.as_str()));
        }
        self.observe(view);
    }

    /// Changes a Service as its author would, and runs.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut ServiceView)) {
        let mut view = self.service(name).clone();
        change(&mut view);
        self.observe(view);
        self.run();
    }

    pub(crate) fn add(&mut self, view: ServiceView) {
        self.observe(view);
        self.run();
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.index.forget_service(&key(name));
        self.run();
    }

    pub(crate) fn set_pool(&mut self, view: PoolView) {
        self.index.observe_pool(view, PoolObserved::default());
        self.run();
    }

    pub(crate) fn delete_pool(&mut self, name: &str) {
        self.index.forget_pool(name);
        self.run();
    }

    pub(crate) fn service(&self, name: &str) -> &ServiceView {
        self.index.service(&key(name)).unwrap()
    }

    pub(crate) fn addresses(&self, name: &str) -> Vec<String> {
        self.service(name)
            .ingress
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Status and reason of the condition Allocated.
    pub(crate) fn allocated(&self, name: &str) -> (bool, String) {
        let condition = self
            .service(name)
            .condition(ConditionKind::Allocated)
            .unwrap();
        (condition.status, condition.reason.to_string())
    }

    pub(crate) fn message(&self, name: &str, kind: ConditionKind) -> &str {
        &self.service(name).condition(kind).unwrap().message
    }

    pub(crate) fn reason(&self, name: &str, kind: ConditionKind) -> Option<&str> {
        Some(self.service(name).condition(kind)?.reason.as_ref())
    }

    pub(crate) fn observe(&mut self, mut view: ServiceView) {
        self.version += 1;
        view.version = self.version;
        self.index.observe_service(view);
    }

    /// No address in two Services (I2), and a full pass finds nothing to do (DESIGN, rule 4).
    fn check(&self) {
        let mut seen = std::collections::BTreeMap::new();
        for view in self.index.services() {
            for address in &view.ingress {
                let share = view.request.share_key.clone();
                let other = seen.insert(*address, share.clone());
                assert!(
                    other.is_none_or(|other| share.is_some() && other == share),
                    "{address} of {} is another's too",
                    view.key
                );
            }
            assert_eq!(
                plan(&view.key, &self.index).write,
                None,
                "{} is not at rest",
                view.key
            );
        }
    }
}

fn observed(condition: Condition) -> Observed {
    Observed {
        condition,
        since: "2026-01-01T00:00:00Z".into(),
    }
}
