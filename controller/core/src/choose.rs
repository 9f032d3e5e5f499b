//! Which addresses a Service should have: it keeps what it holds, gets what it asks for, and never pays for a failed request
//! with a working address (I2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use herald_core::{IpFamily, Labels, ServiceKey};

use crate::allocator::Allocator;
use crate::family::PerFamily;
use crate::pool::{PoolView, Readiness};
use crate::request::{self, Request};
use crate::service::ServiceView;
use crate::status::{Problem, Reason};

/// What a Service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Its addresses, in the order of its families; held or free until now.
    pub(crate) addresses: Vec<IpAddr>,
    /// Why it did not get what it asks for.
    pub(crate) problem: Option<Problem>,
    /// It would take an address, or another one, if one became free.
    pub(crate) hungry: bool,
}

type Addresses = PerFamily<Option<IpAddr>>;

/// Chooses the addresses of `view`; `namespace` is its namespace's labels. What the Services `leaving` hold counts as free when it
/// is asked for by name.
pub(crate) fn choose(
    view: &ServiceView,
    namespace: &Labels,
    allocator: &Allocator,
    leaving: &BTreeSet<&ServiceKey>,
) -> Choice {
    let mut held = Addresses::default();
    for address in allocator.held(&view.key) {
        let family = IpFamily::of(*address);
        if view.families.order.contains(&family) {
            *held.get_mut(family) = Some(*address);
        }
    }
    let finish = |addresses: Addresses, problem: Option<Problem>, hungry| Choice {
        addresses: view
            .families
            .order
            .iter()
            .filter_map(|f| *addresses.get(*f))
            .collect(),
        problem,
        hungry,
    };
    let request = match request::parse(view) {
        Ok(request) => request,
        Err(problem) => return finish(held, Some(problem), false),
    };
    let chooser = Chooser {
        view,
        namespace,
        allocator,
        request: &request,
        leaving,
    };
    let families = |wanted: bool| -> Vec<IpFamily> {
        view.families
            .order
            .iter()
            .copied()
            .filter(|f| held.get(*f).is_some() == wanted)
            .collect()
    };
    let (present, missing) = (families(true), families(false));

    // A changed request: all that it asks to exchange can be had, or nothing is touched.
    let unmet: Vec<IpFamily> = present
        .into_iter()
        .filter(|f| !chooser.is_met(*held.get(*f), *f))
        .collect();
    let mut kept = held;
    if !unmet.is_empty() {
        for family in &unmet {
            *kept.get_mut(*family) = None;
        }
        match chooser.fill(kept, &unmet, true) {
            Ok(filled) => kept = filled,
            Err(problem) => return finish(held, Some(problem), true),
        }
    }
    if missing.is_empty() {
        return finish(kept, None, false);
    }
    match chooser.fill(kept, &missing, view.families.all) {
        Ok(filled) => {
            let hungry = missing.iter().any(|family| filled.get(*family).is_none());
            finish(filled, None, hungry)
        }
        Err(problem) => {
            // One family of a dual-stack Service that can do with one is no problem.
            let enough = kept != Addresses::default() && !view.families.all;
            let named = missing
                .iter()
                .any(|family| request.addresses.get(*family).is_some());
            finish(kept, (!enough || named).then_some(problem), true)
        }
    }
}

struct Chooser<'a> {
    view: &'a ServiceView,
    namespace: &'a Labels,
    allocator: &'a Allocator,
    request: &'a Request,
    leaving: &'a BTreeSet<&'a ServiceKey>,
}

