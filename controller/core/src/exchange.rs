//! Services that ask for each other's addresses: they change in one step, or each would wait for the other for good.

use std::collections::BTreeSet;
use std::net::IpAddr;

use herald_core::ServiceKey;

use crate::choose::{Choice, choose};
use crate::family::FAMILIES;
use crate::index::{Index, Standing};
use crate::request;
use crate::service::ServiceView;

/// Most Services that change in one step.
const MOST: usize = 8;

/// What Service `view` and those whose addresses it asks for would have if all of them changed at once; nothing unless each
/// gets what it asks for, and that out of what they have: all else can go one by one, and then no two ever show one address.
pub(crate) fn exchange(view: &ServiceView, index: &Index) -> Vec<(ServiceKey, Choice)> {
    let Some(members) = members(view, index) else {
        return Vec::new();
    };
    let leaving: BTreeSet<&ServiceKey> = members.iter().map(|member| &member.key).collect();
    let held = members
        .iter()
        .flat_map(|member| index.allocator().held(&member.key));
    let mut held: BTreeSet<IpAddr> = held.copied().collect();
    let mut chosen = Vec::new();
    for member in &members {
        let namespace = index.namespace(&member.key.namespace);
        let choice = choose(member, namespace, index.allocator(), &leaving);
        let satisfied = choice.problem.is_none() && !choice.hungry;
        if !satisfied || !choice.addresses.iter().all(|address| held.remove(address)) {
            return Vec::new();
        }
        chosen.push((member.key.clone(), choice));
    }
    chosen
}

/// `view`, the Services that hold what it asks for, those that hold what these ask for, and so on; `None` when nobody stands in
/// its way, or somebody who will not move.
fn members<'a>(view: &'a ServiceView, index: &'a Index) -> Option<Vec<&'a ServiceView>> {
    let mut members = vec![view];
    let mut next = 0;
    while let Some(member) = members.get(next) {
        next += 1;
        for holder in holders_of_wanted(member, index) {
            if members.iter().any(|known| known.key == *holder) {
                continue;
            }
            let holder = index.service(holder)?;
            let moves = !holder.deleting && index.standing(holder) == Standing::Ours;
            if !moves || members.len() == MOST {
                return None;
            }
            members.push(holder);
        }
    }
    (members.len() > 1).then_some(members)
}

/// Who holds the addresses that `view` asks for by name and does not have.
fn holders_of_wanted<'a>(view: &ServiceView, index: &'a Index) -> Vec<&'a ServiceKey> {
    let Ok(request) = request::parse(view) else {
        return Vec::new();
    };
    let wanted = FAMILIES.iter().filter_map(|f| *request.addresses.get(*f));
    let holder = |address: IpAddr| index.allocator().taken_by(address, &view.key);
    wanted.filter_map(holder).collect()
}
