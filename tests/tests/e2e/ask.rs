//! A client's view: one question to an address, and who answered.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use herald_tests::{Netns, Place};

/// How long one question may take; a refused or lost one is asked again by whoever waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);

/// The transports every scenario tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// What the echo server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pod: String,
    pub(crate) node: String,
    /// The client as the pod saw it.
    pub(crate) peer: IpAddr,
    /// Who passed the connection on, where the proxy protocol tells the client.
    pub(crate) via: Option<IpAddr>,
}

/// One question over a new connection, from a place of the lab.
pub(crate) fn ask(
    cluster: &str,
    from: Place,
    to: SocketAddr,
    transport: Transport,
) -> Result<Answer> {
    let text = Netns::open(&from.netns(cluster))
        .enter(|| match transport {
            Transport::Tcp => ask_tcp(to),
            Transport::Udp => ask_udp(to),
        })?
        .with_context(|| format!("{transport:?} from {} to {to}", from.label()))?;
    parse(&text)
}

fn ask_tcp(to: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"who\n").context("send")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("read")?;
    Ok(text)
}

fn ask_udp(to: SocketAddr) -> Result<String> {
    let reply = exchange(to, b"who")?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// One datagram there and one back, in the network namespace one is in.
pub(crate) fn exchange(to: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let any: SocketAddr = if to.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question).context("send")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).context("receive")?;
    Ok(buffer[..length].to_vec())
}

/// Reads `pod=… node=… peer=ip:port proto=… via=ip:port`; the last only where the proxy protocol was spoken.
pub(crate) fn parse(text: &str) -> Result<Answer> {
    let field = |name: &str| {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(pod), Some(node), Some(peer)) = (field("pod"), field("node"), field("peer")) else {
        bail!("not an answer of the echo server: {text:?}");
    };
    let peer: SocketAddr = peer.parse().with_context(|| format!("peer {peer}"))?;
    Ok(Answer {
        pod: pod.to_owned(),
        node: node.to_owned(),
        peer: peer.ip(),
        via: field("via").and_then(|via| Some(via.parse::<SocketAddr>().ok()?.ip())),
    })
}
