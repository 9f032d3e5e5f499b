//! The calls that std and socket2 do not offer: waiting for signals, reaping children, and a datagram's own address.
//! All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Signals that are waited for instead of delivered. Block them before the first thread starts: threads inherit it.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// SIGTERM and SIGINT (stop) and SIGCHLD. Process 1 of a container has no default actions, so waiting is the only
    /// way to be stopped politely.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid object, and sigemptyset initialises it before use.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` is a live sigset_t for all five calls; the old mask is not asked for.
        let failed = unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut())
        };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        Ok(Self(set))
    }

    /// Waits for SIGTERM or SIGINT, reaping children that end meanwhile.
    pub(crate) fn wait_for_stop(&self) {
        loop {
            let mut signal = 0;
            // SAFETY: both point to live objects; the set was initialised by `block`.
            let failed = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
            match signal {
                libc::SIGTERM | libc::SIGINT if failed == 0 => return,
                _ => reap(),
            }
        }
    }
}

/// Takes the exit status of every child that has ended, so that none stays a zombie.
fn reap() {
    // SAFETY: a null status pointer is allowed; WNOHANG makes the call return at once.
    while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Holds a pod's namespaces: waits for the signal to stop, and is parent to what is left behind.
pub(crate) fn pause() -> io::Result<()> {
    let signals = Signals::block()?;
    reap();
    signals.wait_for_stop();
    Ok(())
}

/// Has `receive` learn which of our addresses a datagram was sent to. Fails on an IPv4 socket.
pub(crate) fn ask_for_destination(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that lives through the call, with its size.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            socklen::<libc::c_int>(),
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The family as address structures hold it; it is 10.
#[allow(clippy::cast_possible_truncation)]
const AF_INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

/// The size of `T` as the socket calls want it: a handful of bytes, so it always fits.
#[allow(clippy::cast_possible_truncation)]
const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Room for one control message with an in6_pktinfo, aligned as a header wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// One datagram: its length, the sender, and our address it was sent to where the kernel says so.
pub(crate) struct Datagram {
    pub(crate) len: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) to: Option<Ipv6Addr>,
}

/// Receives from a dual-stack socket. A datagram longer than the buffer is cut.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    // SAFETY: all-zero is a valid value of these plain C structs.
    let (mut from, mut message): (libc::sockaddr_in6, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = socklen::<libc::sockaddr_in6>();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `message` is to a live object of the length given beside it.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    if from.sin6_family != AF_INET6 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "datagram without an IPv6 sender",
        ));
    }
    let ip = Ipv6Addr::from(from.sin6_addr.s6_addr);
    let peer = SocketAddrV6::new(ip, u16::from_be(from.sin6_port), 0, from.sin6_scope_id).into();

    let mut to = None;
    // SAFETY: recvmsg set msg_controllen to what it wrote into `control`, which lives and is aligned; the macros stay
    // within it, and a message of type IPV6_PKTINFO holds an in6_pktinfo, read without assuming its alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::IPPROTO_IPV6
                && (*header).cmsg_type == libc::IPV6_PKTINFO
            {
                let info: libc::in6_pktinfo = ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Datagram { len, peer, to })
}

/// Sends from a dual-stack socket, with `from` as the source address if there is one.
pub(crate) fn send(
    socket: &UdpSocket,
    data: &[u8],
    peer: SocketAddr,
    from: Option<Ipv6Addr>,
) -> io::Result<()> {
    let (IpAddr::V6(ip), Some(from)) = (peer.ip(), from) else {
        return socket.send_to(data, peer).map(drop);
    };
    // SAFETY: all-zero is a valid value of these plain C structs.
    let (mut to, mut info, mut message): (libc::sockaddr_in6, libc::in6_pktinfo, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    to.sin6_family = AF_INET6;
    to.sin6_port = peer.port().to_be();
    to.sin6_addr.s6_addr = ip.octets();
    if let SocketAddr::V6(peer) = peer {
        to.sin6_scope_id = peer.scope_id();
    }
    info.ipi6_addr.s6_addr = from.octets();
    let mut control = Control([0; 64]);
    // The kernel only reads through this pointer.
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    message.msg_name = (&raw mut to).cast();
    message.msg_namelen = socklen::<libc::sockaddr_in6>();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `control` is aligned and has room for the one message whose size CMSG_SPACE tells; with msg_control and
    // msg_controllen set CMSG_FIRSTHDR points to its start; the pointers in `message` are to live objects.
    let sent = unsafe {
        let size = socklen::<libc::in6_pktinfo>();
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IPV6;
        (*header).cmsg_type = libc::IPV6_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), info);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
