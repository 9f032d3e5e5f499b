//! Attribute maps, and rules between settings.

use std::collections::BTreeMap;

use herald_core::IpFamily;
use ipnet::IpNet;

use super::value::Reader;
use super::{Groups, Settings};
use crate::model::{AddressType, Attributes, Scheme, Wire};

/// Load balancer attributes; the older single annotations beat the map, as users expect.
pub(super) fn attributes(reader: &mut Reader<'_>) -> Attributes {
    let mut map = reader.map("aws-load-balancer-attributes");
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let cross_zone = reader.switch("aws-load-balancer-cross-zone-load-balancing-enabled");
    set(
        "load_balancing.cross_zone.enabled",
        cross_zone.map(|on| on.to_string()),
    );
    let logs = reader.switch("aws-load-balancer-access-log-enabled");
    set("access_logs.s3.enabled", logs.map(|on| on.to_string()));
    let text = |name| reader.text(name).map(str::to_owned);
    set(
        "access_logs.s3.bucket",
        text("aws-load-balancer-access-log-s3-bucket-name"),
    );
    set(
        "access_logs.s3.prefix",
        text("aws-load-balancer-access-log-s3-bucket-prefix"),
    );
    map
}

pub(super) fn port_attributes(reader: &mut Reader<'_>) -> BTreeMap<u16, Attributes> {
    let mut all = BTreeMap::new();
    for suffix in reader.suffixes("aws-load-balancer-target-group-attributes.") {
        let name = format!("aws-load-balancer-target-group-attributes.{suffix}");
        let mut map = reader.map(&name);
        // An empty value does not override.
        map.retain(|_, value| !value.is_empty());
        match suffix.parse::<u16>() {
            Ok(port) => {
                all.insert(port, map);
            }
            Err(_) => reader.wrong(&name, "does not end in a port number"),
        }
    }
    all
}

pub(super) fn listener_attributes(reader: &mut Reader<'_>) -> BTreeMap<(String, u16), Attributes> {
    let mut all = BTreeMap::new();
    for suffix in reader.suffixes("aws-load-balancer-listener-attributes.") {
        let name = format!("aws-load-balancer-listener-attributes.{suffix}");
        let map = reader.map(&name);
        let parts = suffix.rsplit_once('-').and_then(|(protocol, port)| {
            let port = port.parse::<u16>().ok()?;
            Wire::parse(protocol).map(|p| (p.as_str().to_owned(), port))
        });
        match parts {
            Some(key) => {
                all.insert(key, map);
            }
            None => reader.wrong(&name, "does not end in PROTOCOL-PORT, such as TCP-80"),
        }
    }
    all
}

/// Rules between settings.
pub(super) fn check(reader: &mut Reader<'_>, settings: &Settings, default: Scheme) {
    let scheme = settings.scheme.unwrap_or(default);
    if let Some(name) = &settings.name {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let edges = name.starts_with('-') || name.ends_with('-') || name.starts_with("internal-");
        if !plain || edges || name.len() > 32 {
            let message = "a name has at most 32 letters, digits and hyphens, no hyphen at its \
                           ends, and does not begin with internal-";
            reader.wrong("aws-load-balancer-name", message);
        }
    }
    let families =
        |list: &[IpNet], family| list.iter().any(|net| IpFamily::of(net.addr()) == family);
    if settings.address_type == AddressType::Ipv4 && families(&settings.source_ranges, IpFamily::V6)
    {
        let message = "IPv6 ranges need aws-load-balancer-ip-address-type: dualstack";
        reader.wrong("load-balancer-source-ranges", message);
    }
    if settings.ranged && settings.groups == Groups::None {
        let message = "nothing can enforce source ranges without a security group";
        reader.wrong("aws-load-balancer-disable-nlb-sg", message);
    }
    if !settings.ipv6.is_empty() && settings.address_type == AddressType::Ipv4 {
        let message = "needs aws-load-balancer-ip-address-type: dualstack";
        reader.wrong("aws-load-balancer-ipv6-addresses", message);
    }
    if settings.tls_ports.is_some() && settings.certificates.is_empty() {
        reader.wrong(
            "aws-load-balancer-ssl-ports",
            "needs aws-load-balancer-ssl-cert",
        );
    }
    if settings.certificates.len() > 25 {
        reader.wrong("aws-load-balancer-ssl-cert", "at most 25 certificates");
    }
    if settings.alpn.is_some() && settings.certificates.is_empty() {
        reader.wrong(
            "aws-load-balancer-alpn-policy",
            "needs aws-load-balancer-ssl-cert",
        );
    }
    if settings.backend_tls && settings.certificates.is_empty() {
        reader.wrong(
            "aws-load-balancer-backend-protocol",
            "ssl needs aws-load-balancer-ssl-cert",
        );
    }
    if !settings.allocations.is_empty() && scheme != Scheme::InternetFacing {
        let message = "needs aws-load-balancer-scheme: internet-facing";
        reader.wrong("aws-load-balancer-eip-allocations", message);
    }
    if !settings.private_ipv4.is_empty() && scheme == Scheme::InternetFacing {
        let message = "needs aws-load-balancer-scheme: internal";
        reader.wrong("aws-load-balancer-private-ipv4-addresses", message);
    }
    if let Some(key) = settings.tags.keys().find(|key| crate::tags::reserved(key)) {
        let message = format!("\"{key}\" is reserved");
        reader.wrong("aws-load-balancer-additional-resource-tags", &message);
    }
}
