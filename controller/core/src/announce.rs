//! Condition `heraldlb.io/Announced`: who announces a Service's addresses, from the Speakers' own reports, or why nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{Labels, Selector, ServiceKey};
use ipnet::IpNet;

use crate::index::{Index, Standing};
use crate::service::ServiceView;
use crate::status::{Condition, ConditionKind, Notice, Reason};

/// The fields of an L2Advertisement that say whether an address is announced at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertisementView {
    /// The object's name.
    pub name: Arc<str>,
    /// Pools by name; with no name and no selector, all pools.
    pub pools: Vec<String>,
    /// Pools by label.
    pub pool_selectors: Vec<Selector>,
    /// Services by label; empty means all.
    pub service_selectors: Vec<Selector>,
    /// Interfaces that announce, whatever their subnets; empty means those whose subnet holds the address.
    pub interfaces: Vec<String>,
}

/// What one node's speaker reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeakerView {
    /// The node's name.
    pub node: Arc<str>,
    /// Renewed lately, by the observer's own clock.
    pub live: bool,
    /// Its condition Ready is its own word, True or False.
    pub speaks: bool,
    /// Addresses it announces.
    pub owned: BTreeSet<IpAddr>,
    /// Addresses that another host answers for, with that host's hardware address.
    pub conflicts: Vec<(IpAddr, String)>,
    /// Interfaces that are up, with their subnets.
    pub interfaces: Vec<(String, Vec<IpNet>)>,
    /// What its Node's conditions have against it, although it announces.
    pub doubt: Option<String>,
}

/// A change of the condition Announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedStep {
    /// The new condition; `None` removes it.
    pub condition: Option<Condition>,
    /// The Event that tells of it.
    pub notice: Option<Notice>,
}

impl AdvertisementView {
    fn selects(&self, pool: &str, pool_labels: Option<&Labels>, service: &ServiceView) -> bool {
        let all = self.pools.is_empty() && self.pool_selectors.is_empty();
        let named = self.pools.iter().any(|name| name == pool);
        let labelled = pool_labels.is_some_and(|labels| {
            self.pool_selectors
                .iter()
                .any(|selector| selector.matches(labels))
        });
        (all || named || labelled)
            && Selector::any_matches(&self.service_selectors, &service.labels)
    }

    /// Whether `speaker` has an interface from which to announce `address`.
    fn reaches(&self, speaker: &SpeakerView, address: IpAddr) -> bool {
        speaker.interfaces.iter().any(|(name, subnets)| {
            if self.interfaces.is_empty() {
                subnets.iter().any(|subnet| subnet.contains(&address))
            } else {
                self.interfaces.contains(name)
            }
        })
    }
}

/// What to change about the condition Announced of Service `key`; `None` when it says what it should.
pub fn plan_announced(key: &ServiceKey, index: &Index) -> Option<AnnouncedStep> {
    let view = index.service(key)?;
    let shown = view.condition(ConditionKind::Announced);
    let condition = match index.standing(view) {
        Standing::Ours => (!view.ingress.is_empty()).then(|| announced(view, index)),
        // What we once said is not ours to say any more.
        Standing::Plain | Standing::Foreign => None,
        Standing::Others => return None,
    };
    if shown == condition.as_ref() {
        return None;
    }
    let notice = condition
        .as_ref()
        .and_then(|condition| notice(shown, condition));
    Some(AnnouncedStep { condition, notice })
}

/// Events tell of an owner and of a foreign host that answers. What else may be wrong is in the condition, and passes in every
/// roll-out.
fn notice(shown: Option<&Condition>, condition: &Condition) -> Option<Notice> {
    if condition.reason == Reason::AddressConflict.as_str() {
        let message = condition.message.clone();
        return Some(Notice {
            warning: true,
            reason: Reason::AddressConflict,
            message,
        });
    }
    // What a node's conditions have against it is no news of the Service.
    let told = shown.is_some_and(|shown| {
        shown.status && without_doubts(&shown.message) == without_doubts(&condition.message)
    });
    (condition.status && !told).then(|| Notice {
        warning: false,
        reason: Reason::Announced,
        message: condition.message.clone(),
    })
}

