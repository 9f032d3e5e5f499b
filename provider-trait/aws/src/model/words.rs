//! AWS's words for kinds of things.

use std::fmt;

/// Which addresses a load balancer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Reachable within the VPC.
    Internal,
    /// Reachable from the internet.
    InternetFacing,
}

impl Scheme {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::InternetFacing => "internet-facing",
        }
    }

    /// From AWS's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Internal, Self::InternetFacing]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// The IP families a load balancer answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressType {
    /// IPv4 only.
    Ipv4,
    /// IPv4 and IPv6.
    Dualstack,
}

impl AddressType {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
        }
    }

    /// From AWS's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ipv4, Self::Dualstack]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// Protocol of a listener or a target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wire {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP on one port.
    TcpUdp,
    /// TLS: ended at the listener, or spoken to targets.
    Tls,
}

impl Wire {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
        }
    }

    /// From AWS's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::TcpUdp, Self::Tls]
            .into_iter()
            .find(|p| p.as_str() == text)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetType {
    /// An EC2 instance, reached on a node port.
    Instance,
    /// A pod's address.
    Ip,
}

impl TargetType {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }

    /// From AWS's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Instance, Self::Ip]
            .into_iter()
            .find(|t| t.as_str() == text)
    }
}

/// Protocol of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// An HTTP request.
    Http,
    /// An HTTPS request.
    Https,
}

impl Probe {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }

    /// From AWS's word, or the annotation's (in any case).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Http, Self::Https]
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(text))
    }
}
