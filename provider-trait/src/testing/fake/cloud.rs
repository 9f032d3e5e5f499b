use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::{ErrorKind, LoadBalancerId, PortKey, ProviderError, UnixTime};

/// How long a new load balancer takes to become active.
const PROVISIONING: Duration = Duration::from_mins(1);
/// How long a new target takes to become healthy.
const REGISTRATION: Duration = Duration::from_secs(20);
/// How many listeners a load balancer may have.
const LISTENERS: usize = 5;

/// A cloud in memory. Clones share it: a fresh provider over the same cloud is a restarted process.
#[derive(Clone, Debug)]
pub struct Cloud(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    now: UnixTime,
    load_balancers: BTreeMap<String, LoadBalancer>,
    sets: BTreeMap<String, TargetSet>,
    changing: usize,
    log: Vec<String>,
    faults: Vec<Fault>,
    crash: Option<(usize, When)>,
    dead: bool,
    latency: BTreeMap<LoadBalancerId, Duration>,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Whose it is; `None` for one that somebody else made.
    pub owner: Option<LoadBalancerId>,
    /// Fixed at creation.
    pub scheme: String,
    /// When it becomes active.
    pub active_at: UnixTime,
    /// Target set by port.
    pub listeners: BTreeMap<PortKey, String>,
    /// It refuses to be deleted.
    pub protected: bool,
    /// When it may go, as its owner noted it.
    pub retire_at: Option<UnixTime>,
}

/// A set of targets; behind at most one load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSet {
    /// Whose it is; `None` for one that somebody else made.
    pub owner: Option<LoadBalancerId>,
    /// The targets.
    pub targets: BTreeMap<String, TargetState>,
}

/// State of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// When it becomes healthy.
    pub healthy_at: UnixTime,
}

/// An error that the next changing calls of one operation meet, before they take effect.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operation, or empty for any.
    pub operation: String,
    /// The error's kind.
    pub kind: ErrorKind,
    /// How many calls meet it.
    pub times: usize,
}

/// On which side of its effect a call is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call never arrived.
    Before,
    /// The call took effect, its answer was lost.
    After,
}

fn refused(operation: &str, object: &str, code: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Terminal,
        operation,
        object,
        "refused by the cloud",
    )
    .with_code(code)
}

impl Default for Cloud {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(World {
            now: UnixTime(1_000_000),
            load_balancers: BTreeMap::new(),
            sets: BTreeMap::new(),
            changing: 0,
            log: Vec::new(),
            faults: Vec::new(),
            crash: None,
            dead: false,
            latency: BTreeMap::new(),
        })))
    }
}

impl Cloud {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time.
    pub fn now(&self) -> UnixTime {
        self.world().now
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut world = self.world();
        world.now = world.now.after(duration);
    }

    /// All load balancers, by name.
    pub fn load_balancers(&self) -> BTreeMap<String, LoadBalancer> {
        self.world().load_balancers.clone()
    }

    /// All target sets, by name.
    pub fn sets(&self) -> BTreeMap<String, TargetSet> {
        self.world().sets.clone()
    }