fn announced(view: &ServiceView, index: &Index) -> Condition {
    let condition =
        |status, reason, message| Condition::new(ConditionKind::Announced, status, reason, message);
    let mut owners: Vec<(IpAddr, String)> = Vec::new();
    let mut worst: Option<(u8, Reason, String)> = None;
    for address in &view.ingress {
        match state(*address, view, index) {
            Ok(nodes) => owners.push((*address, nodes)),
            Err((reason, message)) => {
                let rank = match reason {
                    Reason::AddressConflict => 0,
                    Reason::NoAdvertisement => 1,
                    Reason::NoEligibleNode => 2,
                    _ => 3,
                };
                if worst.as_ref().is_none_or(|(other, ..)| rank < *other) {
                    worst = Some((rank, reason, message));
                }
            }
        }
    }
    if let Some((_, reason, message)) = worst {
        return condition(false, reason, message);
    }
    let same = owners.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let message = match owners.first() {
        Some((_, nodes)) if same => format!("announced by node {nodes}"),
        _ => {
            let each = owners
                .iter()
                .map(|(address, nodes)| format!("{address} announced by node {nodes}"));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    condition(true, Reason::Announced, message)
}

/// The nodes that announce `address`, or why none does.
fn state(address: IpAddr, view: &ServiceView, index: &Index) -> Result<String, (Reason, String)> {
    let live = || index.speakers().filter(|speaker| speaker.live);
    let conflict = live().find_map(|speaker| {
        let (_, mac) = speaker
            .conflicts
            .iter()
            .find(|(other, _)| *other == address)?;
        Some((mac, &speaker.node))
    });
    if let Some((mac, node)) = conflict {
        let message = format!(
            "another host ({mac}) answers for {address}, node {node} reports: take the address from that host"
        );
        return Err((Reason::AddressConflict, message));
    }
    let nodes: Vec<String> = index
        .owners(address)
        .map(|node| described(node, index))
        .collect();
    if !nodes.is_empty() {
        return Ok(nodes.join(" and "));
    }
    let adverts = advertisements(address, view, index);
    if adverts.is_empty() {
        let pool = view.recorded_pool(address).unwrap_or("(none)");
        let message =
            format!("no L2Advertisement selects AddressPool {pool} and this Service: create one");
        return Err((Reason::NoAdvertisement, message));
    }
    let why: BTreeMap<&str, Vec<&str>> = reasons(address, &adverts, index);
    if !why.contains_key("") {
        let each = why
            .iter()
            .map(|(reason, nodes)| format!("{reason}: {}", shorten(nodes)));
        let each: Vec<String> = each.collect();
        let message = if each.is_empty() {
            "no speaker is running".to_owned()
        } else {
            format!("no node may announce {address}; {}", each.join("; "))
        };
        return Err((Reason::NoEligibleNode, message));
    }
    let hint = if view.local {
        ": only a node that is selected by the L2Advertisement and has a ready endpoint (externalTrafficPolicy is Local) does"
    } else {
        ": only a node that is selected by the L2Advertisement does"
    };
    Err((
        Reason::Pending,
        format!("no node announces {address} yet{hint}"),
    ))
}

/// The L2Advertisements by which `address` is announced, as every speaker finds them: those that select the pool that our mark
/// names, and where none does those of the last pool it was in that one selects.
fn advertisements<'a>(
    address: IpAddr,
    view: &ServiceView,
    index: &'a Index,
) -> Vec<&'a AdvertisementView> {
    let selecting = |pool| selecting(pool, view, index);
    let mut each = view.recorded_pools(address).map(selecting);
    each.find(|adverts| !adverts.is_empty()).unwrap_or_default()
}

fn selecting<'a>(pool: &str, view: &ServiceView, index: &'a Index) -> Vec<&'a AdvertisementView> {
    let labels = index.allocator().pool(pool).map(|pool| &pool.labels);
    let adverts = index.advertisements();
    adverts
        .filter(|advert| advert.selects(pool, labels, view))
        .collect()
}

/// A Service whose address is announced by the labels of `pool` alone: with the pool's object these would be lost.
pub(crate) fn announced_by_label<'a>(pool: &str, index: &'a Index) -> Option<&'a ServiceKey> {
    let by_label = |view: &ServiceView, address: IpAddr| {
        let mut recorded = view.recorded_pools(address);
        let counts = recorded.find(|name| !selecting(name, view, index).is_empty());
        let named = |advert: &AdvertisementView| advert.selects(pool, None, view);
        counts == Some(pool) && !selecting(pool, view, index).into_iter().any(named)
    };
    let mut services = index.services().filter(|view| view.load_balancer);
    let found = services.find(|view| view.ingress.iter().any(|a| by_label(view, *a)));
    found.map(|view| &view.key)
}

/// A node that announces, with what speaks against it.
fn described(node: &str, index: &Index) -> String {
    let speaker = index.speakers().find(|speaker| *speaker.node == *node);
    match speaker.and_then(|speaker| speaker.doubt.as_ref()) {
        Some(doubt) => format!("{node} ({doubt})"),
        None => node.to_owned(),
    }
}

/// A message of the condition Announced without what [`described`] added to the nodes' names, which hold no brackets.
fn without_doubts(message: &str) -> String {
    let mut parts = message.split(['(', ')']);
    let kept = std::iter::from_fn(|| {
        let kept = parts.next();
        parts.next();
        kept
    });
    kept.map(str::trim_end).collect()
}

/// Why each node with a speaker may not announce `address`, as far as the Speakers themselves tell; the empty reason for those
/// that may. Labels and conditions of nodes are the speakers' to judge: the controller has no right to read nodes.
fn reasons<'a>(
    address: IpAddr,
    adverts: &[&AdvertisementView],
    index: &'a Index,
) -> BTreeMap<&'static str, Vec<&'a str>> {
    let mut why: BTreeMap<&'static str, Vec<&'a str>> = BTreeMap::new();
    for speaker in index.speakers() {
        let reason = if !speaker.live {
            "speaker silent"
        } else if !adverts
            .iter()
            .any(|advert| advert.reaches(speaker, address))
        {
            "no interface that is up for it"
        } else {
            ""
        };
        why.entry(reason).or_default().push(&speaker.node);
    }
    why
}

/// A few of the names, and how many more there are.
fn shorten(names: &[&str]) -> String {
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
#[path = "announce_tests.rs"]
mod tests;
