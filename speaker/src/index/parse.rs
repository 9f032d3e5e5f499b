//! Addresses and prefixes as old API objects hold them: leading zeros, blanks, host bits set.

use std::net::{IpAddr, Ipv4Addr};

use herald_speaker_core::Mac;
use ipnet::IpNet;

/// An address; leading zeros in IPv4 octets are decimal, as Kubernetes reads them (not octal).
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| padded(text).map(IpAddr::V4))
        .map(|address: IpAddr| match address {
            // "::ffff:192.0.2.1" means the IPv4 address, as in kube-proxy.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        })
}

/// A prefix in canonical form: blanks trimmed, host bits cleared.
pub(super) fn prefix(text: &str) -> Option<IpNet> {
    let (host, length) = text.trim().split_once('/')?;
    let length: u8 = length.parse().ok()?;
    IpNet::new(address(host)?, length)
        .ok()
        .map(|net| net.trunc())
}

/// An Ethernet address.
pub(super) fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0_u8; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(bytes))
}

fn padded(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or_else(|error| {
                if part.bytes().all(|b| b == b'0') {
                    Ok(0)
                } else {
                    Err(error)
                }
            })
            .ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}
