//! Which backends every frontend of a Service is forwarded to on this node: the forwarding plan.
//!
//! [`forward`] turns one Service of a [`Snapshot`] into a [`ServiceForwarding`], [`forward_node`] the facts about the node
//! that every Service shares into a [`NodeForwarding`]. Both are pure and total. The plan names backends with their nodes,
//! so that what applies it may choose by node; [`crate::ruleset`] turns it into nf_tables objects.

mod endpoints;
mod node;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use herald_core::{IpFamily, Protocol, ServiceKey};
use ipnet::IpNet;

use crate::{ServiceView, Snapshot, TrafficPolicy};

pub(crate) use node::disjoint;
pub use node::{NodeForwarding, forward_node};

/// Which of a Service's addresses this node's data path carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceProxy {
    /// Load-balancer addresses, external IPs and node ports; cluster IPs stay with kube-proxy.
    #[default]
    External,
    /// Cluster IPs too: there is no kube-proxy.
    All,
    /// Nothing: kube-proxy carries everything and Herald only announces.
    Off,
}

/// The packet mark bit that means "masquerade this connection" between our prerouting and postrouting chains.
///
/// Bit 12. Of the known users of packet marks only Cilium's transparent encryption uses it, as part of the value 0x1e00 on
/// packets that no chain of ours translates. Taken bits are 7 (AWS VPC CNI), 13 (CNI portmap), 14 (kube-proxy),
/// 15 (old kubelets), 16 and up (Calico, Tailscale, Weave).
pub const MASQUERADE_MARK: u32 = 0x1000;

/// The default of [`ForwardConfig::step_aside_after`]: a restart or an upgrade of the speaker stays well inside it.
pub const STEP_ASIDE_AFTER: Duration = Duration::from_mins(1);

/// What the operator sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Which addresses are carried.
    pub mode: ServiceProxy,
    /// Where node ports answer: this node's own addresses within these prefixes, never loopback. `None` means the first
    /// InternalIP of each family.
    pub nodeport_addresses: Option<Vec<IpNet>>,
    /// Sources that count as this node's pods, instead of `Node.spec.podCIDRs`.
    pub cluster_cidrs: Option<Vec<IpNet>>,
    /// Addresses of API servers, which are no Service's to take.
    pub api_servers: Vec<IpAddr>,
    /// The mark bit, see [`MASQUERADE_MARK`]. Exactly one bit.
    pub masquerade_mark: u32,
    /// In mode [`ServiceProxy::External`]: how long after the speaker's last sign of life its rules step aside, and another
    /// proxy's carry on.
    pub step_aside_after: Duration,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            mode: ServiceProxy::default(),
            nodeport_addresses: None,
            cluster_cidrs: None,
            api_servers: Vec::new(),
            masquerade_mark: MASQUERADE_MARK,
            step_aside_after: STEP_ASIDE_AFTER,
        }
    }
}

/// What a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frontend {
    /// A port of a cluster IP, load-balancer address or external IP.
    Address {
        /// The address.
        address: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
    },
    /// A port of the node's addresses of one family.
    NodePort {
        /// The family.
        family: IpFamily,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
    },
}

impl Frontend {
    /// The family of the packets it is about.
    pub fn family(&self) -> IpFamily {
        match self {
            Self::Address { address, .. } => IpFamily::of(*address),
            Self::NodePort { family, .. } => *family,
        }
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Address { protocol, .. } | Self::NodePort { protocol, .. } => *protocol,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address { port, .. } | Self::NodePort { port, .. } => *port,
        }
    }
}

/// Why a Service has a frontend. Where two Services claim the same one, the lower role wins, then the lower key: an
/// external IP, which any user may write, takes no traffic from a cluster IP or an allocated address. What is nobody's to
/// take does not get so far: [`crate::Addresses::refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `status.loadBalancer`.
    LoadBalancer,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `spec.externalIPs`.
    ExternalIp,
}

/// One endpoint that a connection may be translated to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Its address and port.
    pub address: SocketAddr,
    /// The node it runs on, where known.
    pub node: Option<Arc<str>>,
    /// It runs on this node.
    pub local: bool,
}

/// What becomes of a new connection to a frontend, short-circuits for the node's own clients aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Translated to one of [`FrontendForwarding::backends`].
    Forward,
    /// Refused with port unreachable: no endpoint is usable anywhere.
    Reject,
    /// Dropped: there are usable endpoints, but the policy keeps to this node, which has none.
    Drop,
}

/// The forwarding of one frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendForwarding {
    /// What clients connect to.
    pub frontend: Frontend,
    /// Why.
    pub role: Role,
    /// The traffic policy that holds for it: internal for cluster IPs, external otherwise.
    pub policy: TrafficPolicy,
    /// Every usable endpoint, sorted, each address once.
    pub cluster: Arc<[Backend]>,
    /// The usable endpoints of this node; empty unless `policy` is `Local`.
    pub local: Arc<[Backend]>,
    /// Endpoints that still serve while they terminate, and are in neither set: no new connections, but flows stay.
    pub draining: Arc<[SocketAddr]>,
    /// The only sources that may connect, disjoint and sorted; `None` means all.
    pub sources: Option<Arc<[IpNet]>>,
    /// Its address was allocated by Herald, so that no port of it is anybody else's: those that no Service has are refused.
    pub ours: bool,
}

impl FrontendForwarding {
    /// The backends that the policy allows.
    pub fn backends(&self) -> &[Backend] {
        match self.policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }

    /// What becomes of a new connection.
    pub fn outcome(&self) -> Outcome {
        if self.cluster.is_empty() && self.local.is_empty() {
            Outcome::Reject
        } else if self.backends().is_empty() {
            Outcome::Drop
        } else {
            Outcome::Forward
        }
    }
}

/// The forwarding of one Service on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceForwarding {
    /// The Service.
    pub key: ServiceKey,
    /// Its frontends, sorted, each once. Empty: nothing of the Service is forwarded (any more).
    pub frontends: Vec<FrontendForwarding>,
}

impl ServiceForwarding {
    /// The forwarding of a Service that is gone or not ours.
    pub fn empty(key: ServiceKey) -> Self {
        Self {
            key,
            frontends: Vec::new(),
        }
    }

    /// Whether flows may lead nowhere once this is replaced by `next`: to an endpoint that is gone, or past a frontend that
    /// was not there. UDP flows never end by themselves, so of theirs any change is looked at.
    pub fn strands(&self, next: &Self) -> bool {
        next.frontends.iter().any(|new| {
            let place = self
                .frontends
                .binary_search_by_key(&new.frontend, |f| f.frontend);
            let Some(old) = place.ok().and_then(|at| self.frontends.get(at)) else {
                return true;
            };
            let has = |set: &[Backend], backend: &Backend| {
                set.binary_search_by_key(&backend.address, |b| b.address)
                    .is_ok()
            };
            let mut before = old.cluster.iter().chain(&*old.local);
            let lost = before.any(|b| !has(&new.cluster, b) && !has(&new.local, b));
            lost || new.frontend.protocol() == Protocol::Udp && old != new
        })
    }

    /// The load-balancer addresses and external IPs among its frontends, sorted, each once.
    pub fn external_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self
            .frontends
            .iter()
            .filter(|f| matches!(f.role, Role::LoadBalancer | Role::ExternalIp))
            .filter_map(|f| match f.frontend {
                Frontend::Address { address, .. } => Some(address),
                Frontend::NodePort { .. } => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The forwarding of the Service `key` on the snapshot's node; empty when the Service is absent or another proxy's.
pub fn forward(key: &ServiceKey, snapshot: &Snapshot, config: &ForwardConfig) -> ServiceForwarding {
    let mut forwarding = ServiceForwarding::empty(key.clone());
    let Some(service) = snapshot.services.get(key).filter(|s| s.proxied) else {
        return forwarding;
    };
    if config.mode == ServiceProxy::Off {
        return forwarding;
    }
    let families = families_of(service);
    for port in &service.ports {
        for family in families.iter().copied() {
            let sets = endpoints::usable(snapshot, key, port, family);
            let frontend = |frontend, role| {
                let policy = match role {
                    Role::ClusterIp => service.internal_policy,
                    _ => service.external_policy,
                };
                FrontendForwarding {
                    frontend,
                    role,
                    policy,
                    cluster: sets.cluster.clone(),
                    local: match policy {
                        TrafficPolicy::Cluster => Arc::default(),
                        TrafficPolicy::Local => sets.local.clone(),
                    },
                    draining: sets.draining.clone(),
                    sources: (role == Role::LoadBalancer)
                        .then(|| sources_of(service, family))
                        .flatten(),
                    ours: role == Role::LoadBalancer && service.is_allocated(),
                }
            };
            for (role, addresses) in addresses_of(service, config.mode) {
                for address in addresses.iter().copied() {
                    let refused = || snapshot.addresses.refusal(key, role, address).is_some();
                    if IpFamily::of(address) == family && !refused() {
                        forwarding.frontends.push(frontend(
                            Frontend::Address {
                                address,
                                protocol: port.protocol,
                                port: port.port,
                            },
                            role,
                        ));
                    }
                }
            }
            if let Some(node_port) = port.node_port {
                forwarding.frontends.push(frontend(
                    Frontend::NodePort {
                        family,
                        protocol: port.protocol,
                        port: node_port,
                    },
                    Role::NodePort,
                ));
            }
        }
    }
    forwarding.frontends.sort_by_key(|f| (f.frontend, f.role));
    forwarding.frontends.dedup_by_key(|f| f.frontend);
    forwarding
}

/// The Service's addresses that `mode` carries, by role.
fn addresses_of(service: &ServiceView, mode: ServiceProxy) -> Vec<(Role, &[IpAddr])> {
    let mut addresses: Vec<(Role, &[IpAddr])> = vec![
        (Role::LoadBalancer, &service.load_balancer_ips),
        (Role::ExternalIp, &service.external_ips),
    ];
    if mode == ServiceProxy::All {
        addresses.push((Role::ClusterIp, &service.cluster_ips));
    }
    addresses
}

/// The families a Service has: those of its cluster IPs, and of other addresses it was given.
fn families_of(service: &ServiceView) -> Vec<IpFamily> {
    [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .filter(|family| {
            service
                .cluster_ips
                .iter()
                .chain(&service.load_balancer_ips)
                .chain(&service.external_ips)
                .any(|a| IpFamily::of(*a) == *family)
        })
        .collect()
}

/// `loadBalancerSourceRanges` of one family. None of that family means no restriction there, as in kube-proxy.
fn sources_of(service: &ServiceView, family: IpFamily) -> Option<Arc<[IpNet]>> {
    let ranges: Vec<IpNet> = service
        .source_ranges
        .iter()
        .filter(|net| IpFamily::of(net.addr()) == family)
        .map(IpNet::trunc)
        .collect();
    let mut disjoint = IpNet::aggregate(&ranges);
    disjoint.sort_unstable();
    (!disjoint.is_empty()).then(|| disjoint.into())
}
