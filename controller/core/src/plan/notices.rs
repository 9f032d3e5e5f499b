//! Which Events a plan of an own Service is worth.

use std::net::IpAddr;

use herald_core::IpFamily;

use super::list;
use crate::choose::Choice;
use crate::index::Index;
use crate::request;
use crate::service::ServiceView;
use crate::status::{Desired, Notice, Reason};

/// The Events of going from what `view` shows to `choice`.
pub(super) fn notices(
    view: &ServiceView,
    choice: &Choice,
    pools: &[String],
    desired: &Desired,
    index: &Index,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let asked = |address: &&IpAddr| {
        let named = request::parse(view).unwrap_or_default().addresses;
        let named = *named.get(IpFamily::of(**address));
        named.is_some_and(|named| named != **address && choice.addresses.contains(&named))
    };
    // Given to another because it asked for a different one is not lost.
    let mut shown = view.ingress.iter().filter(|address| !asked(address));
    let lost =
        shown.find_map(|address| Some((address, index.allocator().taken_by(*address, &view.key)?)));
    if let Some((address, holder)) = lost {
        let message = format!("{address} also belongs to Service {holder}, which keeps it");
        notices.push(Notice {
            warning: true,
            reason: Reason::AddressTaken,
            message,
        });
    }
    let new: Vec<String> = choice
        .addresses
        .iter()
        .zip(pools)
        .filter(|(address, _)| !view.ingress.contains(address))
        .map(|(address, pool)| format!("{address} from AddressPool {pool}"))
        .collect();
    let dropped = view.ingress.iter().copied();
    let dropped: Vec<IpAddr> = dropped
        .filter(|address| !choice.addresses.contains(address))
        .collect();
    if !new.is_empty() {
        let instead = if dropped.is_empty() {
            String::new()
        } else {
            format!(" instead of {}", list(&dropped))
        };
        let message = format!("{}{instead}", new.join(", "));
        notices.push(Notice {
            warning: false,
            reason: Reason::Allocated,
            message,
        });
    } else if !dropped.is_empty() && lost.is_none() {
        let message = format!(
            "{} is free again: the Service has no longer a family for it (spec.ipFamilies)",
            list(&dropped)
        );
        notices.push(Notice {
            warning: false,
            reason: Reason::Released,
            message,
        });
    } else if view.allocated_from.is_none() && !choice.addresses.is_empty() {
        let message = format!("{} was in the status and is kept", list(&choice.addresses));
        notices.push(Notice {
            warning: false,
            reason: Reason::Adopted,
            message,
        });
    }
    for condition in &desired.conditions {
        let shown = view.condition(condition.kind);
        let bad = condition.reason != Reason::Allocated.as_str();
        if !bad || shown == Some(condition) {
            continue;
        }
        let reason = Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == condition.reason);
        if let Some(reason) = reason {
            notices.push(Notice {
                warning: reason != Reason::SharedAddress,
                reason,
                message: condition.message.clone(),
            });
        }
    }
    notices
}
