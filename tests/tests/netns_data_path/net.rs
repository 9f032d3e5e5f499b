//! Servers in the pods and clients anywhere.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use herald_tests::Netns;

/// The port that servers listen on.
pub(crate) const SERVER_PORT: u16 = 8080;
/// How long an answer may take before the client calls it silence.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long silence must last to be believed.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// Starts TCP and UDP servers, IPv4 and IPv6, that answer with `name` and the peer they saw. They end with the process.
pub(crate) fn serve(namespace: &Netns, name: &'static str) -> Result<()> {
    namespace.enter(|| -> io::Result<()> {
        for any in [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ] {
            let address = SocketAddr::new(any, SERVER_PORT);
            let tcp = listener(address)?;
            thread::spawn(move || {
                for stream in tcp.incoming().flatten() {
                    thread::spawn(move || answer(stream, name));
                }
            });
            let udp = udp(address)?;
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                    // A client that is gone is no concern of the server's.
                    let _ = udp.send_to(format!("{name} {}\n", peer.ip()).as_bytes(), peer);
                }
            });
        }
        Ok(())
    })??;
    Ok(())
}

fn socket(address: SocketAddr, kind: socket2::Type) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, socket2::Type::STREAM)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    Ok(socket(address, socket2::Type::DGRAM)?.into())
}

/// Says who it is and what it saw, then echoes until the client closes.
fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    stream.write_all(format!("{name} {peer}\n").as_bytes())?;
    let mut buffer = [0; 512];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// A server answered: its name, and the client's address as it saw it.
    Answer(String, IpAddr),
    /// Port unreachable.
    Refused,
    /// Nothing came back.
    Silence,
}

impl Outcome {
    /// The server that answered.
    pub(crate) fn server(&self) -> Option<&str> {
        match self {
            Self::Answer(name, _) => Some(name),
            _ => None,
        }
    }
}

fn parse(text: &str) -> io::Result<Outcome> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default().to_owned();
    let source = words.next().unwrap_or_default().parse();
    let source = source.map_err(|_| io::Error::other(format!("odd answer {text:?}")))?;
    Ok(Outcome::Answer(name, source))
}

fn failure(error: io::Error) -> io::Result<Outcome> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Ok(Outcome::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ok(Outcome::Silence),
        _ => Err(error),
    }
}

/// One TCP connection, in the current namespace.
pub(crate) fn tcp_once(target: SocketAddr, patience: Duration) -> io::Result<Outcome> {
    let stream = match TcpStream::connect_timeout(&target, patience) {
        Ok(stream) => stream,
        Err(error) => return failure(error),
    };
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    match BufReader::new(&stream).read_line(&mut line) {
        Ok(_) => parse(&line),
        Err(error) => failure(error),
    }
}

/// One UDP datagram and its answer, in the current namespace. The socket keeps its port until it is dropped.
fn udp_holding(target: SocketAddr, patience: Duration) -> io::Result<(Outcome, UdpSocket)> {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(patience))?;
    match socket.send(b"who?") {
        // A local sender whose datagram is refused in its own output hook is told twice: here, and by the ICMP error.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        sent => drop(sent?),
    }
    let mut buffer = [0; 128];
    let outcome = match socket.recv(&mut buffer) {
        Ok(length) => parse(&String::from_utf8_lossy(&buffer[..length])),
        Err(error) => failure(error),
    };
    Ok((outcome?, socket))
}

/// The transport protocols every scenario is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

impl Transport {
    pub(crate) fn once(self, target: SocketAddr, patience: Duration) -> io::Result<Outcome> {
        match self {
            Self::Tcp => tcp_once(target, patience),
            Self::Udp => udp_holding(target, patience).map(|(outcome, _)| outcome),
        }
    }
}

/// One try from `namespace` that should be answered or refused.
pub(crate) fn ask(
    namespace: &Netns,
    transport: Transport,
    address: IpAddr,
    port: u16,
) -> Result<Outcome> {
    let target = SocketAddr::new(address, port);
    let outcome = namespace.enter(|| transport.once(target, PATIENCE))?;
    outcome.with_context(|| format!("{transport:?} to {target}"))
}

/// One try from `namespace` that should get no answer at all.
pub(crate) fn ask_in_vain(
    namespace: &Netns,
    transport: Transport,
    address: IpAddr,
    port: u16,
) -> Result<Outcome> {
    let target = SocketAddr::new(address, port);
    let outcome = namespace.enter(|| transport.once(target, SILENCE))?;
    outcome.with_context(|| format!("{transport:?} to {target}"))
}

/// Many tries from `namespace`, one after the other, all of which must be answered. Each is a connection of its own: a UDP
/// port that came twice would still be known to connection tracking. TCP's are safe, since the client closes first and
/// keeps its port for a minute.
pub(crate) fn ask_often(
    namespace: &Netns,
    transport: Transport,
    target: SocketAddr,
    times: usize,
) -> Result<Vec<Outcome>> {
    let mut held = Vec::new();
    let outcomes: io::Result<Vec<_>> = namespace.enter(|| {
        let mut once = || match transport {
            Transport::Tcp => tcp_once(target, PATIENCE),
            Transport::Udp => {
                let (outcome, socket) = udp_holding(target, PATIENCE)?;
                held.push(socket);
                Ok(outcome)
            }
        };
        (0..times).map(|_| once()).collect()
    })?;
    outcomes.with_context(|| format!("{transport:?} to {target}"))
}

/// A TCP connection that stays open; the server has said its name.
pub(crate) struct Held(BufReader<TcpStream>);

impl Held {
    pub(crate) fn open(from: &Netns, to: SocketAddr) -> Result<Self> {
        let stream = from.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut held = Self(BufReader::new(stream));
        let mut greeting = String::new();
        held.0.read_line(&mut greeting)?;
        Ok(held)
    }

    /// Sends a line and reads its echo.
    pub(crate) fn works(&mut self) -> Result<()> {
        self.0.get_mut().write_all(b"still there?\n")?;
        let mut line = String::new();
        self.0
            .read_line(&mut line)
            .context("an open connection broke")?;
        anyhow::ensure!(line == "still there?\n", "{line:?}");
        Ok(())
    }
}
