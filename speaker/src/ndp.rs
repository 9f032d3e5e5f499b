//! The neighbour discovery socket of an interface, and the multicast groups in which solicitations arrive.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use herald_speaker_core::wire::ndp::{multicast_mac, solicited_node};
use socket2::{Domain, Protocol, Socket, Type};

use crate::arp::filter;
use crate::packet_socket::PacketSocket;

const ETHERTYPE: u16 = 0x86dd;

/// Opens it: neighbour solicitations and advertisements, which nothing but the link can have sent.
pub(crate) fn open(interface: u32) -> io::Result<PacketSocket> {
    let next_header_icmpv6 = (14 + 6, 58, 58);
    let hop_limit = (14 + 7, 255, 255);
    let kind = (14 + 40, 135, 136);
    PacketSocket::open(
        interface,
        ETHERTYPE,
        &filter(&[next_header_icmpv6, hop_limit, kind]),
    )
}

/// The solicited-node groups joined on one interface: on the packet socket, so that the interface lets their frames in,
/// and on an ordinary IPv6 socket, because only that makes the kernel report them to switches that snoop MLD.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Addresses for each group: those with the same last three bytes share one.
    joined: BTreeMap<Ipv6Addr, usize>,
    reporters: Vec<Socket>,
}

impl Groups {
    /// Begins to listen for solicitations of `address`.
    pub(crate) fn join(
        &mut self,
        socket: &PacketSocket,
        interface: u32,
        address: Ipv6Addr,
    ) -> io::Result<()> {
        let group = solicited_node(address);
        let users = self.joined.entry(group).or_default();
        *users += 1;
        if *users > 1 {
            return Ok(());
        }
        if let Err(error) = socket.join(multicast_mac(group)) {
            self.joined.remove(&group);
            return Err(error);
        }
        if let Err(error) = self.report(group, interface) {
            tracing::warn!(interface, %group, %error,
                "cannot join the group; a switch that snoops MLD may hide solicitations: is IPv6 off on the interface?");
        }
        Ok(())
    }

    /// Stops listening for solicitations of `address`.
    pub(crate) fn leave(&mut self, socket: &PacketSocket, interface: u32, address: Ipv6Addr) {
        let group = solicited_node(address);
        let Some(users) = self.joined.get_mut(&group) else {
            return;
        };
        *users -= 1;
        if *users > 0 {
            return;
        }
        self.joined.remove(&group);
        let left = socket.leave(multicast_mac(group));
        // Whichever has it; the others refuse.
        let reported = self
            .reporters
            .iter()
            .any(|s| s.leave_multicast_v6(&group, interface).is_ok());
        if left.is_err() || !reported {
            tracing::debug!(interface, %group, "leave");
        }
    }

    /// A socket holds a limited number of groups (`net.core.optmem_max`); when the last is full another is opened.
    fn report(&mut self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        if let Some(socket) = self.reporters.last()
            && socket.join_multicast_v6(&group, interface).is_ok()
        {
            return Ok(());
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.join_multicast_v6(&group, interface)?;
        self.reporters.push(socket);
        Ok(())
    }
}
