//! Which subnets a load balancer is put into.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_core::IpFamily;
use herald_provider::Reason;

use crate::annotations::Settings;
use crate::config::Config;
use crate::model::{AddressType, LoadBalancer, Mapping, Scheme, Subnet};

/// Fewer free addresses than this, and AWS refuses the subnet.
const LEAST_FREE: u32 = 8;

/// Subnets with the addresses asked for in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// One per availability zone.
    pub mappings: BTreeSet<Mapping>,
    /// They were named, by the Service or the operator; otherwise they were found by their tags.
    pub named: bool,
}

/// Chooses the subnets of a load balancer.
pub fn choose(
    config: &Config,
    settings: &Settings,
    scheme: Scheme,
    subnets: &[Subnet],
    current: Option<&LoadBalancer>,
) -> Result<Chosen, Reason> {
    let names = if settings.subnets.is_empty() {
        &config.subnets
    } else {
        &settings.subnets
    };
    let explicit = !names.is_empty();
    let mut chosen = if explicit {
        resolve(names, subnets)?
    } else {
        discover(config, settings, scheme, subnets, current)?
    };
    if !explicit && let Some(current) = current {
        // Addresses for each of its subnets leave no room for zones that come later.
        let kept: Vec<&Subnet> = chosen
            .iter()
            .copied()
            .filter(|subnet| current.mappings.iter().any(|m| m.subnet == subnet.id))
            .collect();
        let given = settings.allocations.len().max(settings.private_ipv4.len());
        if given.max(settings.ipv6.len()) == kept.len() {
            chosen = kept;
        }
    }
    if settings.address_type == AddressType::Dualstack
        && let Some(without) = chosen.iter().find(|subnet| !subnet.has(IpFamily::V6))
    {
        let message = format!(
            "subnet {} has no IPv6 addresses, which dualstack needs",
            without.id
        );
        return Err(Reason::new("InvalidSubnet", message));
    }
    let mappings = addresses(settings, &chosen)?;
    Ok(Chosen {
        mappings,
        named: explicit,
    })
}

fn resolve<'a>(names: &[String], subnets: &'a [Subnet]) -> Result<Vec<&'a Subnet>, Reason> {
    let mut chosen: Vec<&Subnet> = Vec::new();
    for name in names {
        let matches =
            |subnet: &&Subnet| subnet.id == *name || subnet.tags.get("Name") == Some(name);
        let found: Vec<_> = subnets.iter().filter(matches).collect();
        let [subnet] = found[..] else {
            let message = match found.len() {
                0 => format!("the VPC has no subnet with id or Name \"{name}\""),
                n => format!("{n} subnets have the Name \"{name}\"; give their ids"),
            };
            return Err(Reason::new("InvalidSubnet", message));
        };
        if let Some(other) = chosen.iter().find(|other| other.zone == subnet.zone) {
            let message = format!(
                "subnets {} and {} are both in zone {}; a load balancer takes one per zone",
                other.id, subnet.id, subnet.zone
            );
            return Err(Reason::new("InvalidSubnet", message));
        }
        chosen.push(subnet);
    }
    Ok(chosen)
}

