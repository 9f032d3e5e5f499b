//! Everything the controller knows, as plain structs, and which keys need a new plan.
//!
//! Observations go in (`observe_*`), plans read it, and `commit` reserves what a plan chose before anything is written, so that
//! two Services planned one after the other never get the same address.
//!
//! Who holds what follows from the Services' status alone (DESIGN §4). A follower only keeps the Services; when it becomes
//! leader, [`Index::lead`] rebuilds the holdings from a fresh list before the first plan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, Labels, ServiceKey};

use crate::allocator::Allocator;
use crate::announce::{AdvertisementView, SpeakerView};
use crate::plan::Plan;
use crate::plan_pool::PoolObserved;
use crate::pool::PoolView;
use crate::service::ServiceView;

mod observe;
mod outlast;
mod queue;
mod reserved;

pub use queue::{Dirty, Queue};

/// What the command line decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The load-balancer class whose Services get addresses from pools.
    pub class: Arc<str>,
    /// Whether Services without a class do too.
    pub claim_classless: bool,
}

/// Whether a Service is ours to give an address to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not of type LoadBalancer.
    Plain,
    /// Somebody else's load balancer. Its addresses are out of our reach, and we do not give them to others.
    Others,
    /// Of our class, but its status holds what we did not write and no pool has: left alone.
    Foreign,
    /// Ours.
    Ours,
}

/// Everything the controller knows.
#[derive(Clone, Debug)]
pub struct Index {
    settings: Settings,
    leading: bool,
    services: HashMap<ServiceKey, ServiceView>,
    namespaces: HashMap<Arc<str>, Labels>,
    pools: BTreeMap<Arc<str>, PoolView>,
    observed_pools: BTreeMap<Arc<str>, PoolObserved>,
    /// Pools whose finalizer could not be written.
    unprotectable: BTreeSet<Arc<str>>,
    advertisements: BTreeMap<Arc<str>, AdvertisementView>,
    speakers: BTreeMap<Arc<str>, SpeakerView>,
    /// Live speakers by the address they announce.
    owners: HashMap<IpAddr, BTreeSet<Arc<str>>>,
    allocator: Allocator,
    /// Services that would take an address if one became free.
    hungry: BTreeSet<ServiceKey>,
    /// Services by the external IPs they name.
    external: HashMap<IpAddr, BTreeSet<ServiceKey>>,
    /// Services that are not ours and show an address that one of ours has.
    doubled: BTreeSet<ServiceKey>,
    /// Services whose addresses are kept from others only because their status shows them: they are not ours to write back.
    shown_only: BTreeSet<ServiceKey>,
    dirty: Dirty,
}

static NO_LABELS: Labels = Labels::new();

