use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// `errno` of a kernel without the address family.
const EAFNOSUPPORT: i32 = 97;

/// Listens. `[::]` takes IPv4 too, and falls back to it where the kernel has no IPv6.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address) {
        Err(error)
            if error.raw_os_error() == Some(EAFNOSUPPORT) && address.ip().is_unspecified() =>
        {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        result => result,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}
