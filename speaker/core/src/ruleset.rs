//! From forwarding plans to nf_tables objects: what should be in the kernel, what is, and the transactions between.
//!
//! A [`Ruleset`] is told what is wanted ([`Ruleset::want`], [`Ruleset::want_node`]) and what the kernel holds
//! ([`Ruleset::observe`], [`Ruleset::commit`]). [`Ruleset::plan`] gives the differences as stages of [`Transaction`]s; one
//! change to one endpoint is one or two elements per frontend, whatever else is there.
//!
//! Shape: two tables, `ip herald` and `ip6 herald`. Maps lead from a frontend to a pick chain and from (frontend, index) to
//! a backend; there is one pick chain per number of backends in use, none per Service. All chains are of type nat, so
//! packets of established connections meet none of our rules, but for those that refuse what nobody translated: they see
//! every packet once, for one lookup.

mod adopt;
mod alive;
mod change;
mod claims;
mod installed;
mod layout;
mod pick;
mod rules;
mod steps;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use herald_core::{AddressRange, IpFamily, Protocol, ServiceKey};
use herald_nft::{Listing, Operation};

use crate::forward::{NodeForwarding, ServiceForwarding, disjoint};
use crate::{ForwardConfig, Frontend, ServiceProxy};

pub use adopt::Mismatch;
pub use change::{Change, Entry, NodeSet, Rows, Shared};
pub use layout::{SetId, TABLE, table};
pub use pick::{Pick, PickKind, Target};
pub use steps::Stage;
pub use transaction::{Part, Plan, Transaction};

use claims::Claims;
use installed::Installed;
use layout::Structure;
use steps::{arrange, steps, wanted};

/// What is known about one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableState {
    /// It must be made, after deleting what is there if `true`.
    Build(bool),
    /// It is as we want it, left by an earlier run: it must be adopted.
    Adopt,
    /// It is ours.
    Ready,
}

/// The wanted and the installed state of both tables.
#[derive(Debug)]
pub struct Ruleset {
    mark: u32,
    step_aside_after: Option<Duration>,
    table_flags: u32,
    node: NodeForwarding,
    wanted: Claims,
    installed: Installed,
    tables: BTreeMap<IpFamily, TableState>,
    dirty: BTreeMap<Frontend, ServiceKey>,
    dirty_shared: BTreeMap<Shared, ServiceKey>,
    dirty_node: bool,
}

impl Ruleset {
    /// Nothing wanted, nothing known of the kernel.
    pub fn new(config: &ForwardConfig) -> Self {
        let missing = TableState::Build(false);
        Self {
            mark: config.masquerade_mark,
            step_aside_after: (config.mode == ServiceProxy::External)
                .then_some(config.step_aside_after),
            table_flags: 0,
            node: NodeForwarding::default(),
            wanted: Claims::default(),
            installed: Installed::default(),
            tables: BTreeMap::from([(IpFamily::V4, missing), (IpFamily::V6, missing)]),
            dirty: BTreeMap::new(),
            dirty_shared: BTreeMap::new(),
            dirty_node: true,
        }
    }

    /// How tables are made: bits of [`herald_nft::table_flag`]. Holds from the next [`Ruleset::observe`].
    pub fn set_table_flags(&mut self, flags: u32) {
        self.table_flags = flags;
    }

    /// The node's own part of what is wanted.
    pub fn want_node(&mut self, node: NodeForwarding) {
        self.dirty_node |= self.node != node;
        self.node = node;
    }

    /// What is wanted for one Service; an empty forwarding removes it.
    pub fn want(&mut self, forwarding: ServiceForwarding) {
        let key = forwarding.key.clone();
        let (frontends, shared) = self.wanted.replace(forwarding);
        for frontend in frontends {
            let owner = self.wanted.winner(&frontend).map_or(&key, |f| f.0);
            self.dirty.insert(frontend, owner.clone());
        }
        for shared in shared {
            self.dirty_shared.insert(shared, key.clone());
        }
    }

    /// The Services that something is wanted for.
    pub fn services(&self) -> impl Iterator<Item = &ServiceForwarding> {
        self.wanted.services()
    }

