//! When a speaker may answer for an address at layer 2: one [`Responder`] for all addresses of a node, without sockets and
//! without a clock.
//!
//! ```text
//!            target set, link up                 nobody answered the probes
//!   (none) ───────────────────────▶  Probing  ─────────────────────────────▶  Announcing
//!                                     │   ▲                                    │
//!              somebody answered:     │   │   another host claims the address, │
//!              wait, probe again ─────┘   └── the right to answer ran out ─────┘
//!   any ── link down ──▶ LinkDown ── link up ──▶ Probing           any ── target gone ──▶ (none), silent at once
//! ```
//!
//! The driver calls [`Responder::handle_frame`] with every received frame and sends the answer it gives; takes what
//! [`Responder::poll_transmit`] gives until `None`; sleeps until [`Responder::next_deadline`]; and says with
//! [`Responder::handle_caught_up`] up to which time it has handled every frame received. `now` is monotonic time since any
//! fixed origin, best one that counts suspension too (`CLOCK_BOOTTIME`).
//!
//! # What this guarantees, without knowing who else is there
//!
//! On one segment on which broadcasts arrive, within [`timing::PROBE_INTERVAL`]:
//!
//! - A speaker answers for an address and announces it only after a whole series of probes (RFC 5227; for IPv6 the
//!   solicitations of duplicate address detection) has stayed unanswered, and only if it was listening all the time. Two that
//!   probe at once: the one with the smaller hardware address goes on, the other waits.
//! - So a holder that still answers is never doubled, whatever its peers believe: the new owner waits until it stops.
//! - A target that was taken away is silent once [`Responder::set_targets`] has returned.
//! - A holder that was not scheduled for longer than a series of probes lasts ([`timing::DEAF`] is less) first reads what it
//!   missed, unable to answer; if somebody probed for or claimed an address meanwhile, it gives it up and probes.
//!   After [`timing::RIGHT`] its right to answer has run out and it probes for everything, so a process resumed after
//!   SIGSTOP, or a machine after suspension, stays silent until it knows.
//! - Time comes from the argument alone: steps of the wall clock have no effect.
//! - Two that both hold an address (after a partition of the segment has healed): the first claim or answer that one hears of
//!   the other decides. The one with the larger hardware address withdraws; the other announces again, and withdraws too if
//!   the claims go on, because then the other is no speaker (RFC 5227 section 2.4 (b)). Holders ask for their own address, often
//!   after a take-over and slowly ever after, because answers are unicast and a switch shows them to the asker alone.
//! - A host of another kind that holds the address before us keeps it; the claim is reported as a conflict.
//!
//! # What it does not
//!
//! - While the segment is really parted, each side may have a holder.
//! - A process that is stopped exactly between the check and the kernel's taking the frame lets out that one frame when it
//!   resumes.
//! - Three probes, or the answers to them, lost one after the other look like nobody. The holders find each other
//!   when one of them next hears the other.
//! - A switch that answers ARP from its own memory for a host that died blocks the take-over until it forgets.
//! - It says nothing about *who should* own the address, and takes nothing over that another still answers: a holder that is
//!   cut off from the API goes on holding.

mod claim;
#[cfg(test)]
mod lab;
mod report;
#[cfg(test)]
mod tests;
pub mod timing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::{Frame, Message, arp, ndp};
use crate::{LinkView, Mac};
use claim::{Claim, Heard};
pub use report::{ClaimKey, ClaimState, Counts, Report};

/// A frame to send.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// The claim it is for; tells the interface.
    pub key: ClaimKey,
    /// The frame.
    pub frame: Frame,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Probe,
    /// Gratuitous request, or unsolicited advertisement.
    Announce,
    /// Gratuitous reply.
    AnnounceReply,
}

