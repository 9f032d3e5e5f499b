//! Which address is whose: an index of the addresses in use beside the free space of each pool.
//!
//! Deterministic (the lowest free address of a pool) and O(log n) per address: free space is a set of spans, never a list
//! of addresses. It decides nothing about who *may* have an address; that is `choose`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{AddressRange, IpFamily, Reservation, ReservedAddresses, ServiceKey};

use crate::family::{FAMILIES, PerFamily};
use crate::pool::{Pool, PoolView, Readiness};

mod holdings;
mod state;

pub use state::LeftOut;
use state::State;

/// Pools, the addresses in use, and what is free.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    /// Sorted by name.
    pools: Vec<State>,
    /// First address of a span → its last address and its pool, for the pools whose space is their own.
    spans: BTreeMap<IpAddr, (IpAddr, usize)>,
    /// The other pools, oldest first: they still own what nobody else claims.
    others: Vec<usize>,
    /// Several only where they came with the address from a load balancer that let them share it.
    used: BTreeMap<IpAddr, Vec<ServiceKey>>,
    holdings: HashMap<ServiceKey, Holding>,
    /// Addresses that are somebody's: given to nobody, and kept by whoever has one already (I2).
    reserved: ReservedAddresses,
    /// Pools whose counters or readiness changed since they were last asked for.
    touched: BTreeSet<Arc<str>>,
}

/// What a Service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holding {
    /// What its status says or is about to say.
    current: Vec<IpAddr>,
    /// What its status may still say: freed only when a newer status is known to be written.
    retiring: Vec<IpAddr>,
}

/// Counters of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Addresses in use.
    pub assigned: PerFamily<u128>,
    /// Addresses it could give now; saturates at `u128::MAX`.
    pub available: PerFamily<u128>,
}

impl Allocator {
    /// Replaces all pools. Addresses in use stay in use, whatever the pools say now (I2).
    pub fn set_pools(&mut self, views: impl IntoIterator<Item = PoolView>) {
        let before: BTreeMap<_, _> = self.summary();
        let mut pools: Vec<Pool> = views.into_iter().map(Pool::new).collect();
        pools.sort_by(|a, b| a.view.name.cmp(&b.view.name));
        let mut by_age: Vec<usize> = (0..pools.len()).collect();
        by_age.sort_by(|&a, &b| {
            let age = |i: usize| {
                let view = &pools[i].view;
                (view.created, !view.ready, &view.name)
            };
            age(a).cmp(&age(b))
        });
        let mut claiming: Vec<usize> = Vec::new();
        for &young in &by_age {
            if !pools[young].claims {
                continue;
            }
            let clash = claiming.iter().find_map(|&old| {
                let at = pools[old].first_common(&pools[young])?;
                Some((pools[old].view.name.clone(), at))
            });
            match clash {
                None => claiming.push(young),
                Some((with, at)) => {
                    pools[young].claims = false;
                    if pools[young].readiness == Readiness::Valid {
                        pools[young].readiness = Readiness::Overlap { with, at };
                    }
                }
            }
        }
        self.spans.clear();
        for &index in &claiming {
            for family in FAMILIES {
                for (first, last) in pools[index].space.get(family).iter() {
                    let ends = (
                        AddressRange::address(family, first),
                        AddressRange::address(family, last),
                    );
                    if let (Some(first), Some(last)) = ends {
                        self.spans.insert(first, (last, index));
                    }
                }
            }
        }
        self.others = by_age.into_iter().filter(|&i| !pools[i].claims).collect();
        let reserved = &self.reserved;
        let states = pools.into_iter().map(|pool| State::new(pool, reserved));
        self.pools = states.collect();
        for address in self.used.keys() {
            if let Some(index) = locate(&self.spans, &self.others, &self.pools, *address) {
                self.pools[index].take(*address);
            }
        }
        let after = self.summary();
        let changed = before
            .iter()
            .filter(|(name, state)| after.get(*name) != Some(state));
        let changed = changed.chain(after.iter().filter(|(name, _)| !before.contains_key(*name)));
        self.touched.extend(changed.map(|(name, _)| name.clone()));
    }

    /// Changes which addresses are somebody's; `change` returns those it is about.
    pub fn reserve(
        &mut self,
        change: impl FnOnce(&mut ReservedAddresses) -> BTreeSet<IpAddr>,
    ) -> BTreeSet<IpAddr> {
        let changed = change(&mut self.reserved);
        for address in &changed {
            let Some(index) = locate(&self.spans, &self.others, &self.pools, *address) else {
                continue;
            };
            let (reserved, used) = (self.reserved.of(*address), self.used.contains_key(address));
            let state = &mut self.pools[index];
            state.set_reserved(*address, reserved.is_some(), used);
            self.touched.insert(state.pool.view.name.clone());
        }
        changed
    }

    /// Changes which ranges are somebody's as a whole. Returns whether that is news; everything is worked out anew then.
    pub fn reserve_ranges(&mut self, what: &Reservation, ranges: Vec<AddressRange>) -> bool {
        if !self.reserved.set_ranges(what, ranges) {
            return false;
        }
        let views: Vec<PoolView> = self.pools().cloned().collect();
        self.set_pools(views);
        let names = self.pools.iter().map(|state| state.pool.view.name.clone());
        self.touched.extend(names);
        true
    }

