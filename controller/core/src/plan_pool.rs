//! What one pool's status and finalizer should say.

use std::sync::Arc;

use crate::allocator::LeftOut;
use crate::announce::announced_by_label;
use crate::family::PerFamily;
use crate::index::Index;
use crate::pool::Readiness;

/// What a pool's object says now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolObserved {
    /// `status.assignedIPv4` and `assignedIPv6`.
    pub assigned: PerFamily<i64>,
    /// `status.availableIPv4` and `availableIPv6`.
    pub available: PerFamily<i64>,
    /// The condition Ready and its `lastTransitionTime`.
    pub ready: Option<(Ready, Arc<str>)>,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it has a status at all.
    pub has_status: bool,
}

/// The condition Ready of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// True or False.
    pub status: bool,
    /// Valid, Invalid, Reserved or Overlap.
    pub reason: String,
    /// What to do.
    pub message: String,
    /// The `metadata.generation` that was judged.
    pub generation: i64,
}

/// What to change about a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolPlan {
    /// The status it should have, if it has another.
    pub status: Option<PoolStatus>,
    /// Whether to add (`true`) or remove our finalizer.
    pub finalizer: Option<bool>,
}

/// A pool's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Addresses in use.
    pub assigned: PerFamily<i64>,
    /// Addresses it can give.
    pub available: PerFamily<i64>,
    /// The condition Ready.
    pub ready: Ready,
}

/// Spans that are somebody's and that a pool's condition names; the other addresses are counted.
const NAMED: usize = 3;

/// The addresses that are somebody's, in words.
fn named(left_out: &LeftOut) -> String {
    let spans = left_out.first.iter();
    let named: Vec<String> = spans
        .map(|(span, what)| format!("{span} ({what})"))
        .collect();
    let shown = left_out.first.iter().fold(0, |sum: u128, (span, _)| {
        let (first, last) = span.numbers();
        sum.saturating_add((last - first).saturating_add(1))
    });
    match left_out.count.saturating_sub(shown) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}

/// Plans pool `name`: status and finalizer.
pub fn plan_pool(name: &str, index: &Index) -> PoolPlan {
    let allocator = index.allocator();
    let known = (
        allocator.pool(name),
        allocator.readiness(name),
        allocator.counts(name),
    );
    let (Some(view), Some(readiness), Some(counts)) = known else {
        return PoolPlan::default();
    };
    let Some(observed) = index.observed_pool(name) else {
        return PoolPlan::default();
    };
    let unprotected = !observed.finalizer && !view.deleting;
    if unprotected && !index.is_unprotectable(name) {
        // The rest follows when it is there.
        return PoolPlan {
            status: None,
            finalizer: Some(true),
        };
    }
    let owns = counts.assigned != PerFamily::default();
    // Only a pool that nothing else keeps is looked at this closely.
    let labels_for = if owns || !view.deleting {
        None
    } else {
        announced_by_label(name, index)
    };
    let needed = owns || labels_for.is_some();
    let left_out = allocator.left_out(name, NAMED);
    let (status, reason, message) = match readiness {
        Readiness::Invalid(why) => (false, "Invalid", why.clone()),
        Readiness::Overlap { with, at } => {
            let message = format!(
                "AddressPool {with} is older and has {at} too: gives no addresses until the two differ"
            );
            (false, "Overlap", message)
        }
        Readiness::Valid if unprotected => {
            let message = "the finalizer heraldlb.io/pool-in-use could not be written: gives no addresses until it is. See the \
                           controller's log";
            (false, "Unprotected", message.into())
        }
        Readiness::Valid if left_out.all && left_out.count > 0 => {
            let message = format!(
                "gives no addresses: {}. Use addresses that are nobody's",
                named(&left_out)
            );
            (false, "Reserved", message)
        }
        Readiness::Valid if view.deleting => {
            let message = match labels_for {
                Some(service) => format!(
                    "being deleted: kept while an L2Advertisement announces an address of Service {service} by this pool's \
                     labels. Let one select the pool that has the address now, or this one by name"
                ),
                None => "being deleted: kept until no Service uses it".into(),
            };
            (true, "Valid", message)
        }
        Readiness::Valid if view.disabled => {
            (true, "Valid", "disabled: gives no new addresses".into())
        }
        Readiness::Valid if left_out.count > 0 => {
            let message = format!("gives addresses, but not {}", named(&left_out));
            (true, "Valid", message)
        }
        Readiness::Valid => (true, "Valid", "gives addresses".into()),
    };
    let number = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
    let both = |counts: &PerFamily<u128>| PerFamily {
        v4: number(counts.v4),
        v6: number(counts.v6),
    };
    let desired = PoolStatus {
        assigned: both(&counts.assigned),
        available: both(&counts.available),
        ready: Ready {
            status,
            reason: reason.into(),
            message,
            generation: observed.generation,
        },
    };
    let same = observed.has_status
        && observed.assigned == desired.assigned
        && observed.available == desired.available
        && observed
            .ready
            .as_ref()
            .is_some_and(|(ready, _)| *ready == desired.ready);
    // On every pool from the first, so that it is there before any of its addresses is given. It cannot be added to what is
    // being deleted.
    let finalizer = match (observed.finalizer, view.deleting) {
        (false, false) => Some(true),
        (true, true) if !needed => Some(false),
        _ => None,
    };
    PoolPlan {
        status: (!same).then_some(desired),
        finalizer,
    }
}
