//! One request from wherever this program runs: pods have no other client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// What to ask, and how long to wait for connection and answer together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Get {
    pub(crate) target: Target,
    /// Sent as the line or the datagram; HTTP has no use for it.
    pub(crate) data: String,
    pub(crate) timeout: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    proto: Proto,
    /// `host:port`, an IPv6 host in brackets.
    authority: String,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    Http,
    Tcp,
    Udp,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let refused =
            || format!("{url}: not http://HOST[:PORT]/PATH, tcp://HOST:PORT or udp://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let proto = match scheme {
            "http" => Proto::Http,
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            _ => return Err(refused()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let after_host = authority
            .rfind(']')
            .map_or(authority, |at| &authority[at..]);
        let authority = match (after_host.contains(':'), proto) {
            (true, _) => authority.to_owned(),
            (false, Proto::Http) => format!("{authority}:80"),
            (false, _) => return Err(refused()),
        };
        // Nothing of the URL may become a header or a second request.
        if path.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
            return Err(refused());
        }
        Ok(Self {
            proto,
            authority,
            path: path.to_owned(),
        })
    }
}

/// Asks, prints the answer's body; an error if there was none in time, or an HTTP status other than 2xx.
pub(crate) fn run(get: &Get) -> io::Result<()> {
    let Target {
        proto,
        authority,
        path,
    } = &get.target;
    let deadline = Instant::now() + get.timeout;
    let addresses: Vec<SocketAddr> = authority
        .to_socket_addrs()
        .map_err(|error| io::Error::new(error.kind(), format!("{authority}: {error}")))?
        .collect();
    let mut failure = io::Error::new(
        io::ErrorKind::NotFound,
        format!("{authority} has no address"),
    );
    for address in addresses {
        let answer = match proto {
            Proto::Http => http(address, authority, path, deadline),
            Proto::Tcp => tcp(address, &get.data, deadline),
            Proto::Udp => udp(address, &get.data, deadline),
        };
        match answer {
            Ok(answer) => return io::stdout().write_all(&answer),
            Err(error) => failure = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(failure)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

fn connect(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    Ok(stream)
}

fn http(address: SocketAddr, host: &str, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = connect(address, deadline)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let end = crate::http::head_end(&answer).ok_or_else(|| invalid("no HTTP answer".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(body),
        _ => Err(invalid(format!(
            "{status}: {}",
            String::from_utf8_lossy(&body).trim_end()
        ))),
    }
}

fn tcp(address: SocketAddr, data: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = connect(address, deadline)?;
    stream.write_all(format!("{data}\n").as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream)
        .take(MAX_ANSWER)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(line)
    }
}

fn udp(address: SocketAddr, data: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    // Connected, so that only an answer from the address asked counts, and a refusal is an error.
    socket.connect(address)?;
    socket.send(data.as_bytes())?;
    socket.set_read_timeout(Some(left(deadline)?))?;
    let mut answer = vec![0; 64 * 1024];
    let len = socket.recv(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let read = |url: &str| url.parse::<Target>();
        let web = read("http://[fd00::1]").unwrap();
        assert_eq!(
            (web.authority.as_str(), web.path.as_str()),
            ("[fd00::1]:80", "/")
        );
        let web = read("http://web.demo:8080/ready?x=1").unwrap();
        assert_eq!(
            (web.authority.as_str(), web.path.as_str()),
            ("web.demo:8080", "/ready?x=1")
        );
        assert_eq!(read("udp://10.0.0.1:53").unwrap().proto, Proto::Udp);
        for url in [
            "10.0.0.1",
            "https://a/",
            "tcp://a",
            "udp://[::1]",
            "http://a/x y",
            "http://a/\r\nb",
        ] {
            assert!(read(url).unwrap_err().starts_with(url), "{url}");
        }
    }
}
