//! Which nodes or endpoints should be targets of a Service port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::{IpFamily, Labels};
use herald_provider::{EndpointTarget, NodeTarget, PortRequest, Readiness, ServiceRequest};

use crate::model::{GroupSpec, Health, Target, TargetType, Vpc};

/// Labels that keep a node from being a target, with any value.
const EXCLUDED: [&str; 3] = [
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "node-role.kubernetes.io/master",
    "alpha.service-controller.kubernetes.io/exclude-balancer",
];

/// Taints of nodes that are about to go: autoscalers, the termination handler, the out-of-service mark.
/// They leave the target group while they can still finish their connections.
const LEAVING: [&str; 5] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "node.cloudprovider.kubernetes.io/shutdown",
    "node.kubernetes.io/out-of-service",
];
const TERMINATION_HANDLER: &str = "aws-node-termination-handler/";

/// How many targets AWS takes into one group.
pub const MOST: usize = 1000;

/// The targets of one port in a group, or `None` when it cannot be told: then those that are registered stay.
///
/// No node at all is such a case, and a Service of which no EndpointSlice was seen (invariant I6): a list that has not
/// arrived must not empty a load balancer. So is a choice of nodes (`labels`) that cannot be understood.
pub fn wanted(
    service: &ServiceRequest,
    port: &PortRequest,
    spec: &GroupSpec,
    labels: Option<&Labels>,
    nodes: &[NodeTarget],
    vpc: &Vpc,
) -> Option<BTreeSet<Target>> {
    match spec.target_type {
        TargetType::Ip => service
            .endpoints_known
            .then(|| addresses(service, port, spec.family, vpc)),
        TargetType::Instance => {
            let instances = instances(nodes, labels?);
            let number = port.node_port?;
            let targets: BTreeSet<_> = instances
                .into_iter()
                .map(|id| Target {
                    id,
                    port: number,
                    anywhere: false,
                })
                .collect();
            (!targets.is_empty()).then_some(targets)
        }
    }
}

/// As many targets as a group takes: those that it has stay, the healthy ones first.
pub fn capped(want: BTreeSet<Target>, have: Option<&BTreeMap<Target, Health>>) -> BTreeSet<Target> {
    if want.len() <= MOST {
        return want;
    }
    let rank = |target: &Target| match have.and_then(|have| have.get(target)) {
        Some(Health::Healthy) => 0,
        None | Some(Health::Draining) => 2,
        Some(_) => 1,
    };
    let mut all: Vec<Target> = want.into_iter().collect();
    all.sort_by_key(rank);
    all.truncate(MOST);
    all.into_iter().collect()
}

/// The instance ids of the nodes that may take traffic: ready ones, or those of unknown state if none is ready.
pub fn instances(nodes: &[NodeTarget], labels: &Labels) -> BTreeSet<String> {
    let of = |readiness: Readiness| -> BTreeSet<String> {
        nodes
            .iter()
            .filter(|node| node.ready == readiness && eligible(node, labels))
            .filter_map(instance_id)
            .collect()
    };
    let ready = of(Readiness::Ready);
    if ready.is_empty() {
        of(Readiness::Unknown)
    } else {
        ready
    }
}

fn eligible(node: &NodeTarget, labels: &Labels) -> bool {
    let excluded = EXCLUDED
        .iter()
        .any(|label| node.labels.contains_key(*label))
        || node
            .labels
            .get("eks.amazonaws.com/compute-type")
            .is_some_and(|v| v == "fargate");
    let leaving = node.taints.iter().any(|taint| {
        LEAVING.contains(&taint.key.as_str()) || taint.key.starts_with(TERMINATION_HANDLER)
    });
    let selected = labels
        .iter()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    !node.deleting && !excluded && !leaving && selected
}

/// The instance id in `spec.providerID` (`aws:///zone/i-…`); `None` for a node that is not an EC2 instance.
pub fn instance_id(node: &NodeTarget) -> Option<String> {
    let path = node.provider_id.strip_prefix("aws://")?;
    let id = path.rsplit('/').next()?;
    id.starts_with("i-").then(|| id.to_owned())
}

fn addresses(
    service: &ServiceRequest,
    port: &PortRequest,
    family: IpFamily,
    vpc: &Vpc,
) -> BTreeSet<Target> {
    let collect = |usable: fn(&EndpointTarget) -> bool| -> BTreeSet<Target> {
        let endpoints = service.endpoints.iter();
        endpoints
            .filter(|e| usable(e) && IpFamily::of(e.address) == family)
            .filter_map(|e| {
                let number = e.port_for(port)?;
                Some(target(e.address, number, vpc))
            })
            .collect()
    };
    // A pod whose readiness gate waits for the target's health has to be a target first.
    let ready = collect(EndpointTarget::wanted);
    // With nothing ready, AWS's own health checks decide.
    if ready.is_empty() {
        collect(|e| !e.terminating)
    } else {
        ready
    }
}

/// The target that an endpoint's port is.
pub(crate) fn target(address: IpAddr, port: u16, vpc: &Vpc) -> Target {
    let within = vpc.nets.is_empty() || vpc.nets.iter().any(|net| net.contains(&address));
    Target {
        id: address.to_string(),
        port,
        anywhere: !within,
    }
}
