use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::IpFamily;

/// A span of addresses of one family, both ends included: what a pool's `addresses` entry means.
///
/// Addresses are also seen as `u128` numbers within their family, so that counting never iterates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is not an address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRangeError {
    /// Neither a CIDR, an address, nor `first-last`.
    #[error(
        "\"{0}\" is neither a CIDR (192.0.2.0/24), an address, nor first-last (192.0.2.10-192.0.2.20)"
    )]
    Syntax(String),
    /// The two ends are of different families.
    #[error("\"{0}\" mixes IPv4 and IPv6; both ends of a range are of one family")]
    Families(String),
    /// The first address comes after the last.
    #[error("\"{0}\" is reversed: write the lower address first")]
    Reversed(String),
}

impl AddressRange {
    /// The range from `first` to `last`, or `None` when they differ in family or order.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (IpFamily::of(first) == IpFamily::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The range that holds one address.
    pub fn single(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of both ends.
    pub fn family(&self) -> IpFamily {
        IpFamily::of(self.first)
    }

    /// Whether the range holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        IpFamily::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// Both ends as numbers within the family.
    pub fn numbers(&self) -> (u128, u128) {
        (Self::number(self.first), Self::number(self.last))
    }

    /// An address as a number within its family.
    pub fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u32::from(v4).into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }

    /// The address of a number within `family`; `None` when an IPv4 number is beyond 32 bits.
    pub fn address(family: IpFamily, number: u128) -> Option<IpAddr> {
        match family {
            IpFamily::V4 => u32::try_from(number).ok().map(|n| Ipv4Addr::from(n).into()),
            IpFamily::V6 => Some(Ipv6Addr::from(number).into()),
        }
    }
}

impl FromStr for AddressRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let syntax = || ParseRangeError::Syntax(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let first: IpAddr = first.trim().parse().map_err(|_| syntax())?;
            let last: IpAddr = last.trim().parse().map_err(|_| syntax())?;
            if IpFamily::of(first) != IpFamily::of(last) {
                return Err(ParseRangeError::Families(text.to_owned()));
            }
            return Self::new(first, last)
                .ok_or_else(|| ParseRangeError::Reversed(text.to_owned()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::single(address));
        }
        let net: IpNet = text.parse().map_err(|_| syntax())?;
        Ok(match net {
            IpNet::V4(n) => Self {
                first: n.network().into(),
                last: n.broadcast().into(),
            },
            IpNet::V6(n) => Self {
                first: n.network().into(),
                last: n.broadcast().into(),
            },
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cidrs_spans_and_single_addresses() {
        for (text, shown) in [
            ("192.0.2.0/30", "192.0.2.0-192.0.2.3"),
            ("192.0.2.7/30", "192.0.2.4-192.0.2.7"),
            (" 192.0.2.10 - 192.0.2.20 ", "192.0.2.10-192.0.2.20"),
            ("192.0.2.9", "192.0.2.9"),
            ("2001:db8::/127", "2001:db8::-2001:db8::1"),
            ("2001:db8::a-2001:db8::f", "2001:db8::a-2001:db8::f"),
        ] {
            assert_eq!(
                text.parse::<AddressRange>().unwrap().to_string(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_range_and_says_why() {
        for (text, part) in [
            ("192.0.2.9-192.0.2.1", "reversed"),
            ("192.0.2.9-2001:db8::1", "mixes"),
            ("192.0.2.0/33", "neither"),
            ("web", "neither"),
            ("", "neither"),
            ("192.0.2.1-", "neither"),
        ] {
            let error = text.parse::<AddressRange>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn contains_stays_within_a_family() {
        let range: AddressRange = "0.0.0.0/0".parse().unwrap();
        let six: AddressRange = "::/0".parse().unwrap();
        assert!(range.contains("255.255.255.255".parse().unwrap()));
        assert!(!range.contains("::1".parse().unwrap()));
        assert_eq!(six.numbers(), (0, u128::MAX));
    }
}