/// The addresses of a node and its right to answer for them. See the module's page.
#[derive(Debug, Default)]
pub struct Responder {
    links: BTreeMap<u32, LinkState>,
    claims: BTreeMap<ClaimKey, Claim>,
    timers: BTreeSet<(Duration, ClaimKey)>,
    due: VecDeque<(ClaimKey, Kind)>,
    changed: BTreeSet<ClaimKey>,
    /// To be reported although they have not changed.
    repeated: BTreeSet<ClaimKey>,
    /// Every frame received before this time has been handled.
    caught_up: Duration,
    /// Frames may be waiting that arrived while nobody listened: answer nothing.
    deaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkState {
    mac: Mac,
    up: bool,
}

impl Responder {
    /// Makes `addresses` (each with the indexes of its interfaces) the targets. When this returns, nothing is answered or
    /// sent for an address that is not among them. A link that is not in `links` counts as down.
    pub fn set_targets(
        &mut self,
        addresses: &BTreeMap<IpAddr, BTreeSet<u32>>,
        links: &BTreeMap<u32, LinkView>,
        now: Duration,
    ) {
        if self.claims.is_empty() {
            // Without targets there was nothing to listen for.
            (self.caught_up, self.deaf) = (now, false);
        }
        self.observe(now);
        let state = |link: &LinkView| LinkState {
            mac: link.mac,
            up: link.up,
        };
        let links = links
            .iter()
            .map(|(index, link)| (*index, state(link)))
            .collect();
        let before = std::mem::replace(&mut self.links, links);
        let wanted = |key: &ClaimKey| {
            addresses
                .get(&key.address)
                .is_some_and(|links| links.contains(&key.interface))
        };
        let gone: Vec<ClaimKey> = self
            .claims
            .keys()
            .filter(|key| !wanted(key))
            .copied()
            .collect();
        for key in gone {
            if let Some(claim) = self.claims.remove(&key) {
                self.timers.remove(&(claim.timer(), key));
            }
            self.changed.insert(key);
        }
        let keys: Vec<ClaimKey> = self.claims.keys().copied().collect();
        for key in keys {
            let (was, is) = (
                before.get(&key.interface),
                self.links.get(&key.interface).copied(),
            );
            let up = is.is_some_and(|link| link.up);
            let new_mac = was.map(|link| link.mac) != is.map(|link| link.mac);
            self.change(key, |claim| claim.handle_link(up, new_mac, now));
        }
        let mut pace = now;
        for (address, interfaces) in addresses {
            for interface in interfaces {
                let key = ClaimKey {
                    interface: *interface,
                    address: *address,
                };
                if self.claims.contains_key(&key) {
                    continue;
                }
                let up = self.links.get(interface).is_some_and(|link| link.up);
                let claim = Claim::new(up, pace);
                pace += timing::PACE;
                self.timers.insert((claim.timer(), key));
                self.claims.insert(key, claim);
                self.changed.insert(key);
            }
        }
    }

    /// Reads a frame received on `interface` and gives the frame to answer with, on the same interface and at once.
    pub fn handle_frame(&mut self, interface: u32, frame: &[u8], now: Duration) -> Option<Frame> {
        self.observe(now);
        let message = Message::decode(frame)?;
        let (mac, claimed, question) = match message {
            Message::Arp(packet) => {
                let asks = packet.request && packet.sender != packet.target;
                let question = asks.then_some((packet.target.into(), packet.sender.into()));
                (packet.sender_mac, IpAddr::V4(packet.sender), question)
            }
            Message::Ndp(ndp::Message::Solicitation {
                source,
                mac,
                target,
            }) => (
                mac,
                source.into(),
                Some((IpAddr::V6(target), IpAddr::V6(source))),
            ),
            Message::Ndp(ndp::Message::Advertisement { target, mac }) => (mac, target.into(), None),
        };
        if self.links.values().any(|link| link.mac == mac) {
            return None;
        }
        if !claimed.is_unspecified() {
            self.hear(
                ClaimKey {
                    interface,
                    address: claimed,
                },
                Heard::Claim,
                mac,
                now,
            );
        }
        let (address, asker): (IpAddr, IpAddr) = question?;
        let key = ClaimKey { interface, address };
        let heard = if asker.is_unspecified() {
            Heard::Probe
        } else {
            Heard::Question
        };
        if !self.hear(key, heard, mac, now) {
            return None;
        }
        let ours = self.links.get(&interface)?.mac;
        match (address, asker) {
            (IpAddr::V4(address), IpAddr::V4(asker)) => {
                Some(arp::reply(ours, address, (mac, asker)))
            }
            (IpAddr::V6(address), IpAddr::V6(asker)) => {
                Some(ndp::reply(ours, address, (mac, asker)))
            }
            _ => None,
        }
    }

    /// Every frame that was received before `at` has been handled: the driver read its clock, then emptied all sockets.
    pub fn handle_caught_up(&mut self, at: Duration) {
        self.observe(at);
        self.caught_up = self.caught_up.max(at);
        self.deaf = false;
    }

    /// Frames received on `interface` were lost before they could be handled, so its claims are in doubt.
    pub fn handle_loss(&mut self, interface: u32, now: Duration) {
        let keys: Vec<ClaimKey> = self.claims.keys().copied().collect();
        for key in keys.into_iter().filter(|key| key.interface == interface) {
            self.change(key, |claim| claim.probe_again(now));
        }
    }

    /// The frame could not be sent: it counts for nothing and is tried again.
    pub fn handle_send_failure(&mut self, transmit: &Transmit, now: Duration) {
        let probe = transmit.kind == Kind::Probe;
        self.change(transmit.key, |claim| claim.handle_send_failure(probe, now));
    }

