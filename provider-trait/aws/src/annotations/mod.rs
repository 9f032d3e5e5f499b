//! A Service's annotations as [`Settings`]: parsed once, completely, with every mistake named.

mod health;
mod maps;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use herald_core::{Labels, Protocol};
use herald_provider::{Reason, ServiceRequest};
use ipnet::IpNet;

pub use health::{HealthPort, HealthSettings};
pub use table::{ACCEPT_DOWNTIME, KNOWN, PREFIX, Support};
use value::Reader;

use crate::config::Config;
use crate::model::{AddressType, Attributes, Scheme, Tags, TargetType};

/// What a Service asks of its load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an annotation of its own"
)]
pub struct Settings {
    /// What targets are.
    pub target_type: TargetType,
    /// A fixed name.
    pub name: Option<String>,
    /// The scheme; `None` when not said: an existing load balancer keeps its own.
    pub scheme: Option<Scheme>,
    /// The families.
    pub address_type: AddressType,
    /// Subnets, as ids or `Name` tags.
    pub subnets: Vec<String>,
    /// Elastic IP addresses, by allocation id, one per subnet in order.
    pub allocations: Vec<String>,
    /// Private IPv4 addresses, each in one of the subnets.
    pub private_ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses, each in one of the subnets.
    pub ipv6: Vec<Ipv6Addr>,
    /// Who may connect.
    pub source_ranges: Vec<IpNet>,
    /// The Service names them itself.
    pub ranged: bool,
    /// The security groups.
    pub groups: Groups,
    /// Whether node and pod groups are opened for the load balancer.
    pub backend_rules: bool,
    /// The certificates; the first is the default one. Empty: no TLS.
    pub certificates: Vec<String>,
    /// The ports that speak TLS; `None` means all TCP ports.
    pub tls_ports: Option<BTreeSet<u16>>,
    /// The TLS policy.
    pub tls_policy: String,
    /// TLS to the targets as well.
    pub backend_tls: bool,
    /// The ALPN policy.
    pub alpn: Option<String>,
    /// Where proxy protocol v2 is spoken.
    pub proxy_protocol: ProxyProtocol,
    /// Load balancer attributes.
    pub attributes: Attributes,
    /// Target group attributes of all ports.
    pub group_attributes: Attributes,
    /// Target group attributes by port.
    pub port_attributes: BTreeMap<u16, Attributes>,
    /// Listener attributes by AWS protocol and port.
    pub listener_attributes: BTreeMap<(String, u16), Attributes>,
    /// The health check.
    pub health: HealthSettings,
    /// Only nodes with these labels become targets; `None` when they cannot be understood.
    pub node_labels: Option<Labels>,
    /// Further tags.
    pub tags: Tags,
    /// A TCP and a UDP port of one number become one listener.
    pub merge_tcp_udp: bool,
    /// A replacement may take the old load balancer away first.
    pub accept_downtime: bool,
}

/// The security groups of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// One that Herald makes, which lets the source ranges in.
    Managed,
    /// Given ones, by id or `Name` tag.
    Given(Vec<String>),
    /// None at all.
    None,
}

/// Where proxy protocol v2 is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Left to the target group attributes (off by default).
    Unsaid,
    /// On every port.
    All,
    /// On these ports, and off on the others.
    Ports(BTreeSet<u16>),
}

/// The settings of a Service with what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The settings; entries with an error are at their default.
    pub settings: Settings,
    /// What has to be corrected before anything is changed.
    pub errors: Vec<Reason>,
    /// What is not honoured, without harm.
    pub warnings: Vec<Reason>,
}

/// Reads the annotations of a Service.
pub fn parse(service: &ServiceRequest, config: &Config) -> Parsed {
    let mut reader = Reader::new(&service.annotations);
    let mut settings = read(&mut reader, service, config);
    settings.accept_downtime = service
        .annotations
        .get(ACCEPT_DOWNTIME)
        .is_some_and(|value| value == "true");
    maps::check(&mut reader, &settings, config.scheme);
    let mut errors = reader.errors;
    let mut warnings = Vec::new();
    for judged in service
        .annotations
        .keys()
        .filter_map(|key| table::judge(key))
    {
        match judged {
            Ok(warning) => warnings.push(warning),
            Err(error) => errors.push(error),
        }
    }
    Parsed {
        settings,
        errors,
        warnings,
    }
}

