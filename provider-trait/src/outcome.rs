use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use herald_core::ServiceKey;

use crate::PortKey;

/// Why something is as it is: a code for machines and a sentence for people, as in a Kubernetes condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One CamelCase word.
    pub code: String,
    /// What is the matter, naming the object, and what the user can do about it.
    pub message: String,
}

impl Reason {
    /// A reason from its two parts.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// How far a Service, or one of its ports, has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider's part is done: the load balancer is active and listens. Targets may still be unhealthy.
    Ready,
    /// It works in part: some ports of the Service, or some targets of the port.
    Partial {
        /// What does not work.
        reason: Reason,
        /// When to look again; `None` when only a change of the Service or of the cloud helps.
        retry_after: Option<Duration>,
    },
    /// It will work; look again after a while.
    Pending {
        /// What is awaited.
        reason: Reason,
        /// When to look again.
        retry_after: Duration,
    },
    /// It cannot work as asked. What worked before goes on working.
    Refused {
        /// Why, and the remedy.
        reason: Reason,
    },
}

impl Outcome {
    /// When to look again, if waiting can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ready | Self::Refused { .. } => None,
            Self::Partial { retry_after, .. } => *retry_after,
            Self::Pending { retry_after, .. } => Some(*retry_after),
        }
    }

    /// Why the outcome is not `Ready`.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Ready => None,
            Self::Partial { reason, .. }
            | Self::Pending { reason, .. }
            | Self::Refused { reason } => Some(reason),
        }
    }

    /// The outcome of a Service from those of its ports. A Service without ports is `Ready`.
    pub fn of_ports(ports: &[PortReport]) -> Self {
        let serving = |o: &Self| matches!(o, Self::Ready | Self::Partial { .. });
        let Some(first) = ports.iter().find(|p| p.outcome != Self::Ready) else {
            return Self::Ready;
        };
        let retry_after = ports.iter().filter_map(|p| p.outcome.retry_after()).min();
        let reason = first.outcome.reason().map_or_else(
            || Reason::new("Unknown", "no reason given"),
            |r| {
                Reason::new(
                    r.code.clone(),
                    format!("port {}: {}", first.port, r.message),
                )
            },
        );
        if ports.iter().any(|p| serving(&p.outcome)) {
            return Self::Partial {
                reason,
                retry_after,
            };
        }
        match retry_after {
            Some(retry_after) => Self::Pending {
                reason,
                retry_after,
            },
            None => Self::Refused { reason },
        }
    }
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ingress {
    /// A DNS name, in lower case.
    Hostname(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Targets as the provider's health checks see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetCount {
    /// Registered targets that are meant to take traffic, summed over ports.
    pub registered: usize,
    /// Those of them that are healthy.
    pub healthy: usize,
}

/// How far one port of a Service has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// The port.
    pub port: PortKey,
    /// How far it has come.
    pub outcome: Outcome,
    /// Its targets.
    pub targets: TargetCount,
}

/// A Service's endpoints as targets, by address: what pod readiness gates wait for.
///
/// An endpoint is judged by every port it serves, and in every load balancer that serves the Service or is about to:
/// while one replaces another it counts in both. Endpoints that are terminating are in neither set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Healthy targets of all the ports they serve; also endpoints that serve none of the ports.
    pub healthy: BTreeSet<IpAddr>,
    /// Those whose readiness gate is open ([`EndpointTarget::containers_ready`](crate::EndpointTarget)) and that are
    /// not healthy yet, with the reason; endpoints in the same state share it.
    pub waiting: BTreeMap<IpAddr, Arc<Reason>>,
}

/// How far one Service has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// The Service.
    pub service: ServiceKey,
    /// How far it has come as a whole.
    pub outcome: Outcome,
    /// Each port, in the Service's order.
    pub ports: Vec<PortReport>,
    /// What `status.loadBalancer.ingress` should hold. Empty means: leave what is published.
    pub ingress: Vec<Ingress>,
    /// Its endpoints as targets. `None` when its targets are not its endpoints (nodes are), or when it has no load
    /// balancer and is not going to get one: then nothing can be awaited of it.
    pub endpoints: Option<EndpointHealth>,
    /// What the provider will not do or will do differently, each once, for warning Events.
    pub warnings: Vec<Reason>,
}

/// How far a load balancer has come: one entry per Service of the request, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The Services.
    pub services: Vec<ServiceReport>,
    /// When to look again although every Service may be `Ready`: something old waits to be removed.
    pub look_again: Option<Duration>,
}

impl Report {
    /// When to look again, if there is something to wait for.
    pub fn retry_after(&self) -> Option<Duration> {
        let services = self.services.iter().map(|s| s.outcome.retry_after());
        services.chain([self.look_again]).flatten().min()
    }

    /// The report on one Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceReport> {
        self.services.iter().find(|s| s.service == *key)
    }
}

/// How far the removal of a load balancer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nothing of it is left; the finalizer may go.
    Done,
    /// It is being removed; look again after a while.
    Releasing {
        /// What is awaited.
        reason: Reason,
        /// When to look again.
        retry_after: Duration,
    },
    /// It cannot be removed until somebody acts (deletion protection, a dependency, a missing permission).
    Blocked {
        /// Why, and the remedy.
        reason: Reason,
        /// When to look again: the obstacle may be removed without any change in Kubernetes.
        retry_after: Duration,
    },
}

#[cfg(test)]
mod tests {
    use herald_core::Protocol;

    use super::*;

    fn port(number: u16, outcome: Outcome) -> PortReport {
        PortReport {
            port: PortKey {
                port: number,
                protocol: Protocol::Tcp,
            },
            outcome,
            targets: TargetCount::default(),
        }
    }

    fn pending(seconds: u64) -> Outcome {
        Outcome::Pending {
            reason: Reason::new("Provisioning", "not active"),
            retry_after: Duration::from_secs(seconds),
        }
    }

    fn refused() -> Outcome {
        Outcome::Refused {
            reason: Reason::new("TooManyListeners", "the limit is 50"),
        }
    }

    #[test]
    fn a_service_is_as_good_as_its_ports() {
        let of = |outcomes: Vec<Outcome>| {
            let ports: Vec<_> = (1..).zip(outcomes).map(|(n, o)| port(n, o)).collect();
            Outcome::of_ports(&ports)
        };
        assert_eq!(of(vec![]), Outcome::Ready);
        assert_eq!(of(vec![Outcome::Ready, Outcome::Ready]), Outcome::Ready);
        let partial = of(vec![Outcome::Ready, refused()]);
        assert!(matches!(
            partial,
            Outcome::Partial {
                retry_after: None,
                ..
            }
        ));
        assert_eq!(
            partial.reason().map(ToString::to_string).as_deref(),
            Some("TooManyListeners: port 2/TCP: the limit is 50")
        );
        assert_eq!(of(vec![refused(), refused()]).retry_after(), None);
        assert_eq!(
            of(vec![pending(9), pending(4), refused()]).retry_after(),
            Some(Duration::from_secs(4))
        );
        assert!(matches!(
            of(vec![pending(9), refused()]),
            Outcome::Pending { .. }
        ));
    }
}