    /// The next frame to send, until `None`; then wait until [`Responder::next_deadline`].
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        self.observe(now);
        if self.deaf {
            return None;
        }
        loop {
            if let Some((key, kind)) = self.due.pop_front() {
                if let Some(transmit) = self.encode(key, kind) {
                    return Some(transmit);
                }
                continue;
            }
            let (at, key) = *self.timers.first()?;
            if at > now || !self.step(key, now) {
                return None;
            }
        }
    }

    /// When to call [`Responder::handle_caught_up`] and [`Responder::poll_transmit`] at the latest; `None` while there
    /// is no target.
    pub fn next_deadline(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at)?;
        Some(timer.min(self.caught_up + timing::TICK))
    }

    /// Whether at `now` frames may be waiting that arrived while nobody read them.
    pub fn is_deaf_at(&mut self, now: Duration) -> bool {
        self.observe(now);
        self.deaf
    }

    /// The counters of each address, over all its interfaces.
    pub fn counts(&self) -> BTreeMap<IpAddr, Counts> {
        let mut counts: BTreeMap<IpAddr, Counts> = BTreeMap::new();
        for (key, claim) in &self.claims {
            let sum = counts.entry(key.address).or_default();
            sum.requests += claim.counts.requests;
            sum.replies += claim.counts.replies;
            sum.announcements += claim.counts.announcements;
            sum.probes += claim.counts.probes;
            sum.conflicts += claim.counts.conflicts;
        }
        counts
    }

    /// Before anything else: was there a pause?
    fn observe(&mut self, now: Duration) {
        if self.claims.is_empty() {
            return;
        }
        let silent_for = now.saturating_sub(self.caught_up);
        if silent_for > timing::DEAF {
            self.deaf = true;
        }
        if silent_for > timing::RIGHT {
            let keys: Vec<ClaimKey> = self.claims.keys().copied().collect();
            for key in keys {
                self.change(key, |claim| claim.probe_again(now));
            }
        }
    }

    /// Hands what was heard of an address to its claim; true when the question is to be answered.
    fn hear(&mut self, key: ClaimKey, heard: Heard, mac: Mac, now: Duration) -> bool {
        let Some(ours) = self.links.get(&key.interface).map(|link| link.mac) else {
            return false;
        };
        let deaf = self.deaf;
        self.change(key, |claim| claim.hear(heard, (mac, ours), deaf, now))
            .unwrap_or(false)
    }

    /// Runs a due claim; false when it must wait until what was received has been read.
    fn step(&mut self, key: ClaimKey, now: Duration) -> bool {
        let slow = timing::slow_probe(self.claims.len());
        let caught_up = self.caught_up;
        let Some(step) = self.change(key, |claim| claim.step(&key, (caught_up, slow), now)) else {
            return false;
        };
        if step.announce {
            self.due.push_back((key, Kind::Announce));
            if key.address.is_ipv4() {
                self.due.push_back((key, Kind::AnnounceReply));
            }
        }
        if step.probe {
            self.due.push_back((key, Kind::Probe));
        }
        !step.blocked
    }

    /// Changes a claim and keeps its timer and the reports in step.
    fn change<T>(&mut self, key: ClaimKey, change: impl FnOnce(&mut Claim) -> T) -> Option<T> {
        let claim = self.claims.get_mut(&key)?;
        let (timer, state) = (claim.timer(), claim.state());
        let result = change(claim);
        if claim.timer() != timer {
            self.timers.remove(&(timer, key));
            self.timers.insert((claim.timer(), key));
        }
        if claim.state() != state {
            self.changed.insert(key);
        }
        Some(result)
    }

    /// The frame, if the claim is still such that it may be sent.
    fn encode(&mut self, key: ClaimKey, kind: Kind) -> Option<Transmit> {
        let mac = self.links.get(&key.interface).filter(|link| link.up)?.mac;
        let claim = self.claims.get_mut(&key)?;
        if kind != Kind::Probe && claim.state() != ClaimState::Announcing {
            return None;
        }
        let frame = match (kind, key.address) {
            (Kind::Probe, IpAddr::V4(address)) => arp::probe(mac, address),
            (Kind::Probe, IpAddr::V6(address)) => ndp::probe(mac, address),
            (Kind::Announce, IpAddr::V4(address)) => arp::announce_request(mac, address),
            (Kind::AnnounceReply, IpAddr::V4(address)) => arp::announce_reply(mac, address),
            (_, IpAddr::V6(address)) => ndp::announce(mac, address),
        };
        match kind {
            Kind::Probe => claim.counts.probes += 1,
            Kind::Announce => claim.counts.announcements += 1,
            Kind::AnnounceReply => {}
        }
        Some(Transmit { key, frame, kind })
    }
}
