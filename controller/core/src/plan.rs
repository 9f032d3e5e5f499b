//! What one Service needs: the addresses it should hold and the status that says so. Pure and total; printable for
//! `/debug/plan`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use herald_core::{ServiceKey, remember_pools};

use crate::choose::{Choice, choose};
use crate::exchange::exchange;
use crate::external::{external_ips, plan_external};
use crate::index::{Index, Standing};
use crate::service::ServiceView;
use crate::status::{Condition, ConditionKind, Desired, Notice, Problem, Reason};

mod notices;

use notices::notices;

/// What to do about one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The Service.
    pub key: ServiceKey,
    /// The addresses to reserve for it before anything is written; `None` for Services that are not ours.
    pub hold: Option<Vec<IpAddr>>,
    /// The Services that change their addresses in one step with it, itself too, and what each is to hold; else none.
    pub exchange: Vec<(ServiceKey, Vec<IpAddr>)>,
    /// It waits for an address to become free.
    pub hungry: bool,
    /// The write that makes its status true; `None` when it is.
    pub write: Option<Write>,
    /// Events to emit once the write has succeeded.
    pub notices: Vec<Notice>,
}

/// A write to one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Make status and annotation say this.
    Apply(Desired),
    /// Take everything of ours off it: it is no load balancer any more.
    Clear,
}

/// Plans Service `key`.
pub fn plan(key: &ServiceKey, index: &Index) -> Plan {
    let nothing = Plan {
        key: key.clone(),
        hold: None,
        exchange: Vec::new(),
        hungry: false,
        write: None,
        notices: Vec::new(),
    };
    let Some(view) = index.service(key) else {
        return nothing;
    };
    match index.standing(view) {
        // It keeps what it has until it is gone, and gets nothing new.
        _ if view.deleting => nothing,
        Standing::Plain if view.is_marked() => {
            let notices = released(view).into_iter().collect();
            Plan {
                write: Some(Write::Clear),
                notices,
                ..nothing
            }
        }
        // What another writes may be what we wrote before it was another's: leave it be.
        Standing::Others if view.is_marked() => nothing,
        Standing::Plain | Standing::Others => plan_external(view, index, nothing),
        Standing::Foreign => plan_foreign(view, index, nothing),
        Standing::Ours => plan_ours(view, index),
    }
}

fn released(view: &ServiceView) -> Option<Notice> {
    let mark = view.allocated_from.as_ref()?;
    let message =
        format!("no load balancer any more: its address from AddressPool {mark} is free again");
    Some(Notice {
        warning: false,
        reason: Reason::Released,
        message,
    })
}

/// The status is another's: say so and touch nothing else.
fn plan_foreign(view: &ServiceView, index: &Index, nothing: Plan) -> Plan {
    let ServiceKey { namespace, name } = &view.key;
    let message = format!(
        "the status holds what Herald did not allocate and no AddressPool has: left as it is. Add the address to an AddressPool \
         to keep it, or clear it to get one of Herald's: kubectl -n {namespace} patch service {name} --subresource=status \
         --type=merge --patch '{{\"status\":{{\"loadBalancer\":null}}}}'"
    );
    let problem = Problem::new(Reason::ForeignStatus, message);
    let condition = Condition::new(
        ConditionKind::Allocated,
        false,
        problem.reason,
        problem.message.clone(),
    );
    let known = view.condition(ConditionKind::Allocated) == Some(&condition);
    let (external, news) = external_ips(view, index);
    let external_known = view.condition(ConditionKind::ExternalIps) == external.as_ref();
    if known && external_known {
        return nothing;
    }
    let desired = Desired::conditions([condition].into_iter().chain(external));
    let foreign = (!known).then(|| warn(&problem));
    Plan {
        write: Some(Write::Apply(desired)),
        notices: foreign.into_iter().chain(news).collect(),
        ..nothing
    }
}