impl Index {
    /// An empty index of a follower.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            leading: false,
            services: HashMap::new(),
            namespaces: HashMap::new(),
            pools: BTreeMap::new(),
            observed_pools: BTreeMap::new(),
            unprotectable: BTreeSet::new(),
            advertisements: BTreeMap::new(),
            speakers: BTreeMap::new(),
            owners: HashMap::new(),
            allocator: Allocator::default(),
            hungry: BTreeSet::new(),
            external: HashMap::new(),
            doubled: BTreeSet::new(),
            shown_only: BTreeSet::new(),
            dirty: Dirty::default(),
        }
    }

    // === leadership ===

    /// Begins to lead: rebuilds who holds what from the status of all Services and marks everything dirty.
    ///
    /// Call it only when Services were listed after leadership began and every other store is complete (I6). Of two Services
    /// with the same address the one that had it from us keeps it, else the older (I1, I2).
    pub fn lead(&mut self) {
        self.leading = true;
        self.hungry.clear();
        self.allocator.clear_holdings();
        self.claim_all();
        self.mark_all();
        self.dirty.pools.extend(self.pools.keys().cloned());
    }

    /// Stops leading: nothing is planned until [`Self::lead`].
    pub fn follow(&mut self) {
        self.leading = false;
        self.hungry.clear();
        self.dirty = Dirty::default();
    }

    /// Whether plans may be committed.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    // === plans ===

    /// Reserves what `plan` chose. Returns addresses that another Service took since the plan was made: none, when plans are
    /// committed one by one.
    pub fn commit(&mut self, plan: &Plan) -> Vec<IpAddr> {
        if plan.hungry {
            self.hungry.insert(plan.key.clone());
        } else {
            self.hungry.remove(&plan.key);
        }
        let Some(addresses) = &plan.hold else {
            return Vec::new();
        };
        self.allocator.exchange(&plan.exchange);
        let partners = plan.exchange.iter().map(|(key, _)| key);
        let partners = partners.filter(|key| **key != plan.key).cloned();
        self.dirty.services.put_first(partners);
        if self.allocator.held(&plan.key) != addresses {
            self.mark_sharers(&plan.key);
        }
        let refused = self.allocator.hold(&plan.key, addresses);
        self.settle(&plan.key);
        self.collect_touched();
        refused
    }

    /// The keys that need a new plan.
    pub fn dirty(&mut self) -> &mut Dirty {
        &mut self.dirty
    }

    /// Marks every Service dirty: the slow full pass.
    pub fn mark_all(&mut self) {
        if !self.leading {
            return;
        }
        let keys = by_age(self.services.values());
        for key in &keys {
            self.dirty.announced.push(key);
        }
        self.dirty.services.put_first(keys);
    }

    // === reading ===

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceView> {
        self.services.get(key)
    }

    /// All Services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &ServiceView> {
        self.services.values()
    }

    /// Names of all namespaces, in no order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.namespaces.keys()
    }

    /// Labels of a namespace; none while it is unknown.
    pub fn namespace(&self, name: &str) -> &Labels {
        self.namespaces.get(name).unwrap_or(&NO_LABELS)
    }

    /// Who holds which address, and the pools.
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// What a pool's status says.
    pub fn observed_pool(&self, name: &str) -> Option<&PoolObserved> {
        self.observed_pools.get(name)
    }

    /// All speakers, by node.
    pub fn speakers(&self) -> impl Iterator<Item = &SpeakerView> {
        self.speakers.values()
    }

    /// All L2Advertisements, by name.
    pub fn advertisements(&self) -> impl Iterator<Item = &AdvertisementView> {
        self.advertisements.values()
    }

    /// The nodes whose live speakers announce `address`, by name.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.owners
            .get(&address)
            .into_iter()
            .flatten()
            .map(AsRef::as_ref)
    }

    /// How many Services would take an address if one became free.
    pub fn hungry(&self) -> usize {
        self.hungry.len()
    }

    /// Whether `view` is ours.
    ///
    /// A class-less Service may carry another controller's addresses. Ours are known by our mark, or by being in a pool: an
    /// address in a pool is kept and marked, as on a move from another load balancer with the same ranges.
    pub fn standing(&self, view: &ServiceView) -> Standing {
        if !view.load_balancer {
            return Standing::Plain;
        }
        let ours = match &view.class {
            None => self.settings.claim_classless,
            Some(class) => *class == self.settings.class,
        };
        if !ours {
            return Standing::Others;
        }
        let known = |address: &IpAddr| self.allocator.pool_of(*address).is_some();
        if view.foreign_ingress || !(view.is_allocated() || view.ingress.iter().all(known)) {
            return Standing::Foreign;
        }
        Standing::Ours
    }

    // === inner workings ===

    /// Brings the holdings of `key` in line with what its status shows.
    fn claim(&mut self, key: &ServiceKey) {
        let Some(view) = self.services.get(key) else {
            return;
        };
        let shown = view.ingress.clone();
        let standing = self.standing(view);
        self.doubled.remove(key);
        let shown_only = self.shown_only.remove(key);
        match standing {
            Standing::Plain => self.free(key),
            Standing::Others | Standing::Foreign => {
                self.shown_only.insert(key.clone());
                if !self.allocator.hold(key, &shown).is_empty() {
                    self.doubled.insert(key.clone());
                }
                if self.allocator.settle(key) {
                    self.freed();
                }
            }
            Standing::Ours => {
                if shown_only || self.allocator.held(key).is_empty() {
                    // One address of each family is all a Service can have from us.
                    let mut families = BTreeSet::new();
                    let shown: Vec<IpAddr> = shown
                        .into_iter()
                        .filter(|a| families.insert(IpFamily::of(*a)))
                        .collect();
                    self.share(key, &shown);
                    self.allocator.hold(key, &shown);
                }
                self.settle(key);
            }
        }
        self.collect_touched();
    }

    fn claim_all(&mut self) {
        let mut keys = by_age(self.services.values());
        keys.sort_by_key(|key| {
            let ours = self.services.get(key).map(|view| {
                let ours = self.standing(view) == Standing::Ours;
                (ours, ours && view.is_allocated())
            });
            Reverse(ours)
        });
        for key in keys {
            self.claim(&key);
        }
    }

    /// Frees what `key` was giving up once its status shows exactly what it holds.
    fn settle(&mut self, key: &ServiceKey) {
        let Some(view) = self.services.get(key) else {
            return;
        };
        let held = self.allocator.held(key);
        let same =
            held.len() == view.ingress.len() && held.iter().all(|a| view.ingress.contains(a));
        if same && self.allocator.settle(key) {
            self.freed();
        }
    }

    fn free(&mut self, key: &ServiceKey) {
        self.shown_only.remove(key);
        self.mark_sharers(key);
        if self.allocator.release(key) {
            self.freed();
        }
        self.collect_touched();
    }

    fn pools_changed(&mut self) {
        self.allocator.set_pools(self.pools.values().cloned());
        self.collect_touched();
        if self.leading {
            // What was in no pool may be in one now.
            self.claim_all();
            self.mark_all();
        }
    }

    fn collect_touched(&mut self) {
        let touched = self.allocator.take_touched();
        self.dirty.pools.extend(
            touched
                .into_iter()
                .filter(|name| self.pools.contains_key(name)),
        );
    }

    /// Something became free: first for those that show it already.
    fn freed(&mut self) {
        for key in self.doubled.clone() {
            self.claim(&key);
        }
        self.mark_waiting(|_| true);
    }

    /// Those among the waiting Services that a change is about are served next, the oldest first.
    fn mark_waiting(&mut self, about: impl Fn(&ServiceKey) -> bool) {
        let waiting = self.hungry.iter().filter(|key| about(key));
        let waiting = by_age(waiting.filter_map(|key| self.services.get(key)));
        self.dirty.services.put_first(waiting);
    }

    fn mark_holders(&mut self, address: IpAddr) {
        if !self.leading {
            return;
        }
        for key in self.allocator.holders(address) {
            self.dirty.announced.push(key);
        }
    }

    fn mark_announced(&mut self) {
        self.mark_leaving_pools();
        if !self.leading {
            return;
        }
        for key in self.services.keys() {
            self.dirty.announced.push(key);
        }
    }

    fn mark_unannounced(&mut self) {
        if !self.leading {
            return;
        }
        let unannounced = self.services.values().filter(|view| {
            let condition = view.condition(crate::status::ConditionKind::Announced);
            !view.ingress.is_empty() && condition.is_none_or(|condition| !condition.status)
        });
        for view in unannounced {
            self.dirty.announced.push(&view.key);
        }
    }
}

/// The keys of `views`, oldest first: the order in which Services are served.
fn by_age<'a>(views: impl Iterator<Item = &'a ServiceView>) -> Vec<ServiceKey> {
    let mut keys: Vec<(i64, &ServiceKey)> = views.map(|view| (view.created, &view.key)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key.clone()).collect()
}
