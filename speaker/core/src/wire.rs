//! What goes over the wire at layer 2: ARP packets and neighbour discovery messages as whole Ethernet frames.
//!
//! Decoding takes whatever a socket received and gives `None` for anything that is malformed or not ours to read; it never
//! panics. Encoding writes into a [`Frame`] of fixed size, so that answering needs no allocation.

pub mod arp;
pub mod ndp;

use std::fmt;

use crate::Mac;

/// Longest frame that is ever sent: a neighbour advertisement with its link-layer option.
pub const FRAME_MAX: usize = 86;

/// Where everybody on the segment listens.
pub const BROADCAST: Mac = Mac([0xff; 6]);

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A whole Ethernet frame to send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; FRAME_MAX],
    len: usize,
}

impl Frame {
    /// The frame's bytes, from the destination address on.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn ethernet(destination: Mac, source: Mac, ethertype: u16) -> Self {
        let mut frame = Self {
            bytes: [0; FRAME_MAX],
            len: 0,
        };
        frame.push(&destination.0);
        frame.push(&source.0);
        frame.push(&ethertype.to_be_bytes());
        frame
    }

    /// Appends bytes. Every message has a fixed length that fits; what would not is cut.
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Overwrites two bytes that were pushed as zeros.
    fn put_u16(&mut self, at: usize, value: u16) {
        if let Some(room) = self.bytes.get_mut(at..at + 2) {
            room.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What a received frame says, as far as it can be about an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An ARP packet.
    Arp(arp::Packet),
    /// A neighbour solicitation or advertisement.
    Ndp(ndp::Message),
}

impl Message {
    /// Reads a received Ethernet frame; `None` if it is neither or malformed.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        match field(frame, 12).map(u16::from_be_bytes)? {
            ETHERTYPE_ARP => arp::Packet::decode(frame).map(Self::Arp),
            ETHERTYPE_IPV6 => ndp::Message::decode(frame).map(Self::Ndp),
            _ => None,
        }
    }
}

/// `N` bytes at `at`, if they are there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
