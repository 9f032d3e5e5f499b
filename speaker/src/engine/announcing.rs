//! What the announcer is asked to hold, and what has become of it.
//!
//! An address that leaves the targets is *withdrawing* until the announcer has confirmed that it is silent: so long its
//! data path must stay (I3). That at most one host answers for an address (I1) is the announcer's business: it probes
//! before it answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use herald_core::ServiceKey;
use herald_speaker_core::announce::{ClaimKey, ClaimState, Report};
use herald_speaker_core::{LinkView, Mac};

/// Addresses and the indexes of the links to announce them on.
pub type Targets = BTreeMap<IpAddr, BTreeSet<u32>>;

/// A conflict is usual for a moment while an address moves; it is told when it lasts.
const CONFLICT_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Announcing {
    wanted: BTreeMap<IpAddr, BTreeMap<ServiceKey, BTreeSet<u32>>>,
    targets: Targets,
    links: BTreeMap<u32, LinkView>,
    withdrawing: BTreeMap<IpAddr, u64>,
    generation: u64,
    touched: BTreeSet<IpAddr>,
    states: HashMap<ClaimKey, (ClaimState, Instant)>,
    /// What the last run of this speaker said it owns, until it is clear what this one does: a restart in place is no
    /// change of owner.
    inherited: BTreeSet<IpAddr>,
}

impl Announcing {
    /// What Service `key` wants announced now, in place of what it wanted before.
    pub(super) fn want(&mut self, key: &ServiceKey, before: &Targets, now: &Targets) {
        for address in before.keys().filter(|address| !now.contains_key(address)) {
            if let Some(keys) = self.wanted.get_mut(address) {
                keys.remove(key);
                if keys.is_empty() {
                    self.wanted.remove(address);
                }
            }
            self.touched.insert(*address);
        }
        for (address, links) in now {
            let keys = self.wanted.entry(*address).or_default();
            keys.insert(key.clone(), links.clone());
            self.touched.insert(*address);
        }
    }

    /// Brings the targets in line; returns their new generation when they, or the links, changed.
    pub(super) fn settle(&mut self, links: &BTreeMap<u32, LinkView>) -> Option<(u64, Targets)> {
        let generation = self.generation + 1;
        let mut changed = self.links != *links;
        for address in std::mem::take(&mut self.touched) {
            let Some(keys) = self.wanted.get(&address) else {
                if self.targets.remove(&address).is_some() {
                    self.withdrawing.insert(address, generation);
                    self.states.retain(|claim, _| claim.address != address);
                    changed = true;
                }
                continue;
            };
            let links: BTreeSet<u32> = keys.values().flatten().copied().collect();
            self.withdrawing.remove(&address);
            changed |= self.targets.insert(address, links.clone()).as_ref() != Some(&links);
        }
        if !changed {
            return None;
        }
        self.links.clone_from(links);
        self.generation = generation;
        Some((generation, self.targets.clone()))
    }

    /// The announcer holds the targets of `generation` and nothing else.
    pub(super) fn acknowledged(&mut self, generation: u64) {
        self.withdrawing.retain(|_, since| *since > generation);
    }

    /// What the announcer says of a claim. True when it says again what had got lost.
    pub(super) fn reported(&mut self, report: Report, now: Instant) -> bool {
        let wanted = self.targets.get(&report.key.address);
        if !wanted.is_some_and(|links| links.contains(&report.key.interface)) {
            self.states.remove(&report.key);
            return false;
        }
        if report.state != ClaimState::Probing {
            self.inherited.remove(&report.key.address);
        }
        let known = self.states.get(&report.key);
        let conflict = |state: &ClaimState| matches!(state, ClaimState::Conflict { .. });
        // Two conflicts with a probe between them are one.
        let since = known
            .filter(|(state, _)| conflict(state) && conflict(&report.state))
            .map_or(now, |(_, since)| *since);
        let before = self.states.insert(report.key, (report.state, since));
        report.repeated && before.map(|(state, _)| state) != Some(report.state)
    }

    /// Something is a target and the announcer has said nothing of it, or that was lost: its targets come through a channel
    /// that keeps only the last, so it sees nothing of a target that went and came back.
    pub(super) fn is_unheard(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.any(|(claim, state)| state.is_none() && self.links.contains_key(&claim.interface))
    }

    /// Whether the announcer may still answer for `address` although it should not.
    pub(super) fn is_withdrawing(&self, address: IpAddr) -> bool {
        self.withdrawing.contains_key(&address)
    }

    pub(super) fn inherit(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.inherited.extend(addresses);
    }

    /// The first plan is complete: what the last run owned and this one does not want is gone.
    pub(super) fn disinherit(&mut self) {
        let targets = &self.targets;
        self.inherited
            .retain(|address| targets.contains_key(address));
    }

    /// The addresses that are answered for and the indexes of the links.
    pub(super) fn owned(&self) -> Targets {
        let mut owned: Targets = self
            .inherited
            .iter()
            .map(|a| (*a, BTreeSet::new()))
            .collect();
        for (address, links) in &mut owned {
            links.extend(self.targets.get(address).into_iter().flatten());
        }
        for (claim, (state, _)) in &self.states {
            if *state == ClaimState::Announcing {
                owned
                    .entry(claim.address)
                    .or_default()
                    .insert(claim.interface);
            }
        }
        owned
    }

