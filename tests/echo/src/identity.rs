//! Who answers, and how an answer reads.

use std::net::{IpAddr, SocketAddr};

use crate::proxy::Peer;

/// The longest piece of a request that an answer repeats, in bytes.
const REPEAT: usize = 1024;

/// The answerer's names, from the downward API.
#[derive(Debug)]
pub(crate) struct Identity {
    pod: String,
    node: String,
}

impl Identity {
    /// From POD_NAME and NODE_NAME; outside a cluster the host's name and `-`.
    pub(crate) fn from_env() -> Self {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let pod = std::env::var("POD_NAME").unwrap_or_else(|_| host());
        let node = std::env::var("NODE_NAME").unwrap_or_default();
        Self {
            pod: word(&pod),
            node: word(&node),
        }
    }

    /// One line: `pod=… node=… peer=ip:port proto=…`, `via=ip:port` if another passed the connection on, and what was
    /// asked if there was anything.
    pub(crate) fn answer(&self, peer: impl Into<Peer>, proto: &str, asked: &[u8]) -> String {
        let Self { pod, node } = self;
        let Peer { client, via } = peer.into();
        let peer = plain(client);
        let via = via.map_or_else(String::new, |via| format!(" via={}", plain(via)));
        let mut answer = format!("pod={pod} node={node} peer={peer} proto={proto}{via}");
        if !asked.is_empty() {
            let asked = asked[..asked.len().min(REPEAT)].escape_ascii();
            answer.push_str(" data=");
            answer.extend(asked.map(char::from));
        }
        answer.push('\n');
        answer
    }
}

/// Answers are words separated by blanks: a name must be one word.
fn word(name: &str) -> String {
    match name.split_whitespace().next() {
        Some(word) => word.to_owned(),
        None => "-".to_owned(),
    }
}

/// An IPv4 peer of a dual-stack socket, as the IPv4 address it is.
pub(crate) fn plain(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), peer.port()),
        IpAddr::V6(_) => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_words() {
        let who = Identity {
            pod: word("web-1\n"),
            node: word(""),
        };
        let peer: SocketAddr = "[::ffff:10.0.0.9]:4000".parse().unwrap();
        assert_eq!(
            who.answer(peer, "http", b""),
            "pod=web-1 node=- peer=10.0.0.9:4000 proto=http\n"
        );
        let peer: SocketAddr = "[fd00::9]:4000".parse().unwrap();
        assert_eq!(
            who.answer(peer, "udp", b"hi\n\xff"),
            "pod=web-1 node=- peer=[fd00::9]:4000 proto=udp data=hi\\n\\xff\n"
        );
        let passed_on = Peer {
            client: peer,
            via: "[::ffff:10.0.0.1]:1".parse().ok(),
        };
        assert_eq!(
            who.answer(passed_on, "tcp", b"hi"),
            "pod=web-1 node=- peer=[fd00::9]:4000 proto=tcp via=10.0.0.1:1 data=hi\n"
        );
        assert!(who.answer(peer, "udp", &vec![b'a'; 60_000]).len() < 2 * REPEAT);
    }
}
