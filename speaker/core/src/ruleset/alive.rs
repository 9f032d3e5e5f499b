//! The sign of life: one element with a time-out in each table. Without it new connections meet none of our rules, so
//! that rules which nobody keeps true do not stand in another proxy's way.

use std::time::Duration;

use herald_core::IpFamily;
use herald_nft::{Element, Elements, Operation};

use super::layout::{SetId, table};

/// The operations that let the sign last for `time` from now, whether it is there or not.
///
/// Flushed and added in one transaction, so that no packet finds it missing: an element that is there keeps its old
/// time-out on most kernels, and deleting one that has run out is an error.
pub(super) fn renewal(time: Duration) -> Vec<Operation> {
    [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .flat_map(|family| {
            let table = table(family);
            let set = table.set(SetId::Alive.name());
            let element = Element {
                timeout: Some(time),
                ..Element::key(vec![table.family.number()])
            };
            [
                Operation::FlushSet(set.clone()),
                Operation::AddElements(Elements {
                    set,
                    elements: vec![element],
                }),
            ]
        })
        .collect()
}
