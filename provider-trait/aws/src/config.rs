use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Scheme, Tags, TargetType};

/// What the operator sets for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's name: part of every tag and name. Required; never changed later.
    pub cluster: String,
    /// The UID of the `kube-system` namespace: tells two clusters of one name apart.
    pub cluster_uid: String,
    /// The VPC to make load balancers in.
    pub vpc: String,
    /// The `spec.loadBalancerClass` that is served.
    pub class: String,
    /// Whether Services without a class are served too.
    pub takes_classless: bool,
    /// The scheme of a Service that names none.
    pub scheme: Scheme,
    /// The target type of a Service that names none.
    pub target_type: TargetType,
    /// The TLS policy of a Service that names none.
    pub tls_policy: String,
    /// Subnets (ids or `Name` tags) of Services that name none; empty means discovery by tags.
    pub subnets: Vec<String>,
    /// Tags for everything that is made.
    pub tags: Tags,
    /// Security groups of the nodes that node ports are opened in for the load balancers.
    pub node_groups: BTreeSet<String>,
    /// The same for all security groups of the VPC that carry every one of these tags; none means no such group.
    pub node_group_tags: Tags,
    /// Security groups of the pods that all ports are opened in for the load balancers (target type `ip`).
    pub pod_groups: BTreeSet<String>,
    /// The cluster's node ports (`--service-node-port-range`), first and last.
    pub node_ports: (u16, u16),
    /// A port on which every node answers HTTP when it is healthy (kube-proxy's, or the speaker's), for UDP.
    pub node_health_port: u16,
    /// Its path.
    pub node_health_path: String,
    /// How long an old load balancer stays after the status names its replacement. At least five minutes:
    /// resolvers and clients keep the old name's addresses.
    pub replacement_grace: Duration,
}

impl Config {
    /// The settings of a cluster, everything else at its default.
    pub fn new(
        cluster: impl Into<String>,
        cluster_uid: impl Into<String>,
        vpc: impl Into<String>,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            cluster_uid: cluster_uid.into(),
            vpc: vpc.into(),
            class: "heraldlb.io/aws-nlb".into(),
            takes_classless: false,
            scheme: Scheme::Internal,
            target_type: TargetType::Instance,
            tls_policy: "ELBSecurityPolicy-TLS13-1-2-2021-06".into(),
            subnets: Vec::new(),
            tags: Tags::new(),
            node_groups: BTreeSet::new(),
            node_group_tags: Tags::new(),
            pod_groups: BTreeSet::new(),
            node_ports: (30000, 32767),
            node_health_port: 10256,
            node_health_path: "/healthz".into(),
            replacement_grace: Duration::from_mins(5),
        }
    }
}
