//! The proxy protocol, version 2 (HAProxy's `proxy-protocol.txt`): a load balancer says whose connection this is before it
//! passes the first byte on.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How every header begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;
/// A header that was begun must be here after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is expected at the beginning of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// No header: it would be taken for data.
    Nothing,
    /// A header, or data at once. Trusts everyone who sends one.
    Either,
    /// A header; a connection without one is closed.
    Header,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client.
    pub(crate) client: SocketAddr,
    /// Who passed the connection on, if a header says that someone did.
    pub(crate) via: Option<SocketAddr>,
}

impl From<SocketAddr> for Peer {
    fn from(client: SocketAddr) -> Self {
        Self { client, via: None }
    }
}

/// Reads the header, where there is to be one, and says whose connection it is.
pub(crate) fn peer(stream: &mut TcpStream, expect: Expect) -> io::Result<Peer> {
    let near = stream.peer_addr()?;
    if expect == Expect::Nothing {
        return Ok(near.into());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    if expect == Expect::Either {
        // Neither a request nor a line of text begins as a header does.
        let mut first = [0];
        if stream.peek(&mut first)? == 0 || first[0] != SIGNATURE[0] {
            return Ok(near.into());
        }
    }
    Ok(match read(stream)? {
        Some(client) => Peer {
            client,
            via: Some(near),
        },
        None => near.into(),
    })
}

/// The client a header names; none if the connection is the load balancer's own (its health checks).
fn read(from: &mut impl Read) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; FIXED];
    from.read_exact(&mut fixed)?;
    let length = u16::from_be_bytes([fixed[14], fixed[15]]);
    // Read before anything is refused: the rest is no data in any case.
    let mut rest = vec![0; length.into()];
    if fixed[..12] != SIGNATURE {
        return Err(invalid("no header of the proxy protocol, version 2"));
    }
    from.read_exact(&mut rest)?;
    match (fixed[12], fixed[13]) {
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => Ok(Some(v4(&rest)?)),
        (0x21, 0x21) => Ok(Some(v6(&rest)?)),
        _ => Err(invalid("a header of another version, command or family")),
    }
}

/// Source and destination address, source and destination port; extensions may follow.
fn v4(rest: &[u8]) -> io::Result<SocketAddr> {
    let fields: [u8; 12] = fields(rest)?;
    let [a, b, c, d, .., high, low, _, _] = fields;
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn v6(rest: &[u8]) -> io::Result<SocketAddr> {
    let fields: [u8; 36] = fields(rest)?;
    let [.., high, low, _, _] = fields;
    let mut address = [0; 16];
    address.copy_from_slice(&fields[..16]);
    Ok((Ipv6Addr::from(address), u16::from_be_bytes([high, low])).into())
}

fn fields<const N: usize>(rest: &[u8]) -> io::Result<[u8; N]> {
    let found = rest.get(..N).and_then(|part| part.try_into().ok());
    found.ok_or_else(|| invalid("a header too short for its addresses"))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    /// The client, and what is left to read.
    fn parsed(mut bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        Ok((read(&mut bytes)?, bytes.len()))
    }

    #[test]
    fn clients_of_both_families_are_named_and_extensions_skipped() {
        let v4 = [10, 78, 0, 50, 10, 79, 1, 10, 0x9c, 0x40, 0, 80];
        let client = "10.78.0.50:40000".parse().ok();
        assert_eq!(parsed(&header(0x21, 0x11, &v4)).unwrap(), (client, 0));
        let extended = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let bytes = [header(0x21, 0x11, &extended), b"GET".to_vec()].concat();
        assert_eq!(parsed(&bytes).unwrap(), (client, 3));
        let mut v6 = vec![0; 36];
        (v6[0], v6[15], v6[32]) = (0xfd, 9, 0x9c);
        let client = "[fd00::9]:39936".parse().ok();
        assert_eq!(parsed(&header(0x21, 0x21, &v6)).unwrap(), (client, 0));
    }

    #[test]
    fn the_load_balancers_own_connections_name_nobody() {
        assert_eq!(parsed(&header(0x20, 0x00, &[])).unwrap(), (None, 0));
        assert_eq!(parsed(&header(0x20, 0x11, &[0; 12])).unwrap(), (None, 0));
        assert_eq!(parsed(&header(0x21, 0x00, &[1, 2])).unwrap(), (None, 0));
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            header(0x21, 0x11, &[0; 11]),
            header(0x21, 0x21, &[0; 33]),
            header(0x11, 0x11, &[0; 12]),
            header(0x21, 0x12, &[0; 12]),
            header(0x21, 0x11, &[0; 12])[..20].to_vec(),
            SIGNATURE.to_vec(),
        ] {
            assert!(parsed(&bytes).is_err(), "{bytes:?}");
        }
    }
}
