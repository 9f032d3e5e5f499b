//! The AWS objects a load balancer is made of, with the fields Herald uses. As described by AWS, or as wanted.

mod security;
mod words;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use herald_core::IpFamily;
use ipnet::IpNet;

pub use security::{Rule, RuleProtocol, SecurityGroup, Source};
pub use words::{AddressType, Probe, Scheme, TargetType, Wire};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;
/// Attributes of a load balancer, target group or listener, by AWS's key.
pub type Attributes = BTreeMap<String, String>;

/// A reference to an object: by ARN once it exists, by its name until then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// The name people know it by.
    pub name: String,
    /// Its ARN or id; `None` while it has yet to be created.
    pub id: Option<String>,
}

impl Ref {
    /// A reference to something that exists.
    pub fn to(name: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: Some(id.into()),
        }
    }

    /// A reference to something an earlier step creates.
    pub fn to_come(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A load balancer in one subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mapping {
    /// The subnet's id.
    pub subnet: String,
    /// The allocation id of an elastic IP address.
    pub allocation: Option<String>,
    /// A given private IPv4 address.
    pub private_ipv4: Option<IpAddr>,
    /// A given IPv6 address.
    pub ipv6: Option<IpAddr>,
}

/// State of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Being made.
    Provisioning,
    /// Serving (also when AWS calls it impaired).
    Active,
    /// It could not be made.
    Failed,
}

/// A Network Load Balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Its ARN.
    pub arn: String,
    /// Its name, unique in account and region.
    pub name: String,
    /// Its DNS name.
    pub dns_name: String,
    /// Its scheme; fixed at creation.
    pub scheme: Scheme,
    /// Its families.
    pub address_type: AddressType,
    /// Its state.
    pub state: State,
    /// Its VPC.
    pub vpc: String,
    /// Its subnets, by subnet id.
    pub mappings: BTreeSet<Mapping>,
    /// Its security groups. One made without any can never get one, and the other way round.
    pub security_groups: BTreeSet<String>,
    /// Its tags.
    pub tags: Tags,
    /// Its attributes; `None` when not read.
    pub attributes: Option<Attributes>,
    /// Its listeners by port; `None` when not read.
    pub listeners: Option<BTreeMap<u16, Listener>>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// What is wanted of it and what it is.
    pub spec: ListenerSpec,
    /// Further certificates (SNI).
    pub certificates: BTreeSet<String>,
    /// Its attributes; `None` when not read.
    pub attributes: Option<Attributes>,
    /// Its tags.
    pub tags: Tags,
}

/// The part of a listener that one call sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSpec {
    /// Its port, unique on the load balancer.
    pub port: u16,
    /// Its protocol.
    pub protocol: Wire,
    /// The target group it forwards to.
    pub target_group: Ref,
    /// The default certificate; TLS only.
    pub certificate: Option<String>,
    /// The TLS policy; TLS only.
    pub tls_policy: Option<String>,
    /// The ALPN policy; TLS only, where it is [`NO_ALPN`] unless said otherwise: AWS would keep an earlier one.
    pub alpn: Option<String>,
}

/// AWS's word for no ALPN.
pub const NO_ALPN: &str = "None";

/// A target group's health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// Its protocol.
    pub protocol: Probe,
    /// Its port; `None` is the port that traffic goes to.
    pub port: Option<u16>,
    /// The path of an HTTP(S) request.
    pub path: Option<String>,
    /// The status codes that mean healthy, such as `200-399`; HTTP(S) only.
    pub codes: Option<String>,
    /// Seconds between checks.
    pub interval: u32,
    /// Seconds to wait for an answer.
    pub timeout: u32,
    /// Good answers in a row to become healthy.
    pub healthy: u32,
    /// Bad answers in a row to become unhealthy.
    pub unhealthy: u32,
}

/// What a target group is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its name, unique in account and region.
    pub name: String,
    /// Its protocol; fixed.
    pub protocol: Wire,
    /// Its port; fixed, and without meaning here because each target brings its own.
    pub port: u16,
    /// What its targets are; fixed.
    pub target_type: TargetType,
    /// The family of its targets; fixed.
    pub family: IpFamily,
    /// Its VPC; fixed.
    pub vpc: String,
    /// Its health check.
    pub health_check: HealthCheck,
    /// Its tags.
    pub tags: Tags,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// What it was made with.
    pub spec: GroupSpec,
    /// Its attributes; `None` when not read.
    pub attributes: Option<Attributes>,
    /// Its targets; `None` when not read.
    pub targets: Option<BTreeMap<Target, Health>>,
}

/// One target. AWS tells targets apart by id and port alone, and so do comparisons.
#[derive(Clone, Debug)]
pub struct Target {
    /// An instance id or an IP address.
    pub id: String,
    /// The port.
    pub port: u16,
    /// An address outside the VPC, registered for all zones.
    pub anywhere: bool,
}

impl Target {
    fn identity(&self) -> (&str, u16) {
        (&self.id, self.port)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Target {}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.port)
    }
}

/// Health of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Registration or the first checks are under way.
    Initial,
    /// It takes traffic.
    Healthy,
    /// It was deregistered and finishes its connections.
    Draining,
    /// It takes no traffic; AWS's reason code.
    Unhealthy(String),
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
    /// Its addresses, of both families.
    pub nets: Vec<IpNet>,
    /// How many IPv4 addresses are free.
    pub free: u32,
    /// Its route table leads to an internet gateway.
    pub public: bool,
    /// Its tags.
    pub tags: Tags,
}

impl Subnet {
    /// Whether it has addresses of a family.
    pub fn has(&self, family: IpFamily) -> bool {
        self.nets
            .iter()
            .any(|net| IpFamily::of(net.addr()) == family)
    }
}

/// The VPC that load balancers are made in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its addresses, of both families.
    pub nets: Vec<IpNet>,
}