    /// The addresses that others have answered for, for some time.
    pub(super) fn conflicts(&self, now: Instant) -> BTreeMap<IpAddr, Mac> {
        let lasting = |(claim, (state, since)): (&ClaimKey, &(ClaimState, Instant))| match state {
            ClaimState::Conflict { mac } if now.duration_since(*since) >= CONFLICT_AFTER => {
                Some((claim.address, *mac))
            }
            _ => None,
        };
        self.states.iter().filter_map(lasting).collect()
    }

    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Targets that are not answered for on every link, with what the announcer says.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (ClaimKey, Option<ClaimState>)> {
        let claims = self.targets.iter().flat_map(|(address, links)| {
            let claim = |interface: &u32| ClaimKey {
                interface: *interface,
                address: *address,
            };
            links.iter().map(claim).collect::<Vec<_>>()
        });
        claims
            .map(|claim| (claim, self.states.get(&claim).map(|(state, _)| *state)))
            .filter(|(_, state)| *state != Some(ClaimState::Announcing))
    }

    /// Nothing is a target and the announcer has let go of everything.
    pub(super) fn is_silent(&self) -> bool {
        self.targets.is_empty() && self.withdrawing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(address: &str) -> Targets {
        Targets::from([(address.parse().unwrap(), BTreeSet::from([2]))])
    }

    fn key() -> ServiceKey {
        ServiceKey::new("default", "web")
    }

    fn report(address: &str, state: ClaimState) -> Report {
        let key = ClaimKey {
            interface: 2,
            address: address.parse().unwrap(),
        };
        Report {
            key,
            state,
            repeated: false,
        }
    }

    #[test]
    fn an_address_is_withdrawing_until_the_announcer_has_let_go() {
        let (links, wanted) = (BTreeMap::new(), targets("192.0.2.1"));
        let address = "192.0.2.1".parse().unwrap();
        let mut announcing = Announcing::default();
        announcing.want(&key(), &Targets::new(), &wanted);
        assert_eq!(announcing.settle(&links), Some((1, wanted.clone())));
        assert_eq!(announcing.settle(&links), None);
        announcing.want(&key(), &wanted, &Targets::new());
        assert_eq!(announcing.settle(&links), Some((2, Targets::new())));
        announcing.acknowledged(1);
        assert!(announcing.is_withdrawing(address));
        announcing.acknowledged(2);
        assert!(!announcing.is_withdrawing(address) && announcing.is_silent());
    }

    #[test]
    fn what_got_lost_is_said_again_and_counted() {
        let (links, wanted, now) = (BTreeMap::new(), targets("192.0.2.1"), Instant::now());
        let mut announcing = Announcing::default();
        announcing.want(&key(), &Targets::new(), &wanted);
        announcing.settle(&links).unwrap();
        assert!(!announcing.reported(report("192.0.2.1", ClaimState::Announcing), now));
        // Gone and back before the announcer looked: nothing has changed for it.
        announcing.want(&key(), &wanted, &Targets::new());
        announcing.settle(&links).unwrap();
        announcing.want(&key(), &Targets::new(), &wanted);
        announcing.settle(&links).unwrap();
        assert!(announcing.owned().is_empty());
        let again = Report {
            repeated: true,
            ..report("192.0.2.1", ClaimState::Announcing)
        };
        assert!(announcing.reported(again, now));
        assert_eq!(announcing.owned(), wanted);
        assert!(!announcing.reported(again, now), "known by now");
    }

    #[test]
    fn two_services_on_one_address_keep_it_announced() {
        let (links, wanted) = (BTreeMap::new(), targets("192.0.2.1"));
        let mut announcing = Announcing::default();
        announcing.want(&key(), &Targets::new(), &wanted);
        announcing.want(&ServiceKey::new("default", "dns"), &Targets::new(), &wanted);
        announcing.settle(&links).unwrap();
        announcing.want(&key(), &wanted, &Targets::new());
        assert_eq!(announcing.settle(&links), None);
        assert_eq!(*announcing.targets(), wanted);
    }

    #[test]
    fn what_is_answered_for_is_owned_and_what_another_host_holds_is_a_conflict() {
        let (links, wanted) = (BTreeMap::new(), targets("192.0.2.1"));
        let now = Instant::now();
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let mut announcing = Announcing::default();
        announcing.want(&key(), &Targets::new(), &wanted);
        announcing.settle(&links).unwrap();
        assert!(announcing.owned().is_empty());
        announcing.reported(report("192.0.2.1", ClaimState::Conflict { mac }), now);
        assert!(announcing.conflicts(now).is_empty());
        assert_eq!(announcing.conflicts(now + CONFLICT_AFTER).len(), 1);
        announcing.reported(report("192.0.2.1", ClaimState::Announcing), now);
        assert!(announcing.conflicts(now + CONFLICT_AFTER).is_empty());
        assert_eq!(announcing.owned(), wanted);
        announcing.reported(report("192.0.2.7", ClaimState::Announcing), now);
        assert_eq!(
            announcing.owned(),
            wanted,
            "a late report of what is no target"
        );
    }

    #[test]
    fn what_the_last_run_owned_stays_owned_until_this_one_knows() {
        let links = BTreeMap::new();
        let (kept, lost) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut announcing = Announcing::default();
        announcing.inherit([kept, lost]);
        announcing.want(&key(), &Targets::new(), &targets("192.0.2.1"));
        announcing.settle(&links);
        assert!(announcing.owned().contains_key(&lost));
        announcing.disinherit();
        assert!(announcing.owned().contains_key(&kept), "still probing");
        assert!(!announcing.owned().contains_key(&lost));
        announcing.reported(report("192.0.2.1", ClaimState::LinkDown), Instant::now());
        assert!(announcing.owned().is_empty());
    }
}