    /// What `address` is, when it is nobody's to give.
    pub fn reservation(&self, address: IpAddr) -> Option<&Reservation> {
        self.reserved.of(address)
    }

    /// The nodes of which an address is known.
    pub fn reserved_nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.reserved.nodes()
    }

    /// The addresses of pool `name` that are somebody's: the first `most` spans, and how many addresses there are.
    pub fn left_out(&self, name: &str, most: usize) -> LeftOut {
        self.state(name)
            .map(|state| state.left_out(&self.reserved, most))
            .unwrap_or_default()
    }

    /// The pool that owns `address`.
    pub fn pool_of(&self, address: IpAddr) -> Option<&Arc<str>> {
        let index = locate(&self.spans, &self.others, &self.pools, address)?;
        Some(&self.pools[index].pool.view.name)
    }

    /// What the owner of pool `name` wrote.
    pub fn pool(&self, name: &str) -> Option<&PoolView> {
        self.state(name).map(|state| &state.pool.view)
    }

    /// All pools, by name.
    pub fn pools(&self) -> impl Iterator<Item = &PoolView> {
        self.pools.iter().map(|state| &state.pool.view)
    }

    /// Whether pool `name` can give addresses; `None` when there is no such pool.
    pub fn readiness(&self, name: &str) -> Option<&Readiness> {
        self.state(name).map(|state| &state.pool.readiness)
    }

    /// Whether pool `name` exists and may give new addresses.
    pub fn gives(&self, name: &str) -> bool {
        self.state(name).is_some_and(|state| state.pool.gives())
    }

    /// The pools that give addresses as soon as our finalizer is on them.
    pub(crate) fn unprotected(&self) -> impl Iterator<Item = &Arc<str>> {
        let waiting = |state: &&State| state.pool.would_give() && state.pool.view.unprotected;
        let waiting = self.pools.iter().filter(waiting);
        waiting.map(|state| &state.pool.view.name)
    }

    /// Whether pool `name` leaves `address` out (`avoidBuggyIPs`).
    pub fn avoids(&self, name: &str, address: IpAddr) -> bool {
        self.state(name)
            .is_some_and(|state| state.pool.avoids(address))
    }

    /// Whether pool `name` has any address of `family`, free or not.
    pub fn has_family(&self, name: &str, family: IpFamily) -> bool {
        self.state(name)
            .is_some_and(|state| !state.pool.space.get(family).is_empty())
    }

    /// The lowest address of `family` that pool `name` can give.
    pub fn lowest_free(&self, name: &str, family: IpFamily) -> Option<IpAddr> {
        let number = self.state(name)?.free.get(family).lowest()?;
        AddressRange::address(family, number)
    }

    /// Counters of pool `name`. Only a pool that may give has anything available.
    pub fn counts(&self, name: &str) -> Option<PoolCounts> {
        self.state(name).map(State::counts)
    }

    /// The pools whose counters or readiness changed since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.touched)
    }

    fn occupy(&mut self, address: IpAddr, key: &ServiceKey) {
        let holders = self.used.entry(address).or_default();
        if holders.contains(key) {
            return;
        }
        holders.push(key.clone());
        if holders.len() == 1
            && let Some(index) = locate(&self.spans, &self.others, &self.pools, address)
        {
            self.pools[index].take(address);
            self.touched
                .insert(self.pools[index].pool.view.name.clone());
        }
    }

    fn vacate(&mut self, address: IpAddr, key: &ServiceKey) {
        let Some(holders) = self.used.get_mut(&address) else {
            return;
        };
        holders.retain(|holder| holder != key);
        if !holders.is_empty() {
            return;
        }
        self.used.remove(&address);
        if let Some(index) = locate(&self.spans, &self.others, &self.pools, address) {
            self.pools[index].give_back(address);
            self.touched
                .insert(self.pools[index].pool.view.name.clone());
        }
    }

    fn state(&self, name: &str) -> Option<&State> {
        let index = self
            .pools
            .binary_search_by(|state| state.pool.view.name.as_ref().cmp(name))
            .ok()?;
        self.pools.get(index)
    }

    fn summary(&self) -> BTreeMap<Arc<str>, (PoolCounts, Readiness, bool)> {
        let summary = self.pools.iter().map(|state| {
            let view = &state.pool.view;
            (
                view.name.clone(),
                (state.counts(), state.pool.readiness.clone(), view.deleting),
            )
        });
        summary.collect()
    }
}

/// The pool that owns `address`: the one that claims its range, else the oldest that lists it.
fn locate(
    spans: &BTreeMap<IpAddr, (IpAddr, usize)>,
    others: &[usize],
    pools: &[State],
    address: IpAddr,
) -> Option<usize> {
    // IPv4 sorts before IPv6, and a span's two ends are of one family, so one comparison is enough.
    let claimed = spans
        .range(..=address)
        .next_back()
        .filter(|(_, (last, _))| address <= *last);
    claimed.map(|(_, (_, index))| *index).or_else(|| {
        others
            .iter()
            .copied()
            .find(|&index| pools[index].pool.contains(address))
    })
}

#[cfg(test)]
#[path = "allocator_tests.rs"]
mod tests;
