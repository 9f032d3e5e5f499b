//! Neighbour discovery for IPv6 over Ethernet (RFC 4861), as far as an address on a link needs it: solicitations,
//! advertisements, and duplicate address detection (RFC 4862).

use std::net::Ipv6Addr;

use super::{ETHERNET_HEADER, ETHERTYPE_IPV6, Frame, field};
use crate::Mac;

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
/// Neighbour discovery crosses no router: senders set it, receivers demand it.
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Where every node of the link listens.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A received and valid neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody asks for a neighbour's link-layer address.
    Solicitation {
        /// Who asks; unspecified in duplicate address detection.
        source: Ipv6Addr,
        /// Its link-layer address: its option, or else the frame's source.
        mac: Mac,
        /// The address asked for.
        target: Ipv6Addr,
    },
    /// Somebody claims an address.
    Advertisement {
        /// The address claimed.
        target: Ipv6Addr,
        /// At which link-layer address: its option, or else the frame's source.
        mac: Mac,
    },
}

impl Message {
    /// Reads a frame and applies the checks of RFC 4861 sections 7.1.1 and 7.1.2.
    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(ETHERNET_HEADER..)?;
        let [version, ..] = field::<4>(ip, 0)?;
        let [next, hops] = field(ip, 6)?;
        if version >> 4 != 6 || next != ICMPV6 || hops != HOP_LIMIT {
            return None;
        }
        let source = Ipv6Addr::from(field::<16>(ip, 8)?);
        let destination = Ipv6Addr::from(field::<16>(ip, 24)?);
        let length = usize::from(u16::from_be_bytes(field(ip, 4)?));
        // Ethernet may have padded the frame: only what IPv6 counts belongs to the message.
        let icmp = ip.get(IPV6_HEADER..)?.get(..length)?;
        let ([kind, code], target) = (field(icmp, 0)?, Ipv6Addr::from(field::<16>(icmp, 8)?));
        if code != 0 || target.is_multicast() || checksum(source, destination, icmp) != 0 {
            return None;
        }
        let options = Options::decode(icmp.get(24..)?)?;
        let sender = Mac(field(frame, 6)?);
        let (option, advertisement) = match kind {
            SOLICITATION => (options.source, false),
            ADVERTISEMENT => (options.target, true),
            _ => return None,
        };
        let mac = option.unwrap_or(sender);
        if mac.0[0] & 1 != 0 {
            return None;
        }
        if advertisement {
            let solicited = field::<1>(icmp, 4)?[0] & SOLICITED != 0;
            let invalid = destination.is_multicast() && solicited;
            return (!invalid).then_some(Self::Advertisement { target, mac });
        }
        let detection = source.is_unspecified();
        let invalid = source.is_multicast()
            || detection && (option.is_some() || destination != solicited_node(target));
        (!invalid).then_some(Self::Solicitation {
            source,
            mac,
            target,
        })
    }
}

#[derive(Default)]
struct Options {
    source: Option<Mac>,
    target: Option<Mac>,
}

impl Options {
    /// `None` when the options are malformed: one of length zero makes the whole message invalid.
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut options = Self::default();
        while !bytes.is_empty() {
            let [kind, units] = field(bytes, 0)?;
            let length = usize::from(units) * 8;
            if length == 0 || length > bytes.len() {
                return None;
            }
            let slot = match kind {
                SOURCE_LINK_LAYER => Some(&mut options.source),
                TARGET_LINK_LAYER => Some(&mut options.target),
                _ => None,
            };
            if let (Some(slot), 8) = (slot, length) {
                *slot = Some(Mac(field(bytes, 2)?));
            }
            bytes = bytes.get(length..)?;
        }
        Some(options)
    }
}

