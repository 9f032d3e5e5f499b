//! Kubernetes objects → the plain structs of the providers; here Kubernetes types stop. What a view leaves out (heartbeats,
//! managed fields) cannot make anything be looked at again.

use std::net::IpAddr;
use std::sync::Arc;

use herald_api::annotations;
use herald_api::names::SERVICE_NAME_LABEL;
use herald_controller_core::{
    IngressEntry, PortEntry, ProvidedCondition, ProvidedKind, ProvidedStatus, ProvidedView,
};
use herald_core::{IpFamily, Protocol, ServiceKey};
use herald_provider::{
    EndpointPort, EndpointTarget, Ingress, NodeTarget, PortKey, PortRequest, Readiness,
    ServiceRequest, Taint, TargetPort, UnixTime,
};
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::{Node, Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::index::{families, key_of, since};

/// What kubectl notes for itself, as long as the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Service, compact.
pub(crate) fn provided_view(service: &Service) -> ProvidedView {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let status = service.status.as_ref().map(status).unwrap_or_default();
    let mut annotations = service.annotations().clone();
    annotations.remove(LAST_APPLIED);
    let created = service.creation_timestamp();
    let mut families = families(spec).order;
    if families.is_empty() {
        families.push(IpFamily::V4);
    }
    let request = ServiceRequest {
        key: key_of(&service.metadata),
        uid: service.uid().unwrap_or_default().into(),
        created: UnixTime(
            created.map_or(0, |at| u64::try_from(at.0.as_second()).unwrap_or_default()),
        ),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        families,
        local_traffic: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_check_node_port: spec.health_check_node_port.and_then(number),
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .map(|text| range(text))
            .collect(),
        endpoints: Arc::new([]),
        endpoints_known: false,
        published: status.ingress.iter().filter_map(published).collect(),
        paused: annotations::is_paused(&annotations),
        annotations,
    };
    ProvidedView {
        version: service
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default(),
        load_balancer: spec.type_.as_deref() == Some("LoadBalancer"),
        class: spec.load_balancer_class.as_deref().map(Into::into),
        deleting: service.metadata.deletion_timestamp.is_some(),
        finalizers: service.finalizers().to_vec(),
        selector: spec.selector.clone().unwrap_or_default(),
        request,
        status,
    }
}

fn status(status: &ServiceStatus) -> ProvidedStatus {
    let ingress = status
        .load_balancer
        .iter()
        .flat_map(|balancer| balancer.ingress.iter().flatten());
    let ingress = ingress.map(|entry| IngressEntry {
        hostname: entry.hostname.clone().filter(|name| !name.is_empty()),
        ip: entry.ip.clone().filter(|ip| !ip.is_empty()),
        ip_mode: entry.ip_mode.clone(),
        ports: entry
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                Some(PortEntry {
                    port: PortKey {
                        port: number(port.port)?,
                        protocol: Protocol::parse(Some(&port.protocol))?,
                    },
                    error: port.error.clone(),
                })
            })
            .collect(),
    });
    let conditions = status.conditions.iter().flatten().filter_map(|condition| {
        let mut kinds = ProvidedKind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.as_str() == condition.type_)?;
        let shown = ProvidedCondition {
            kind,
            status: condition.status == "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        };
        Some((shown, since(&condition.last_transition_time)))
    });
    ProvidedStatus {
        ingress: ingress.collect(),
        conditions: conditions.collect(),
    }
}

fn published(entry: &IngressEntry) -> Option<Ingress> {
    let name = entry
        .hostname
        .as_ref()
        .map(|name| name.to_ascii_lowercase());
    let address = || entry.ip.as_deref()?.parse().ok().map(Ingress::Ip);
    name.map(Ingress::Hostname).or_else(address)
}

fn port(port: &ServicePort) -> Option<PortRequest> {
    let own = number(port.port)?;
    Some(PortRequest {
        key: PortKey {
            port: own,
            protocol: Protocol::parse(port.protocol.as_deref())?,
        },
        name: port.name.clone().unwrap_or_default(),
        target_port: match &port.target_port {
            Some(IntOrString::Int(target)) => TargetPort::Number(number(*target)?),
            Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
            None => TargetPort::Number(own),
        },
        node_port: port.node_port.and_then(number).filter(|port| *port > 0),
    })
}

/// A source range. One that cannot be read lets nobody in: left out, an empty list would let in everybody.
fn range(text: &str) -> IpNet {
    let nobody = || IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 32));
    text.trim().parse().unwrap_or_else(|_| nobody())
}

fn number(number: i32) -> Option<u16> {
    u16::try_from(number).ok()
}

/// A node, compact.
pub(crate) fn node_target(node: &Node) -> NodeTarget {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .find(|condition| condition.type_ == "Ready");
    let addresses = status.and_then(|status| status.addresses.as_deref());
    NodeTarget {
        name: node.name_any(),
        provider_id: spec.provider_id.unwrap_or_default(),
        labels: node.labels().clone(),
        taints: spec
            .taints
            .into_iter()
            .flatten()
            .map(|taint| Taint {
                key: taint.key,
                value: taint.value.unwrap_or_default(),
                effect: taint.effect,
            })
            .collect(),
        ready: match ready.map(|condition| condition.status.as_str()) {
            Some("True") => Readiness::Ready,
            Some("False") => Readiness::NotReady,
            _ => Readiness::Unknown,
        },
        deleting: node.metadata.deletion_timestamp.is_some(),
        addresses: addresses
            .unwrap_or_default()
            .iter()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
    }
}

/// An EndpointSlice, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceView {
    /// Its own namespace and name.
    pub(crate) key: ServiceKey,
    /// The Service it belongs to.
    pub(crate) service: ServiceKey,
    pub(crate) endpoints: Vec<SliceEndpoint>,
}

/// An endpoint, and the pod it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceEndpoint {
    pub(crate) target: EndpointTarget,
    pub(crate) pod: Option<Arc<str>>,
}

/// An EndpointSlice, compact.
pub(crate) fn slice_view(slice: &EndpointSlice) -> SliceView {
    let key = key_of(&slice.metadata);
    let service = slice.labels().get(SERVICE_NAME_LABEL);
    let ports: Vec<EndpointPort> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            Some(EndpointPort {
                name: port.name.clone().unwrap_or_default(),
                protocol: Protocol::parse(port.protocol.as_deref())?,
                port: number(port.port?)?,
            })
        })
        .collect();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let pod = endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .and_then(|target| target.name.as_deref());
        // All addresses of an endpoint are the same pod; Kubernetes writes one.
        for address in &endpoint.addresses {
            let Ok(address) = address.parse::<IpAddr>() else {
                continue;
            };
            endpoints.push(SliceEndpoint {
                target: EndpointTarget {
                    address,
                    ports: ports.clone(),
                    // Unset means ready.
                    ready: conditions.ready.unwrap_or(true),
                    terminating: conditions.terminating.unwrap_or_default(),
                    containers_ready: false,
                    node: endpoint.node_name.clone(),
                },
                pod: pod.map(Into::into),
            });
        }
    }
    SliceView {
        service: ServiceKey::new(
            key.namespace.clone(),
            service.map(String::as_str).unwrap_or_default(),
        ),
        key,
        endpoints,
    }
}

#[cfg(test)]
mod tests;
