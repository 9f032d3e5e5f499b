//! ARP for IPv4 over Ethernet (RFC 826) and its use for detecting conflicts and announcing (RFC 5227).

use std::net::Ipv4Addr;

use super::{BROADCAST, ETHERNET_HEADER, ETHERTYPE_ARP, Frame, field};
use crate::Mac;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const FIXED: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// A received ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// True for a request, false for a reply.
    pub request: bool,
    /// Sender hardware address.
    pub sender_mac: Mac,
    /// Sender protocol address; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// Target protocol address: whom a request is about.
    pub target: Ipv4Addr,
}

impl Packet {
    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        let arp = frame.get(ETHERNET_HEADER..)?;
        if field(arp, 0)? != FIXED {
            return None;
        }
        let request = match u16::from_be_bytes(field(arp, 6)?) {
            REQUEST => true,
            REPLY => false,
            _ => return None,
        };
        let sender_mac = Mac(field(arp, 8)?);
        // A group address can neither send nor be answered.
        if sender_mac.0[0] & 1 != 0 {
            return None;
        }
        Some(Self {
            request,
            sender_mac,
            sender: field::<4>(arp, 14)?.into(),
            target: field::<4>(arp, 24)?.into(),
        })
    }
}

/// Tells the asker `to` that `address` is at `mac`.
pub fn reply(mac: Mac, address: Ipv4Addr, to: (Mac, Ipv4Addr)) -> Frame {
    let ends = Ends {
        sender: (mac, address),
        target: to,
    };
    encode(to.0, REPLY, ends)
}

/// Asks whether anyone holds `address`, without claiming it (RFC 5227 section 1.1).
pub fn probe(mac: Mac, address: Ipv4Addr) -> Frame {
    let ends = Ends {
        sender: (mac, Ipv4Addr::UNSPECIFIED),
        target: (Mac([0; 6]), address),
    };
    encode(BROADCAST, REQUEST, ends)
}

/// A gratuitous request: tells everyone that `address` is at `mac` (RFC 5227 section 2.3).
pub fn announce_request(mac: Mac, address: Ipv4Addr) -> Frame {
    encode(
        BROADCAST,
        REQUEST,
        Ends {
            sender: (mac, address),
            target: (Mac([0; 6]), address),
        },
    )
}

/// A gratuitous reply, for the hosts and switches that heed only replies. Its target hardware address is the broadcast
/// address, as RFC 5944 section 4.6 has it for hosts that forward by it.
pub fn announce_reply(mac: Mac, address: Ipv4Addr) -> Frame {
    encode(
        BROADCAST,
        REPLY,
        Ends {
            sender: (mac, address),
            target: (BROADCAST, address),
        },
    )
}

#[derive(Clone, Copy)]
struct Ends {
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
}

fn encode(destination: Mac, operation: u16, ends: Ends) -> Frame {
    let mut frame = Frame::ethernet(destination, ends.sender.0, ETHERTYPE_ARP);
    frame.push(&FIXED);
    frame.push(&operation.to_be_bytes());
    for (mac, address) in [ends.sender, ends.target] {
        frame.push(&mac.0);
        frame.push(&address.octets());
    }
    frame
}

/// What a client sends; a speaker never does.
#[cfg(test)]
pub(crate) fn request(source: (Mac, Ipv4Addr), target: Ipv4Addr) -> Frame {
    encode(
        BROADCAST,
        REQUEST,
        Ends {
            sender: source,
            target: (Mac([0; 6]), target),
        },
    )
}
