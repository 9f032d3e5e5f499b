//! What a request means in AWS's terms: one load balancer, its listeners, target groups and security groups.

mod choose;
mod health;
mod ports;
mod security;
mod warn;

use std::collections::{BTreeMap, BTreeSet};

use herald_core::Protocol;
use herald_provider::{LoadBalancerRequest, PortKey, Reason};

pub use choose::satisfies;
pub(crate) use security::{RULE, backend_rules, opens};

use crate::annotations::{Groups, Parsed, Settings, parse};
use crate::config::Config;
use crate::inventory::{Inventory, Own};
use crate::model::{
    AddressType, Attributes, GroupSpec, ListenerSpec, Mapping, Ref, Rule, Scheme, Tags,
};
use crate::{names, tags};

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
    let mut parsed: Vec<Parsed> = request.services.iter().map(|s| parse(s, config)).collect();
    let error = parsed.iter().flat_map(|p| &p.errors).next().cloned();
    let wanted = match (error, parsed.first()) {
        (Some(error), _) => Err(error),
        (None, None) => Err(Reason::new("NoService", "the request names no Service")),
        (None, Some(first)) => whole(config, inventory, request, &first.settings, &parsed),
    };
    if let Ok(wanted) = &wanted {
        for (index, (parsed, service)) in parsed.iter_mut().zip(&request.services).enumerate() {
            let settings = &parsed.settings;
            let warnings =
                warn::warnings(config, &inventory.shared, wanted, index, service, settings);
            parsed.warnings.extend(warnings);
        }
    }
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
    let choice = choose::choose(config, inventory, own, request, parsed)?;
    let service = &request.services[0].key;
    let mut extra = Tags::new();
    for parsed in parsed {
        extra.extend(parsed.settings.tags.clone());
    }
    let mut tags = tags::of_load_balancer(config, "load-balancer", &request.id, &extra);
    tags.insert(tags::SERVICE.into(), service.to_string());
    let (ports, refused) = ports::ports(config, inventory, request, parsed, &choice.name, &extra);
    let backend = settings.backend_rules && settings.groups != Groups::None && opens(config);
    let front = (settings.groups == Groups::Managed).then(|| {
        let name = names::name(config, service, &["front", request.id.as_str()]);
        let (rules, family) = (&request.services, settings.address_type);
        (name, security::front(rules, parsed, &ports, own, family))
    });
    Ok(Wanted {
        name: choice.name,
        exists: choice.exists,
        displaces: choice.displaces,
        scheme: choice.scheme,
        address_type: settings.address_type,
        mappings: choice.mappings,
        front,
        given: security::given(inventory, &settings.groups)?,
        backend,
        attributes: settings.attributes.clone(),
        tags,
        ports,
        refused,
    })
}

/// Whether a Kubernetes protocol can be served.
pub(crate) fn served(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tcp | Protocol::Udp)
}
