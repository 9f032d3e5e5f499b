//! Everything the controller knows, as plain structs, and which keys need a new plan.
//!
//! Observations go in (`observe_*`), plans read it, and `commit` reserves what a plan chose before anything is written, so that
//! two Services planned one after the other never get the same address.
//!
//! Who holds what follows from the Services' status alone (DESIGN §4). A follower only keeps the Services; when it becomes
//! leader, [`Index::lead`] rebuilds the holdings from a fresh list before the first plan.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, Labels, ServiceKey};

use crate::allocator::Allocator;
use crate::announce::{AdvertisementView, SpeakerView};
use crate::plan::Plan;
use crate::plan_pool::PoolObserved;
use crate::pool::PoolView;
use crate::service::ServiceView;

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

/// A queue of keys in which each is at most once.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    order: VecDeque<ServiceKey>,
    present: HashSet<ServiceKey>,
}

impl Queue {
    /// Adds `key` at the end unless it is in the queue.
    pub fn push(&mut self, key: &ServiceKey) {
        if self.present.insert(key.clone()) {
            self.order.push_back(key.clone());
        }
    }

    /// Takes the first key.
    pub fn pop(&mut self) -> Option<ServiceKey> {
        let key = self.order.pop_front()?;
        self.present.remove(&key);
        Some(key)
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Keys that need a new plan.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// Services whose allocation may have to change.
    pub services: Queue,
    /// Services whose condition Announced may have to change.
    pub announced: Queue,
    /// Pools whose status may have to change.
    pub pools: BTreeSet<Arc<str>>,
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
    advertisements: BTreeMap<Arc<str>, AdvertisementView>,
    speakers: BTreeMap<Arc<str>, SpeakerView>,
    /// Live speakers by the address they announce.
    owners: HashMap<IpAddr, BTreeSet<Arc<str>>>,
    allocator: Allocator,
    /// Services that would take an address if one became free.
    hungry: BTreeSet<ServiceKey>,
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
            advertisements: BTreeMap::new(),
            speakers: BTreeMap::new(),
            owners: HashMap::new(),
            allocator: Allocator::default(),
            hungry: BTreeSet::new(),
            dirty: Dirty::default(),
        }
    }

    // === leadership ===

    /// Begins to lead: rebuilds who holds what from the status of all Services and marks everything dirty.
    ///
    /// Call it only when Services were listed after leadership began and every other store is complete (I6). Of two Services
    /// with the same address the older keeps it (I1, I2).
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
        self.dirty = Dirty::default();
    }

    /// Whether plans may be committed.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    // === observations ===

    /// A Service as it is now. Observations older than what is known are ignored.
    pub fn observe_service(&mut self, view: ServiceView) {
        let key = view.key.clone();
        if let Some(known) = self.services.get(&key) {
            if known.uid != view.uid {
                self.free(&key);
            } else if view.version < known.version {
                return;
            } else if *known == view {
                return;
            }
        }
        self.services.insert(key.clone(), view);
        if self.leading {
            self.claim(&key);
            self.dirty.services.push(&key);
        }
        self.dirty.announced.push(&key);
    }

    /// A Service that is gone.
    pub fn forget_service(&mut self, key: &ServiceKey) {
        self.services.remove(key);
        self.hungry.remove(key);
        self.free(key);
    }

    /// All Services there are: those not in `views` are gone. An observation of a list replaces whatever is known.
    pub fn replace_services(&mut self, views: Vec<ServiceView>) {
        let present: HashSet<ServiceKey> = views.iter().map(|view| view.key.clone()).collect();
        let gone: Vec<ServiceKey> = self
            .services
            .keys()
            .filter(|key| !present.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.forget_service(&key);
        }
        for view in views {
            if let Some(known) = self.services.get_mut(&view.key)
                && known.uid == view.uid
            {
                // After a restore of the API server's store versions may have gone back.
                known.version = known.version.min(view.version);
            }
            self.observe_service(view);
        }
    }

    /// A namespace's labels.
    pub fn observe_namespace(&mut self, name: Arc<str>, labels: Labels) {
        if self.namespaces.get(&name) == Some(&labels) {
            return;
        }
        let waiting: Vec<ServiceKey> = self
            .hungry
            .iter()
            .filter(|key| key.namespace == name)
            .cloned()
            .collect();
        self.namespaces.insert(name, labels);
        for key in &waiting {
            self.dirty.services.push(key);
        }
    }

    /// A namespace that is gone.
    pub fn forget_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A pool, and what its status says.
    pub fn observe_pool(&mut self, view: PoolView, observed: PoolObserved) {
        self.dirty.pools.insert(view.name.clone());
        self.observed_pools.insert(view.name.clone(), observed);
        if self.pools.get(&view.name) != Some(&view) {
            self.pools.insert(view.name.clone(), view);
            self.pools_changed();
        }
    }

    /// A pool that is gone.
    pub fn forget_pool(&mut self, name: &str) {
        self.observed_pools.remove(name);
        self.dirty.pools.remove(name);
        if self.pools.remove(name).is_some() {
            self.pools_changed();
        }
    }

    /// An L2Advertisement.
    pub fn observe_advertisement(&mut self, view: AdvertisementView) {
        if self.advertisements.get(&view.name) != Some(&view) {
            self.advertisements.insert(view.name.clone(), view);
            self.mark_announced();
        }
    }

    /// An L2Advertisement that is gone.
    pub fn forget_advertisement(&mut self, name: &str) {
        if self.advertisements.remove(name).is_some() {
            self.mark_announced();
        }
    }

    /// What a speaker reports. Only Services whose addresses changed hands are marked, and, if the speaker's reach changed,
    /// those that nobody announces.
    pub fn observe_speaker(&mut self, view: SpeakerView) {
        let node = view.node.clone();
        let before = self
            .speakers
            .insert(node.clone(), view.clone())
            .unwrap_or_default();
        if before == view {
            return;
        }
        let live = |view: &SpeakerView| {
            if view.live {
                view.owned.clone()
            } else {
                BTreeSet::new()
            }
        };
        let (had, has) = (live(&before), live(&view));
        for address in had.symmetric_difference(&has) {
            let owners = self.owners.entry(*address).or_default();
            if has.contains(address) {
                owners.insert(node.clone());
            } else {
                owners.remove(&node);
            }
            if owners.is_empty() {
                self.owners.remove(address);
            }
            self.mark_holders(*address);
        }
        if before.conflicts != view.conflicts || before.live != view.live {
            for (address, _) in before.conflicts.iter().chain(&view.conflicts) {
                self.mark_holders(*address);
            }
        }
        if before.live != view.live || before.subnets != view.subnets {
            self.mark_unannounced();
        }
    }

    /// A speaker's liveness, which follows from the observer's clock.
    pub fn set_speaker_live(&mut self, node: &str, live: bool) {
        if let Some(view) = self.speakers.get(node)
            && view.live != live
        {
            self.observe_speaker(SpeakerView {
                live,
                ..view.clone()
            });
        }
    }

    /// A speaker that is gone.
    pub fn forget_speaker(&mut self, node: &str) {
        if let Some(view) = self.speakers.get(node) {
            self.observe_speaker(SpeakerView {
                node: view.node.clone(),
                ..SpeakerView::default()
            });
        }
        self.speakers.remove(node);
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
        for key in self.keys_by_age() {
            self.dirty.services.push(&key);
            self.dirty.announced.push(&key);
        }
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
        if view.foreign_ingress
            || (view.allocated_from.is_none() && !view.ingress.iter().all(known))
        {
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
        match self.standing(view) {
            Standing::Plain => self.free(key),
            Standing::Others | Standing::Foreign => {
                self.allocator.hold(key, &shown);
                if self.allocator.settle(key) {
                    self.mark_hungry();
                }
            }
            Standing::Ours => {
                if self.allocator.held(key).is_empty() {
                    // One address of each family is all a Service can have from us.
                    let mut families = BTreeSet::new();
                    let shown: Vec<IpAddr> = shown
                        .into_iter()
                        .filter(|a| families.insert(IpFamily::of(*a)))
                        .collect();
                    self.allocator.hold(key, &shown);
                }
                self.settle(key);
            }
        }
        self.collect_touched();
    }

    fn claim_all(&mut self) {
        for key in self.keys_by_age() {
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
            self.mark_hungry();
        }
    }

    fn free(&mut self, key: &ServiceKey) {
        if self.allocator.release(key) {
            self.mark_hungry();
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

    fn mark_hungry(&mut self) {
        for key in &self.hungry {
            self.dirty.services.push(key);
        }
    }

    fn mark_holders(&mut self, address: IpAddr) {
        for key in self.allocator.holders(address) {
            self.dirty.announced.push(key);
        }
    }

    fn mark_announced(&mut self) {
        for key in self.services.keys() {
            self.dirty.announced.push(key);
        }
    }

    fn mark_unannounced(&mut self) {
        let unannounced = self.services.values().filter(|view| {
            let condition = view.condition(crate::status::ConditionKind::Announced);
            !view.ingress.is_empty() && condition.is_none_or(|condition| !condition.status)
        });
        for view in unannounced {
            self.dirty.announced.push(&view.key);
        }
    }

    /// Services by age: the order in which they claim what two of them show, and in which they are served.
    fn keys_by_age(&self) -> Vec<ServiceKey> {
        let mut keys: Vec<(i64, &ServiceKey)> = self
            .services
            .values()
            .map(|view| (view.created, &view.key))
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }
}
