//! What a request means in AWS's terms: one load balancer, its listeners, target groups and security groups.

mod choose;
mod health;
mod ports;

use std::collections::{BTreeMap, BTreeSet};

use herald_core::{IpFamily, Protocol};
use herald_provider::{LoadBalancerRequest, PortKey, Reason};
use ipnet::IpNet;

pub use choose::satisfies;

use crate::annotations::{Groups, Parsed, Settings, parse};
use crate::config::Config;
use crate::inventory::{Inventory, Own};
use crate::model::{
    AddressType, Attributes, GroupSpec, ListenerSpec, Mapping, Ref, Rule, RuleProtocol, Scheme,
    Source, Tags, Wire,
};
use crate::{names, tags};

/// Description of the rules Herald makes.
pub const RULE: &str = "heraldlb.io";

/// A request in AWS's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name: of the load balancer that exists and can become this, or of the one to create.
    pub name: String,
    /// Whether a load balancer of that name exists.
    pub exists: bool,
    /// It can only be created once the existing ones are gone, and the user accepts that.
    pub displaces: bool,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its families.
    pub address_type: AddressType,
    /// Its subnets.
    pub mappings: BTreeSet<Mapping>,
    /// The name of its front security group, and the rules in it.
    pub front: Option<(String, BTreeSet<Rule>)>,
    /// Its given security groups.
    pub given: BTreeSet<Ref>,
    /// It is a member of the cluster's backend security group.
    pub backend: bool,
    /// Its attributes, as far as they are managed.
    pub attributes: Attributes,
    /// Its tags.
    pub tags: Tags,
    /// The ports it listens on.
    pub ports: Vec<WantedPort>,
    /// The Service ports it cannot serve, by index of the Service.
    pub refused: BTreeMap<(usize, PortKey), Reason>,
}

/// One listener with its target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPort {
    /// Index of the Service.
    pub service: usize,
    /// The Service ports behind it: two when TCP and UDP are merged.
    pub keys: BTreeSet<PortKey>,
    /// The listener; its target group is by name.
    pub listener: ListenerSpec,
    /// Certificates besides the default one.
    pub certificates: BTreeSet<String>,
    /// The listener's managed attributes.
    pub listener_attributes: Attributes,
    /// The target group.
    pub group: GroupSpec,
    /// The target group's managed attributes.
    pub group_attributes: Attributes,
}

/// A request with what its Services' annotations say, and what it means; or why it means nothing.
#[derive(Clone, Debug)]
pub struct Built {
    /// Settings, errors and warnings of each Service.
    pub parsed: Vec<Parsed>,
    /// What is wanted, or why nothing may be changed.
    pub wanted: Result<Wanted, Reason>,
}

/// Translates a request.
pub fn build(config: &Config, inventory: &Inventory, request: &LoadBalancerRequest) -> Built {
    let parsed: Vec<Parsed> = request.services.iter().map(|s| parse(s, config)).collect();
    let error = parsed.iter().flat_map(|p| &p.errors).next().cloned();
    let wanted = match (error, parsed.first()) {
        (Some(error), _) => Err(error),
        (None, None) => Err(Reason::new("NoService", "the request names no Service")),
        (None, Some(first)) => whole(config, inventory, request, &first.settings, &parsed),
    };
    Built { parsed, wanted }
}

