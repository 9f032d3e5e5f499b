//! AWS in memory: the rules of Network Load Balancers, a clock that only moves when told, faults and crashes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

mod balancers;
pub mod harness;
mod read;
mod rules;
pub mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use herald_provider::testing::fake::When;
use herald_provider::{ErrorKind, Gate, ProviderError, UnixTime};
use herald_provider_aws::Api;
use herald_provider_aws::call::{Answer, Change, Listing, Query};
use herald_provider_aws::model::{
    Attributes, GroupSpec, Listener, LoadBalancer, SecurityGroup, Subnet, Target, Vpc,
};

pub const PROVISIONING: Duration = Duration::from_mins(2);
pub const REGISTRATION: Duration = Duration::from_secs(40);
pub const DRAINING: Duration = Duration::from_mins(5);

#[derive(Clone, Default)]
pub struct Aws(Arc<Mutex<World>>);

pub struct World {
    pub now: UnixTime,
    pub vpc: Vpc,
    pub subnets: Vec<Subnet>,
    pub load_balancers: BTreeMap<String, Nlb>,
    pub groups: BTreeMap<String, Group>,
    pub security_groups: BTreeMap<String, SecurityGroup>,
    pub log: Vec<Change>,
    pub reads: usize,
    /// No target answers its health checks.
    pub sick: bool,
    serial: u64,
    changing: usize,
    fault: Option<(ErrorKind, usize)>,
    crash: Option<(usize, When)>,
    dead: bool,
}

pub struct Nlb {
    pub spec: LoadBalancer,
    pub active_at: UnixTime,
    pub attributes: Attributes,
    pub listeners: BTreeMap<u16, Listener>,
}

pub struct Group {
    pub arn: String,
    pub spec: GroupSpec,
    pub attributes: Attributes,
    pub targets: BTreeMap<Target, Registered>,
}

#[derive(Clone, Copy)]
pub struct Registered {
    pub since: UnixTime,
    pub draining: Option<UnixTime>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: UnixTime(1_000_000),
            vpc: Vpc::default(),
            subnets: Vec::new(),
            load_balancers: BTreeMap::new(),
            groups: BTreeMap::new(),
            security_groups: BTreeMap::new(),
            log: Vec::new(),
            reads: 0,
            sick: false,
            serial: 0,
            changing: 0,
            fault: None,
            crash: None,
            dead: false,
        }
    }
}

impl World {
    pub fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// When a target became reachable: registered, and its group behind an active load balancer.
    pub fn healthy_at(&self, group: &Group, target: &Registered) -> Option<UnixTime> {
        let uses = |nlb: &&Nlb| {
            nlb.listeners
                .values()
                .any(|l| l.spec.target_group.id.as_ref() == Some(&group.arn))
        };
        let nlb = self.load_balancers.values().find(uses)?;
        Some(target.since.max(nlb.active_at).after(REGISTRATION))
    }
}

impl Aws {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn fail(&self, kind: ErrorKind, times: usize) {
        self.world().fault = Some((kind, times));
    }

    pub fn heal(&self) {
        self.world().fault = None;
    }

    pub fn crash_at(&self, n: usize, when: When) {
        let mut world = self.world();
        world.crash = Some((world.changing + n, when));
    }

    pub fn crashed(&self) -> bool {
        self.world().dead
    }

    pub fn revive(&self) {
        let mut world = self.world();
        world.crash = None;
        world.dead = false;
    }

    pub fn advance(&self, duration: Duration) {
        let mut world = self.world();
        let now = world.now.after(duration);
        world.now = now;
        for group in world.groups.values_mut() {
            group
                .targets
                .retain(|_, t| t.draining.is_none_or(|until| until > now));
        }
    }
}

pub fn error(kind: ErrorKind, code: &str, what: &impl ToString) -> ProviderError {
    ProviderError::new(kind, "call", what.to_string(), "as AWS would say").with_code(code)
}

fn died(what: &impl ToString) -> ProviderError {
    error(ErrorKind::Retryable, "Died", what)
}

impl Api for Aws {
    async fn list(&self) -> Result<Listing, ProviderError> {
        let world = &mut *self.world();
        if world.dead {
            return Err(died(&"list"));
        }
        world.reads += 1;
        Ok(read::list(world))
    }

    async fn ask(&self, query: &Query) -> Result<Answer, ProviderError> {
        let world = &mut *self.world();
        if world.dead {
            return Err(died(query));
        }
        world.reads += 1;
        Ok(read::ask(world, query))
    }

    async fn change(&self, change: &Change, gate: &dyn Gate) -> Result<Answer, ProviderError> {
        gate.check()?;
        let world = &mut *self.world();
        if world.dead {
            return Err(died(change));
        }
        let crash = world.crash.filter(|(at, _)| *at == world.changing);
        world.changing += 1;
        if let Some((_, When::Before)) = crash {
            world.dead = true;
            return Err(died(change));
        }
        if let Some((kind, times)) = &mut world.fault
            && *times > 0
        {
            *times -= 1;
            return Err(error(*kind, "Injected", change));
        }
        let answer = rules::change(world, change)?;
        world.log.push(change.clone());
        if crash.is_some() {
            world.dead = true;
            return Err(died(change));
        }
        Ok(answer)
    }
}

/// Everything that exists, the same text for the same thing.
pub fn resources(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, nlb) in &world.load_balancers {
        let groups: Vec<_> = nlb
            .spec
            .security_groups
            .iter()
            .map(|id| {
                world
                    .security_groups
                    .get(id)
                    .map_or(id.as_str(), |g| g.name.as_str())
            })
            .collect();
        let retire = nlb.spec.tags.get(herald_provider_aws::tags::RETIRE_AT);
        all.insert(format!(
            "nlb {name} {} {groups:?} retire {retire:?}",
            nlb.spec.scheme.as_str()
        ));
        for (port, listener) in &nlb.listeners {
            let spec = &listener.spec;
            all.insert(format!(
                "listener {name} {port} {} {}",
                spec.protocol, spec.target_group
            ));
        }
    }
    for (name, group) in &world.groups {
        let live = group.targets.iter().filter(|(_, t)| t.draining.is_none());
        let targets: Vec<_> = live.map(|(t, _)| t.to_string()).collect();
        all.insert(format!("target group {name} {targets:?}"));
    }
    for group in world.security_groups.values() {
        let named = |rule: &herald_provider_aws::model::Rule| match &rule.source {
            herald_provider_aws::model::Source::Group(g) => {
                let id = g.id.as_deref().unwrap_or_default();
                let name = world
                    .security_groups
                    .get(id)
                    .map_or(id, |g| g.name.as_str());
                format!("{:?} {}-{} {name}", rule.protocol, rule.first, rule.last)
            }
            _ => rule.to_string(),
        };
        all.insert(format!("security group {}", group.name));
        all.extend(
            group
                .ingress
                .iter()
                .map(|rule| format!("rule {} {}", group.name, named(rule))),
        );
    }
    all
}
