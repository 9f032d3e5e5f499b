use std::collections::{BTreeMap, BTreeSet};

use herald_core::{IpFamily, Protocol};
use herald_provider::{LoadBalancerRequest, PortKey, PortRequest, Reason, ServiceRequest};

use super::{WantedPort, health, served};
use crate::annotations::{Parsed, ProxyProtocol, Settings};
use crate::config::Config;
use crate::inventory::Inventory;
use crate::model::{
    AddressType, Attributes, GroupSpec, ListenerSpec, NO_ALPN, Ref, Tags, TargetType, Wire,
};
use crate::{names, tags};

const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";

type Refused = BTreeMap<(usize, PortKey), Reason>;

/// The listeners of a load balancer, and the ports it cannot serve. Of two Services that want one port the older wins.
pub(super) fn ports(
    config: &Config,
    inventory: &Inventory,
    request: &LoadBalancerRequest,
    parsed: &[Parsed],
    name: &str,
    extra: &Tags,
) -> (Vec<WantedPort>, Refused) {
    let mut wanted: Vec<WantedPort> = Vec::new();
    let mut refused = Refused::new();
    let mut owners: BTreeMap<u16, String> = BTreeMap::new();
    for (index, service) in request.services.iter().enumerate() {
        let settings = &parsed[index].settings;
        let mut done = BTreeSet::new();
        for port in &service.ports {
            if done.contains(&port.key) {
                continue;
            }
            let keys = partners(settings, service, port);
            done.extend(keys.iter().copied());
            let one = Builder {
                config,
                settings,
                service,
                port,
                keys: &keys,
            };
            let built = match owners.get(&port.key.port) {
                Some(owner) => Err(conflict(service, port, owner)),
                None => one.build(&inventory.shared.vpc.id, request, name, extra),
            };
            match built {
                Ok(mut built) => {
                    built.service = index;
                    owners.insert(port.key.port, service.key.to_string());
                    wanted.push(built);
                }
                Err(reason) => {
                    refused.extend(keys.iter().map(|key| ((index, *key), reason.clone())));
                }
            }
        }
    }
    (wanted, refused)
}

/// The ports that share a listener with this one: itself, and with merging the same number's other protocol.
fn partners(
    settings: &Settings,
    service: &ServiceRequest,
    port: &PortRequest,
) -> BTreeSet<PortKey> {
    let same_target = |other: &PortRequest| match settings.target_type {
        TargetType::Instance => other.node_port == port.node_port,
        TargetType::Ip => other.target_port == port.target_port,
    };
    // TLS cannot be merged with UDP.
    let merge = settings.merge_tcp_udp && !ends_tls(settings, port.key.port);
    let partner = service.ports.iter().filter(|other| {
        merge
            && other.key.port == port.key.port
            && served(other.key.protocol)
            && served(port.key.protocol)
            && same_target(other)
    });
    partner.map(|other| other.key).chain([port.key]).collect()
}

/// Whether TLS ends at the listener of the TCP port of this number.
fn ends_tls(settings: &Settings, port: u16) -> bool {
    let chosen = settings.tls_ports.as_ref();
    !settings.certificates.is_empty() && chosen.is_none_or(|ports| ports.contains(&port))
}

fn conflict(service: &ServiceRequest, port: &PortRequest, owner: &str) -> Reason {
    let message = if *owner == service.key.to_string() {
        format!(
            "port {} is TCP and UDP at once: a Network Load Balancer has one listener per number; set \
             aws-load-balancer-enable-tcp-udp-listener: \"true\" and give both the same target and node port, \
             without TLS",
            port.key.port
        )
    } else {
        format!(
            "port {} of this load balancer belongs to {owner}",
            port.key.port
        )
    };
    Reason::new("PortConflict", message)
}

struct Builder<'a> {
    config: &'a Config,
    settings: &'a Settings,
    service: &'a ServiceRequest,
    port: &'a PortRequest,
    keys: &'a BTreeSet<PortKey>,
}

