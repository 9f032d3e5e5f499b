//! Which speakers live, by this observer's monotonic clock.
//!
//! A speaker is live while its renewal has *changed* within [`LIVE_FOR`]. Time counts only while this speaker can see
//! renewals at all: without the API server nobody's renewal changes, and nobody may conclude that all others are dead
//! (I5). The proof of sight is any renewal, this speaker's own included, within [`SIGHT`].
//!
//! The same renewals are asked when the control plane says that it has not heard from a node (condition Ready is Unknown).
//! After an outage of the API server it says so of every node, and no address may be withdrawn for that; of a node
//! that is really gone the speaker is silent too, and its addresses move after [`HEARD_FOR`] instead of [`LIVE_FOR`].
//!
//! The other way round: when this speaker's own renewals do not arrive (refused, say) while others' do, the others
//! will take it for dead after [`LIVE_FOR`]; it stops owning a little earlier, after [`OWN_LIVE_FOR`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SpeakerSeen;

/// A speaker not renewed for this long is not live.
pub(super) const LIVE_FOR: Duration = Duration::from_secs(30);
/// A speaker whose own renewals have not come back for this long, while others' have, does not own anything.
pub(super) const OWN_LIVE_FOR: Duration = Duration::from_secs(25);
/// A speaker renewed within this time shows that its node lives, although the control plane has not heard from it.
pub(super) const HEARD_FOR: Duration = Duration::from_secs(12);
/// Without any renewal for this long the observer is blind. Renewals are 10 s apart.
pub(super) const SIGHT: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Peers {
    own: Arc<str>,
    seen: BTreeMap<Arc<str>, Peer>,
    /// When any speaker's renewal was last seen to change; at start: the start.
    sight: Instant,
    /// When this speaker's own renewal was last seen to change.
    own_echo: Instant,
    /// When another speaker's renewal was last seen to change.
    other_echo: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    seen: SpeakerSeen,
    changed: Instant,
    live: bool,
    heard: bool,
}

impl Peers {
    pub(super) fn new(own: Arc<str>, now: Instant) -> Self {
        Self {
            own,
            seen: BTreeMap::new(),
            sight: now,
            own_echo: now,
            other_echo: None,
        }
    }

    /// A Speaker object as it is now. One seen for the first time counts as just renewed.
    pub(super) fn set(&mut self, seen: SpeakerSeen, now: Instant) {
        let known = self.seen.get(&seen.node);
        let renewed = known.is_none_or(|peer| peer.seen.renewed != seen.renewed);
        let changed = known.map_or(now, |peer| peer.changed);
        let known_heard = known.is_some_and(|peer| peer.heard);
        if renewed && known.is_some() {
            if now.duration_since(self.sight) > SIGHT {
                // Sight is back: the time without it says nothing about anyone.
                for peer in self.seen.values_mut() {
                    peer.changed = now;
                    peer.heard = true;
                }
            }
            self.sight = now;
            if seen.node == self.own {
                self.own_echo = now;
            } else {
                self.other_echo = Some(now);
            }
        }
        let heard = renewed || known_heard;
        let peer = Peer {
            changed: if renewed { now } else { changed },
            live: seen.willing,
            heard,
            seen,
        };
        self.seen.insert(peer.seen.node.clone(), peer);
    }

    pub(super) fn remove(&mut self, node: &Arc<str>) {
        self.seen.remove(node);
    }

    /// Lets time count, where it does.
    pub(super) fn refresh(&mut self, now: Instant) {
        let blind = now.duration_since(self.sight) > SIGHT;
        for peer in self.seen.values_mut() {
            let expired = now.duration_since(peer.changed) > LIVE_FOR;
            let held = blind && peer.live;
            peer.live = peer.seen.willing && (!expired || held);
            let silent = now.duration_since(peer.changed) > HEARD_FOR;
            peer.heard = !silent || blind && peer.heard;
        }
    }

    /// Whether this speaker may own addresses as far as its own renewals tell.
    pub(super) fn own_live(&self, now: Instant) -> bool {
        let refused = now.duration_since(self.own_echo) > OWN_LIVE_FOR;
        let others_seen = self
            .other_echo
            .is_some_and(|at| now.duration_since(at) <= SIGHT);
        !(refused && others_seen)
    }

    /// Whether the speaker of `node` has been heard of lately.
    pub(super) fn heard(&self, node: &Arc<str>) -> bool {
        self.seen.get(node).is_some_and(|peer| peer.heard)
    }