/// Subnets by role tag, or else by whether they lead to the internet; one per zone. A load balancer that exists
/// keeps those it has, and gets zones that came later.
fn discover<'a>(
    config: &Config,
    settings: &Settings,
    scheme: Scheme,
    subnets: &'a [Subnet],
    current: Option<&LoadBalancer>,
) -> Result<Vec<&'a Subnet>, Reason> {
    let role = match scheme {
        Scheme::InternetFacing => "kubernetes.io/role/elb",
        Scheme::Internal => "kubernetes.io/role/internal-elb",
    };
    let tagged = |s: &Subnet| {
        s.tags
            .get(role)
            .is_some_and(|value| value.is_empty() || value == "1")
    };
    let any_tagged = subnets.iter().any(tagged);
    let mine = format!("kubernetes.io/cluster/{}", config.cluster);
    let mut rejected: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_zone: BTreeMap<&str, Vec<&Subnet>> = BTreeMap::new();
    for subnet in subnets {
        let kept = current.is_some_and(|lb| lb.mappings.iter().any(|m| m.subnet == subnet.id));
        let clusters = || {
            subnet
                .tags
                .keys()
                .any(|k| k.starts_with("kubernetes.io/cluster/"))
        };
        let public = scheme == Scheme::InternetFacing;
        let reason = if kept {
            None
        } else if any_tagged && !tagged(subnet) {
            Some("without the role tag")
        } else if !any_tagged && subnet.public != public {
            Some(if public { "private" } else { "public" })
        } else if !subnet.tags.contains_key(&mine) && clusters() {
            Some("of another cluster")
        } else if subnet.free < LEAST_FREE {
            Some("with fewer than 8 free addresses")
        } else if settings.address_type == AddressType::Dualstack && !subnet.has(IpFamily::V6) {
            Some("without IPv6")
        } else {
            None
        };
        match reason {
            Some(reason) => *rejected.entry(reason).or_default() += 1,
            None => by_zone.entry(&subnet.zone).or_default().push(subnet),
        }
    }
    let kept = |s: &Subnet| current.is_some_and(|lb| lb.mappings.iter().any(|m| m.subnet == s.id));
    let best = |zone: Vec<&'a Subnet>| {
        zone.into_iter()
            .min_by_key(|s| (!kept(s), !s.tags.contains_key(&mine), s.id.clone()))
    };
    let chosen: Vec<_> = by_zone.into_values().filter_map(best).collect();
    if chosen.is_empty() {
        let counts: Vec<_> = rejected
            .iter()
            .map(|(why, n)| format!("{n} {why}"))
            .collect();
        let found = if counts.is_empty() {
            "the VPC has none".into()
        } else {
            counts.join(", ")
        };
        let message = format!(
            "no subnet for an {} load balancer ({found}); tag subnets with {role}=1 or name them in \
             aws-load-balancer-subnets",
            scheme.as_str()
        );
        return Err(Reason::new("NoSubnet", message));
    }
    Ok(chosen)
}

/// Elastic addresses by order, private and IPv6 ones by the subnet they lie in.
fn addresses(settings: &Settings, chosen: &[&Subnet]) -> Result<BTreeSet<Mapping>, Reason> {
    let count = |what: &str, n: usize| {
        if n == 0 || n == chosen.len() {
            return Ok(());
        }
        let message = format!("{n} {what} for {} subnets; give one for each", chosen.len());
        Err(Reason::new("InvalidAddresses", message))
    };
    count("elastic IP addresses", settings.allocations.len())?;
    count("private IPv4 addresses", settings.private_ipv4.len())?;
    count("IPv6 addresses", settings.ipv6.len())?;
    let within = |subnet: &Subnet, all: &[IpAddr]| {
        let found = all
            .iter()
            .find(|a| subnet.nets.iter().any(|net| net.contains(*a)));
        if found.is_none() && !all.is_empty() {
            let message = format!("none of the given addresses lies in subnet {}", subnet.id);
            return Err(Reason::new("InvalidAddresses", message));
        }
        Ok(found.copied())
    };
    let private: Vec<IpAddr> = settings.private_ipv4.iter().map(|a| (*a).into()).collect();
    let ipv6: Vec<IpAddr> = settings.ipv6.iter().map(|a| (*a).into()).collect();
    chosen
        .iter()
        .enumerate()
        .map(|(n, subnet)| {
            Ok(Mapping {
                subnet: subnet.id.clone(),
                allocation: settings.allocations.get(n).cloned(),
                private_ipv4: within(subnet, &private)?,
                ipv6: within(subnet, &ipv6)?,
            })
        })
        .collect()
}
