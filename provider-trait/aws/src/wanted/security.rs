//! Who is let in where: into a load balancer from its clients, into nodes and pods from load balancers.

use std::collections::{BTreeMap, BTreeSet};

use herald_core::IpFamily;
use herald_provider::{Reason, ServiceRequest};
use ipnet::IpNet;

use super::WantedPort;
use crate::annotations::{Groups, Parsed};
use crate::config::Config;
use crate::inventory::{Inventory, Own, Shared};
use crate::model::{AddressType, Ref, Rule, RuleProtocol, SecurityGroup, Source, Wire};

/// Description of the rules Herald makes.
pub(crate) const RULE: &str = "heraldlb.io";

/// The security groups that the user gives, by id or `Name` tag.
pub(super) fn given(inventory: &Inventory, groups: &Groups) -> Result<BTreeSet<Ref>, Reason> {
    let Groups::Given(names) = groups else {
        return Ok(BTreeSet::new());
    };
    let find = |name: &String| {
        if name.starts_with("sg-") {
            return Ok(Ref::to(name, name));
        }
        let matches = |g: &&SecurityGroup| g.tags.get("Name") == Some(name);
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

/// The rules of a front group: the source ranges on every port that is to be listened on, and on those that are
/// listened on still because they cannot be as asked.
pub(super) fn front(
    services: &[ServiceRequest],
    parsed: &[Parsed],
    ports: &[WantedPort],
    own: &Own,
    family: AddressType,
) -> BTreeSet<Rule> {
    let wanted = ports
        .iter()
        .map(|port| (port.service, port.listener.port, port.listener.protocol));
    let mut listeners = own
        .load_balancers
        .values()
        .flat_map(|lb| lb.listeners.iter().flatten());
    let left = std::iter::from_fn(|| {
        listeners.find_map(|(number, listener)| {
            let has =
                |service: &ServiceRequest| service.ports.iter().any(|p| p.key.port == *number);
            let service = services.iter().position(has)?;
            Some((service, *number, listener.spec.protocol))
        })
    });
    let mut rules = BTreeSet::new();
    for (service, number, wire) in wanted.chain(left) {
        let usable = |net: &&IpNet| {
            family == AddressType::Dualstack || IpFamily::of(net.addr()) == IpFamily::V4
        };
        let sources = &parsed[service].settings.source_ranges;
        for net in sources.iter().filter(usable) {
            rules.extend(protocols(wire).iter().map(|protocol| Rule {
                protocol: *protocol,
                first: number,
                last: number,
                source: Source::Net(net.trunc()),
                description: RULE.into(),
            }));
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

/// Whether load balancers are let into any group of nodes or pods.
pub(crate) fn opens(config: &Config) -> bool {
    let nodes = !config.node_groups.is_empty() || !config.node_group_tags.is_empty();
    nodes || !config.pod_groups.is_empty()
}

/// The groups of nodes: those named, and those that carry the tags.
pub(super) fn node_groups(config: &Config, shared: &Shared) -> BTreeSet<String> {
    let mut all = config.node_groups.clone();
    let wanted = &config.node_group_tags;
    let carries = |group: &&SecurityGroup| {
        let same = |(key, value): (&String, &String)| group.tags.get(key) == Some(value);
        !wanted.is_empty() && wanted.iter().all(same)
    };
    let tagged = shared.others.values().filter(carries);
    all.extend(tagged.map(|group| group.id.clone()));
    all
}

/// The rules that let load balancers reach nodes or pods, for the groups the operator named, by group id.
///
/// The source is the cluster's backend group only: nothing is opened for anybody else.
pub(crate) fn backend_rules(
    config: &Config,
    shared: &Shared,
    backend: &Ref,
) -> BTreeMap<String, BTreeSet<Rule>> {
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
    for group in node_groups(config, shared) {
        let rules = all.entry(group).or_default();
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
