//! The system calls; the only unsafe code of the crate.

use std::ffi::c_int;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::from_ref;

/// Dumps come in datagrams of at most this size when the reader has room for it.
const DATAGRAM: usize = 256 << 10;

/// The bit of `NFNLGRP_NFTABLES` among a socket's groups: every change to nf_tables.
pub(super) const NFTABLES_GROUP: u32 = 1 << 6;

/// An open `NETLINK_NETFILTER` socket, connected to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens it as a member of `groups`, a set of bits.
    pub(super) fn open(groups: u32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let netlink = Self {
            // SAFETY: the descriptor was just opened, and nothing else owns it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            buffer: vec![0; DATAGRAM],
        };
        // SAFETY: all-zero bytes are a valid sockaddr_nl: port and groups 0.
        let mut kernel: libc::sockaddr_nl = unsafe { zeroed() };
        kernel.nl_family = libc::AF_NETLINK.try_into().unwrap_or_default();
        let mut own = kernel;
        own.nl_groups = groups;
        let length = socklen::<libc::sockaddr_nl>();
        let pointer = |address| from_ref::<libc::sockaddr_nl>(address).cast::<libc::sockaddr>();
        // SAFETY: both pointers lead to a sockaddr_nl of `length` bytes that lives through both calls, which only read it.
        let bound = unsafe {
            libc::bind(netlink.raw(), pointer(&own), length) == 0
                && libc::connect(netlink.raw(), pointer(&kernel), length) == 0
        };
        if !bound {
            return Err(io::Error::last_os_error());
        }
        netlink.set(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1)?;
        netlink.set(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1)?;
        // A dump that stalls for longer is given up.
        let timeout = libc::timeval {
            tv_sec: 10,
            tv_usec: 0,
        };
        netlink.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        Ok(netlink)
    }

    fn raw(&self) -> c_int {
        self.fd.as_raw_fd()
    }

    /// The port that the kernel gave this socket: it names the author of changes.
    pub(super) fn port(&self) -> io::Result<u32> {
        // SAFETY: all-zero bytes are a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { zeroed() };
        let mut length = socklen::<libc::sockaddr_nl>();
        let pointer = (&raw mut address).cast::<libc::sockaddr>();
        // SAFETY: both pointers lead to live values; `length` says how many bytes the first may take.
        let result = unsafe { libc::getsockname(self.raw(), pointer, &raw mut length) };
        if result == 0 {
            Ok(address.nl_pid)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// `T` must be the type that the option takes.
    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        // SAFETY: the pointer leads to a live value of the length given, which the call only reads.
        let result = unsafe {
            libc::setsockopt(
                self.raw(),
                level,
                option,
                from_ref(value).cast(),
                socklen::<T>(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Bytes that fit into one datagram sent, bookkeeping included.
    pub(super) fn send_buffer(&self) -> io::Result<usize> {
        let mut size: c_int = 0;
        let mut length = socklen::<c_int>();
        // SAFETY: both pointers lead to live values; `length` says how many bytes the first may take.
        let result = unsafe {
            libc::getsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw mut size).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(size).unwrap_or(0))
    }

    /// Asks for room for a datagram of `bytes`; without CAP_NET_ADMIN in the first user namespace only up to
    /// net.core.wmem_max.
    pub(super) fn grow_send_buffer(&self, bytes: usize) -> io::Result<()> {
        let size = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &size))
    }

    /// The same for receiving.
    pub(super) fn grow_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        let size = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &size))
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the pointer leads to `bytes.len()` live bytes, which the call only reads.
            let sent = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), 0) };
            if usize::try_from(sent).is_ok_and(|n| n == bytes.len()) {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// The next datagram, waited for.
    pub(super) fn receive(&mut self) -> io::Result<&[u8]> {
        let length = self.receive_with(0)?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }

    /// The next datagram if one is there.
    pub(super) fn receive_now(&mut self) -> io::Result<Option<&[u8]>> {
        match self.receive_with(libc::MSG_DONTWAIT) {
            Ok(length) => Ok(self.buffer.get(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Throws away whatever waits to be read.
    pub(super) fn discard(&mut self) {
        while match self.receive_now() {
            Ok(datagram) => datagram.is_some(),
            // An overrun is told once; what was queued before it is still there.
            Err(error) => error.raw_os_error() == Some(libc::ENOBUFS),
        } {}
    }

    fn receive_with(&mut self, flags: c_int) -> io::Result<usize> {
        loop {
            // SAFETY: the buffer is live, exclusively borrowed and of the length given; the call writes no more than that.
            let received = unsafe {
                libc::recv(
                    self.raw(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    flags | libc::MSG_TRUNC,
                )
            };
            match usize::try_from(received) {
                Ok(length) if length <= self.buffer.len() => return Ok(length),
                Ok(length) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a netlink datagram of {length} bytes was cut off"),
                    ));
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> c_int {
        self.raw()
    }
}

fn socklen<T>() -> libc::socklen_t {
    size_of::<T>().try_into().unwrap_or_default()
}