impl Builder<'_> {
    fn build(
        &self,
        vpc: &str,
        request: &LoadBalancerRequest,
        load_balancer: &str,
        extra: &Tags,
    ) -> Result<WantedPort, Reason> {
        let (settings, port) = (self.settings, self.port);
        let number = port.key.port;
        let (listener, target) = self.protocols()?;
        let family = self.family(listener)?;
        if settings.target_type == TargetType::Instance && port.node_port.is_none() {
            return Err(health::no_node_port(port));
        }
        let group_attributes = self.group_attributes();
        let proxied = group_attributes
            .get(PROXY_PROTOCOL)
            .is_some_and(|v| v == "true");
        if let Some(reason) = health::proxy_conflict(settings, self.service, target, proxied) {
            return Err(reason);
        }
        let health_check = health::check(self.config, settings, self.service, port, target)?;
        let tls = listener == Wire::Tls;
        let mut tags = tags::of_load_balancer(self.config, "target-group", &request.id, extra);
        tags.insert(tags::SERVICE.into(), self.service.key.to_string());
        tags.insert(tags::PORT.into(), port.key.to_string());
        let parts = [
            "target-group",
            load_balancer,
            &self.service.uid,
            &number.to_string(),
            target.as_str(),
            settings.target_type.as_str(),
            &family.to_string(),
        ];
        let name = names::name(self.config, &self.service.key, &parts);
        let spec = ListenerSpec {
            port: number,
            protocol: listener,
            target_group: Ref::to_come(&name),
            certificate: settings.certificates.first().filter(|_| tls).cloned(),
            tls_policy: tls.then(|| settings.tls_policy.clone()),
            alpn: tls.then(|| settings.alpn.as_deref().unwrap_or(NO_ALPN).to_owned()),
        };
        let attributes = settings
            .listener_attributes
            .get(&(listener.as_str().into(), number));
        Ok(WantedPort {
            service: 0,
            keys: self.keys.clone(),
            listener: spec,
            certificates: settings
                .certificates
                .iter()
                .skip(1)
                .filter(|_| tls)
                .cloned()
                .collect(),
            listener_attributes: attributes.cloned().unwrap_or_default(),
            group: GroupSpec {
                name,
                protocol: target,
                port: number,
                target_type: settings.target_type,
                family,
                vpc: vpc.to_owned(),
                health_check,
                tags,
            },
            group_attributes,
        })
    }

    /// What the listener speaks and what targets are spoken to.
    fn protocols(&self) -> Result<(Wire, Wire), Reason> {
        let key = self.port.key;
        if self.keys.len() > 1 {
            return Ok((Wire::TcpUdp, Wire::TcpUdp));
        }
        match key.protocol {
            Protocol::Udp => Ok((Wire::Udp, Wire::Udp)),
            Protocol::Sctp => {
                let message = format!("port {key}: Network Load Balancers do not carry SCTP");
                Err(Reason::new("UnsupportedProtocol", message))
            }
            Protocol::Tcp => {
                let target = if self.settings.backend_tls {
                    Wire::Tls
                } else {
                    Wire::Tcp
                };
                Ok(if ends_tls(self.settings, key.port) {
                    (Wire::Tls, target)
                } else {
                    (Wire::Tcp, Wire::Tcp)
                })
            }
        }
    }

    /// The family of the targets: the Service's first one.
    fn family(&self, listener: Wire) -> Result<IpFamily, Reason> {
        let family = self
            .service
            .families
            .first()
            .copied()
            .unwrap_or(IpFamily::V4);
        let dualstack = self.settings.address_type == AddressType::Dualstack;
        if family == IpFamily::V6 && !dualstack {
            let message = "IPv6 targets need aws-load-balancer-ip-address-type: dualstack";
            return Err(Reason::new("NeedsDualstack", message));
        }
        if matches!(listener, Wire::Udp | Wire::TcpUdp) && dualstack {
            let message = format!(
                "port {}: UDP on a dualstack load balancer needs IPv6 source NAT prefixes, which are not \
                 supported; use an ipv4 load balancer",
                self.port.key
            );
            return Err(Reason::new("UnsupportedProtocol", message));
        }
        Ok(family)
    }

    fn group_attributes(&self) -> Attributes {
        let number = self.port.key.port;
        let mut attributes = self.settings.group_attributes.clone();
        attributes.extend(
            self.settings
                .port_attributes
                .get(&number)
                .cloned()
                .unwrap_or_default(),
        );
        let proxy = match &self.settings.proxy_protocol {
            ProxyProtocol::Unsaid => None,
            ProxyProtocol::All => Some(true),
            ProxyProtocol::Ports(ports) => Some(ports.contains(&number)),
        };
        if let Some(on) = proxy {
            attributes.insert(PROXY_PROTOCOL.into(), on.to_string());
        }
        attributes
    }
}