    /// What is wanted for one Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceForwarding> {
        self.wanted.service(key)
    }

    /// The Service that has a frontend, where several claim it.
    pub fn owner(&self, frontend: &Frontend) -> Option<&ServiceKey> {
        self.wanted.winner(frontend).map(|(key, _)| key)
    }

    /// Whether a flow that a client sent to `destination`, and that `backend` answers or should, leads nowhere: to a backend
    /// that a Service of ours no longer has, or to nobody because the flow is older than the Service. A UDP flow of that kind
    /// never ends while its client goes on sending, and an unanswered SYN sent again goes where the first one went, so such
    /// flows must be deleted. Policies are ignored on purpose: a flow that works is left alone.
    pub fn is_stale(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
        backend: SocketAddr,
    ) -> bool {
        let (address, port) = (destination.ip(), destination.port());
        let by_address = Frontend::Address {
            address,
            protocol,
            port,
        };
        let by_node_port = || {
            let ranges = &self.node.nodeport_ranges;
            let frontend = Frontend::NodePort {
                family: IpFamily::of(address),
                protocol,
                port,
            };
            let answers = ranges.iter().any(|range| range.contains(address));
            answers.then(|| self.wanted.winner(&frontend)).flatten()
        };
        let winner = self.wanted.winner(&by_address).or_else(by_node_port);
        winner.is_some_and(|(_, forwarding)| {
            let known = forwarding.cluster.iter().chain(&*forwarding.local);
            !known.map(|b| b.address).any(|known| known == backend)
                && !forwarding.draining.contains(&backend)
        })
    }

    /// Takes up what the kernel holds, in place of what was known, and compares everything at the next plan. Returns why a
    /// table that is there will be made anew.
    pub fn observe(
        &mut self,
        listings: &BTreeMap<IpFamily, Listing>,
    ) -> BTreeMap<IpFamily, Mismatch> {
        self.installed = Installed::default();
        let mut mismatches = BTreeMap::new();
        for (family, listing) in listings {
            let state = if listing.table.is_none() {
                TableState::Build(false)
            } else {
                match adopt::read(*family, listing, &self.structure(*family), self.mark) {
                    Ok(found) => {
                        self.installed.merge(found);
                        TableState::Adopt
                    }
                    Err(mismatch) => {
                        mismatches.insert(*family, mismatch);
                        TableState::Build(true)
                    }
                }
            };
            self.tables.insert(*family, state);
        }
        self.mark_all();
        mismatches
    }

    /// Makes the next plan delete and rebuild both tables, whatever they hold.
    pub fn rebuild(&mut self) {
        self.installed = Installed::default();
        for state in self.tables.values_mut() {
            *state = TableState::Build(!matches!(state, TableState::Build(false)));
        }
        self.mark_all();
    }

    fn mark_all(&mut self) {
        self.dirty_node = true;
        let unowned = || ServiceKey::new("", "");
        let installed = self.installed.slots.keys().copied();
        for frontend in installed.chain(self.wanted.frontends()) {
            let owner = self.wanted.winner(&frontend).map(|(key, _)| key.clone());
            self.dirty.insert(frontend, owner.unwrap_or_else(unowned));
        }
        let installed = self.installed.shared.iter().copied();
        for shared in installed.chain(self.wanted.shared()) {
            self.dirty_shared.entry(shared).or_insert_with(unowned);
        }
    }

    fn structure(&self, family: IpFamily) -> Structure {
        let steps_aside = self.step_aside_after.is_some();
        Structure::new(family, self.table_flags, self.mark, steps_aside)
    }

    /// What renews the sign of life in both tables; nothing where rules never step aside. To be committed only while every
    /// plan has been, and often enough.
    pub fn sign_of_life(&self) -> Vec<Operation> {
        self.step_aside_after
            .map(alive::renewal)
            .unwrap_or_default()
    }

    /// The transactions that lead to what is wanted, all Services but those in `skip`; empty when there is nothing to do.
    ///
    /// Each is committed before the next, and every commit is told to [`Ruleset::commit`]; then the plan is handed back to
    /// [`Ruleset::done`]. When one fails, plan again: what was committed until then is known.
    pub fn plan(&self, skip: &HashSet<ServiceKey>) -> Plan {
        let mut plan = Plan::new(self.mark);
        let mut picks = BTreeSet::new();
        self.plan_node(&mut plan);
        for (frontend, owner) in &self.dirty {
            if skip.contains(owner) {
                continue;
            }
            let mut wanted = self
                .wanted
                .winner(frontend)
                .map(|(_, forwarding)| wanted(forwarding))
                .unwrap_or_default();
            let mut current = self.installed.slot(frontend);
            wanted.endpoints = arrange(&current.endpoints, &wanted.endpoints);
            wanted.local = arrange(&current.local, &wanted.local);
            for target in [wanted.main, wanted.guarded, wanted.short] {
                if let Some(Target::Pick(pick)) = target
                    && !self
                        .installed
                        .picks
                        .contains_key(&(frontend.family(), pick))
                    && picks.insert((frontend.family(), pick))
                {
                    let change = Change::Pick(frontend.family(), pick, true);
                    plan.push(Stage::Grow, Some(owner), change);
                }
            }
            steps(*frontend, &mut current, &mut wanted, |stage, change| {
                plan.push(stage, Some(owner), change);
            });
            plan.frontends.push(*frontend);
        }
        for (shared, owner) in &self.dirty_shared {
            if skip.contains(owner) {
                continue;
            }
            let wanted = self.wanted.wants(shared);
            if wanted != self.installed.shared.contains(shared) {
                let change = Change::Shared(*shared, wanted);
                plan.push(shared_stage(*shared, wanted), Some(owner), change);
            }
            plan.shared.push(*shared);
        }
        for (family, state) in &self.tables {
            let structure = || self.structure(*family);
            match state {
                TableState::Ready => {}
                TableState::Adopt => plan.claim(*family, structure().table),
                TableState::Build(delete) => plan.build(*family, &structure(), *delete),
            }
        }
        plan.start_living(self.sign_of_life());
        plan
    }

    fn plan_node(&self, plan: &mut Plan) {
        if !self.dirty_node {
            return;
        }
        let wanted = self.node_ranges();
        for (set, range) in self.installed.node.difference(&wanted) {
            plan.push(Stage::Grow, None, Change::Node(*set, *range, false));
        }
        for (set, range) in wanted.difference(&self.installed.node) {
            plan.push(Stage::Grow, None, Change::Node(*set, *range, true));
        }
    }

    fn node_ranges(&self) -> BTreeSet<(NodeSet, AddressRange)> {
        let mut ranges = BTreeSet::new();
        let addresses = self.node.nodeport_ranges.iter();
        ranges.extend(addresses.map(|range| (NodeSet::Addresses, *range)));
        for family in [IpFamily::V4, IpFamily::V6] {
            let pods = self.node.pod_cidrs.iter();
            let pods = pods.filter(|net| IpFamily::of(net.addr()) == family);
            let pods = pods.filter_map(|net| AddressRange::new(net.network(), net.broadcast()));
            let pods = disjoint(pods.collect());
            // Where pods cannot be told, nobody's source is replaced: kube-proxy without a detector does the same.
            let keep = if pods.is_empty() {
                everything(family).into_iter().collect()
            } else {
                pods.clone()
            };
            ranges.extend(pods.into_iter().map(|range| (NodeSet::Pods, range)));
            ranges.extend(keep.into_iter().map(|range| (NodeSet::KeepSource, range)));
        }
        ranges
    }

    /// A plan that deletes the pick chains nothing leads to; empty as long as they are fewer than `spare`.
    pub fn plan_collect(&self, spare: usize) -> Plan {
        let mut plan = Plan::new(self.mark);
        let idle = || self.installed.picks.iter().filter(|(_, uses)| **uses == 0);
        if idle().count() > spare {
            for ((family, pick), _) in idle() {
                plan.push(Stage::Shrink, None, Change::Pick(*family, *pick, false));
            }
        }
        plan
    }

    /// Notes that a part of a transaction was committed.
    pub fn commit(&mut self, transaction: &Transaction, part: &Part) {
        for family in transaction.families_of(part) {
            self.tables.insert(family, TableState::Ready);
        }
        for change in transaction.changes_of(part) {
            self.installed.commit(change);
        }
    }

    /// Notes that every transaction of a plan was committed.
    pub fn done(&mut self, plan: &Plan) {
        for frontend in &plan.frontends {
            self.dirty.remove(frontend);
        }
        for shared in &plan.shared {
            self.dirty_shared.remove(shared);
        }
        self.dirty_node = false;
    }
}

/// Counters and hairpin rows are there before traffic and go after it. A cluster IP or an address of ours refuses unknown
/// ports only once its own ports are in place.
fn shared_stage(shared: Shared, wanted: bool) -> Stage {
    match (shared, wanted) {
        (Shared::ClusterIp(_) | Shared::Own(_), true) => Stage::Shrink,
        (Shared::ClusterIp(_) | Shared::Own(_), false) => Stage::Switch,
        (_, true) => Stage::Grow,
        (_, false) => Stage::Shrink,
    }
}

fn everything(family: IpFamily) -> Option<AddressRange> {
    let last = match family {
        IpFamily::V4 => u128::from(u32::MAX),
        IpFamily::V6 => u128::MAX,
    };
    AddressRange::new(
        AddressRange::address(family, 0)?,
        AddressRange::address(family, last)?,
    )
}
