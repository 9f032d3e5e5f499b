//! Connection tracking entries (ctnetlink): reading and deleting them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::attribute::{Attribute, Attributes, Writer};
use crate::dump::{Malformed, messages};
use crate::message::{ACK, DUMP, HEADERS, message};
use crate::object::Family;

/// `NFNL_SUBSYS_CTNETLINK << 8`, to which `IPCTNL_MSG_CT_*` is added.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// `CTA_TUPLE_ORIG`.
const ORIGINAL: u16 = 1;
/// `CTA_TUPLE_REPLY`.
const REPLY: u16 = 2;
/// `CTA_STATUS`.
const STATUS: u16 = 3;
/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 2;
/// `CTA_PROTOINFO`, in it `CTA_PROTOINFO_TCP`, in that `CTA_PROTOINFO_TCP_STATE`.
const TCP_STATE: [u16; 3] = [4, 1, 1];
/// `TCP_CONNTRACK_SYN_SENT`.
const SYN_SENT: u8 = 1;
/// `CTA_ID`.
const ID: u16 = 12;
/// `CTA_ZONE`.
const ZONE: u16 = 18;

/// A tracked TCP, UDP or SCTP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The IP protocol number.
    pub protocol: u8,
    /// Whom the client addressed.
    pub destination: SocketAddr,
    /// Who answers: the backend where the flow was translated, otherwise the destination.
    pub replier: SocketAddr,
    /// Nobody has answered yet; of a TCP flow, nothing but a SYN was seen.
    pub unanswered: bool,
    family: Family,
    /// Original tuple, id and zone as the kernel wrote them: what names the entry.
    name: Vec<(u16, Vec<u8>)>,
}

/// A request for a dump of all entries of a family.
pub fn flows_request(family: Family, sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    let address = (family.number(), 0);
    message(&mut writer, GET, DUMP, sequence, address, |_| {});
    writer.bytes
}

impl Flow {
    /// A request to delete exactly this entry, not one that took its place.
    pub fn delete_request(&self, sequence: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        let address = (self.family.number(), 0);
        message(&mut writer, DELETE, ACK, sequence, address, |w| {
            for (kind, bytes) in &self.name {
                if *kind == ORIGINAL {
                    w.nest(*kind, |w| w.bytes.extend_from_slice(bytes));
                } else {
                    w.raw(*kind, bytes);
                }
            }
        });
        writer.bytes
    }
}

/// The entries in a datagram of a dump. Entries of other protocols are left out.
pub fn decode_flows(datagram: &[u8]) -> Result<Vec<Flow>, Malformed> {
    let mut flows = Vec::new();
    for message in messages(datagram) {
        let message = message?;
        if message.kind == NEW {
            flows.extend(decode_flow(message.bytes));
        }
    }
    Ok(flows)
}

fn decode_flow(message: &[u8]) -> Option<Flow> {
    let attributes = Attributes::new(message.get(HEADERS..)?);
    let original = attributes.get(ORIGINAL)?;
    let (protocol, destination) = end(&original, End::Destination)?;
    let (_, replier) = end(&attributes.get(REPLY)?, End::Source)?;
    let named = attributes
        .clone()
        .filter(|a| [ORIGINAL, ID, ZONE].contains(&a.kind));
    Some(Flow {
        protocol,
        destination,
        replier,
        unanswered: is_unanswered(&attributes, protocol),
        family: match destination {
            SocketAddr::V4(_) => Family::Ipv4,
            SocketAddr::V6(_) => Family::Ipv6,
        },
        name: named.map(|a| (a.kind, a.value.to_vec())).collect(),
    })
}

/// What is not told counts as answered.
fn is_unanswered(attributes: &Attributes<'_>, protocol: u8) -> bool {
    let silent = attributes
        .get(STATUS)
        .and_then(|status| status.u32())
        .is_some_and(|status| status & SEEN_REPLY == 0);
    let state = || {
        let [info, tcp, state] = TCP_STATE;
        let tcp = attributes.get(info)?.nested().get(tcp)?;
        tcp.nested().get(state)?.value.first().copied()
    };
    silent && (protocol != TCP || state() == Some(SYN_SENT))
}

#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// One end of a tuple, with the protocol; `None` for protocols without ports.
fn end(tuple: &Attribute<'_>, end: End) -> Option<(u8, SocketAddr)> {
    let (four, six, port) = match end {
        End::Source => (1, 3, 2),
        End::Destination => (2, 4, 3),
    };
    let ip = tuple.nested().get(1)?.nested();
    let address: IpAddr = match (ip.get(four), ip.get(six)) {
        (Some(a), _) => Ipv4Addr::from(<[u8; 4]>::try_from(a.value).ok()?).into(),
        (None, Some(a)) => Ipv6Addr::from(<[u8; 16]>::try_from(a.value).ok()?).into(),
        (None, None) => return None,
    };
    let transport = tuple.nested().get(2)?.nested();
    let protocol = *transport.get(1)?.value.first()?;
    let port = <[u8; 2]>::try_from(transport.get(port)?.value).ok()?;
    matches!(protocol, TCP | 17 | 132)
        .then(|| (protocol, SocketAddr::new(address, u16::from_be_bytes(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: u8, status: u32, state: Option<u8>) -> Flow {
        let tuple = |w: &mut Writer, kind, from: [u8; 4], to: [u8; 4]| {
            w.nest(kind, |w| {
                w.nest(1, |w| {
                    w.raw(1, &from);
                    w.raw(2, &to);
                });
                w.nest(2, |w| {
                    w.raw(1, &[protocol]);
                    w.raw(2, &80u16.to_be_bytes());
                    w.raw(3, &80u16.to_be_bytes());
                });
            });
        };
        let mut writer = Writer::default();
        message(&mut writer, NEW, 0, 1, (2, 0), |w| {
            tuple(w, ORIGINAL, [192, 0, 2, 10], [203, 0, 113, 1]);
            tuple(w, REPLY, [10, 0, 0, 1], [192, 0, 2, 10]);
            w.u32(STATUS, status);
            if let Some(state) = state {
                w.nest(4, |w| w.nest(1, |w| w.raw(1, &[state])));
            }
        });
        let mut flows = decode_flows(&writer.bytes).unwrap();
        flows.pop().unwrap()
    }

    #[test]
    fn only_what_nobody_answered_is_unanswered() {
        // IPS_CONFIRMED and IPS_DST_NAT are set as well.
        const USUAL: u32 = 0x28;
        for (protocol, status, state, unanswered) in [
            (TCP, USUAL, Some(SYN_SENT), true),
            (TCP, USUAL | SEEN_REPLY, Some(2), false),
            (TCP, USUAL | SEEN_REPLY, Some(3), false),
            // Taken up amid a connection, of which only one direction was seen so far.
            (TCP, USUAL, Some(3), false),
            (TCP, USUAL, None, false),
            (132, USUAL, None, true),
            (132, USUAL | SEEN_REPLY, None, false),
            (17, USUAL, None, true),
            (17, USUAL | SEEN_REPLY, None, false),
        ] {
            let flow = flow(protocol, status, state);
            assert_eq!(
                flow.unanswered, unanswered,
                "{protocol} {status:#x} {state:?}"
            );
            assert_eq!(flow.replier, "10.0.0.1:80".parse().unwrap());
        }
    }
}
