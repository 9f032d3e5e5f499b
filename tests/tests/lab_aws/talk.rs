//! A client outside the cluster: what the echo server tells it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Netns, Place};

/// How long one question may take; whoever waits for an answer asks again.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the echo server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pod: String,
    pub(crate) node: String,
    /// The client as the pod sees it.
    pub(crate) peer: IpAddr,
    /// Who passed the connection on, as the proxy protocol tells.
    pub(crate) via: Option<IpAddr>,
}

impl Answer {
    /// Reads `pod=… node=… peer=ip:port proto=… via=ip:port`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let word = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.with_context(|| format!("no {name} in {text:?}"))
        };
        let address = |name: &str| anyhow::Ok(field(name)?.parse::<SocketAddr>()?.ip());
        Ok(Self {
            pod: field("pod")?.to_owned(),
            node: field("node")?.to_owned(),
            peer: address("peer")?,
            via: address("via").ok(),
        })
    }
}

/// A connection that stays open.
pub(crate) struct Held(BufReader<TcpStream>);

impl Held {
    pub(crate) fn open(cluster: &Cluster, to: SocketAddr) -> Result<Self> {
        let remote = Netns::open(&Place::Remote.netns(cluster.name()));
        let stream = remote.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks over it.
    pub(crate) fn ask(&mut self) -> Result<Answer> {
        self.0.get_mut().write_all(b"who\n")?;
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "the connection is closed");
        Answer::parse(&line)
    }
}

/// One line over a new TCP connection.
pub(crate) fn tcp(cluster: &Cluster, to: SocketAddr) -> Result<Answer> {
    Held::open(cluster, to)?.ask()
}

/// One datagram from a new port.
pub(crate) fn udp(cluster: &Cluster, to: SocketAddr) -> Result<Answer> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let remote = Netns::open(&Place::Remote.netns(cluster.name()));
    let socket = remote.enter(|| UdpSocket::bind(any))??;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    Answer::parse(&String::from_utf8_lossy(&buffer[..length]))
}

/// `curl` of a URL, by name: the client's hosts file knows load balancers.
pub(crate) fn http(cluster: &Cluster, arguments: &[&str]) -> Result<Answer> {
    let curl = [&["curl", "-sS", "-m", "5"], arguments].concat();
    Answer::parse(&cluster.run(Place::Remote, &curl)?)
}
