//! AF_PACKET sockets: whole Ethernet frames of one protocol on one interface, and the clock that goes on in suspension.
//!
//! With the data path's, the only `unsafe` of the speaker: what socket2 and tokio have no safe call for.
#![allow(unsafe_code)]

use std::io::{self, Read, Write};
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use herald_speaker_core::Mac;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Bytes of received frames that the kernel keeps for us while we are not scheduled; a frame counts for about a
/// kilobyte.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket for frames of one Ethernet protocol on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<Socket>,
    interface: u32,
}

impl PacketSocket {
    /// Opens it; only frames that `filter` accepts are ever received. Needs CAP_NET_RAW.
    pub fn open(interface: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        // Protocol 0 receives nothing: what bind lets in has passed the filter.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(filter)?;
        // Best effort: without CAP_NET_ADMIN the limit is net.core.rmem_max.
        if set_option(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            &buffer_size(),
        )
        .is_err()
        {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(&link_layer_address(interface, ethertype)?)?;
        // SAFETY: a Socket keeps its one descriptor open until it is dropped, and nobody takes it out of the AsyncFd.
        let fd = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { fd, interface })
    }

    /// Lets the interface receive frames for a multicast hardware address, as long as the socket lives.
    pub(crate) fn join(&self, group: Mac) -> io::Result<()> {
        self.membership(libc::PACKET_ADD_MEMBERSHIP, group)
    }

    /// Undoes [`PacketSocket::join`].
    pub(crate) fn leave(&self, group: Mac) -> io::Result<()> {
        self.membership(libc::PACKET_DROP_MEMBERSHIP, group)
    }

    fn membership(&self, option: i32, group: Mac) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group.0);
        let request = libc::packet_mreq {
            mr_ifindex: self
                .interface
                .try_into()
                .map_err(|_| io::ErrorKind::InvalidInput)?,
            mr_type: libc::PACKET_MR_MULTICAST.try_into().unwrap_or_default(),
            mr_alen: 6,
            mr_address: address,
        };
        set_option(self.fd.get_ref(), libc::SOL_PACKET, option, &request)
    }

    /// Ready once a frame may be waiting.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.fd.poll_read_ready(cx).map(drop)
    }

    /// Hands every waiting frame to `handle`, at most `limit`. True when none is left.
    ///
    /// Reads the socket itself, whatever the reactor knows: after a pause it knows nothing yet.
    pub(crate) fn drain(&self, limit: usize, mut handle: impl FnMut(&Self, &[u8])) -> bool {
        let mut guard = self.readiness();
        let mut buffer = [0; 2048];
        let mut failed = false;
        for _ in 0..limit {
            match self.fd.get_ref().read(&mut buffer) {
                Ok(length) => handle(self, buffer.get(..length).unwrap_or_default()),
                // An interface that went down says so once, and there may be frames behind that; one that is gone
                // says so for ever. The link monitor knows both.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock && !failed => {
                    tracing::debug!(interface = self.interface, %error, "receive");
                    failed = true;
                }
                Err(_) => {
                    if let Some(guard) = &mut guard {
                        guard.clear_ready();
                    }
                    return true;
                }
            }
        }
        false
    }

    /// What the reactor knows now. Taken before reading, so that clearing it forgets nothing that came later.
    fn readiness(&self) -> Option<AsyncFdReadyGuard<'_, Socket>> {
        match self
            .fd
            .poll_read_ready(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Ok(guard)) => Some(guard),
            _ => None,
        }
    }

    /// Sends a frame, or fails at once.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.fd.get_ref().write(frame).map(drop)
    }

    /// Frames that found no room since the last call.
    pub(crate) fn lost(&self) -> io::Result<u32> {
        // SAFETY: tpacket_stats is two integers; all zeros is a value of it.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = socklen::<libc::tpacket_stats>();
        // SAFETY: the pointers are to a live value and its length; the kernel writes no more than that length.
        let result = unsafe {
            libc::getsockopt(
                self.fd.get_ref().as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(statistics.tp_drops)
        }
    }
}

/// Time since boot, suspension included; not set by anyone, so never stepped.
pub(crate) fn boot_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec. The clock exists since Linux 2.6.39, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn link_layer_address(interface: u32, ethertype: u16) -> io::Result<SockAddr> {
    let index = interface
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: sockaddr_ll fits sockaddr_storage and is plain data, all of which is written with its true length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET.try_into().unwrap_or_default();
            address.sll_protocol = ethertype.to_be();
            address.sll_ifindex = index;
            storage.cast::<libc::sockaddr_ll>().write(address);
            length.write(socklen::<libc::sockaddr_ll>());
            Ok(())
        })
    }?;
    Ok(address)
}

fn set_option<T>(socket: &Socket, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length describe a live value; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            socklen::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn buffer_size() -> libc::c_int {
    RECEIVE_BUFFER.try_into().unwrap_or(libc::c_int::MAX)
}

fn socklen<T>() -> libc::socklen_t {
    size_of::<T>().try_into().unwrap_or_default()
}
