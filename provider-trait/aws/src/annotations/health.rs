use herald_provider::ServiceRequest;

use super::value::Reader;
use crate::model::Probe;

/// What a Service says of its health check; `None` is the default, which depends on the port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSettings {
    /// The protocol.
    pub protocol: Option<Probe>,
    /// The port.
    pub port: Option<HealthPort>,
    /// The path of an HTTP(S) request.
    pub path: Option<String>,
    /// The status codes that mean healthy.
    pub codes: Option<String>,
    /// Seconds between checks.
    pub interval: Option<u32>,
    /// Seconds to wait for an answer.
    pub timeout: Option<u32>,
    /// Good answers in a row to become healthy.
    pub healthy: Option<u32>,
    /// Bad answers in a row to become unhealthy.
    pub unhealthy: Option<u32>,
}

/// The port of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthPort {
    /// The one traffic goes to.
    Traffic,
    /// A number.
    Number(u16),
    /// The target's port behind the Service port of this name.
    Named(String),
}

pub(super) fn read(reader: &mut Reader<'_>, service: &ServiceRequest) -> HealthSettings {
    let named = |text: &str| {
        service
            .ports
            .iter()
            .any(|p| !p.name.is_empty() && p.name == text)
    };
    let health = HealthSettings {
        protocol: reader.parsed(
            "aws-load-balancer-healthcheck-protocol",
            "tcp, http or https",
            Probe::parse,
        ),
        port: reader.parsed(
            "aws-load-balancer-healthcheck-port",
            "traffic-port, a port number, or the name of a port of the Service",
            |text| match text {
                "traffic-port" => Some(HealthPort::Traffic),
                _ if named(text) => Some(HealthPort::Named(text.to_owned())),
                _ => text.parse().ok().filter(|n| *n > 0).map(HealthPort::Number),
            },
        ),
        path: reader.parsed("aws-load-balancer-healthcheck-path", "a path", |text| {
            (text.starts_with('/') && text.len() <= 1024).then(|| text.to_owned())
        }),
        codes: reader.parsed(
            "aws-load-balancer-healthcheck-success-codes",
            "codes such as 200, 200-399 or 200,301",
            |text| {
                let plain = text
                    .chars()
                    .all(|c| c.is_ascii_digit() || c == '-' || c == ',');
                plain.then(|| text.to_owned())
            },
        ),
        interval: reader.number("aws-load-balancer-healthcheck-interval", 5, 300),
        timeout: reader.number("aws-load-balancer-healthcheck-timeout", 2, 120),
        healthy: reader.number("aws-load-balancer-healthcheck-healthy-threshold", 2, 10),
        unhealthy: reader.number("aws-load-balancer-healthcheck-unhealthy-threshold", 2, 10),
    };
    if health.protocol == Some(Probe::Tcp) {
        for (name, set) in [
            ("aws-load-balancer-healthcheck-path", health.path.is_some()),
            (
                "aws-load-balancer-healthcheck-success-codes",
                health.codes.is_some(),
            ),
        ] {
            if set {
                reader.wrong(
                    name,
                    "needs aws-load-balancer-healthcheck-protocol: http or https",
                );
            }
        }
    }
    health
}
