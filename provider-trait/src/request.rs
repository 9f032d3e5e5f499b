use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{IpFamily, Labels, Protocol, ServiceKey};
use ipnet::IpNet;

use crate::{Ingress, UnixTime};

/// The lasting identity of a load balancer, by which a provider finds it again after a restart.
///
/// For a Service with its own load balancer it is the Service's UID: a Service that is deleted and made again under
/// the same name gets a new load balancer and never inherits the old one half removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoadBalancerId(Arc<str>);

impl LoadBalancerId {
    /// The identity of the load balancer of one Service.
    pub fn of_service(uid: &str) -> Self {
        Self(uid.into())
    }

    /// The text a provider stores with what it creates.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoadBalancerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The load balancer that should exist: one identity, the Services it serves, and the nodes of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerRequest {
    /// Its identity.
    pub id: LoadBalancerId,
    /// The Services, oldest first: in a conflict between two the older one wins. Never empty.
    pub services: Vec<ServiceRequest>,
    /// All nodes of the cluster, by name; which of them become targets is the provider's decision.
    pub nodes: Arc<[NodeTarget]>,
}

/// One Service that a load balancer should serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRequest {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: UnixTime,
    /// All annotations; each provider reads its own.
    pub annotations: BTreeMap<String, String>,
    /// The ports, in the Service's order.
    pub ports: Vec<PortRequest>,
    /// `spec.ipFamilies`; never empty.
    pub families: Vec<IpFamily>,
    /// Whether `spec.externalTrafficPolicy` is `Local`.
    pub local_traffic: bool,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `spec.loadBalancerSourceRanges`; empty when the Service names none.
    pub source_ranges: Vec<IpNet>,
    /// The Service's endpoints, from its EndpointSlices.
    pub endpoints: Arc<[EndpointTarget]>,
    /// Whether any EndpointSlice of it was seen. If not, that there are no endpoints says nothing, and no target is taken away
    /// because of it (invariant I6).
    pub endpoints_known: bool,
    /// What `status.loadBalancer.ingress` holds now: clients may be using it.
    pub published: Vec<Ingress>,
    /// The user asked to leave this load balancer as it is for now.
    pub paused: bool,
}

impl ServiceRequest {
    /// The port with this key.
    pub fn port(&self, key: PortKey) -> Option<&PortRequest> {
        self.ports.iter().find(|p| p.key == key)
    }
}

/// Number and protocol of a Service port, unique within a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// `spec.ports[].port`.
    pub port: u16,
    /// `spec.ports[].protocol`.
    pub protocol: Protocol,
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// Number and protocol.
    pub key: PortKey,
    /// `spec.ports[].name`; empty when it has none.
    pub name: String,
    /// `spec.ports[].targetPort`.
    pub target_port: TargetPort,
    /// `spec.ports[].nodePort`, when one is allocated.
    pub node_port: Option<u16>,
}

/// The port of the pods behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container port; it may differ from pod to pod.
    Name(String),
}

impl fmt::Display for TargetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A node, with what decides whether it may be a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTarget {
    /// `metadata.name`.
    pub name: String,
    /// `spec.providerID`; empty when the node has none.
    pub provider_id: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// The `Ready` condition.
    pub ready: Readiness,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `InternalIP` addresses.
    pub addresses: Vec<IpAddr>,
}

/// The `Ready` condition of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// `True`.
    Ready,
    /// `False`.
    NotReady,
    /// `Unknown` or absent: the node has not reported for a while.
    Unknown,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; empty when it has none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTarget {
    /// The pod's address.
    pub address: IpAddr,
    /// Its ports, by the name of the Service port.
    pub ports: Vec<EndpointPort>,
    /// `conditions.ready`; `false` while the pod's readiness gate is open, even if the Service publishes such addresses.
    pub ready: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// All containers are ready and only Herald's readiness gate is open: it must become a target for that to close. Also while
    /// the gate is closed, because `ready` may lag behind.
    pub containers_ready: bool,
    /// The node it runs on.
    pub node: Option<String>,
}

/// One port of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The Service port's name; empty when it has none.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port number on the pod.
    pub port: u16,
}

impl EndpointTarget {
    /// Whether its pod's readiness gate waits for it to be a healthy target.
    pub fn gated(&self) -> bool {
        self.containers_ready && !self.ready && !self.terminating
    }

    /// Whether it should be a target: it is ready, or can only become ready as a target.
    pub fn wanted(&self) -> bool {
        !self.terminating && (self.ready || self.containers_ready)
    }

    /// The pod's port behind a Service port.
    pub fn port_for(&self, port: &PortRequest) -> Option<u16> {
        self.ports
            .iter()
            .find(|p| p.name == port.name && p.protocol == port.key.protocol)
            .map(|p| p.port)
    }
}