fn whole(
    config: &Config,
    inventory: &Inventory,
    request: &LoadBalancerRequest,
    settings: &Settings,
    parsed: &[Parsed],
) -> Result<Wanted, Reason> {
    let nothing = Own::default();
    let own = inventory.own.get(&request.id).unwrap_or(&nothing);
    let choice = choose::choose(config, inventory, own, request, settings)?;
    let service = &request.services[0].key;
    let mut extra = Tags::new();
    for parsed in parsed {
        extra.extend(parsed.settings.tags.clone());
    }
    let mut tags = tags::of_load_balancer(config, "load-balancer", &request.id, &extra);
    tags.insert(tags::SERVICE.into(), service.to_string());
    let (ports, refused) = ports::ports(config, inventory, request, parsed, &choice.name, &extra);
    let backend = settings.backend_rules
        && settings.groups != Groups::None
        && !(config.node_groups.is_empty() && config.pod_groups.is_empty());
    let front = (settings.groups == Groups::Managed).then(|| {
        let name = names::name(config, service, &["front", request.id.as_str()]);
        (name, front_rules(parsed, &ports, settings.address_type))
    });
    Ok(Wanted {
        name: choice.name,
        exists: choice.exists,
        displaces: choice.displaces,
        scheme: choice.scheme,
        address_type: settings.address_type,
        mappings: choice.mappings,
        front,
        given: given(inventory, &settings.groups)?,
        backend,
        attributes: settings.attributes.clone(),
        tags,
        ports,
        refused,
    })
}

fn given(inventory: &Inventory, groups: &Groups) -> Result<BTreeSet<Ref>, Reason> {
    let Groups::Given(names) = groups else {
        return Ok(BTreeSet::new());
    };
    let find = |name: &String| {
        if name.starts_with("sg-") {
            return Ok(Ref::to(name, name));
        }
        let matches = |g: &&crate::model::SecurityGroup| g.tags.get("Name") == Some(name);
        let found: Vec<_> = inventory.shared.others.values().filter(matches).collect();
        match found[..] {
            [group] => Ok(Ref::to(name, &group.id)),
            [] => Err(format!(
                "the VPC has no security group with the Name \"{name}\""
            )),
            _ => Err(format!(
                "several security groups have the Name \"{name}\"; give their ids"
            )),
        }
    };
    let all: Result<_, String> = names.iter().map(find).collect();
    all.map_err(|message| Reason::new("InvalidSecurityGroup", message))
}

fn front_rules(parsed: &[Parsed], ports: &[WantedPort], family: AddressType) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for port in ports {
        let sources = &parsed[port.service].settings.source_ranges;
        let usable = |net: &&IpNet| {
            family == AddressType::Dualstack || IpFamily::of(net.addr()) == IpFamily::V4
        };
        for net in sources.iter().filter(usable) {
            for protocol in protocols(port.listener.protocol) {
                rules.insert(Rule {
                    protocol: *protocol,
                    first: port.listener.port,
                    last: port.listener.port,
                    source: Source::Net(net.trunc()),
                    description: RULE.into(),
                });
            }
        }
    }
    rules
}

fn protocols(wire: Wire) -> &'static [RuleProtocol] {
    match wire {
        Wire::Tcp | Wire::Tls => &[RuleProtocol::Tcp],
        Wire::Udp => &[RuleProtocol::Udp],
        Wire::TcpUdp => &[RuleProtocol::Tcp, RuleProtocol::Udp],
    }
}

/// The rules that let load balancers reach nodes or pods, for the groups the operator named, by group id.
///
/// The source is the cluster's backend group only: nothing is opened for anybody else.
pub fn backend_rules(config: &Config, backend: &Ref) -> BTreeMap<String, BTreeSet<Rule>> {
    let rule = |protocol, first, last| Rule {
        protocol,
        first,
        last,
        source: Source::Group(backend.clone()),
        description: RULE.into(),
    };
    let (first, last) = config.node_ports;
    let health = config.node_health_port;
    let mut all: BTreeMap<String, BTreeSet<Rule>> = BTreeMap::new();
    for group in &config.node_groups {
        let rules = all.entry(group.clone()).or_default();
        rules.insert(rule(RuleProtocol::Tcp, first, last));
        rules.insert(rule(RuleProtocol::Udp, first, last));
        rules.insert(rule(RuleProtocol::Tcp, health, health));
    }
    for group in &config.pod_groups {
        let rules = all.entry(group.clone()).or_default();
        rules.insert(rule(RuleProtocol::Tcp, 1, u16::MAX));
        rules.insert(rule(RuleProtocol::Udp, 1, u16::MAX));
    }
    all
}

/// Whether a Kubernetes protocol can be served.
pub(crate) fn served(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tcp | Protocol::Udp)
}
