use std::net::IpAddr;
use std::sync::Arc;

use herald_api::names;
use herald_core::{IpFamily, Protocol, ServiceKey};
use herald_speaker_core::{EndpointView, SlicePort, SliceView};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::{parse, slice_key, warn_left_out};

/// The view of an EndpointSlice; `None` without a Service and for address type FQDN.
pub fn slice(object: &EndpointSlice) -> Option<SliceView> {
    let key = slice_key(&object.metadata)?;
    let shown = format!("{}/{}", key.namespace, key.name);
    let labels = object.metadata.labels.as_ref()?;
    let service = labels
        .get(names::SERVICE_NAME_LABEL)
        .filter(|name| !name.is_empty())?;
    let family = match object.address_type.as_str() {
        "IPv4" => IpFamily::V4,
        "IPv6" => IpFamily::V6,
        _ => return None,
    };
    let endpoints = object.endpoints.iter().filter_map(|endpoint| {
        let first = endpoint.addresses.first()?;
        let address = parse::address(first).filter(|address| IpFamily::of(*address) == family);
        if address.is_none() {
            warn_left_out("EndpointSlice", &shown, "endpoints[].addresses", first);
        }
        Some(view(endpoint, address?))
    });
    Some(SliceView {
        service: ServiceKey::new(key.namespace.clone(), service.as_str()),
        name: key.name,
        family,
        ports: object.ports.iter().flatten().filter_map(port).collect(),
        endpoints: endpoints.collect(),
    })
}

fn view(endpoint: &Endpoint, address: IpAddr) -> EndpointView {
    let conditions = endpoint.conditions.as_ref();
    EndpointView {
        address,
        node: endpoint.node_name.as_deref().map(Arc::from),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
    }
}

/// Entries without a number mean "all ports", which a Service never does; kube-proxy skips them too.
fn port(port: &EndpointPort) -> Option<SlicePort> {
    Some(SlicePort {
        name: Arc::from(port.name.as_deref().unwrap_or_default()),
        protocol: Protocol::parse(port.protocol.as_deref())?,
        port: u16::try_from(port.port?).ok().filter(|port| *port != 0)?,
    })
}