/// Answers a solicitation for `address` from `to`.
///
/// Unicast with the Solicited flag to an asker that has an address; to all nodes without it when the source was
/// unspecified, as in duplicate address detection (RFC 4861 section 7.2.4). Override is set: the address is not anycast.
pub fn reply(mac: Mac, address: Ipv6Addr, to: (Mac, Ipv6Addr)) -> Frame {
    if to.1.is_unspecified() {
        return announce(mac, address);
    }
    let ends = Ends {
        macs: (mac, to.0),
        addresses: (address, to.1),
    };
    encode(
        ends,
        &Body {
            kind: ADVERTISEMENT,
            flags: SOLICITED | OVERRIDE,
            target: address,
            option: true,
        },
    )
}

/// An unsolicited advertisement: tells everyone that `address` is at `mac` (RFC 4861 section 7.2.6).
pub fn announce(mac: Mac, address: Ipv6Addr) -> Frame {
    let ends = Ends {
        macs: (mac, multicast_mac(ALL_NODES)),
        addresses: (address, ALL_NODES),
    };
    encode(
        ends,
        &Body {
            kind: ADVERTISEMENT,
            flags: OVERRIDE,
            target: address,
            option: true,
        },
    )
}

/// Asks whether anyone holds `address`, without claiming it: the solicitation of duplicate address detection
/// (RFC 4862 section 5.4.2), from the unspecified address and so without a link-layer option.
pub fn probe(mac: Mac, address: Ipv6Addr) -> Frame {
    let group = solicited_node(address);
    let ends = Ends {
        macs: (mac, multicast_mac(group)),
        addresses: (Ipv6Addr::UNSPECIFIED, group),
    };
    encode(
        ends,
        &Body {
            kind: SOLICITATION,
            flags: 0,
            target: address,
            option: false,
        },
    )
}

/// The multicast group in which a holder of `address` hears solicitations (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

#[derive(Clone, Copy)]
struct Ends {
    macs: (Mac, Mac),
    addresses: (Ipv6Addr, Ipv6Addr),
}

struct Body {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    /// Whether to add the target link-layer address option.
    option: bool,
}

fn encode(ends: Ends, body: &Body) -> Frame {
    let (source, destination) = ends.addresses;
    let length: u16 = if body.option { 32 } else { 24 };
    let mut frame = Frame::ethernet(ends.macs.1, ends.macs.0, ETHERTYPE_IPV6);
    frame.push(&[0x60, 0, 0, 0]);
    frame.push(&length.to_be_bytes());
    frame.push(&[ICMPV6, HOP_LIMIT]);
    frame.push(&source.octets());
    frame.push(&destination.octets());
    frame.push(&[body.kind, 0, 0, 0, body.flags, 0, 0, 0]);
    frame.push(&body.target.octets());
    if body.option {
        frame.push(&[TARGET_LINK_LAYER, 1]);
        frame.push(&ends.macs.0.0);
    }
    let icmp = frame
        .as_bytes()
        .get(ETHERNET_HEADER + IPV6_HEADER..)
        .unwrap_or_default();
    let sum = checksum(source, destination, icmp);
    frame.put_u16(ETHERNET_HEADER + IPV6_HEADER + 2, sum);
    frame
}

/// The Internet checksum over the pseudo-header and the message (RFC 8200 section 8.1). Over a received message, whose
/// checksum field counts, it is zero when that is right.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, icmp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let word = |pair: &[u8]| {
            let [high, low] = [pair.first(), pair.get(1)].map(|byte| byte.copied().unwrap_or(0));
            u64::from(u16::from_be_bytes([high, low]))
        };
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(icmp);
    sum += icmp.len() as u64 + u64::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// What a client sends; a speaker never does.
#[cfg(test)]
pub(crate) fn solicit(source: (Mac, Ipv6Addr), target: Ipv6Addr) -> Frame {
    let group = solicited_node(target);
    let ends = Ends {
        macs: (source.0, multicast_mac(group)),
        addresses: (source.1, group),
    };
    encode(
        ends,
        &Body {
            kind: SOLICITATION,
            flags: 0,
            target,
            option: false,
        },
    )
}