    /// Every speaker but this one, with whether it is live.
    pub(super) fn others(&self) -> impl Iterator<Item = (&SpeakerSeen, bool)> {
        let own = &self.own;
        let others = self
            .seen
            .values()
            .filter(move |peer| peer.seen.node != *own);
        others.map(|peer| (&peer.seen, peer.live))
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
        }
    }

    struct Clock(Instant);

    impl Clock {
        fn pass(&mut self, seconds: u64) -> Instant {
            self.0 += Duration::from_secs(seconds);
            self.0
        }
    }

    fn live(peers: &mut Peers, now: Instant) -> Vec<String> {
        peers.refresh(now);
        let live = peers.others().filter(|(_, live)| *live);
        live.map(|(seen, _)| seen.node.to_string()).collect()
    }

    #[test]
    fn a_speaker_that_is_not_renewed_for_30_s_is_not_live() {
        let mut clock = Clock(Instant::now());
        let mut peers = Peers::new("n1".into(), clock.0);
        peers.set(seen("n1", 0), clock.0);
        peers.set(seen("n2", 0), clock.0);
        for renewal in 1..=3 {
            assert_eq!(live(&mut peers, clock.0), ["n2"]);
            let now = clock.pass(10);
            peers.set(seen("n1", renewal), now);
        }
        let now = clock.pass(1);
        assert!(live(&mut peers, now).is_empty());
        peers.set(seen("n2", 1), clock.0);
        assert_eq!(live(&mut peers, clock.0), ["n2"]);
    }

    #[test]
    fn without_the_api_server_nobody_is_declared_dead() {
        let mut clock = Clock(Instant::now());
        let mut peers = Peers::new("n1".into(), clock.0);
        peers.set(seen("n1", 0), clock.0);
        peers.set(seen("n2", 0), clock.0);
        for _ in 0..100 {
            let now = clock.pass(10);
            assert_eq!(live(&mut peers, now), ["n2"]);
            assert!(peers.own_live(now));
        }
        // It is back. n2 has its 30 s again, by our renewals alone.
        peers.set(seen("n1", 1), clock.0);
        assert_eq!(live(&mut peers, clock.0), ["n2"]);
        for renewal in 2..=4 {
            let now = clock.pass(10);
            peers.set(seen("n1", renewal), now);
        }
        assert_eq!(live(&mut peers, clock.0), ["n2"]);
        let now = clock.pass(1);
        assert!(live(&mut peers, now).is_empty());
    }

    #[test]
    fn a_speaker_whose_own_renewals_are_refused_gives_up_before_the_others_take_over() {
        let mut clock = Clock(Instant::now());
        let mut peers = Peers::new("n1".into(), clock.0);
        peers.set(seen("n1", 0), clock.0);
        peers.set(seen("n2", 0), clock.0);
        let mut given_up = None;
        for second in 1..=40 {
            let now = clock.pass(1);
            if second % 10 == 0 {
                peers.set(seen("n2", second), now);
            }
            if given_up.is_none() && !peers.own_live(now) {
                given_up = Some(second);
            }
        }
        assert_eq!(given_up, Some(26));
    }

    #[test]
    fn a_node_is_heard_of_by_its_speakers_renewals() {
        let mut clock = Clock(Instant::now());
        let (mut peers, gone) = (Peers::new("n1".into(), clock.0), "n2".into());
        peers.set(seen("n1", 0), clock.0);
        peers.set(seen("n2", 0), clock.0);
        peers.set(seen("n1", 1), clock.pass(10));
        peers.refresh(clock.pass(2));
        assert!(peers.heard(&gone));
        peers.refresh(clock.pass(1));
        assert!(!peers.heard(&gone) && peers.heard(&"n1".into()));
        // Blind: nobody is heard of any less.
        peers.set(seen("n2", 1), clock.pass(1));
        peers.refresh(clock.pass(600));
        assert!(peers.heard(&gone) && peers.heard(&"n1".into()));
        // Sight is back with one renewal: everyone has the whole time again.
        peers.set(seen("n1", 2), clock.pass(1));
        peers.refresh(clock.pass(12));
        assert!(peers.heard(&gone));
        peers.refresh(clock.pass(1));
        assert!(!peers.heard(&gone));
    }

    #[test]
    fn a_speaker_that_says_so_is_not_live() {
        let now = Instant::now();
        let mut peers = Peers::new("n1".into(), now);
        let mut draining = seen("n2", 0);
        draining.willing = false;
        peers.set(draining, now);
        assert!(live(&mut peers, now).is_empty());
    }
}
