use std::net::IpAddr;

use herald_api::names;
use herald_core::IpFamily;
use herald_speaker_core::NodeView;
use k8s_openapi::api::core::v1::{Node, NodeStatus};

use super::{name_key, parse, warn_left_out};
use crate::engine::NodeSeen;

/// Taints of a node that is about to go, whose speaker gives its addresses away when it is told to end.
const LEAVING_TAINTS: [&str; 3] = [
    "node.kubernetes.io/unschedulable",
    "ToBeDeletedByClusterAutoscaler",
    "node.cloudprovider.kubernetes.io/shutdown",
];

/// The view of a Node.
pub fn node(object: &Node) -> Option<NodeSeen> {
    let name = name_key(&object.metadata)?;
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let is_true = |kind: &str| condition(status, kind).is_some_and(|(value, _)| value == "True");
    let shutting_down = condition(status, "Ready")
        .is_some_and(|(value, message)| value != "True" && message.contains("shutting down"));
    let silent = condition(status, "Ready").is_some_and(|(value, _)| value == "Unknown");
    let tainted = spec.and_then(|s| s.taints.as_ref()).into_iter().flatten();
    let leaving = shutting_down
        || object.metadata.deletion_timestamp.is_some()
        || spec.and_then(|s| s.unschedulable).unwrap_or(false)
        || tainted
            .into_iter()
            .any(|taint| LEAVING_TAINTS.contains(&taint.key.as_str()));

    let cidrs = match spec {
        Some(spec) => match (&spec.pod_cidrs, &spec.pod_cidr) {
            (Some(all), _) => all.clone(),
            (None, Some(one)) => vec![one.clone()],
            (None, None) => Vec::new(),
        },
        None => Vec::new(),
    };
    let pod_cidrs = cidrs
        .iter()
        .filter_map(|text| {
            let net = parse::prefix(text);
            if net.is_none() {
                warn_left_out("Node", &name, "spec.podCIDRs", text);
            }
            net
        })
        .collect();
    Some(NodeSeen {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        leaving,
        silent,
        view: NodeView {
            ready: silent || is_true("Ready"),
            network_unavailable: is_true("NetworkUnavailable"),
            shutting_down,
            excluded: labels.contains_key(names::EXCLUDE_NODE_LABEL),
            addresses: internal_addresses(status),
            known_addresses: known_addresses(status),
            pod_cidrs,
            labels,
            name,
        },
    })
}

/// Value and message of a condition.
fn condition<'a>(status: Option<&'a NodeStatus>, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = status?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

/// Every InternalIP and ExternalIP.
fn known_addresses(status: Option<&NodeStatus>) -> Vec<IpAddr> {
    let all = status.and_then(|s| s.addresses.as_ref());
    let named = |kind: &str| kind == "InternalIP" || kind == "ExternalIP";
    all.into_iter()
        .flatten()
        .filter(|address| named(&address.type_))
        .filter_map(|address| parse::address(&address.address))
        .collect()
}

/// The first InternalIP of each family, in the order of the list: the order of the cluster's families.
fn internal_addresses(status: Option<&NodeStatus>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let all = status
        .and_then(|s| s.addresses.as_ref())
        .into_iter()
        .flatten();
    for address in all.filter(|address| address.type_ == "InternalIP") {
        // Other types hold names, and a cloud may put one here.
        if let Some(address) = parse::address(&address.address)
            && !found
                .iter()
                .any(|known| IpFamily::of(*known) == IpFamily::of(address))
        {
            found.push(address);
        }
    }
    found
}
