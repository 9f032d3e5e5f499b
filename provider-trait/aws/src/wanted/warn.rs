//! What a Service asks for and does not get, without harm: for warning Events.

use herald_provider::{PortKey, Reason, ServiceRequest};

use super::security::node_groups;
use super::{Wanted, WantedPort, opens};
use crate::annotations::{Groups, HealthPort, PREFIX, Settings};
use crate::config::Config;
use crate::inventory::Shared;
use crate::model::{Probe, TargetType};

/// The warnings about one Service of a request.
pub(super) fn warnings(
    config: &Config,
    shared: &Shared,
    wanted: &Wanted,
    index: usize,
    service: &ServiceRequest,
    settings: &Settings,
) -> Vec<Reason> {
    let mut all = Vec::new();
    let mut warn = |code: &str, message: String| all.push(Reason::new(code, message));
    if let Some(name) = settings.name.as_ref().filter(|name| **name != wanted.name) {
        let message = format!(
            "annotation {PREFIX}aws-load-balancer-name: {} keeps its name, because AWS cannot change it; {name} is \
             for a load balancer that is made anew",
            wanted.name
        );
        warn("NameKept", message);
    }
    if settings.ranged && matches!(settings.groups, Groups::Given(_)) {
        let message = "the source ranges are without effect: the groups in aws-load-balancer-security-groups decide \
                       who is let in";
        warn("SourceRangesIgnored", message.into());
    }
    for port in settings.port_attributes.keys() {
        if !service.ports.iter().any(|p| p.key.port == *port) {
            let message = format!(
                "annotation {PREFIX}aws-load-balancer-target-group-attributes.{port}: the Service has no port {port}"
            );
            warn("UnusedAnnotation", message);
        }
    }
    for (protocol, port) in settings.listener_attributes.keys() {
        let same = |p: &&WantedPort| p.service == index && p.listener.port == *port;
        let found = wanted.ports.iter().find(same);
        let refused = |key: &PortKey| key.port == *port;
        let is = match found {
            Some(found) if found.listener.protocol.as_str() == protocol => continue,
            Some(found) => format!("port {port} is {}", found.listener.protocol),
            None if wanted
                .refused
                .keys()
                .any(|(n, key)| *n == index && refused(key)) =>
            {
                continue;
            }
            None => format!("the Service has no port {port}"),
        };
        let message = format!(
            "annotation {PREFIX}aws-load-balancer-listener-attributes.{protocol}-{port}: {is}"
        );
        warn("UnusedAnnotation", message);
    }
    let asks_http = settings.health.path.is_some() || settings.health.codes.is_some();
    let mut own = wanted.ports.iter().filter(|port| port.service == index);
    let tcp = |port: &WantedPort| port.group.health_check.protocol == Probe::Tcp;
    if asks_http && own.all(tcp) {
        let message = format!(
            "path and success codes of the health check are without effect over TCP: set \
             {PREFIX}aws-load-balancer-healthcheck-protocol to http or https"
        );
        warn("UnusedAnnotation", message);
    }
    all.extend(closed(config, shared, settings));
    all
}

/// What the rules that Herald makes in groups of nodes and pods do not let through.
fn closed(config: &Config, shared: &Shared, settings: &Settings) -> Option<Reason> {
    if !opens(config) {
        return None;
    }
    if settings.groups == Groups::None {
        let message = "nothing is opened in groups of nodes and pods for a load balancer without security groups: \
                       let its clients and health checks in there";
        return Some(Reason::new("NothingOpened", message));
    }
    if !settings.backend_rules {
        return None;
    }
    let message = match settings.target_type {
        TargetType::Ip if config.pod_groups.is_empty() => {
            "nothing is opened for pods: name their security groups in --aws-pod-security-groups"
                .to_owned()
        }
        TargetType::Instance if node_groups(config, shared).is_empty() => {
            "nothing is opened for nodes: no security group is named in --aws-node-security-groups, or carries the \
             tags in --aws-node-security-group-tags"
                .to_owned()
        }
        TargetType::Instance => {
            let Some(HealthPort::Number(port)) = settings.health.port else {
                return None;
            };
            let (first, last) = config.node_ports;
            let open = (first..=last).contains(&port) || port == config.node_health_port;
            if open {
                return None;
            }
            format!(
                "health checks on port {port} are not let into the nodes: only node ports and port {} are",
                config.node_health_port
            )
        }
        TargetType::Ip => return None,
    };
    Some(Reason::new("NothingOpened", message))
}
