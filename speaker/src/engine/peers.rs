//! Which speakers live, by this observer's monotonic clock.
//!
//! A speaker is live while its renewal has *changed* within [`LIVE_FOR`]. Time counts only as far as this speaker has
//! *sight*: up to the last renewal of anyone, its own included, that it saw arrive. Without the API server nobody's
//! renewal changes, and nobody may conclude that all others are dead (I5); a gap of more than [`SIGHT`] counts for
//! nothing. Where time without sight is all that is missing for a verdict, sight is asked for: one renewal of our own.
//!
//! The same renewals are asked when the control plane says that it has not heard from a node (condition Ready is Unknown).
//! After an outage of the API server it says so of every node, and no address may be withdrawn for that; of a node
//! that is really gone the speaker is silent too, and its addresses move after [`HEARD_FOR`] instead of [`LIVE_FOR`].
//!
//! The other way round: when this speaker's own renewals do not arrive (refused, say) while others' do, the others
//! will take it for dead after [`LIVE_FOR`]; it stops owning a little earlier, after [`OWN_LIVE_FOR`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SpeakerSeen;

/// A speaker not renewed for this long is not live.
pub(super) const LIVE_FOR: Duration = Duration::from_secs(30);
/// A speaker renewed within this time shows that its node lives, although the control plane has not heard from it.
pub(super) const HEARD_FOR: Duration = Duration::from_secs(16);
/// A speaker whose own renewals have not come back for this long, while others' have, does not own anything.
pub(super) const OWN_LIVE_FOR: Duration = Duration::from_secs(25);
/// Renewals are 10 s apart; a longer gap than this means that the observer was blind. Less than [`HEARD_FOR`].
pub(super) const SIGHT: Duration = Duration::from_secs(15);
/// Sight older than this may be asked for.
const STALE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Peers {
    own: Arc<str>,
    seen: BTreeMap<Arc<str>, Peer>,
    /// When anyone's renewal was last seen to change; at start: the start.
    sight: Instant,
}

#[derive(Debug)]
struct Peer {
    seen: SpeakerSeen,
    changed: Instant,
}

impl Peers {
    pub(super) fn new(own: Arc<str>, now: Instant) -> Self {
        Self {
            own,
            seen: BTreeMap::new(),
            sight: now,
        }
    }

    /// A Speaker object as it is now. One seen for the first time counts as just renewed. True when it answers for other
    /// addresses than before.
    pub(super) fn set(&mut self, seen: SpeakerSeen, now: Instant) -> bool {
        let known = self.seen.get(&seen.node);
        let renewed = known.is_some_and(|peer| peer.seen.renewed != seen.renewed);
        let mut changed = known.map_or(now, |peer| peer.changed);
        if renewed {
            if now.duration_since(self.sight) > SIGHT {
                for peer in self.seen.values_mut() {
                    peer.changed = now;
                }
            }
            self.sight = now;
            changed = now;
        }
        let other = self.seen.get(&seen.node).map(|peer| &peer.seen.owned) != Some(&seen.owned);
        let node = seen.node.clone();
        self.seen.insert(node, Peer { seen, changed });
        other
    }

    /// Who says that it answers for each address, this speaker as the API server knows it: all observers see the same.
    pub(super) fn holders(&self) -> BTreeMap<IpAddr, BTreeSet<Arc<str>>> {
        let mut holders: BTreeMap<IpAddr, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (node, peer) in &self.seen {
            for address in &peer.seen.owned {
                holders.entry(*address).or_default().insert(node.clone());
            }
        }
        holders
    }

    pub(super) fn remove(&mut self, node: &Arc<str>) {
        self.seen.remove(node);
    }

    /// For how long, as far as can be seen, a speaker has not been renewed.
    fn silence(&self, peer: &Peer) -> Duration {
        self.sight.saturating_duration_since(peer.changed)
    }

    /// Our own Speaker object as the API server shows it.
    pub(super) fn own(&self) -> Option<&SpeakerSeen> {
        self.seen.get(&self.own).map(|peer| &peer.seen)
    }

    /// Whether this speaker may own addresses as far as its own renewals tell.
    pub(super) fn own_live(&self) -> bool {
        let own = self.seen.get(&self.own);
        own.is_none_or(|own| self.silence(own) <= OWN_LIVE_FOR)
    }

    /// Whether the speaker of `node` has been heard of lately.
    pub(super) fn heard(&self, node: &Arc<str>) -> bool {
        let peer = self.seen.get(node);
        peer.is_some_and(|peer| self.silence(peer) <= HEARD_FOR)
    }

