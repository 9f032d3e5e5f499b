//! What the kernel is known to hold.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use herald_core::{AddressRange, IpFamily};
use ipnet::IpNet;

use super::change::{Change, Entry, NodeSet, Rows, Shared};
use super::pick::{Pick, Target};
use crate::Frontend;

/// The elements of one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) main: Option<Target>,
    pub(super) guarded: Option<Target>,
    pub(super) short: Option<Target>,
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) local: Vec<SocketAddr>,
    pub(super) sources: BTreeSet<IpNet>,
}

impl Slot {
    pub(super) fn entry(&mut self, entry: Entry) -> &mut Option<Target> {
        match entry {
            Entry::Main => &mut self.main,
            Entry::Guarded => &mut self.guarded,
            Entry::Short => &mut self.short,
        }
    }

    pub(super) fn rows(&mut self, rows: Rows) -> &mut Vec<SocketAddr> {
        match rows {
            Rows::Endpoints => &mut self.endpoints,
            Rows::Local => &mut self.local,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything in both tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Installed {
    /// Pick chains with the number of verdicts that lead to each.
    pub(super) picks: BTreeMap<(IpFamily, Pick), usize>,
    pub(super) slots: HashMap<Frontend, Slot>,
    pub(super) shared: HashSet<Shared>,
    pub(super) node: BTreeSet<(NodeSet, AddressRange)>,
}

impl Installed {
    /// The elements of a frontend; none when it has none.
    pub(super) fn slot(&self, frontend: &Frontend) -> Slot {
        self.slots.get(frontend).cloned().unwrap_or_default()
    }

    /// Notes that the kernel has committed a change.
    pub(super) fn commit(&mut self, change: &Change) {
        match change {
            Change::Pick(family, pick, true) => {
                self.picks.entry((*family, *pick)).or_insert(0);
            }
            Change::Pick(family, pick, false) => {
                self.picks.remove(&(*family, *pick));
            }
            Change::Row {
                frontend,
                rows,
                index,
                new,
                ..
            } => {
                let rows = self.slots.entry(*frontend).or_default().rows(*rows);
                let index = usize::try_from(*index).unwrap_or(usize::MAX);
                match new {
                    Some(new) if index < rows.len() => rows[index] = *new,
                    Some(new) => rows.push(*new),
                    None => rows.truncate(index),
                }
                self.tidy(frontend);
            }
            Change::Entry {
                frontend,
                entry,
                old,
                new,
            } => {
                self.count(frontend.family(), old.as_ref(), new.as_ref());
                *self.slots.entry(*frontend).or_default().entry(*entry) = *new;
                self.tidy(frontend);
            }
            Change::Source(frontend, net, on) => {
                let sources = &mut self.slots.entry(*frontend).or_default().sources;
                if *on {
                    sources.insert(*net);
                } else {
                    sources.remove(net);
                }
                self.tidy(frontend);
            }
            Change::Shared(shared, true) => {
                self.shared.insert(*shared);
            }
            Change::Shared(shared, false) => {
                self.shared.remove(shared);
            }
            Change::Node(set, range, true) => {
                self.node.insert((*set, *range));
            }
            Change::Node(set, range, false) => {
                self.node.remove(&(*set, *range));
            }
        }
    }

    fn count(&mut self, family: IpFamily, old: Option<&Target>, new: Option<&Target>) {
        if let Some(Target::Pick(pick)) = old
            && let Some(uses) = self.picks.get_mut(&(family, *pick))
        {
            *uses = uses.saturating_sub(1);
        }
        if let Some(Target::Pick(pick)) = new {
            *self.picks.entry((family, *pick)).or_insert(0) += 1;
        }
    }

    fn tidy(&mut self, frontend: &Frontend) {
        if self.slots.get(frontend).is_some_and(Slot::is_empty) {
            self.slots.remove(frontend);
        }
    }
}
