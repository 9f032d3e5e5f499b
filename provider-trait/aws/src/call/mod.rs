//! Every call Herald makes to AWS, as data: so that a plan can be printed, compared, and counted.

mod show;

use std::collections::{BTreeMap, BTreeSet};

use herald_provider::LoadBalancerId;

use crate::model::{
    AddressType, Attributes, GroupSpec, Health, HealthCheck, Listener, ListenerSpec, LoadBalancer,
    Mapping, Ref, Rule, Scheme, SecurityGroup, Subnet, Tags, Target, TargetGroup, Vpc,
};

/// A reading call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Whatever has one of these names, whosever it is, with tags.
    Names {
        /// The load balancer all this is read for.
        id: LoadBalancerId,
        /// Names of load balancers.
        load_balancers: BTreeSet<String>,
        /// Names of target groups.
        target_groups: BTreeSet<String>,
        /// Names of security groups.
        security_groups: BTreeSet<String>,
    },
    /// The VPC with its subnets and security groups: where a load balancer that could not be made may find its place.
    Network(LoadBalancerId),
    /// The states of load balancers, by ARN.
    States {
        /// The load balancer all this is read for.
        id: LoadBalancerId,
        /// Their ARNs.
        arns: Vec<String>,
    },
    /// The listeners of a load balancer, with certificates and tags.
    Listeners(Ref),
    /// The attributes of one listener.
    ListenerAttributes {
        /// The load balancer.
        load_balancer: Ref,
        /// The listener.
        listener: Ref,
        /// Its port.
        port: u16,
    },
    /// The attributes of a load balancer.
    Attributes(Ref),
    /// The attributes of a target group.
    GroupAttributes(Ref),
    /// The targets of a target group and their health.
    Targets(Ref),
}

/// A changing call. References are by ARN once the object exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of AWS's call")]
pub enum Change {
    CreateSecurityGroup {
        name: String,
        description: String,
        vpc: String,
        tags: Tags,
    },
    AuthorizeIngress {
        group: Ref,
        rules: BTreeSet<Rule>,
    },
    RevokeIngress {
        group: Ref,
        rules: BTreeSet<Rule>,
    },
    DeleteSecurityGroup {
        group: Ref,
    },
    CreateTargetGroup(GroupSpec),
    ModifyTargetGroup {
        group: Ref,
        health_check: HealthCheck,
    },
    SetGroupAttributes {
        group: Ref,
        attributes: Attributes,
    },
    DeleteTargetGroup {
        group: Ref,
    },
    RegisterTargets {
        group: Ref,
        targets: BTreeSet<Target>,
    },
    DeregisterTargets {
        group: Ref,
        targets: BTreeSet<Target>,
    },
    CreateLoadBalancer {
        name: String,
        scheme: Scheme,
        address_type: AddressType,
        mappings: BTreeSet<Mapping>,
        security_groups: BTreeSet<Ref>,
        tags: Tags,
    },
    SetSubnets {
        load_balancer: Ref,
        mappings: BTreeSet<Mapping>,
        address_type: AddressType,
    },
    SetSecurityGroups {
        load_balancer: Ref,
        security_groups: BTreeSet<Ref>,
    },
    SetAddressType {
        load_balancer: Ref,
        address_type: AddressType,
    },
    SetAttributes {
        load_balancer: Ref,
        attributes: Attributes,
    },
    DeleteLoadBalancer {
        load_balancer: Ref,
    },
    CreateListener {
        load_balancer: Ref,
        spec: ListenerSpec,
        tags: Tags,
    },
    ModifyListener {
        load_balancer: Ref,
        listener: Ref,
        spec: ListenerSpec,
    },
    DeleteListener {
        load_balancer: Ref,
        listener: Ref,
        port: u16,
    },
    SetListenerAttributes {
        load_balancer: Ref,
        listener: Ref,
        port: u16,
        attributes: Attributes,
    },
    AddCertificates {
        load_balancer: Ref,
        listener: Ref,
        port: u16,
        certificates: BTreeSet<String>,
    },
    RemoveCertificates {
        load_balancer: Ref,
        listener: Ref,
        port: u16,
        certificates: BTreeSet<String>,
    },
    AddTags {
        resource: Ref,
        tags: Tags,
    },
    RemoveTags {
        resource: Ref,
        keys: Vec<String>,
    },
}

/// What a call answered. A change without an entry here answers [`Answer::Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done; what it did follows from the call.
    Done,
    /// The load balancer that was created.
    LoadBalancer(LoadBalancer),
    /// The target group that was created.
    TargetGroup(TargetGroup),
    /// The listener that was created.
    Listener(Listener),
    /// The id of the security group that was created.
    SecurityGroup(String),
    /// What has the names asked for.
    Names {
        /// Load balancers.
        load_balancers: Vec<LoadBalancer>,
        /// Target groups.
        target_groups: Vec<TargetGroup>,
        /// Security groups.
        security_groups: Vec<SecurityGroup>,
    },
    /// What a [`Query::Network`] asks for.
    Network {
        /// The security groups of the VPC.
        security_groups: Vec<SecurityGroup>,
        /// Its subnets.
        subnets: Vec<Subnet>,
        /// The VPC.
        vpc: Vpc,
    },
    /// The load balancers of a [`Query::States`] that exist, without tags.
    States(Vec<LoadBalancer>),
    /// Listeners by port; `None` when the load balancer does not exist.
    Listeners(Option<BTreeMap<u16, Listener>>),
    /// Attributes; `None` when the object does not exist.
    Attributes(Option<Attributes>),
    /// Targets; `None` when the group does not exist.
    Targets(Option<BTreeMap<Target, Health>>),
}

/// All there is in the account and region, as far as Herald looks: what is not ours is there by name only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All Network Load Balancers, with tags.
    pub load_balancers: Vec<LoadBalancer>,
    /// All target groups, with tags.
    pub target_groups: Vec<TargetGroup>,
    /// The security groups of the VPC.
    pub security_groups: Vec<SecurityGroup>,
    /// The subnets of the VPC.
    pub subnets: Vec<Subnet>,
    /// The VPC.
    pub vpc: Vpc,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A reading one.
    Ask(Query),
    /// A changing one.
    Change(Change),
}