fn plan_ours(view: &ServiceView, index: &Index) -> Plan {
    let exchange = exchange(view, index);
    let own = exchange.iter().find(|(key, _)| *key == view.key);
    let choice = own.map_or_else(
        || {
            let namespace = index.namespace(&view.key.namespace);
            choose(view, namespace, index.allocator(), &BTreeSet::new())
        },
        |(_, choice)| choice.clone(),
    );
    let addresses = choice.addresses.iter();
    let pools: Vec<String> = addresses
        .map(|address| pool_name(*address, view, index))
        .collect();
    let each = choice.addresses.iter().zip(&pools);
    let earlier = each.map(|(address, now)| {
        let before = view.recorded_pools(*address);
        remember_pools(now, before.filter(|name| *name != UNKNOWN_POOL))
    });
    let earlier: Vec<Vec<String>> = earlier.collect();
    let mut conditions = vec![allocated(
        &choice,
        &pools,
        &shared_with(&choice, view, index, &exchange),
    )];
    conditions.extend(in_pool(view, &choice, index));
    conditions.extend(external_ips(view, index).0);
    let desired = Desired {
        allocated_from: (!pools.is_empty()).then(|| pools.join(",")),
        earlier_pools: if earlier.iter().all(Vec::is_empty) {
            Vec::new()
        } else {
            earlier
        },
        requested_pool: requested_pool(&choice, &pools, view),
        ingress: Some(choice.addresses.clone()),
        conditions,
    };
    let notices = notices(view, &choice, &pools, &desired, index);
    let waits = waits_for_a_pool(&choice, view, index);
    let write = (!waits && !says(view, &desired)).then_some(Write::Apply(desired));
    Plan {
        key: view.key.clone(),
        hold: Some(choice.addresses),
        exchange: exchange
            .into_iter()
            .map(|(key, choice)| (key, choice.addresses))
            .collect(),
        hungry: choice.hungry || waits,
        notices: if write.is_some() { notices } else { Vec::new() },
        write,
    }
}

/// Whether what it lacks may come from a pool that is being protected right now: nothing to tell anybody yet.
fn waits_for_a_pool(choice: &Choice, view: &ServiceView, index: &Index) -> bool {
    let may_pass = choice.problem.as_ref().is_some_and(|problem| {
        matches!(
            problem.reason,
            Reason::NoPool
                | Reason::PoolNotAllowed
                | Reason::PoolExhausted
                | Reason::FamilyNotAvailable
        )
    });
    may_pass && choice.addresses == view.ingress && index.awaits_finalizer()
}

/// Stands for the pool of an address where the record of it is lost and no pool owns it. No pool can have this name; with no
/// name at all the address would not be announced.
const UNKNOWN_POOL: &str = "(unknown)";

/// Which pool to write beside an address: the one that owns it now, and the last one that did when none does.
fn pool_name(address: IpAddr, view: &ServiceView, index: &Index) -> String {
    let owner = index.allocator().pool_of(address).map(AsRef::as_ref);
    let name = owner.or_else(|| view.recorded_pool(address));
    name.unwrap_or(UNKNOWN_POOL).to_owned()
}

/// The pool it asks for by name and was given, once a pool edit has made another one the pool of an address that it keeps: that
/// must not look like an unmet request.
fn requested_pool(choice: &Choice, pools: &[String], view: &ServiceView) -> Option<String> {
    let asked = view.asked_pool()?;
    let mut each = choice.addresses.iter().zip(pools);
    let moved = each.any(|(address, now)| {
        let given = view
            .recorded_pool(*address)
            .is_some_and(|last| last == asked);
        now != asked && view.ingress.contains(address) && (given || view.was_given(asked))
    });
    moved.then(|| asked.to_owned())
}

/// The other Services on its addresses, by name.
fn shared_with(
    choice: &Choice,
    view: &ServiceView,
    index: &Index,
    exchange: &[(ServiceKey, Choice)],
) -> String {
    let each = choice.addresses.iter();
    let holders = each.flat_map(|address| index.allocator().holders(*address));
    // Those that change in one step with it have them until then.
    let leaving = |key: &ServiceKey| exchange.iter().any(|(member, _)| member == key);
    let others = holders.filter(|other| **other != view.key && !leaving(other));
    let others: BTreeSet<&ServiceKey> = others.collect();
    let mut names: Vec<String> = others.iter().take(3).map(ToString::to_string).collect();
    if others.len() > 3 {
        names.push(format!("{} more", others.len() - 3));
    }
    names.join(", ")
}