    /// Changes what exists behind the provider's back.
    pub fn meddle(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, LoadBalancer>, &mut BTreeMap<String, TargetSet>),
    ) {
        let world = &mut *self.world();
        change(&mut world.load_balancers, &mut world.sets);
    }

    /// The changing calls made so far that took effect.
    pub fn log(&self) -> Vec<String> {
        self.world().log.clone()
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// Ends the faults.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// The process dies at the changing call number `n` from now; no later call gets through until [`Cloud::revive`].
    pub fn crash_at(&self, n: usize, when: When) {
        let mut world = self.world();
        world.crash = Some((world.changing + n, when));
    }

    /// Whether the process died.
    pub fn crashed(&self) -> bool {
        self.world().dead
    }

    /// Forgets the crash, whether or not it happened: a new process may call.
    pub fn revive(&self) {
        let mut world = self.world();
        world.crash = None;
        world.dead = false;
    }

    /// Makes each changing call for one load balancer take this long.
    pub fn delay(&self, id: &LoadBalancerId, latency: Duration) {
        self.world().latency.insert(id.clone(), latency);
    }

    /// A reading call.
    pub(super) fn read<T>(
        &self,
        operation: &str,
        read: impl FnOnce(&BTreeMap<String, LoadBalancer>, &BTreeMap<String, TargetSet>) -> T,
    ) -> Result<T, ProviderError> {
        let world = self.world();
        if world.dead {
            return Err(died(operation));
        }
        Ok(read(&world.load_balancers, &world.sets))
    }

    /// A changing call for load balancer `id`, as its `change` on the world.
    pub(super) async fn change(
        &self,
        id: &LoadBalancerId,
        operation: &str,
        object: &str,
        change: impl FnOnce(&mut Changing<'_>) -> Result<(), &'static str>,
    ) -> Result<(), ProviderError> {
        let latency = self.world().latency.get(id).copied().unwrap_or_default();
        let until = self.now().after(latency);
        std::future::poll_fn(|_| {
            if self.now() >= until {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let world = &mut *self.world();
        if world.dead {
            return Err(died(operation));
        }
        let crash = world.crash.filter(|(at, _)| *at == world.changing);
        world.changing += 1;
        if let Some((_, When::Before)) = crash {
            world.dead = true;
            return Err(died(operation));
        }
        let fault = world
            .faults
            .iter_mut()
            .find(|f| f.times > 0 && (f.operation.is_empty() || f.operation == operation));
        if let Some(fault) = fault {
            fault.times -= 1;
            let message = "injected by the test";
            return Err(ProviderError::new(fault.kind, operation, object, message));
        }
        let mut changing = Changing {
            now: world.now,
            load_balancers: &mut world.load_balancers,
            sets: &mut world.sets,
        };
        change(&mut changing).map_err(|code| {
            let mut error = refused(operation, object, code);
            if code == "ResourceInUse" {
                error.kind = ErrorKind::Retryable;
            }
            error
        })?;
        world.log.push(format!("{operation} {object}"));
        if crash.is_some() {
            world.dead = true;
            return Err(died(operation));
        }
        Ok(())
    }
}

fn died(operation: &str) -> ProviderError {
    let message = "the process died at this call";
    ProviderError::new(ErrorKind::Retryable, operation, "the cloud", message)
}

/// The world inside a changing call, with the rules of the cloud. Errors are the cloud's codes.
pub(super) struct Changing<'a> {
    now: UnixTime,
    load_balancers: &'a mut BTreeMap<String, LoadBalancer>,
    sets: &'a mut BTreeMap<String, TargetSet>,
}

impl Changing<'_> {
    pub(super) fn create_load_balancer(
        &mut self,
        name: &str,
        owner: &LoadBalancerId,
        scheme: &str,
    ) -> Result<(), &'static str> {
        if self.load_balancers.contains_key(name) {
            return Err("DuplicateName");
        }
        let created = LoadBalancer {
            owner: Some(owner.clone()),
            scheme: scheme.to_owned(),
            active_at: self.now.after(PROVISIONING),
            listeners: BTreeMap::new(),
            protected: false,
            retire_at: None,
        };
        self.load_balancers.insert(name.to_owned(), created);
        Ok(())
    }

    fn owned(&mut self, name: &str) -> Result<&mut LoadBalancer, &'static str> {
        let found = self.load_balancers.get_mut(name).ok_or("NotFound")?;
        found.owner.as_ref().ok_or("NotYours")?;
        Ok(found)
    }

    fn owned_set(&mut self, name: &str) -> Result<&mut TargetSet, &'static str> {
        let found = self.sets.get_mut(name).ok_or("NotFound")?;
        found.owner.as_ref().ok_or("NotYours")?;
        Ok(found)
    }

    pub(super) fn retire(&mut self, name: &str, at: Option<UnixTime>) -> Result<(), &'static str> {
        self.owned(name)?.retire_at = at;
        Ok(())
    }

    pub(super) fn delete_load_balancer(&mut self, name: &str) -> Result<(), &'static str> {
        if self.owned(name)?.protected {
            return Err("OperationNotPermitted");
        }
        self.load_balancers.remove(name);
        Ok(())
    }

    pub(super) fn create_set(
        &mut self,
        name: &str,
        owner: &LoadBalancerId,
    ) -> Result<(), &'static str> {
        if self.sets.contains_key(name) {
            return Err("DuplicateName");
        }
        let created = TargetSet {
            owner: Some(owner.clone()),
            targets: BTreeMap::new(),
        };
        self.sets.insert(name.to_owned(), created);
        Ok(())
    }

    pub(super) fn delete_set(&mut self, name: &str) -> Result<(), &'static str> {
        self.owned_set(name)?;
        let mut listeners = self
            .load_balancers
            .values()
            .flat_map(|lb| lb.listeners.values());
        if listeners.any(|set| set == name) {
            return Err("ResourceInUse");
        }
        self.sets.remove(name);
        Ok(())
    }

    pub(super) fn add_listener(
        &mut self,
        name: &str,
        port: PortKey,
        set: &str,
    ) -> Result<(), &'static str> {
        self.owned_set(set)?;
        let shared = |(other, lb): (&String, &LoadBalancer)| {
            other != name && lb.listeners.values().any(|used| used == set)
        };
        if self.load_balancers.iter().any(shared) {
            return Err("TargetSetAssociationLimit");
        }
        let found = self.owned(name)?;
        if found.listeners.contains_key(&port) {
            return Err("DuplicateListener");
        }
        if found.listeners.len() >= LISTENERS {
            return Err("TooManyListeners");
        }
        found.listeners.insert(port, set.to_owned());
        Ok(())
    }

    pub(super) fn remove_listener(
        &mut self,
        name: &str,
        port: PortKey,
    ) -> Result<(), &'static str> {
        let removed = self.owned(name)?.listeners.remove(&port);
        removed.map(|_| ()).ok_or("NotFound")
    }

    pub(super) fn register(&mut self, set: &str, targets: &[String]) -> Result<(), &'static str> {
        let healthy_at = self.now.after(REGISTRATION);
        let found = self.owned_set(set)?;
        for target in targets {
            let state = TargetState { healthy_at };
            found.targets.entry(target.clone()).or_insert(state);
        }
        Ok(())
    }

    pub(super) fn deregister(&mut self, set: &str, targets: &[String]) -> Result<(), &'static str> {
        let found = self.owned_set(set)?;
        for target in targets {
            found.targets.remove(target).ok_or("NotFound")?;
        }
        Ok(())
    }
}
