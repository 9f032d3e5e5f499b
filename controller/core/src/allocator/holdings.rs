//! Who holds which address.

use std::net::IpAddr;

use herald_core::ServiceKey;

use super::{Allocator, Holding};

impl Allocator {
    /// The Services that hold `address`.
    pub fn holders(&self, address: IpAddr) -> &[ServiceKey] {
        self.used.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Another Service that keeps `key` from having `address`.
    pub fn taken_by(&self, address: IpAddr, key: &ServiceKey) -> Option<&ServiceKey> {
        let holders = self.holders(address);
        // One that has it keeps it, shared or not.
        holders.first().filter(|_| !holders.contains(key))
    }

    /// The other Services that have an address of `key`'s.
    pub fn sharers(&self, key: &ServiceKey) -> impl Iterator<Item = &ServiceKey> {
        let each = self.held(key).iter();
        let holders = each.flat_map(|address| self.holders(*address));
        holders.filter(move |holder| *holder != key)
    }

    /// Makes `key` one of the Services that hold `address`, beside those that do: only for what its status shows already.
    pub fn share(&mut self, key: &ServiceKey, address: IpAddr) {
        self.occupy(address, key);
        let holding = self.holdings.entry(key.clone()).or_default();
        if !holding.current.contains(&address) {
            holding.current.push(address);
        }
    }

    /// The addresses `key` holds, in the order of its status. Not those it is giving up.
    pub fn held(&self, key: &ServiceKey) -> &[IpAddr] {
        self.holdings
            .get(key)
            .map_or(&[], |holding| holding.current.as_slice())
    }

    /// Makes `addresses` what `key` holds and returns those it cannot have because another Service does.
    ///
    /// What it held before stays reserved for it until [`Self::settle`]: its status still shows it.
    pub fn hold(&mut self, key: &ServiceKey, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut holding = self.holdings.remove(key).unwrap_or_default();
        let (current, refused): (Vec<_>, Vec<_>) = addresses
            .iter()
            .partition(|address| self.taken_by(**address, key).is_none());
        holding.retiring.append(&mut holding.current);
        holding
            .retiring
            .retain(|address| !current.contains(address));
        for address in &current {
            self.occupy(*address, key);
        }
        holding.current = current;
        if holding != Holding::default() {
            self.holdings.insert(key.clone(), holding);
        }
        refused
    }

    /// Gives each of these Services its new addresses in one step: what one of them had may be another's at once.
    pub fn exchange(&mut self, members: &[(ServiceKey, Vec<IpAddr>)]) {
        let given = |address: &IpAddr| members.iter().any(|(_, new)| new.contains(address));
        for (key, _) in members {
            let holding = self.holdings.entry(key.clone()).or_default();
            holding.retiring.append(&mut holding.current);
            let (moved, kept) = std::mem::take(&mut holding.retiring)
                .into_iter()
                .partition(given);
            holding.retiring = kept;
            let moved: Vec<IpAddr> = moved;
            for address in moved {
                self.vacate(address, key);
            }
        }
        for (key, addresses) in members {
            self.hold(key, addresses);
        }
    }

    /// Frees what `key` was giving up: its status is known to show only what it holds now.
    /// Returns whether anything became free.
    pub fn settle(&mut self, key: &ServiceKey) -> bool {
        let Some(holding) = self.holdings.get_mut(key) else {
            return false;
        };
        let retiring = std::mem::take(&mut holding.retiring);
        if holding.current.is_empty() {
            self.holdings.remove(key);
        }
        for address in &retiring {
            self.vacate(*address, key);
        }
        !retiring.is_empty()
    }

    /// Frees everything `key` holds. Returns whether anything became free.
    pub fn release(&mut self, key: &ServiceKey) -> bool {
        let Some(holding) = self.holdings.remove(key) else {
            return false;
        };
        for address in holding.current.iter().chain(&holding.retiring) {
            self.vacate(*address, key);
        }
        true
    }

    /// Forgets who holds what, as before a rebuild from the truth.
    pub fn clear_holdings(&mut self) {
        let keys: Vec<ServiceKey> = self.holdings.keys().cloned().collect();
        for key in keys {
            self.release(&key);
        }
    }
}
