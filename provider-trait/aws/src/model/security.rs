use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::{Ref, Tags};

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name, unique in the VPC.
    pub name: String,
    /// Its tags.
    pub tags: Tags,
    /// What it lets in.
    pub ingress: BTreeSet<Rule>,
}

/// Protocol of a security group rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Anything else; Herald makes no such rule.
    Other,
}

/// One permission of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// The protocol.
    pub protocol: RuleProtocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// Who is let in.
    pub source: Source,
    /// Why: marks the rules that Herald made in a group that is not its own.
    pub description: String,
}

impl Rule {
    /// Whether it counts as one of IPv6.
    pub fn is_v6(&self) -> bool {
        matches!(self.source, Source::Net(IpNet::V6(_)))
    }

    /// Whether it lets in the members of a security group.
    pub fn from_group(&self) -> bool {
        matches!(self.source, Source::Group(_))
    }
}

impl Source {
    /// Whether it is the security group with this id.
    pub fn is(&self, group: &str) -> bool {
        matches!(self, Self::Group(source) if source.id.as_deref() == Some(group))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            RuleProtocol::Tcp => "tcp",
            RuleProtocol::Udp => "udp",
            RuleProtocol::Other => "other",
        };
        write!(f, "{protocol} {}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        match &self.source {
            Source::Net(net) => write!(f, " from {net}"),
            Source::Group(group) => write!(f, " from {group}"),
            Source::Other => write!(f, " from elsewhere"),
        }
    }
}

/// Whom a rule lets in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Addresses.
    Net(IpNet),
    /// Members of a security group.
    Group(Ref),
    /// Anything else (prefix lists); Herald makes no such rule.
    Other,
}
