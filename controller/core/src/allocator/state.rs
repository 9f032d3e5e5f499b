//! One pool's space: what is free of it, and how much of it is in use.

use std::net::IpAddr;

use herald_core::{AddressRange, IpFamily, ReservedAddresses};

use super::PoolCounts;
use crate::family::{FAMILIES, PerFamily};
use crate::interval::IntervalSet;
use crate::pool::{Pool, is_buggy, usable};

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) pool: Pool,
    /// How many addresses it could ever give.
    usable: PerFamily<u128>,
    /// Those of its space that are somebody's.
    reserved: PerFamily<IntervalSet>,
    /// Empty unless the pool may give. No span begins with an address the pool avoids, so the lowest is always good.
    pub(super) free: PerFamily<IntervalSet>,
    assigned: PerFamily<u128>,
    /// In use though the pool could not give it: avoided or somebody's.
    assigned_unusable: PerFamily<u128>,
}

/// What of a pool is somebody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The first spans, each with what its first address is.
    pub first: Vec<(AddressRange, String)>,
    /// How many addresses there are; saturates.
    pub count: u128,
    /// Whether no other address is left.
    pub all: bool,
}

impl State {
    pub(super) fn new(pool: Pool, reserved: &ReservedAddresses) -> Self {
        let mut state = Self {
            usable: PerFamily::default(),
            reserved: PerFamily::default(),
            free: PerFamily::default(),
            assigned: PerFamily::default(),
            assigned_unusable: PerFamily::default(),
            pool,
        };
        for family in FAMILIES {
            let space = state.pool.space.get(family);
            let taken = state.reserved.get_mut(family);
            for (first, last) in space.iter() {
                reserve_within(family, (first, last), reserved, taken);
            }
            let mut rest = space.clone();
            for (first, last) in taken.iter() {
                rest.remove(first, last);
            }
            *state.usable.get_mut(family) = usable(&rest, family, state.pool.view.avoid_buggy);
            if state.pool.gives() {
                let free = state.free.get_mut(family);
                for (first, last) in rest.iter() {
                    free.insert(first, last);
                    trim(&state.pool, free, family, first);
                }
            }
        }
        state
    }

    /// Whether it gives this address to nobody, free or not.
    fn withholds(&self, address: IpAddr) -> bool {
        self.pool.avoids(address) || self.is_reserved(address)
    }

    fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved
            .get(IpFamily::of(address))
            .contains(AddressRange::number(address))
    }

    /// An address of its space became somebody's, or ceased to be.
    pub(super) fn set_reserved(&mut self, address: IpAddr, reserved: bool, used: bool) {
        if self.is_reserved(address) == reserved {
            return;
        }
        let (family, number) = (IpFamily::of(address), AddressRange::number(address));
        let taken = self.reserved.get_mut(family);
        if reserved {
            taken.insert(number, number);
        } else {
            taken.remove(number, number);
        }
        if self.pool.avoids(address) {
            return;
        }
        let (usable, unusable) = (
            self.usable.get_mut(family),
            self.assigned_unusable.get_mut(family),
        );
        if reserved {
            *usable = usable.saturating_sub(1);
            *unusable += u128::from(used);
            self.remove_free(family, number);
        } else {
            *usable = usable.saturating_add(1);
            *unusable -= u128::from(used);
            if !used && self.pool.gives() {
                self.free.get_mut(family).insert(number, number);
            }
        }
    }

    pub(super) fn take(&mut self, address: IpAddr) {
        let (family, number) = (IpFamily::of(address), AddressRange::number(address));
        *self.assigned.get_mut(family) += 1;
        *self.assigned_unusable.get_mut(family) += u128::from(self.withholds(address));
        self.remove_free(family, number);
    }

    pub(super) fn give_back(&mut self, address: IpAddr) {
        let (family, number) = (IpFamily::of(address), AddressRange::number(address));
        *self.assigned.get_mut(family) -= 1;
        if self.withholds(address) {
            *self.assigned_unusable.get_mut(family) -= 1;
        } else if self.pool.gives() {
            self.free.get_mut(family).insert(number, number);
        }
    }

    fn remove_free(&mut self, family: IpFamily, number: u128) {
        let free = self.free.get_mut(family);
        free.remove(number, number);
        if let Some(next) = number.checked_add(1) {
            trim(&self.pool, free, family, next);
        }
    }

    pub(super) fn counts(&self) -> PoolCounts {
        let mut counts = PoolCounts {
            assigned: self.assigned,
            ..PoolCounts::default()
        };
        if self.pool.gives() {
            for family in FAMILIES {
                let given = self.assigned.get(family) - self.assigned_unusable.get(family);
                *counts.available.get_mut(family) = self.usable.get(family).saturating_sub(given);
            }
        }
        counts
    }

    pub(super) fn left_out(&self, reserved: &ReservedAddresses, most: usize) -> LeftOut {
        let mut left_out = LeftOut {
            all: FAMILIES.iter().all(|family| *self.usable.get(*family) == 0),
            ..LeftOut::default()
        };
        for family in FAMILIES {
            let taken = self.reserved.get(family);
            left_out.count = left_out.count.saturating_add(taken.count());
            for (first, last) in taken.iter() {
                split(family, (first, last), reserved, most, &mut left_out.first);
            }
        }
        left_out
    }
}

/// Adds what of the span `within` is somebody's to `taken`.
fn reserve_within(
    family: IpFamily,
    within: (u128, u128),
    reserved: &ReservedAddresses,
    taken: &mut IntervalSet,
) {
    for (range, _) in reserved.ranges() {
        let (first, last) = range.numbers();
        if range.family() == family {
            // A span whose ends are the wrong way round is none.
            taken.insert(first.max(within.0), last.min(within.1));
        }
    }
    if let Some(span) = span(family, within) {
        for (address, _) in reserved.within(span) {
            let number = AddressRange::number(address);
            taken.insert(number, number);
        }
    }
}

/// Adds the parts of a reserved span that are one thing each to `found`, until it has `most` of them.
fn split(
    family: IpFamily,
    (first, last): (u128, u128),
    reserved: &ReservedAddresses,
    most: usize,
    found: &mut Vec<(AddressRange, String)>,
) {
    let ranges = reserved.ranges();
    let mut next = first;
    while found.len() < most {
        let Some(address) = AddressRange::address(family, next) else {
            return;
        };
        let what = reserved.of(address);
        let whole = ranges.iter().find(|(range, is)| {
            range.family() == family && range.contains(address) && Some(is) == what
        });
        let end = whole.map_or(next, |(range, _)| range.numbers().1).min(last);
        if let (Some(part), Some(what)) = (span(family, (next, end)), what) {
            found.push((part, what.to_string()));
        }
        if end >= last {
            return;
        }
        next = end + 1;
    }
}

fn span(family: IpFamily, (first, last): (u128, u128)) -> Option<AddressRange> {
    AddressRange::new(
        AddressRange::address(family, first)?,
        AddressRange::address(family, last)?,
    )
}

/// Takes addresses the pool avoids from the start of the free span that begins at `first`: at most two in a row.
fn trim(pool: &Pool, free: &mut IntervalSet, family: IpFamily, first: u128) {
    let mut number = first;
    while pool.view.avoid_buggy
        && free.contains(number)
        && AddressRange::address(family, number).is_some_and(is_buggy)
    {
        free.remove(number, number);
        number += 1;
    }
}
