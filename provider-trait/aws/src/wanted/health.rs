use herald_core::Protocol;
use herald_provider::{PortRequest, Reason, ServiceRequest, TargetPort};

use crate::annotations::{HealthPort, Settings};
use crate::config::Config;
use crate::model::{HealthCheck, Probe, TargetType, Wire};

/// The health check of one port.
///
/// Defaults: a TCP connection to the target; under policy Local the Service's health port, which knows where pods
/// are; for UDP the node's own health port, or a TCP port of the same pods, because nothing answers TCP on the target's.
pub(super) fn check(
    config: &Config,
    settings: &Settings,
    service: &ServiceRequest,
    port: &PortRequest,
    wire: Wire,
) -> Result<HealthCheck, Reason> {
    let asked = &settings.health;
    let instance = settings.target_type == TargetType::Instance;
    let local = service
        .health_check_node_port
        .filter(|_| service.local_traffic && instance);
    let mut check = HealthCheck {
        protocol: Probe::Tcp,
        port: None,
        path: None,
        codes: None,
        interval: 10,
        timeout: 10,
        healthy: 3,
        unhealthy: 3,
    };
    let mut path = "/";
    if let Some(number) = local {
        check = HealthCheck {
            protocol: Probe::Http,
            port: Some(number),
            ..quick(check)
        };
        path = "/healthz";
    } else if wire == Wire::Udp && instance {
        let number = Some(config.node_health_port);
        check = HealthCheck {
            protocol: Probe::Http,
            port: number,
            ..quick(check)
        };
        path = &config.node_health_path;
    } else if wire == Wire::Udp && asked.port.is_none() {
        check.port = beside(service, port)?;
    }
    if let Some(asked) = &asked.port {
        check.port = number(settings.target_type, service, port, asked)?;
    }
    if let Some(protocol) = asked.protocol {
        check.protocol = protocol;
    }
    if check.protocol != Probe::Tcp {
        check.path = Some(asked.path.clone().unwrap_or_else(|| path.to_owned()));
        check.codes = Some(asked.codes.clone().unwrap_or_else(|| "200-399".to_owned()));
    }
    check.interval = asked.interval.unwrap_or(check.interval);
    check.timeout = asked
        .timeout
        .unwrap_or_else(|| check.timeout.min(check.interval));
    check.healthy = asked.healthy.unwrap_or(check.healthy);
    check.unhealthy = asked.unhealthy.unwrap_or(check.unhealthy);
    Ok(check)
}

/// Where the pods behind a UDP port answer TCP.
fn beside(service: &ServiceRequest, port: &PortRequest) -> Result<Option<u16>, Reason> {
    let tcp = || {
        let ports = service.ports.iter();
        ports.filter(|other| other.key.protocol == Protocol::Tcp)
    };
    if tcp().any(|other| other.target_port == port.target_port) {
        return Ok(None);
    }
    let number = |other: &PortRequest| match other.target_port {
        TargetPort::Number(number) => Some(number),
        TargetPort::Name(_) => None,
    };
    tcp().find_map(number).map(Some).ok_or_else(|| {
        let message = format!(
            "port {}: nothing shows whether its pods are healthy, because the Service has no TCP port with a target \
             port by number; set aws-load-balancer-healthcheck-port to a port on which the pods answer TCP",
            port.key
        );
        Reason::new("NoHealthCheck", message)
    })
}

fn quick(check: HealthCheck) -> HealthCheck {
    HealthCheck {
        timeout: 6,
        healthy: 2,
        unhealthy: 2,
        ..check
    }
}

fn number(
    target_type: TargetType,
    service: &ServiceRequest,
    port: &PortRequest,
    asked: &HealthPort,
) -> Result<Option<u16>, Reason> {
    let name = match asked {
        HealthPort::Traffic => return Ok(None),
        HealthPort::Number(number) => return Ok(Some(*number)),
        HealthPort::Named(name) => name,
    };
    let named = service
        .ports
        .iter()
        .find(|p| p.name == *name)
        .unwrap_or(port);
    match (target_type, &named.target_port) {
        (TargetType::Instance, _) => named.node_port.map(Some).ok_or_else(|| no_node_port(named)),
        (TargetType::Ip, TargetPort::Number(number)) => Ok(Some(*number)),
        (TargetType::Ip, TargetPort::Name(target)) => {
            let message = format!(
                "the health check's port {name} leads to the named container port {target}, which may \
                 differ from pod to pod; give a number"
            );
            Err(Reason::new("InvalidHealthCheck", message))
        }
    }
}

/// Why a port without a node port cannot have instance targets.
pub(super) fn no_node_port(port: &PortRequest) -> Reason {
    let message = format!(
        "port {} has no node port; allow node ports (allocateLoadBalancerNodePorts) or use target type ip",
        port.key
    );
    Reason::new("NoNodePort", message)
}

/// Why proxy protocol cannot go together with a port's health check, if so.
///
/// The load balancer's health checks carry the header too, and the node's health ports do not understand it.
pub(super) fn proxy_conflict(
    settings: &Settings,
    service: &ServiceRequest,
    wire: Wire,
    proxied: bool,
) -> Option<Reason> {
    let instance = settings.target_type == TargetType::Instance;
    let overridden = settings.health.port.is_some();
    let local = service.local_traffic && service.health_check_node_port.is_some();
    let node_health = local || wire == Wire::Udp;
    if !(proxied && instance && node_health && !overridden) {
        return None;
    }
    let what = if local {
        "externalTrafficPolicy Local"
    } else {
        "UDP"
    };
    let message = format!(
        "proxy protocol with {what}: the health check's header would not be understood by the node's \
         health port; set aws-load-balancer-healthcheck-port to a port that understands it"
    );
    Some(Reason::new("ProxyProtocolHealthCheck", message))
}
