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

/// `CTA_TUPLE_ORIG`.
const ORIGINAL: u16 = 1;
/// `CTA_TUPLE_REPLY`.
const REPLY: u16 = 2;
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
    let named = attributes.filter(|a| [ORIGINAL, ID, ZONE].contains(&a.kind));
    Some(Flow {
        protocol,
        destination,
        replier,
        family: match destination {
            SocketAddr::V4(_) => Family::Ipv4,
            SocketAddr::V6(_) => Family::Ipv6,
        },
        name: named.map(|a| (a.kind, a.value.to_vec())).collect(),
    })
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
    matches!(protocol, 6 | 17 | 132)
        .then(|| (protocol, SocketAddr::new(address, u16::from_be_bytes(port))))
}
