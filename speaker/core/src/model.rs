//! The compact forms of watched objects: only the fields that decide something.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, Labels, Protocol, Selector, ServiceKey};
use ipnet::IpNet;

/// A Service that the data path or the announcer may care about. Headless and ExternalName Services never get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Namespace and name.
    pub key: ServiceKey,
    /// The Service's labels, for an L2Advertisement's `serviceSelectors`.
    pub labels: Labels,
    /// False when label `service.kubernetes.io/service-proxy-name` is there and not ours: announced, but not forwarded here.
    pub proxied: bool,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is VIP or absent (KEP-1860).
    pub load_balancer_ips: Vec<IpAddr>,
    /// The pool of each address, from annotation `heraldlb.io/allocated-from`; of fewer entries than addresses the first counts
    /// for the rest. Empty when the addresses are not Herald's, and then nothing of the Service is announced.
    pub allocated_from: Vec<String>,
    /// The pools that each address was in before, the latest first.
    pub earlier_pools: Vec<Vec<String>>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`, canonical; empty means no restriction.
    pub source_ranges: Vec<IpNet>,
}

impl ServiceView {
    /// Whether Herald allocated its load-balancer addresses, so that they are nobody else's.
    pub fn is_allocated(&self) -> bool {
        !self.allocated_from.is_empty() && self.allocated_from.iter().all(|pool| **pool != *UNKNOWN)
    }
}

/// The controller's mark of an address that no pool is known to have given.
const UNKNOWN: &str = "(unknown)";

/// `spec.type` of a Service that is proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Cluster IPs only.
    ClusterIp,
    /// Cluster IPs and node ports.
    NodePort,
    /// Cluster IPs, load-balancer addresses, and node ports unless `allocateLoadBalancerNodePorts` is off.
    LoadBalancer,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty for the only port of a Service. With the protocol it finds the port in an EndpointSlice.
    pub name: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port on the Service's addresses.
    pub port: u16,
    /// Port on the nodes' addresses.
    pub node_port: Option<u16>,
}

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any endpoint.
    Cluster,
    /// Endpoints of this node only; the client's address is kept.
    Local,
}

/// An EndpointSlice of one Service and one family. Slices of type FQDN and without a Service never get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceView {
    /// The slice's name within the Service's namespace.
    pub name: Arc<str>,
    /// The Service of label `kubernetes.io/service-name`.
    pub service: ServiceKey,
    /// `addressType`.
    pub family: IpFamily,
    /// `ports`; entries without a number are left out.
    pub ports: Vec<SlicePort>,
    /// `endpoints`; only the first address of each counts.
    pub endpoints: Vec<EndpointView>,
}

/// One port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name that matches [`ServicePort::name`].
    pub name: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port on the endpoint.
    pub port: u16,
}

/// One endpoint, with the API's defaults for absent conditions applied (KEP-1672).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The node it runs on, where known.
    pub node: Option<Arc<str>>,
    /// Condition `ready`; absent counts as true.
    pub ready: bool,
    /// Condition `serving`; absent counts as true.
    pub serving: bool,
    /// Condition `terminating`; absent counts as false.
    pub terminating: bool,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct NodeView {
    /// The node's name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Condition `Ready` is True, or Unknown: then the node's speaker tells whether it lives.
    pub ready: bool,
    /// Condition `NetworkUnavailable` is True.
    pub network_unavailable: bool,
    /// Its kubelet says that the node shuts down.
    pub shutting_down: bool,
    /// Label `node.kubernetes.io/exclude-from-external-load-balancers` is present.
    pub excluded: bool,
    /// The first InternalIP of each family: where node ports answer.
    pub addresses: Vec<IpAddr>,
    /// Every InternalIP and ExternalIP: no Service may have them.
    pub known_addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

/// An AddressPool, as far as announcing needs it: which addresses it has is the controller's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// The pool's name.
    pub name: Arc<str>,
    /// Its labels, for an L2Advertisement's `addressPoolSelectors`.
    pub labels: Labels,
}

/// An L2Advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisementView {
    /// Its name.
    pub name: Arc<str>,
    /// Pools by name. Together with an empty `pool_selectors` an empty list means every pool.
    pub pools: Vec<String>,
    /// Pools by label; any match counts.
    pub pool_selectors: Vec<Selector>,
    /// Nodes that may announce; empty means every node.
    pub node_selectors: Vec<Selector>,
    /// Interfaces to announce on; empty means every one that owns the address's subnet.
    pub interfaces: Vec<String>,
    /// Services it is about; empty means all.
    pub service_selectors: Vec<Selector>,
}

/// What another node's (or our own) Speaker object says, and whether it is fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerView {
    /// The node's name.
    pub node: Arc<str>,
    /// Renewed within the last 30 s by this observer's own monotonic clock. This is the *live member* input of the election.
    pub live: bool,
    /// Its interfaces that can announce.
    pub interfaces: Vec<Interface>,
}

/// An interface as published in a Speaker object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name.
    pub name: Arc<str>,
    /// Addresses with their prefix length: the subnets it owns.
    pub addresses: Vec<IpNet>,
    /// Up and with carrier.
    pub up: bool,
    /// The families whose packets the kernel does not forward from here.
    pub not_forwarding: BTreeSet<IpFamily>,
}

/// A link of this node that can announce, from rtnetlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Interface index.
    pub index: u32,
    /// The kernel's name.
    pub name: Arc<str>,
    /// Hardware address.
    pub mac: Mac,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Addresses with their prefix length.
    pub addresses: Vec<IpNet>,
    /// Next hops of the default routes over it, sorted.
    pub gateways: Vec<IpAddr>,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
