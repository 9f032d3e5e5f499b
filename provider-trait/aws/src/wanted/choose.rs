use std::collections::BTreeSet;

use herald_provider::{LoadBalancerRequest, Reason};

use crate::annotations::{ACCEPT_DOWNTIME, Groups, Parsed, Settings};
use crate::config::Config;
use crate::inventory::{Inventory, Own};
use crate::model::{LoadBalancer, Mapping, Scheme, State};
use crate::subnets::{self, Chosen};
use crate::{names, tags};

/// Which load balancer is to be.
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) exists: bool,
    pub(super) displaces: bool,
    pub(super) scheme: Scheme,
    pub(super) mappings: BTreeSet<Mapping>,
}

/// Picks the load balancer that exists and can become what is asked for, or names a new one.
pub(super) fn choose(
    config: &Config,
    inventory: &Inventory,
    own: &Own,
    request: &LoadBalancerRequest,
    parsed: &[Parsed],
) -> Result<Choice, Reason> {
    let settings = &parsed[0].settings;
    // A scheme that the user does not name stays what it is.
    let existing = own
        .load_balancers
        .values()
        .find(|lb| tags::retire_at(&lb.tags).is_none());
    let scheme = settings
        .scheme
        .or_else(|| existing.map(|lb| lb.scheme))
        .unwrap_or(config.scheme);
    let subnets = &inventory.shared.subnets;
    let mut fitting: Vec<(&LoadBalancer, Chosen)> = Vec::new();
    for lb in own.load_balancers.values() {
        // One whose subnets cannot be as asked is no reason against a new one.
        let chosen = subnets::choose(config, settings, scheme, subnets, Some(lb));
        if let Ok(chosen) = chosen
            && can_become(config, settings, scheme, &chosen, lb)
        {
            fitting.push((lb, chosen));
        }
    }
    // The one in use rather than one that is about to go, if both would do.
    fitting.sort_by_key(|(lb, _)| (tags::retire_at(&lb.tags).is_some(), lb.name.clone()));
    let kept = |(lb, chosen): &(&LoadBalancer, Chosen)| Choice {
        name: lb.name.clone(),
        exists: true,
        displaces: false,
        scheme,
        mappings: merged(lb, chosen),
    };
    let same = |(lb, _): &&(&LoadBalancer, Chosen)| same_targets(own, request, parsed, lb);
    if let Some(found) = fitting.iter().find(same) {
        return Ok(kept(found));
    }
    let chosen = subnets::choose(config, settings, scheme, subnets, None)?;
    let displaces = displaces(own, settings, &chosen)?;
    if let Some(found) = fitting.first().filter(|_| displaces) {
        // The accepted downtime is shortest if only the targets are exchanged.
        return Ok(kept(found));
    }
    let name = match &settings.name {
        Some(name) if inventory.shared.taken.contains(name) => {
            let message = format!(
                "a load balancer named {name} exists and is not this cluster's; choose another name"
            );
            return Err(Reason::new("NameTaken", message));
        }
        Some(name) => name.clone(),
        None => free_name(config, inventory, own, request, scheme, settings, &chosen),
    };
    Ok(Choice {
        name,
        exists: false,
        displaces,
        scheme,
        mappings: chosen.mappings,
    })
}

/// Whether a load balancer's targets are of the kind asked for. AWS checks new targets only once a listener uses
/// them: behind the same listener nothing would serve until they are healthy.
fn same_targets(
    own: &Own,
    request: &LoadBalancerRequest,
    parsed: &[Parsed],
    lb: &LoadBalancer,
) -> bool {
    let listeners = lb.listeners.iter().flatten();
    let mut groups =
        listeners.filter_map(|(_, l)| own.target_groups.get(&l.spec.target_group.name));
    groups.all(|group| {
        let owner = group.spec.tags.get(tags::SERVICE);
        let mut services = request.services.iter().zip(parsed);
        let service = services.find(|(s, _)| owner == Some(&s.key.to_string()));
        service.is_none_or(|(_, p)| p.settings.target_type == group.spec.target_type)
    })
}