fn read(reader: &mut Reader<'_>, service: &ServiceRequest, config: &Config) -> Settings {
    let scheme = reader
        .parsed(
            "aws-load-balancer-scheme",
            "internal or internet-facing",
            Scheme::parse,
        )
        .or_else(|| {
            let internal = reader.switch("aws-load-balancer-internal")?;
            Some(if internal {
                Scheme::Internal
            } else {
                Scheme::InternetFacing
            })
        });
    let old_ip = reader.text("aws-load-balancer-type") == Some("nlb-ip");
    let target_type = reader
        .parsed(
            "aws-load-balancer-nlb-target-type",
            "instance or ip",
            TargetType::parse,
        )
        .unwrap_or(if old_ip {
            TargetType::Ip
        } else {
            config.target_type
        });
    let given: Vec<String> = strings(&reader.list("aws-load-balancer-security-groups"));
    let without = reader.switch("aws-load-balancer-disable-nlb-sg") == Some(true);
    if without && !given.is_empty() {
        let message = "cannot go together with aws-load-balancer-security-groups";
        reader.wrong("aws-load-balancer-disable-nlb-sg", message);
    }
    let backend = reader.switch("aws-load-balancer-manage-backend-security-group-rules");
    let backend_rules = backend.unwrap_or(given.is_empty()) && !without;
    let groups = match (without, given.is_empty()) {
        (true, _) => Groups::None,
        (false, true) => Groups::Managed,
        (false, false) => Groups::Given(given),
    };
    let ranges = reader.parsed_list("load-balancer-source-ranges", "a CIDR", |t| t.parse().ok());
    let address_type = reader
        .parsed(
            "aws-load-balancer-ip-address-type",
            "ipv4 or dualstack",
            AddressType::parse,
        )
        .unwrap_or(AddressType::Ipv4);
    Settings {
        target_type,
        name: reader.text("aws-load-balancer-name").map(str::to_owned),
        scheme,
        address_type,
        subnets: strings(&reader.list("aws-load-balancer-subnets")),
        allocations: strings(&reader.list("aws-load-balancer-eip-allocations")),
        private_ipv4: reader.parsed_list(
            "aws-load-balancer-private-ipv4-addresses",
            "an IPv4 address",
            |t| t.parse().ok(),
        ),
        ipv6: reader.parsed_list("aws-load-balancer-ipv6-addresses", "an IPv6 address", |t| {
            t.parse().ok()
        }),
        ranged: !service.source_ranges.is_empty() || !ranges.is_empty(),
        source_ranges: sources(&service.source_ranges, ranges, address_type),
        groups,
        backend_rules,
        certificates: strings(&reader.list("aws-load-balancer-ssl-cert")),
        tls_ports: ports(reader, "aws-load-balancer-ssl-ports", service, true),
        tls_policy: reader
            .text("aws-load-balancer-ssl-negotiation-policy")
            .unwrap_or(&config.tls_policy)
            .to_owned(),
        backend_tls: reader
            .parsed(
                "aws-load-balancer-backend-protocol",
                "ssl or tcp",
                |t| match t {
                    "ssl" | "tls" => Some(true),
                    "tcp" => Some(false),
                    _ => None,
                },
            )
            .unwrap_or(false),
        alpn: reader.parsed("aws-load-balancer-alpn-policy", "an ALPN policy", |text| {
            let known = [
                "None",
                "HTTP1Only",
                "HTTP2Only",
                "HTTP2Optional",
                "HTTP2Preferred",
            ];
            known.contains(&text).then(|| text.to_owned())
        }),
        proxy_protocol: proxy_protocol(reader, service),
        attributes: maps::attributes(reader),
        group_attributes: reader.map("aws-load-balancer-target-group-attributes"),
        port_attributes: maps::port_attributes(reader),
        listener_attributes: maps::listener_attributes(reader),
        health: health::read(reader, service),
        node_labels: reader.whole_map("aws-load-balancer-target-node-labels"),
        tags: reader.map("aws-load-balancer-additional-resource-tags"),
        merge_tcp_udp: reader.switch("aws-load-balancer-enable-tcp-udp-listener") == Some(true),
        accept_downtime: false,
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|entry| (*entry).to_owned()).collect()
}

/// The Service's own ranges, else the annotation's, else everybody.
fn sources(spec: &[IpNet], annotation: Vec<IpNet>, address_type: AddressType) -> Vec<IpNet> {
    if !spec.is_empty() {
        return spec.to_vec();
    }
    if !annotation.is_empty() {
        return annotation;
    }
    let mut all = vec![IpNet::from(ipnet::Ipv4Net::default())];
    if address_type == AddressType::Dualstack {
        all.push(ipnet::Ipv6Net::default().into());
    }
    all
}

/// A list of ports, by number or name; `*` and absence are `None`.
fn ports(
    reader: &mut Reader<'_>,
    name: &str,
    service: &ServiceRequest,
    tcp: bool,
) -> Option<BTreeSet<u16>> {
    let text = reader.text(name)?;
    if text == "*" {
        return None;
    }
    let ports = service
        .ports
        .iter()
        .filter(|p| !tcp || p.key.protocol == Protocol::Tcp);
    let find = |entry: &str| {
        let port = ports
            .clone()
            .find(|p| (!p.name.is_empty() && p.name == entry) || p.key.port.to_string() == entry);
        port.map(|p| p.key.port)
    };
    let expected = if tcp {
        "a TCP port of the Service"
    } else {
        "a port of the Service"
    };
    Some(
        reader
            .parsed_list(name, expected, find)
            .into_iter()
            .collect(),
    )
}

fn proxy_protocol(reader: &mut Reader<'_>, service: &ServiceRequest) -> ProxyProtocol {
    let all = reader.parsed("aws-load-balancer-proxy-protocol", "*", |t| {
        (t == "*").then_some(())
    });
    if all.is_some() {
        return ProxyProtocol::All;
    }
    let name = "aws-load-balancer-proxy-protocol-per-target-group";
    if reader.text(name).is_none() {
        return ProxyProtocol::Unsaid;
    }
    ports(reader, name, service, false).map_or(ProxyProtocol::All, ProxyProtocol::Ports)
}
