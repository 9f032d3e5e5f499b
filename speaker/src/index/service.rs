use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use herald_api::{annotations, names};
use herald_core::Protocol;
use herald_speaker_core::{ServiceKind, ServicePort, ServiceView, TrafficPolicy};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::{parse, service_key, warn_left_out};

/// The view of a Service; `None` for headless Services and type ExternalName, which nobody forwards.
pub fn service(object: &Service) -> Option<ServiceView> {
    let key = service_key(&object.metadata)?;
    let spec = object.spec.as_ref()?;
    let kind = match spec.type_.as_deref() {
        // The API server fills it in: it could not be read. What the Service has tells what it is.
        None => guessed(object, spec),
        Some("ClusterIP") => ServiceKind::ClusterIp,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => return None,
        Some(other) => {
            warn_left_out("Service", &key, "spec.type", other);
            return None;
        }
    };
    let addresses = |field: &str, texts: &[String]| -> Vec<IpAddr> {
        texts
            .iter()
            .filter_map(|text| {
                let address = parse::address(text);
                if address.is_none() {
                    warn_left_out("Service", &key, field, text);
                }
                address
            })
            .collect()
    };
    let cluster_ips = match (&spec.cluster_ips, &spec.cluster_ip) {
        (Some(all), _) => all.clone(),
        (None, Some(one)) => vec![one.clone()],
        (None, None) => Vec::new(),
    };
    let ingress = ingress(object, kind);
    let headless = cluster_ips.iter().any(|ip| ip == "None");
    let internal = cluster_ips.iter().any(|ip| !ip.is_empty());
    // Of a Service with an external address, no cluster IP means that it could not be read.
    let external = !ingress.is_empty() || spec.external_ips.iter().flatten().next().is_some();
    if headless || !internal && !external {
        return None;
    }
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let annotated = object.metadata.annotations.as_ref();
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    Some(ServiceView {
        proxied: labels
            .get(names::SERVICE_PROXY_NAME_LABEL)
            .is_none_or(|name| name == names::SERVICE_PROXY_NAME),
        cluster_ips: addresses("spec.clusterIPs", &cluster_ips),
        external_ips: addresses(
            "spec.externalIPs",
            spec.external_ips.as_deref().unwrap_or_default(),
        ),
        load_balancer_ips: addresses("status.loadBalancer.ingress", &ingress),
        allocated_from: annotated.map_or_else(Vec::new, |annotated| {
            annotations::allocated_from(annotated)
                .map(str::to_owned)
                .collect()
        }),
        earlier_pools: annotated.map_or_else(Vec::new, annotations::earlier_pools),
        ports: ports(&key, spec, kind),
        external_policy: policy(spec.external_traffic_policy.as_deref()),
        internal_policy: policy(spec.internal_traffic_policy.as_deref()),
        source_ranges: ranges
            .flat_map(|text| {
                let net = parse::prefix(text);
                if net.is_none() {
                    warn_left_out("Service", &key, "spec.loadBalancerSourceRanges", text);
                }
                net.map_or_else(nobody, |net| vec![net])
            })
            .collect(),
        labels,
        kind,
        key,
    })
}

/// What a source range that cannot be read lets in. Left out, an empty list would let in everybody.
fn nobody() -> Vec<IpNet> {
    let v4 = IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let v6 = IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    vec![v4, v6]
}

/// The type of a Service whose type cannot be read.
fn guessed(object: &Service, spec: &ServiceSpec) -> ServiceKind {
    if !ingress(object, ServiceKind::LoadBalancer).is_empty() {
        return ServiceKind::LoadBalancer;
    }
    let mut ports = spec.ports.iter().flatten();
    if ports.any(|port| port.node_port.is_some_and(|port| port != 0)) {
        ServiceKind::NodePort
    } else {
        ServiceKind::ClusterIp
    }
}

/// The addresses that the network delivers to the node with the address still on (KEP-1860: `ipMode` VIP or absent).
fn ingress(object: &Service, kind: ServiceKind) -> Vec<String> {
    let status = object
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    status
        .and_then(|s| s.ingress.as_ref())
        .into_iter()
        .flatten()
        .filter(|_| kind == ServiceKind::LoadBalancer)
        .filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"))
        .filter_map(|ingress| ingress.ip.clone().filter(|ip| !ip.is_empty()))
        .collect()
}

fn ports(key: &herald_core::ServiceKey, spec: &ServiceSpec, kind: ServiceKind) -> Vec<ServicePort> {
    let external = kind != ServiceKind::ClusterIp;
    let read = |port: &k8s_openapi::api::core::v1::ServicePort| {
        Some(ServicePort {
            name: Arc::from(port.name.as_deref().unwrap_or_default()),
            protocol: Protocol::parse(port.protocol.as_deref())?,
            port: u16::try_from(port.port).ok().filter(|port| *port != 0)?,
            node_port: port
                .node_port
                .filter(|_| external)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
        })
    };
    spec.ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let view = read(port);
            if view.is_none() {
                warn_left_out("Service", key, "spec.ports", &port.port.to_string());
            }
            view
        })
        .collect()
}

fn policy(value: Option<&str>) -> TrafficPolicy {
    match value {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}