/// A name that differs with everything that is fixed at creation, and from those that are there.
fn free_name(
    config: &Config,
    inventory: &Inventory,
    own: &Own,
    request: &LoadBalancerRequest,
    scheme: Scheme,
    settings: &Settings,
    chosen: &Chosen,
) -> String {
    let grouped = if settings.groups == Groups::None {
        "no groups"
    } else {
        "groups"
    };
    let mappings = if chosen.named {
        format!("{:?}", chosen.mappings)
    } else {
        String::new()
    };
    let service = &request.services[0].key;
    let mut turn = 0_u32;
    loop {
        let number = turn.to_string();
        let parts = [
            request.id.as_str(),
            scheme.as_str(),
            grouped,
            &mappings,
            &number,
        ];
        let name = names::name(config, service, &parts);
        if !own.load_balancers.contains_key(&name) && !inventory.shared.taken.contains(&name) {
            return name;
        }
        turn += 1;
    }
}

/// Whether a load balancer can be changed in place into what is asked for.
fn can_become(
    config: &Config,
    settings: &Settings,
    scheme: Scheme,
    chosen: &Chosen,
    lb: &LoadBalancer,
) -> bool {
    let ungrouped = settings.groups == Groups::None;
    // A subnet or its addresses are never taken away from a load balancer in place; one that was found goes on being
    // used.
    let kept = |have: &Mapping| {
        let mut wanted = chosen.mappings.iter();
        let same = wanted.find(|want| want.subnet == have.subnet);
        same.map_or(!chosen.named, |want| satisfies(have, want))
    };
    lb.state != State::Failed
        && lb.vpc == config.vpc
        && lb.scheme == scheme
        && lb.security_groups.is_empty() == ungrouped
        && lb.mappings.iter().all(kept)
}

/// Whether what exists in a subnet is what is wanted there. Addresses that nobody asked for are AWS's choice.
pub fn satisfies(have: &Mapping, want: &Mapping) -> bool {
    have.subnet == want.subnet
        && have.allocation == want.allocation
        && (want.private_ipv4.is_none() || have.private_ipv4 == want.private_ipv4)
        && (want.ipv6.is_none() || have.ipv6 == want.ipv6)
}

/// The subnets it has, and those that are to come.
fn merged(lb: &LoadBalancer, chosen: &Chosen) -> BTreeSet<Mapping> {
    let mut all = lb.mappings.clone();
    for want in &chosen.mappings {
        if !all.iter().any(|have| have.subnet == want.subnet) {
            all.insert(want.clone());
        }
    }
    all
}

/// Whether the new load balancer cannot exist beside the present ones: then the user has to accept a downtime.
fn displaces(own: &Own, settings: &Settings, chosen: &Chosen) -> Result<bool, Reason> {
    let present: Vec<_> = own
        .load_balancers
        .values()
        .filter(|lb| lb.state != State::Failed)
        .collect();
    let same_name = present
        .iter()
        .find(|lb| Some(&lb.name) == settings.name.as_ref());
    let clash = |have: &Mapping, want: &Mapping| {
        let same = |a: Option<String>, b: Option<String>| a.is_some() && a == b;
        same(have.allocation.clone(), want.allocation.clone())
            || same(
                have.private_ipv4.map(|a| a.to_string()),
                want.private_ipv4.map(|a| a.to_string()),
            )
            || same(
                have.ipv6.map(|a| a.to_string()),
                want.ipv6.map(|a| a.to_string()),
            )
    };
    let same_address = present.iter().find(|lb| {
        lb.mappings
            .iter()
            .any(|have| chosen.mappings.iter().any(|want| clash(have, want)))
    });
    let (what, lb) = match (same_name, same_address) {
        (Some(lb), _) => ("name", lb),
        (None, Some(lb)) => ("addresses", lb),
        (None, None) => return Ok(false),
    };
    if settings.accept_downtime {
        return Ok(true);
    }
    let message = format!(
        "the change needs a new load balancer, which cannot have the {what} of {} while that exists; \
         change the {what}, undo the change, or accept a downtime with {ACCEPT_DOWNTIME}: \"true\"",
        lb.name
    );
    Err(Reason::new("ReplacementNeedsDowntime", message))
}
