use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

use crate::ndp::Groups;
use crate::packet_socket::PacketSocket;
use crate::{arp, ndp};

/// The sockets of one interface, for the families of its addresses.
#[derive(Debug)]
pub(super) struct Port {
    interface: u32,
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    groups: Groups,
    heard: BTreeSet<Ipv6Addr>,
}

impl Port {
    pub(super) fn new(interface: u32) -> Self {
        let (groups, heard) = (Groups::default(), BTreeSet::new());
        Self {
            interface,
            arp: None,
            ndp: None,
            groups,
            heard,
        }
    }

    /// Has the sockets and groups that `addresses` need, and no groups beyond.
    pub(super) fn listen(&mut self, addresses: &BTreeSet<IpAddr>) -> io::Result<()> {
        let six = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        let six: BTreeSet<Ipv6Addr> = six.collect();
        if addresses.iter().any(IpAddr::is_ipv4) && self.arp.is_none() {
            self.arp = Some(arp::open(self.interface)?);
        }
        if !six.is_empty() && self.ndp.is_none() {
            self.ndp = Some(ndp::open(self.interface)?);
        }
        let Some(socket) = &self.ndp else {
            return Ok(());
        };
        for address in self.heard.difference(&six) {
            self.groups.leave(socket, self.interface, *address);
        }
        self.heard.retain(|address| six.contains(address));
        for address in six {
            if !self.heard.contains(&address) {
                self.groups.join(socket, self.interface, address)?;
                self.heard.insert(address);
            }
        }
        Ok(())
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = Poll::Pending;
        // Both are asked each time, because each must know whom to wake.
        for socket in self.sockets() {
            if socket.poll_readable(cx).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    }

    /// Hands waiting frames to `handle` with the socket they came from; true when none is left.
    pub(super) fn drain(
        &self,
        limit: usize,
        mut handle: impl FnMut(&PacketSocket, u32, &[u8]),
    ) -> bool {
        let mut all_read = true;
        for socket in self.sockets() {
            all_read &= socket.drain(limit, |socket, frame| handle(socket, self.interface, frame));
        }
        all_read
    }

    /// Sends a frame of the address's family.
    pub(super) fn send(&self, address: IpAddr, frame: &[u8]) -> io::Result<()> {
        let socket = if address.is_ipv4() {
            &self.arp
        } else {
            &self.ndp
        };
        socket
            .as_ref()
            .ok_or(io::ErrorKind::NotConnected)?
            .send(frame)
    }

    /// Whether frames were lost since the last call.
    pub(super) fn lost(&self) -> bool {
        // Every one is asked: the question resets its counter. One that cannot tell may have lost some.
        self.sockets()
            .filter(|socket| socket.lost().is_ok_and(|lost| lost == 0))
            .count()
            < self.sockets().count()
    }

    fn sockets(&self) -> impl Iterator<Item = &PacketSocket> {
        self.arp.iter().chain(&self.ndp)
    }
}
