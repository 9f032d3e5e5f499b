use herald_provider::Reason;

/// Prefix of the annotations that users of AWS already write.
pub const PREFIX: &str = "service.beta.kubernetes.io/";
/// Ours: accepts that a replacement which cannot coexist with the old load balancer takes it away first.
pub const ACCEPT_DOWNTIME: &str = "heraldlb.io/aws-accept-downtime";

/// What Herald does about a known annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It is honoured.
    Honoured,
    /// It has no meaning for a Network Load Balancer, or only names the controller; nothing is lost.
    Meaningless,
    /// Not honoured, and the Service is served without: a warning.
    Missing(&'static str),
    /// Not honoured, and it concerns who can reach what: the Service is refused.
    Refused(&'static str),
}

use Support::{Honoured, Meaningless, Missing, Refused};

const CLASSIC: &str = "it belongs to Classic Load Balancers";

/// Every known annotation without its prefix. A name that ends in `.` stands for all that begin so.
pub const KNOWN: &[(&str, Support)] = &[
    ("aws-load-balancer-type", Meaningless),
    ("aws-load-balancer-nlb-target-type", Honoured),
    ("aws-load-balancer-name", Honoured),
    ("aws-load-balancer-scheme", Honoured),
    ("aws-load-balancer-internal", Honoured),
    ("aws-load-balancer-ip-address-type", Honoured),
    ("aws-load-balancer-subnets", Honoured),
    ("aws-load-balancer-eip-allocations", Honoured),
    ("aws-load-balancer-private-ipv4-addresses", Honoured),
    ("aws-load-balancer-ipv6-addresses", Honoured),
    (
        "aws-load-balancer-enable-prefix-for-ipv6-source-nat",
        Missing("UDP over IPv6 is not available"),
    ),
    (
        "aws-load-balancer-source-nat-ipv6-prefixes",
        Missing("UDP over IPv6 is not available"),
    ),
    ("load-balancer-source-ranges", Honoured),
    (
        "aws-load-balancer-security-group-prefix-lists",
        Refused("list the ranges in spec.loadBalancerSourceRanges, or give own security groups"),
    ),
    ("aws-load-balancer-security-groups", Honoured),
    (
        "aws-load-balancer-extra-security-groups",
        Refused("use aws-load-balancer-security-groups"),
    ),
    (
        "aws-load-balancer-manage-backend-security-group-rules",
        Honoured,
    ),
    ("aws-load-balancer-disable-nlb-sg", Honoured),
    (
        "aws-load-balancer-inbound-sg-rules-on-private-link-traffic",
        Refused("rules are always enforced for PrivateLink traffic"),
    ),
    (
        "aws-load-balancer-enable-icmp-for-path-mtu-discovery",
        Missing("ICMP is not let in; add it to a security group of your own"),
    ),
    ("aws-load-balancer-ssl-cert", Honoured),
    ("aws-load-balancer-ssl-ports", Honoured),
    ("aws-load-balancer-ssl-negotiation-policy", Honoured),
    ("aws-load-balancer-backend-protocol", Honoured),
    ("aws-load-balancer-alpn-policy", Honoured),
    ("aws-load-balancer-proxy-protocol", Honoured),
    (
        "aws-load-balancer-proxy-protocol-per-target-group",
        Honoured,
    ),
    ("aws-load-balancer-target-group-attributes", Honoured),
    ("aws-load-balancer-target-group-attributes.", Honoured),
    ("aws-load-balancer-attributes", Honoured),
    ("aws-load-balancer-listener-attributes.", Honoured),
    (
        "aws-load-balancer-cross-zone-load-balancing-enabled",
        Honoured,
    ),
    ("aws-load-balancer-access-log-enabled", Honoured),
    ("aws-load-balancer-access-log-s3-bucket-name", Honoured),
    ("aws-load-balancer-access-log-s3-bucket-prefix", Honoured),
    (
        "aws-load-balancer-access-log-emit-interval",
        Missing(CLASSIC),
    ),
    ("aws-load-balancer-healthcheck-protocol", Honoured),
    ("aws-load-balancer-healthcheck-port", Honoured),
    ("aws-load-balancer-healthcheck-path", Honoured),
    ("aws-load-balancer-healthcheck-interval", Honoured),
    ("aws-load-balancer-healthcheck-timeout", Honoured),
    ("aws-load-balancer-healthcheck-healthy-threshold", Honoured),
    (
        "aws-load-balancer-healthcheck-unhealthy-threshold",
        Honoured,
    ),
    ("aws-load-balancer-healthcheck-success-codes", Honoured),
    ("aws-load-balancer-target-node-labels", Honoured),
    ("aws-load-balancer-additional-resource-tags", Honoured),
    ("aws-load-balancer-enable-tcp-udp-listener", Honoured),
    (
        "aws-load-balancer-quic-enabled-ports",
        Missing("the ports stay plain UDP"),
    ),
    (
        "aws-load-balancer-multi-cluster-target-group",
        Missing("every target group belongs to one cluster"),
    ),
    (
        "aws-load-balancer-minimum-load-balancer-capacity",
        Missing("reserve capacity by other means"),
    ),
    (
        "aws-load-balancer-connection-draining-enabled",
        Missing(CLASSIC),
    ),
    (
        "aws-load-balancer-connection-draining-timeout",
        Missing(CLASSIC),
    ),
    (
        "aws-load-balancer-connection-idle-timeout",
        Missing(CLASSIC),
    ),
    (
        "actions.",
        Missing("all traffic goes to the Service itself"),
    ),
];

/// What the annotation `key` (with its prefix) means for Herald: nothing, a warning, or a refusal.
pub(super) fn judge(key: &str) -> Option<Result<Reason, Reason>> {
    let short = key.strip_prefix(PREFIX)?;
    let known = KNOWN.iter().find(|(name, _)| *name == short).or_else(|| {
        KNOWN
            .iter()
            .find(|(name, _)| name.ends_with('.') && short.starts_with(name))
    });
    match known {
        Some((_, Missing(what))) => {
            let message = format!("annotation {key} is not supported: {what}");
            Some(Ok(Reason::new("UnsupportedAnnotation", message)))
        }
        Some((_, Refused(remedy))) => {
            let message =
                format!("annotation {key} is not supported and concerns who is let in: {remedy}");
            Some(Err(Reason::new("UnsupportedAnnotation", message)))
        }
        None if short.starts_with("aws-load-balancer-") => {
            let message = format!("annotation {key} is not known; check its spelling");
            Some(Ok(Reason::new("UnknownAnnotation", message)))
        }
        Some((_, Honoured | Meaningless)) | None => None,
    }
}