    /// Every speaker but this one, with whether it is live.
    pub(super) fn others(&self) -> impl Iterator<Item = (&SpeakerSeen, bool)> {
        let others = self.seen.values().filter(|peer| peer.seen.node != self.own);
        others.map(|peer| {
            let live = peer.seen.willing && self.silence(peer) <= LIVE_FOR;
            (&peer.seen, live)
        })
    }

    /// Whether a renewal of our own, seen to arrive, would decide that another speaker is gone.
    pub(super) fn wants_sight(&self, now: Instant) -> bool {
        let stale = now.duration_since(self.sight);
        if stale <= STALE || stale > SIGHT {
            return false;
        }
        self.seen.values().any(|peer| {
            [HEARD_FOR, LIVE_FOR].into_iter().any(|limit| {
                now.duration_since(peer.changed) > limit && self.silence(peer) <= limit
            })
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.seen.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(node: &str, renewed: u32) -> SpeakerSeen {
        SpeakerSeen {
            node: node.into(),
            renewed: renewed.to_string(),
            willing: true,
            interfaces: Vec::new(),
            owned: Vec::new(),
            macs: vec![],
            conflicts: vec![],
        }
    }

    struct Clock(Instant);

    impl Clock {
        fn pass(&mut self, seconds: u64) -> Instant {
            self.0 += Duration::from_secs(seconds);
            self.0
        }
    }

    fn live(peers: &Peers) -> Vec<String> {
        let live = peers.others().filter(|(_, live)| *live);
        live.map(|(seen, _)| seen.node.to_string()).collect()
    }

    fn pair() -> (Clock, Peers) {
        let clock = Clock(Instant::now());
        let mut peers = Peers::new("n1".into(), clock.0);
        peers.set(seen("n1", 0), clock.0);
        peers.set(seen("n2", 0), clock.0);
        (clock, peers)
    }

    #[test]
    fn a_speaker_that_is_not_renewed_for_30_s_is_not_live() {
        let (mut clock, mut peers) = pair();
        for renewal in 1..=3 {
            assert_eq!(live(&peers), ["n2"]);
            peers.set(seen("n1", renewal), clock.pass(10));
        }
        assert_eq!(live(&peers), ["n2"]);
        assert!(!peers.wants_sight(clock.0));
        assert!(peers.wants_sight(clock.pass(2)));
        peers.set(seen("n1", 4), clock.0);
        assert!(live(&peers).is_empty());
        assert!(!peers.wants_sight(clock.pass(2)));
        peers.set(seen("n2", 1), clock.0);
        assert_eq!(live(&peers), ["n2"]);
    }

    #[test]
    fn without_the_api_server_nobody_is_declared_dead() {
        let (mut clock, mut peers) = pair();
        peers.set(seen("n1", 1), clock.pass(5));
        for second in 1..600 {
            clock.pass(1);
            assert_eq!(live(&peers), ["n2"]);
            assert!(peers.own_live() && peers.heard(&"n2".into()));
            assert!(second <= 15 || !peers.wants_sight(clock.0), "{second}");
        }
        // It is back. Everyone has the whole time again.
        peers.set(seen("n1", 2), clock.0);
        for renewal in 3..=5 {
            assert_eq!(live(&peers), ["n2"]);
            peers.set(seen("n1", renewal), clock.pass(10));
        }
        assert_eq!(live(&peers), ["n2"]);
        peers.set(seen("n1", 6), clock.pass(1));
        assert!(live(&peers).is_empty());
    }

    #[test]
    fn a_speaker_whose_own_renewals_are_refused_gives_up_before_the_others_take_over() {
        let (mut clock, mut peers) = pair();
        for renewal in 1..=2 {
            peers.set(seen("n2", renewal), clock.pass(10));
            assert!(peers.own_live());
        }
        peers.set(seen("n2", 3), clock.pass(6));
        assert!(!peers.own_live());
        peers.set(seen("n1", 1), clock.pass(1));
        assert!(peers.own_live());
    }

    #[test]
    fn a_node_is_heard_of_by_its_speakers_renewals() {
        let (mut clock, mut peers) = pair();
        let gone: Arc<str> = "n2".into();
        peers.set(seen("n1", 1), clock.pass(10));
        assert!(!peers.wants_sight(clock.pass(6)) && peers.heard(&gone));
        assert!(peers.wants_sight(clock.pass(1)) && peers.heard(&gone));
        peers.set(seen("n1", 2), clock.0);
        assert!(!peers.heard(&gone) && peers.heard(&"n1".into()));
        peers.set(seen("n2", 1), clock.0);
        assert!(peers.heard(&gone));
    }

    #[test]
    fn a_speaker_that_says_so_is_not_live() {
        let now = Instant::now();
        let mut peers = Peers::new("n1".into(), now);
        let mut draining = seen("n2", 0);
        draining.willing = false;
        peers.set(draining, now);
        assert!(live(&peers).is_empty());
    }
}
