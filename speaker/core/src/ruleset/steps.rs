//! From the elements a frontend has to the ones it should have, in an order that loses no connection.
//!
//! Two lookups of one packet do not see one generation of the ruleset, so a batch is not atomic to it. What a verdict leads
//! to is therefore there before the verdict is ([`Stage::Grow`]), and goes after it ([`Stage::Shrink`]).

use std::collections::HashSet;
use std::net::SocketAddr;

use super::change::{Change, Entry, Rows};
use super::installed::Slot;
use super::pick::{Pick, PickKind, Target};
use crate::{Backend, Frontend, FrontendForwarding, Outcome, Role, TrafficPolicy};

/// When a change is made: each stage is committed before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Chains, rows and second verdicts that nothing leads to yet; rows that are replaced in place.
    Grow,
    /// Verdicts.
    Switch,
    /// What no verdict leads to any more.
    Shrink,
}

impl Stage {
    /// In order.
    pub const ALL: [Self; 3] = [Self::Grow, Self::Switch, Self::Shrink];
}

/// The elements that a frontend's forwarding asks for. Rows are in the plan's order; [`arrange`] fits them to those there.
pub(super) fn wanted(forwarding: &FrontendForwarding) -> Slot {
    let node_port = matches!(forwarding.frontend, Frontend::NodePort { .. });
    let pick = |kind, backends: &[Backend]| {
        Target::Pick(Pick {
            kind,
            node_port,
            count: u32::try_from(backends.len()).unwrap_or(u32::MAX),
        })
    };
    let addresses = |backends: &[Backend]| backends.iter().map(|b| b.address).collect();
    let internal = forwarding.role == Role::ClusterIp;
    let local = forwarding.policy == TrafficPolicy::Local;
    let mut slot = Slot::default();
    let target = match forwarding.outcome() {
        Outcome::Reject => Target::Reject,
        // The node's own clients are served from the whole cluster, so the chain is needed without local backends too.
        _ if local && !internal => {
            slot.endpoints = addresses(&forwarding.cluster);
            slot.local = addresses(&forwarding.local);
            slot.short = Some(pick(PickKind::Plain, &forwarding.cluster));
            pick(PickKind::Local, &forwarding.local)
        }
        Outcome::Drop => Target::Drop,
        Outcome::Forward => {
            slot.endpoints = addresses(forwarding.backends());
            let kind = if internal {
                PickKind::Internal
            } else {
                PickKind::External
            };
            pick(kind, forwarding.backends())
        }
    };
    match &forwarding.sources {
        None => slot.main = Some(target),
        Some(sources) => {
            slot.main = Some(Target::Guard);
            slot.guarded = Some(target);
            slot.sources = sources.iter().copied().collect();
        }
    }
    slot
}

/// The wanted backends in the order that changes the fewest rows: who stays in range keeps its place, the others fill the
/// holes.
pub(super) fn arrange(current: &[SocketAddr], wanted: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut missing: HashSet<SocketAddr> = wanted.iter().copied().collect();
    let mut rows: Vec<Option<SocketAddr>> = current
        .iter()
        .take(wanted.len())
        .map(|backend| missing.take(backend))
        .collect();
    rows.resize(wanted.len(), None);
    let mut fill = wanted.iter().copied().filter(|b| missing.contains(b));
    rows.into_iter()
        .filter_map(|row| row.or_else(|| fill.next()))
        .collect()
}

/// The changes that lead from `current` to `wanted`, whose rows are already arranged.
pub(super) fn steps(
    frontend: Frontend,
    current: &mut Slot,
    wanted: &mut Slot,
    mut emit: impl FnMut(Stage, Change),
) {
    // Ranges of one frontend must not overlap at any time, so the old ones go first.
    let guarded_still = wanted.main == Some(Target::Guard);
    for net in current.sources.difference(&wanted.sources) {
        let stage = if guarded_still {
            Stage::Grow
        } else {
            Stage::Shrink
        };
        emit(stage, Change::Source(frontend, *net, false));
    }
    for net in wanted.sources.difference(&current.sources) {
        emit(Stage::Grow, Change::Source(frontend, *net, true));
    }
    for rows in [Rows::Endpoints, Rows::Local] {
        let old = std::mem::take(current.rows(rows));
        let new = std::mem::take(wanted.rows(rows));
        for index in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(index).copied(), new.get(index).copied());
            if old != new {
                let stage = match new {
                    Some(_) => Stage::Grow,
                    None => Stage::Shrink,
                };
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                emit(
                    stage,
                    Change::Row {
                        frontend,
                        rows,
                        index,
                        old,
                        new,
                    },
                );
            }
        }
    }
    for entry in [Entry::Guarded, Entry::Short, Entry::Main] {
        let (old, new) = (*current.entry(entry), *wanted.entry(entry));
        if old != new {
            let stage = match (entry, old, new) {
                (Entry::Guarded | Entry::Short, None, _) => Stage::Grow,
                (Entry::Guarded | Entry::Short, _, None) => Stage::Shrink,
                _ => Stage::Switch,
            };
            emit(
                stage,
                Change::Entry {
                    frontend,
                    entry,
                    old,
                    new,
                },
            );
        }
    }
}
