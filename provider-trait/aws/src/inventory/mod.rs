//! What exists in AWS as far as Herald knows, and how answers change that. No I/O.

mod learn;
mod note;

use std::collections::{BTreeMap, BTreeSet};

use herald_provider::{Doubt, LoadBalancerId};

use crate::call::Listing;
use crate::config::Config;
use crate::model::{LoadBalancer, Ref, Rule, SecurityGroup, State, Subnet, TargetGroup, Vpc};
use crate::step::Step;
use crate::tags;

/// What exists: per load balancer, and what all of them share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What was made for each load balancer.
    pub own: BTreeMap<LoadBalancerId, Own>,
    /// What all load balancers share.
    pub shared: Shared,
}

/// What was made for one load balancer, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Load balancers; two while one replaces the other.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// Target groups.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Front security groups.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// What of this has to be read again.
    pub doubt: Unsure,
    /// Names of things that may exist: their creation failed in an unclear way.
    pub suspects: BTreeSet<String>,
    /// How often targets were found not healthy since the last ones were registered: the longer it takes, the more
    /// rarely it is looked at.
    pub looks: u32,
}

/// How sure an [`Own`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsure {
    /// It is as read, or as our calls left it.
    #[default]
    Sure,
    /// States have to be read again.
    States,
    /// Everything that was made has to be read again.
    Things,
    /// Everything has to be read again, and if nothing was made yet, what it would be made in.
    Everything,
}

/// What all load balancers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// The VPC.
    pub vpc: Vpc,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// The cluster's backend security group.
    pub backend: Option<SecurityGroup>,
    /// All other security groups of the VPC, by id, with the rules that let other groups in.
    pub others: BTreeMap<String, SecurityGroup>,
    /// Names of load balancers that are not ours.
    pub taken: BTreeSet<String>,
}

impl Inventory {
    /// Sorts a listing into ours and not ours.
    pub fn from_listing(config: &Config, listing: Listing) -> Self {
        let mut inventory = Self::default();
        inventory.shared.vpc = listing.vpc;
        inventory.shared.subnets = listing.subnets;
        for found in listing.load_balancers {
            inventory.enter_load_balancer(config, found);
        }
        for found in listing.target_groups {
            inventory.enter_target_group(config, found);
        }
        for found in listing.security_groups {
            inventory.enter_security_group(config, found);
        }
        inventory
    }

    fn enter_load_balancer(&mut self, config: &Config, found: LoadBalancer) {
        match owner(config, &found.tags) {
            Some(id) => {
                let own = self.own.entry(id).or_default();
                own.load_balancers.insert(found.name.clone(), found);
            }
            None => {
                self.shared.taken.insert(found.name);
            }
        }
    }

    fn enter_target_group(&mut self, config: &Config, found: TargetGroup) {
        if let Some(id) = owner(config, &found.spec.tags) {
            let own = self.own.entry(id).or_default();
            own.target_groups.insert(found.spec.name.clone(), found);
        }
    }

    fn enter_security_group(&mut self, config: &Config, mut found: SecurityGroup) {
        let role = found.tags.get(tags::ROLE).map(String::as_str);
        match owner(config, &found.tags) {
            Some(id) => {
                let own = self.own.entry(id).or_default();
                own.security_groups.insert(found.name.clone(), found);
            }
            None if tags::is_ours(config, &found.tags) && role == Some("backend") => {
                self.shared.backend = Some(found);
            }
            None => {
                found.ingress.retain(Rule::from_group);
                self.shared.others.insert(found.id.clone(), found);
            }
        }
    }

    /// Marks one load balancer as to be read again, with all that an `older` inventory has of it.
    pub fn carry_over(&mut self, older: &Self, id: &LoadBalancerId) {
        let own = self.own.entry(id.clone()).or_default();
        own.doubt = Unsure::Everything;
        if let Some(older) = older.own.get(id) {
            // What is known is read again by itself; a suspect costs a call for each kind that it may be of.
            let known: BTreeSet<String> = own.names().cloned().collect();
            let missing = older.names().filter(|name| !known.contains(*name));
            own.suspects.extend(missing.cloned());
        }
    }

    /// Marks one load balancer as to be read again.
    pub fn forget(&mut self, id: &LoadBalancerId, doubt: &Doubt<'_, Step>) {
        let own = self.own.entry(id.clone()).or_default();
        match doubt {
            Doubt::Awaiting if own.doubt == Unsure::Sure => own.doubt = Unsure::States,
            Doubt::Awaiting => {}
            Doubt::Unclear(steps) => {
                own.doubt = Unsure::Everything;
                let created = steps.iter().filter_map(|step| step.creates());
                own.suspects.extend(created.map(str::to_owned));
            }
        }
    }
}

fn owner(config: &Config, tags: &crate::model::Tags) -> Option<LoadBalancerId> {
    if tags::is_ours(config, tags) {
        tags::load_balancer(tags)
    } else {
        None
    }
}

impl Own {
    /// The names of all that exists or may exist.
    fn names(&self) -> impl Iterator<Item = &String> {
        let made = self.load_balancers.keys().chain(self.target_groups.keys());
        made.chain(self.security_groups.keys())
            .chain(&self.suspects)
    }

    /// Whether nothing exists.
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty()
            && self.target_groups.is_empty()
            && self.security_groups.is_empty()
    }
}

impl LoadBalancer {
    /// A reference to it.
    pub fn reference(&self) -> Ref {
        Ref::to(&self.name, &self.arn)
    }

    /// Whether it serves.
    pub fn active(&self) -> bool {
        self.state == State::Active
    }
}

impl TargetGroup {
    /// A reference to it.
    pub fn reference(&self) -> Ref {
        Ref::to(&self.spec.name, &self.arn)
    }
}

impl SecurityGroup {
    /// A reference to it.
    pub fn reference(&self) -> Ref {
        Ref::to(&self.name, &self.id)
    }
}