fn allocated(choice: &Choice, pools: &[String], shared_with: &str) -> Condition {
    let kind = ConditionKind::Allocated;
    match (&choice.problem, choice.addresses.is_empty()) {
        (None, false) => {
            let each = choice.addresses.iter().zip(pools);
            let each = each.map(|(address, pool)| format!("{address} from AddressPool {pool}"));
            let each = each.collect::<Vec<_>>().join(", ");
            if shared_with.is_empty() {
                return Condition::new(kind, true, Reason::Allocated, each);
            }
            let message = format!(
                "{each}, shared with {shared_with} by the annotation allow-shared-ip: kept as it came. Herald gives no shared \
                 addresses: a Service that is created anew gets one of its own"
            );
            Condition::new(kind, true, Reason::SharedAddress, message)
        }
        (Some(problem), false) => {
            let message = format!("keeps {}: {}", list(&choice.addresses), problem.message);
            Condition::new(kind, true, Reason::RequestNotMet, message)
        }
        (Some(problem), true) => {
            Condition::new(kind, false, problem.reason, problem.message.clone())
        }
        (None, true) => {
            let message =
                "the Service names no IP family: create it again with spec.ipFamilies".into();
            Condition::new(kind, false, Reason::InvalidRequest, message)
        }
    }
}

/// Says which addresses their pools no longer hold. They are kept (I2).
fn in_pool(view: &ServiceView, choice: &Choice, index: &Index) -> Option<Condition> {
    let held = choice.addresses.iter();
    let reserved = held.filter_map(|a| Some((*a, index.allocator().reservation(*a)?)));
    let reserved: Vec<String> = reserved.map(|(a, what)| format!("{a} is {what}")).collect();
    if !reserved.is_empty() {
        let message = format!(
            "{}: kept, but no traffic is taken from whose it is. Ask for another address, or delete the Service",
            reserved.join(", ")
        );
        return Some(Condition::new(
            ConditionKind::AddressInPool,
            false,
            Reason::AddressReserved,
            message,
        ));
    }
    let strays: Vec<IpAddr> = choice
        .addresses
        .iter()
        .copied()
        .filter(|address| index.allocator().pool_of(*address).is_none())
        .collect();
    let pool = view.recorded_pool(*strays.first()?).unwrap_or(UNKNOWN_POOL);
    let (reason, what) = match index.allocator().pool(pool) {
        Some(_) => (Reason::PoolChanged, "no longer holds"),
        None => (Reason::PoolDeleted, "is gone and no other pool holds"),
    };
    let message = format!(
        "AddressPool {pool} {what} {}: kept. Delete the Service or ask for another address to change it",
        list(&strays)
    );
    Some(Condition::new(
        ConditionKind::AddressInPool,
        false,
        reason,
        message,
    ))
}

/// Whether status and annotation say `desired` already.
fn says(view: &ServiceView, desired: &Desired) -> bool {
    let kinds = [
        ConditionKind::Allocated,
        ConditionKind::AddressInPool,
        ConditionKind::ExternalIps,
    ];
    let conditions = kinds.iter().all(|kind| {
        view.condition(*kind)
            == desired
                .conditions
                .iter()
                .find(|condition| condition.kind == *kind)
    });
    conditions
        && desired
            .ingress
            .as_ref()
            .is_none_or(|ingress| *ingress == view.ingress)
        && view.allocated_from == desired.allocated_from
        && view.earlier_pools == desired.earlier_pools
        && view.requested_pool == desired.requested_pool
}

fn warn(problem: &Problem) -> Notice {
    Notice {
        warning: true,
        reason: problem.reason,
        message: problem.message.clone(),
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(" and ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
