//! Several responders on one simulated segment, in virtual time of a millisecond's grain. A client asks for the
//! address every few milliseconds; the lab fails when one question is answered by two nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{ClaimKey, ClaimState, Responder};
use crate::wire::{arp, ndp};
use crate::{LinkView, Mac};

pub(super) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
pub(super) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100));
const CLIENT: Mac = Mac([2, 0, 0, 0, 9, 9]);
const INTERFACE: u32 = 2;

pub(super) struct Lab {
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    address: IpAddr,
    questions: u16,
    answers: BTreeMap<u16, BTreeSet<usize>>,
    /// Whether two answers to one question are a failure.
    pub(super) strict: bool,
    seed: u64,
}

pub(super) struct Node {
    pub(super) responder: Responder,
    mac: Mac,
    inbox: VecDeque<(u64, Vec<u8>)>,
    /// Not scheduled before this time.
    pub(super) paused_until: u64,
    link: bool,
    target: bool,
    /// Frames pass only between nodes of the same side.
    pub(super) side: u8,
    /// A host that always answers, and knows no rules.
    pub(super) rogue: bool,
}

pub(super) fn mac(node: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(node).unwrap()])
}

impl Lab {
    pub(super) fn new(address: IpAddr, nodes: usize) -> Self {
        let node = |n| Node {
            responder: Responder::default(),
            mac: mac(n),
            inbox: VecDeque::new(),
            paused_until: 0,
            link: true,
            target: false,
            side: 0,
            rogue: false,
        };
        let nodes = (0..nodes).map(node).collect();
        let answers = BTreeMap::new();
        Self {
            now: 10_000,
            nodes,
            address,
            questions: 0,
            answers,
            strict: true,
            seed: 1,
        }
    }

    pub(super) fn set_target(&mut self, node: usize, target: bool) {
        self.nodes[node].target = target;
        self.apply(node);
    }

    pub(super) fn set_link(&mut self, node: usize, up: bool) {
        if self.nodes[node].link != up {
            // What was on the wire is lost. A link that stays loses nothing: a process that pauses finds all of it later.
            self.nodes[node].inbox.clear();
        }
        self.nodes[node].link = up;
        self.apply(node);
    }

    pub(super) fn set_mac(&mut self, node: usize, mac: Mac) {
        self.nodes[node].mac = mac;
        self.apply(node);
    }

    fn apply(&mut self, n: usize) {
        let now = Duration::from_millis(self.now);
        let node = &mut self.nodes[n];
        let addresses = if node.target {
            BTreeMap::from([(self.address, BTreeSet::from([INTERFACE]))])
        } else {
            BTreeMap::new()
        };
        let link = LinkView {
            index: INTERFACE,
            name: Arc::from("lan"),
            mac: node.mac,
            up: node.link,
            gateways: Vec::new(),
            addresses: Vec::new(),
        };
        node.responder
            .set_targets(&addresses, &BTreeMap::from([(INTERFACE, link)]), now);
    }

    pub(super) fn state(&self, node: usize) -> Option<ClaimState> {
        let key = ClaimKey {
            interface: INTERFACE,
            address: self.address,
        };
        self.nodes[node]
            .responder
            .claims
            .get(&key)
            .map(super::Claim::state)
    }

    pub(super) fn announcing(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.state(*node) == Some(ClaimState::Announcing))
            .collect()
    }

    /// Who answered the questions since the last call, in order of the first answer.
    pub(super) fn take_answers(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.answers)
            .into_values()
            .flatten()
            .collect()
    }

    pub(super) fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += 1;
            if self.now.is_multiple_of(3) {
                self.ask();
            }
            for node in 0..self.nodes.len() {
                self.wake(node);
            }
        }
    }

    fn ask(&mut self) {
        self.questions = self.questions.wrapping_add(1);
        self.answers.remove(&self.questions);
        let [high, low] = self.questions.to_be_bytes();
        let frame = match self.address {
            IpAddr::V4(target) => arp::request((CLIENT, [198, 18, high, low].into()), target),
            IpAddr::V6(target) => {
                let client = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, self.questions);
                ndp::solicit((CLIENT, client), target)
            }
        };
        for node in self
            .nodes
            .iter_mut()
            .filter(|node| node.link && !node.rogue)
        {
            node.inbox.push_back((self.now, frame.as_bytes().to_vec()));
        }
    }

    fn wake(&mut self, n: usize) {
        if self.nodes[n].rogue {
            return self.wake_rogue(n);
        }
        if self.nodes[n].paused_until > self.now {
            return;
        }
        let now = Duration::from_millis(self.now);
        while let Some((at, bytes)) = self.nodes[n].inbox.pop_front() {
            if at > self.now {
                self.nodes[n].inbox.push_front((at, bytes));
                break;
            }
            let reply = self.nodes[n].responder.handle_frame(INTERFACE, &bytes, now);
            if let Some(frame) = reply {
                self.send(n, frame.as_bytes());
            }
        }
        self.nodes[n].responder.handle_caught_up(now);
        while let Some(transmit) = self.nodes[n].responder.poll_transmit(now) {
            self.send(n, transmit.frame.as_bytes());
        }
        while self.nodes[n].responder.poll_report().is_some() {}
    }

    fn wake_rogue(&mut self, n: usize) {
        let asked = self.nodes[n].inbox.drain(..).count() > 0;
        if let (true, IpAddr::V4(address)) = (asked, self.address) {
            let frame = arp::announce_reply(self.nodes[n].mac, address);
            self.send(n, frame.as_bytes());
        }
    }

    fn send(&mut self, from: usize, bytes: &[u8]) {
        if !self.nodes[from].link {
            return;
        }
        let destination = Mac(*bytes.first_chunk().unwrap());
        if destination == CLIENT {
            self.answered(from, bytes);
        }
        let side = self.nodes[from].side;
        for to in 0..self.nodes.len() {
            let delay = self.random() % 3;
            let node = &mut self.nodes[to];
            let for_it = destination == node.mac || destination.0[0] & 1 != 0;
            if to != from && node.link && node.side == side && for_it {
                // Order is kept: a segment delays, it does not overtake.
                let after = node.inbox.back().map_or(0, |(at, _)| *at);
                node.inbox
                    .push_back((after.max(self.now + delay), bytes.to_vec()));
            }
        }
    }

    fn answered(&mut self, node: usize, bytes: &[u8]) {
        let tail = match self.address {
            IpAddr::V4(_) => [bytes[40], bytes[41]],
            IpAddr::V6(_) => [bytes[52], bytes[53]],
        };
        let who = self.answers.entry(u16::from_be_bytes(tail)).or_default();
        who.insert(node);
        assert!(
            !self.strict || who.len() < 2,
            "{who:?} answered one question at {} ms",
            self.now
        );
    }

    fn random(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.seed >> 40
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lab at {} ms", self.now)
    }
}
