//! AWS beside a cluster: moto where the cluster's pods reach it, a VPC whose instances are the nodes, and a load
//! balancer that carries traffic for the Network Load Balancers that moto keeps records of.
//!
//! ```no_run
//! use herald_tests::{Cluster, ClusterOptions, Place, aws};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut options = ClusterOptions::new("example");
//! options.aws = Some(aws::Options::default());
//! let cluster = Cluster::up(&options)?;
//! let aws = cluster.aws()?;
//! println!("controllers talk to {} in {}", aws.endpoint_for_pods(), aws.region());
//! // … something makes a Network Load Balancer …
//! aws.settled()?;
//! for balancer in aws.load_balancers()? {
//!     println!("{} is at {:?}", balancer.dns_name, aws.addresses(&balancer.dns_name)?);
//!     println!("{}", cluster.run(Place::Remote, &["curl", "-s", &format!("http://{}/", balancer.dns_name)])?);
//! }
//! # cluster.down()
//! # }
//! ```
//!
//! The load balancer (`tests/aws/balancer`) is a program in the router's namespace. It reads the ELBv2 API, holds one
//! address for each load balancer and subnet, forwards to the targets that the API calls healthy, checks them, and
//! reports their health to moto. What it does not do: security groups (every listener is open to all) and zones
//! (every address forwards to the targets of all of them).

mod describe;
mod network;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE};
use crate::moto::{Control, Settings};
use crate::wait::wait_for;

pub use describe::{Listener, LoadBalancer, Target, TargetGroup};
pub(crate) use network::{make, make_pod_subnets};
pub(crate) use programs::{folder, start_balancer, start_moto};

/// How AWS in the lab behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The region everything is in.
    pub region: String,
    /// How many times faster than a target group says its targets are checked: with 10 an interval of 10 s is 1 s.
    pub check_speed: f64,
    /// Delays and the like, from the start on; [`Control::settings`] changes them later.
    pub settings: Settings,
    /// More of the controller's environment, for example `HERALD_AWS_AUDIT_INTERVAL`, where Herald is installed.
    pub controller: BTreeMap<String, String>,
}

impl Default for Options {
    /// Region us-east-1, checks ten times as often, no delays but the target groups' own deregistration delay.
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            check_speed: 10.0,
            settings: Settings {
                draining: Some(None),
                // Until the load balancer has checked it.
                health: Some("initial"),
                ..Settings::default()
            },
            controller: BTreeMap::new(),
        }
    }
}

/// What a subnet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Internet-facing load balancers: tagged `kubernetes.io/role/elb`, with a route to an internet gateway.
    Public,
    /// Internal load balancers: tagged `kubernetes.io/role/internal-elb`.
    Internal,
    /// Nodes.
    Nodes,
    /// The pods of one node.
    Pods,
}

/// A subnet of the VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub zone: String,
    pub role: Role,
    /// IPv4, then IPv6 if it has any.
    pub ranges: Vec<IpNet>,
}

/// What was made, as written down with the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    region: String,
    endpoint: String,
    check_speed: f64,
    vpc: String,
    node_group: String,
    subnets: Vec<Subnet>,
    /// Instance and zone of each node, in their order.
    instances: Vec<(String, String)>,
    certificate_arn: String,
    controller: BTreeMap<String, String>,
}

