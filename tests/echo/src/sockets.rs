//! Listening sockets that serve both address families, or IPv4 alone where the kernel has no IPv6.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

pub(crate) fn tcp(port: u16) -> io::Result<TcpListener> {
    let socket = bound(Type::STREAM, port)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

pub(crate) fn udp(port: u16) -> io::Result<UdpSocket> {
    Ok(bound(Type::DGRAM, port)?.into())
}

fn bound(kind: Type, port: u16) -> io::Result<Socket> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let dual = || {
        let socket = Socket::new(Domain::IPV6, kind, None)?;
        socket.set_only_v6(false)?;
        bind(socket, kind, both)
    };
    let bound = match dual() {
        // No IPv6 in this kernel or namespace. A taken port is an error: IPv4 alone would hide it.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            bind(
                socket,
                kind,
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            )
        }
        other => other,
    };
    bound.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on port {port}: {error}"),
        )
    })
}

fn bind(socket: Socket, kind: Type, address: SocketAddr) -> io::Result<Socket> {
    // Only for TCP, where it skips TIME_WAIT; for UDP it would let two servers share the port.
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