impl Chooser<'_> {
    /// Whether a held address is what the request asks for. The pool it came from counts as its pool for good: a pool edit is
    /// no request.
    fn is_met(&self, held: Option<IpAddr>, family: IpFamily) -> bool {
        let Some(address) = held else { return false };
        if let Some(named) = self.request.addresses.get(family) {
            return *named == address;
        }
        let Some(pool) = self.request.pool.as_deref() else {
            return true;
        };
        self.view.recorded_pool(address) == Some(pool)
            || self.view.was_given(pool)
            || self
                .allocator
                .pool_of(address)
                .is_some_and(|owner| owner.as_ref() == pool)
    }

    /// Adds an address for each family in `need` to `have`; if not `all`, one for any of them is enough unless `have` has one.
    fn fill(&self, have: Addresses, need: &[IpFamily], all: bool) -> Result<Addresses, Problem> {
        let mut filled = have;
        let mut open = Vec::new();
        for family in need {
            match *self.request.addresses.get(*family) {
                Some(address) => {
                    self.check_named(address)?;
                    *filled.get_mut(*family) = Some(address);
                }
                None => open.push(*family),
            }
        }
        if open.is_empty() {
            return Ok(filled);
        }
        let candidates = match self.candidates(&filled) {
            Ok(candidates) => candidates,
            // A named address of the other family is enough for a Service that can do with one.
            Err(_) if !all && filled != Addresses::default() => return Ok(filled),
            Err(problem) => return Err(problem),
        };
        let free =
            |pool: &PoolView, family: IpFamily| self.allocator.lowest_free(&pool.name, family);
        // One pool for all of them is best; several are better than nothing.
        let one = candidates
            .iter()
            .find(|pool| open.iter().all(|f| free(pool, *f).is_some()));
        for family in &open {
            let address = match one {
                Some(pool) => free(pool, *family),
                None => candidates.iter().find_map(|pool| free(pool, *family)),
            };
            if address.is_none() && all {
                return Err(self.none_left(*family, &candidates));
            }
            *filled.get_mut(*family) = address;
        }
        match open.first() {
            Some(primary) if filled == Addresses::default() => {
                Err(self.none_left(*primary, &candidates))
            }
            _ => Ok(filled),
        }
    }

    /// The pools that may give a new address, in the order in which they are tried.
    fn candidates(&self, have: &Addresses) -> Result<Vec<&PoolView>, Problem> {
        if let Some(name) = &self.request.pool {
            return Ok(vec![self.named_pool(name)?]);
        }
        let mut candidates: Vec<&PoolView> = self
            .allocator
            .pools()
            .filter(|pool| {
                pool.auto_assign && self.allocator.gives(&pool.name) && self.allows(pool)
            })
            .collect();
        if candidates.is_empty() {
            let why = if self.allocator.pools().next().is_none() {
                "there is no AddressPool: create one".to_owned()
            } else {
                format!(
                    "no AddressPool is ready, assigns automatically and allows namespace {} and the Service's labels",
                    self.view.key.namespace
                )
            };
            return Err(Problem::new(Reason::NoPool, why));
        }
        // The pool of the other family's address first, then scoped pools by priority, then the rest; names break ties.
        let companion = [have.v4, have.v6]
            .into_iter()
            .flatten()
            .find_map(|a| self.allocator.pool_of(a));
        candidates.sort_by_key(|pool| {
            let last = if pool.scope.priority == 0 {
                u32::MAX
            } else {
                pool.scope.priority
            };
            (
                Some(&pool.name) != companion,
                !pool.scope.is_scoped(),
                last,
                pool.name.clone(),
            )
        });
        Ok(candidates)
    }

    fn allows(&self, pool: &PoolView) -> bool {
        pool.scope
            .allows(&self.view.key.namespace, self.namespace, &self.view.labels)
    }

    /// Checks an address asked for by name. Who may use its pool comes first: others need not learn who holds what.
    fn check_named(&self, address: IpAddr) -> Result<(), Problem> {
        let elsewhere = |message| Problem::new(Reason::AddressNotInPool, message);
        let owner = self.allocator.pool_of(address);
        if let Some(name) = &self.request.pool {
            self.named_pool(name)?;
            if owner.is_none_or(|owner| owner.as_ref() != name) {
                return Err(elsewhere(format!("{address} is not in AddressPool {name}")));
            }
        }
        let Some(owner) = owner else {
            return Err(elsewhere(format!(
                "{address} is in no AddressPool: add it to one, or ask for another"
            )));
        };
        self.named_pool(owner)?;
        if let Some(what) = self.allocator.reservation(address) {
            return Err(Problem::new(
                Reason::AddressReserved,
                format!("{address} is {what} and given to nobody: ask for another"),
            ));
        }
        if self.allocator.avoids(owner, address) {
            return Err(elsewhere(format!(
                "{address} ends in .0 or .255, which AddressPool {owner} leaves out (avoidBuggyIPs)"
            )));
        }
        let holders = self.allocator.holders(address);
        if holders.iter().all(|holder| self.leaving.contains(holder)) {
            return Ok(());
        }
        match self.allocator.taken_by(address, &self.view.key) {
            Some(holder) => Err(Problem::new(
                Reason::AddressTaken,
                format!(
                    "{address} belongs to Service {holder}: ask for another, or delete that one"
                ),
            )),
            None => Ok(()),
        }
    }

    /// A pool that gives this Service an address when asked by name.
    fn named_pool(&self, name: &str) -> Result<&PoolView, Problem> {
        let Some(pool) = self.allocator.pool(name) else {
            return Err(Problem::new(
                Reason::PoolNotFound,
                format!("AddressPool {name} does not exist: correct the name or create it"),
            ));
        };
        let why = if pool.deleting {
            "is being deleted".to_owned()
        } else if pool.disabled {
            "is disabled".to_owned()
        } else if let Some(Readiness::Invalid(_)) = self.allocator.readiness(name) {
            "is not valid: see its Ready condition".to_owned()
        } else if let Some(Readiness::Overlap { with, .. }) = self.allocator.readiness(name) {
            format!("overlaps the older AddressPool {with}")
        } else if pool.unprotected {
            "gives no addresses before its finalizer is written: see its Ready condition".to_owned()
        } else if !self.allocator.gives(name) {
            "gives no addresses: see its Ready condition".to_owned()
        } else if !self.allows(pool) {
            format!(
                "is not for namespace {} or the Service's labels",
                self.view.key.namespace
            )
        } else {
            return Ok(pool);
        };
        Err(Problem::new(
            Reason::PoolNotAllowed,
            format!("AddressPool {name} {why}"),
        ))
    }

    fn none_left(&self, family: IpFamily, candidates: &[&PoolView]) -> Problem {
        let names = |pools: &[&PoolView]| -> String {
            let shown: Vec<&str> = pools
                .iter()
                .take(5)
                .map(|pool| pool.name.as_ref())
                .collect();
            let more = if pools.len() > 5 { " and others" } else { "" };
            format!("{}{more}", shown.join(", "))
        };
        let with: Vec<&PoolView> = candidates
            .iter()
            .copied()
            .filter(|pool| self.allocator.has_family(&pool.name, family))
            .collect();
        if with.is_empty() {
            let message = format!(
                "AddressPool {} has no {family} addresses: add a range, or ask for another pool",
                names(candidates)
            );
            return Problem::new(Reason::FamilyNotAvailable, message);
        }
        let message = format!(
            "no {family} address is left in AddressPool {}: add a range, or delete a Service",
            names(&with)
        );
        Problem::new(Reason::PoolExhausted, message)
    }
}