impl Site {
    /// What Herald's controller needs to know (ConfigMap `herald-aws`).
    pub(crate) fn controller_environment(&self, cluster: &str) -> BTreeMap<String, String> {
        let own = [
            ("HERALD_AWS_CLUSTER_NAME", cluster),
            ("HERALD_AWS_REGION", &self.region),
            ("HERALD_AWS_VPC_ID", &self.vpc),
            ("HERALD_AWS_ENDPOINT", &self.endpoint),
            ("HERALD_AWS_NODE_SECURITY_GROUPS", &self.node_group),
            // Pods share their nodes' interfaces.
            ("HERALD_AWS_POD_SECURITY_GROUPS", &self.node_group),
            ("AWS_REGION", &self.region),
            // There is no metadata service: do not wait for it.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        own.into_iter().chain(self.controller.clone()).collect()
    }

    /// `spec.providerID`, zone and region of a node, counted from 1.
    pub(crate) fn node(&self, number: usize) -> Option<(String, &str, &str)> {
        let (instance, zone) = self.instances.get(number.checked_sub(1)?)?;
        Some((format!("aws:///{zone}/{instance}"), zone, &self.region))
    }
}

/// AWS beside a cluster that is up.
#[derive(Debug)]
pub struct Aws {
    cluster: String,
    site: Site,
    control: Control,
}

/// What the load balancer says of itself.
#[derive(Deserialize)]
struct Carried {
    passes: u64,
    hostnames: BTreeMap<String, Vec<IpAddr>>,
}

impl Cluster {
    /// AWS beside this cluster.
    ///
    /// # Errors
    /// If the cluster was made without [`ClusterOptions::aws`](crate::ClusterOptions).
    pub fn aws(&self) -> Result<Aws> {
        let site = self.state.aws.clone();
        let site = site.with_context(|| format!("cluster {} was made without AWS", self.name()))?;
        Ok(Aws {
            cluster: self.name().to_owned(),
            site,
            control: Control::at(programs::socket(self.name())),
        })
    }
}

impl Aws {
    /// The URL of all services, for pods and everything else on the cluster's networks. Access key and secret are
    /// both `test`.
    pub fn endpoint_for_pods(&self) -> &str {
        &self.site.endpoint
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.site.region
    }

    /// Id of the VPC, whose ranges cover nodes, pods and load balancers in both families.
    pub fn vpc(&self) -> &str {
        &self.site.vpc
    }

    /// Id of the nodes' security group.
    pub fn node_group(&self) -> &str {
        &self.site.node_group
    }

    /// The VPC's subnets. Those of load balancers are in two zones for each role.
    pub fn subnets(&self) -> &[Subnet] {
        &self.site.subnets
    }

    /// Instance ids of the nodes, in their order.
    pub fn instances(&self) -> impl Iterator<Item = &str> {
        self.site.instances.iter().map(|(id, _)| id.as_str())
    }

    /// ARN of a certificate for `*.elb.<region>.amazonaws.com` and `web.example.com`.
    pub fn certificate_arn(&self) -> &str {
        &self.site.certificate_arn
    }

    /// The certificate itself, self-signed: what a client must trust.
    pub fn certificate(&self) -> PathBuf {
        folder(&self.cluster).join("certificate.pem")
    }

    /// moto's faults, settings, clocks and call log.
    pub fn moto(&self) -> &Control {
        &self.control
    }

    /// A call to AWS as boto3 names it, for example `("elbv2", "create_load_balancer")`. It is not in the call log and
    /// meets no fault.
    ///
    /// # Errors
    /// With AWS's code and message.
    pub fn call(&self, service: &str, operation: &str, arguments: &Value) -> Result<Value> {
        self.control
            .aws(&self.site.region, service, operation, arguments)
    }

    /// Addresses behind a load balancer's host name, IPv4 first; none before it is active. For `curl` from
    /// [`Place::Remote`](crate::Place) and `Client` the name itself will do.
    pub fn addresses(&self, hostname: &str) -> Result<Vec<IpAddr>> {
        let mut carried = self.carried()?;
        Ok(carried.hostnames.remove(hostname).unwrap_or_default())
    }

    /// Waits until the load balancer forwards as everything that the API says now has it.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn settled(&self) -> Result<()> {
        let log = programs::log(&self.cluster);
        let what = format!("pass of the load balancer (log {})", log.display());
        // The next one to end may have begun already.
        let wanted = self.carried()?.passes + 2;
        wait_for(&what, PATIENCE, || {
            Ok((self.carried()?.passes >= wanted).then_some(()))
        })
    }

    /// Waits until so many targets of a group are in this state.
    ///
    /// # Errors
    /// If that does not happen in time; says which states they are in.
    pub fn wait_for_targets(
        &self,
        group: &str,
        state: &str,
        count: usize,
        deadline: Duration,
    ) -> Result<()> {
        let what = format!("{count} targets {state} in {group}");
        wait_for(&what, deadline, || {
            let targets = self.targets(group)?;
            let found = targets.iter().filter(|target| target.state == state);
            anyhow::ensure!(found.count() == count, "{targets:?}");
            Ok(Some(()))
        })?;
        self.settled()
    }

    fn carried(&self) -> Result<Carried> {
        let path = folder(&self.cluster).join("carried.json");
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is cut", path.display()))
    }
}
