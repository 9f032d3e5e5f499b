//! The ARP socket of an interface.

use std::io;

use socket2::SockFilter;

use crate::packet_socket::PacketSocket;

const ETHERTYPE: u16 = 0x0806;

/// Opens it. All ARP is read, not only requests: replies and gratuitous packets tell of other holders.
pub(crate) fn open(interface: u32) -> io::Result<PacketSocket> {
    PacketSocket::open(interface, ETHERTYPE, &filter(&[]))
}

/// Lets frames pass that are for this host or for a group, carry no VLAN tag (a tagged frame belongs to the VLAN's own
/// interface) and pass each of `checks`: a byte at an offset and its lowest and highest value.
pub(crate) fn filter(checks: &[(u32, u8, u8)]) -> Vec<SockFilter> {
    // Classic BPF; see bpf(4) and linux/filter.h.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_ALWAYS: u16 = 0x05;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_GREATER: u16 = 0x25;
    const JUMP_GREATER_EQUAL: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ANCILLARY: u32 = 0xffff_f000; // SKF_AD_OFF
    const PACKET_TYPE: u32 = ANCILLARY + 4; // SKF_AD_PKTTYPE
    const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48; // SKF_AD_VLAN_TAG_PRESENT
    const MULTICAST: u32 = 2; // PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST are 0 to 2

    let mut program = vec![
        SockFilter::new(LOAD_BYTE, 0, 0, PACKET_TYPE),
        SockFilter::new(JUMP_GREATER, 3, 0, MULTICAST),
        SockFilter::new(LOAD_BYTE, 0, 0, VLAN_TAG_PRESENT),
        SockFilter::new(JUMP_EQUAL, 0, 1, 0),
        SockFilter::new(JUMP_ALWAYS, 0, 0, 1),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    for (offset, lowest, highest) in checks {
        program.extend([
            SockFilter::new(LOAD_BYTE, 0, 0, *offset),
            SockFilter::new(JUMP_GREATER_EQUAL, 0, 1, u32::from(*lowest)),
            SockFilter::new(JUMP_GREATER, 0, 1, u32::from(*highest)),
            SockFilter::new(RETURN, 0, 0, 0),
        ]);
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}
