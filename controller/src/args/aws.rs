//! Flags of the AWS provider. Without `--aws-cluster-name` it does not run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use herald_core::parse_duration;
use herald_provider_aws::Config;
use herald_provider_aws::client::{Limits, Rate};
use herald_provider_aws::model::{Scheme, TargetType};

/// Network Load Balancers on AWS (docs/aws.md).
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "AWS")]
pub struct AwsArgs {
    /// The cluster's name, part of every tag and name at AWS; turns the AWS provider on. Never change it later.
    #[arg(long, env = "HERALD_AWS_CLUSTER_NAME")]
    pub aws_cluster_name: Option<String>,

    /// The region; else from AWS_REGION, the profile, or the instance's metadata.
    #[arg(long, env = "HERALD_AWS_REGION")]
    pub aws_region: Option<String>,

    /// The VPC of the nodes; else from the instance's metadata.
    #[arg(long, env = "HERALD_AWS_VPC_ID")]
    pub aws_vpc_id: Option<String>,

    /// One endpoint for all services of AWS: an emulator, or a private endpoint.
    #[arg(long, env = "HERALD_AWS_ENDPOINT")]
    pub aws_endpoint: Option<String>,

    /// PEM file of certificate authorities to trust for AWS instead of the system's.
    #[arg(long, env = "HERALD_AWS_CA_BUNDLE")]
    pub aws_ca_bundle: Option<PathBuf>,

    /// Make load balancers for Services without spec.loadBalancerClass too; then --claim-classless must be false.
    #[arg(
        long,
        env = "HERALD_AWS_CLAIM_CLASSLESS",
        default_value_t = false,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub aws_claim_classless: bool,

    /// Scheme of Services that name none: internal or internet-facing.
    #[arg(long, env = "HERALD_AWS_DEFAULT_SCHEME", default_value = "internal", value_parser = scheme)]
    pub aws_default_scheme: Scheme,

    /// Targets of Services that name no type: instance (node ports) or ip (pods).
    #[arg(long, env = "HERALD_AWS_DEFAULT_TARGET_TYPE", default_value = "instance", value_parser = target_type)]
    pub aws_default_target_type: TargetType,

    /// TLS policy of Services that name none.
    #[arg(long, env = "HERALD_AWS_DEFAULT_SSL_POLICY")]
    pub aws_default_ssl_policy: Option<String>,

    /// Subnets (ids or Name tags) of Services that name none; else they are found by their tags.
    #[arg(long, env = "HERALD_AWS_SUBNETS", value_delimiter = ',')]
    pub aws_subnets: Vec<String>,

    /// Tags (key=value,…) for everything that is made.
    #[arg(long, env = "HERALD_AWS_TAGS", value_delimiter = ',')]
    pub aws_tags: Vec<String>,

    /// Security groups of the nodes, by id, in which node ports are opened for the load balancers.
    #[arg(long, env = "HERALD_AWS_NODE_SECURITY_GROUPS", value_delimiter = ',')]
    pub aws_node_security_groups: Vec<String>,

    /// The same, by tags (key=value,…): the groups of the VPC that carry all of them.
    #[arg(
        long,
        env = "HERALD_AWS_NODE_SECURITY_GROUP_TAGS",
        value_delimiter = ','
    )]
    pub aws_node_security_group_tags: Vec<String>,

    /// Security groups of the pods, by id, opened for the load balancers (target type ip).
    #[arg(long, env = "HERALD_AWS_POD_SECURITY_GROUPS", value_delimiter = ',')]
    pub aws_pod_security_groups: Vec<String>,

    /// The cluster's node ports, first-last, as kube-apiserver's --service-node-port-range.
    #[arg(long, env = "HERALD_AWS_NODE_PORT_RANGE", default_value = "30000-32767", value_parser = port_range)]
    pub aws_node_port_range: (u16, u16),

    /// Port on which every healthy node answers HTTP, for the health checks of UDP Services.
    #[arg(long, env = "HERALD_AWS_NODE_HEALTH_PORT", default_value_t = 10256)]
    pub aws_node_health_port: u16,

    /// Its path.
    #[arg(long, env = "HERALD_AWS_NODE_HEALTH_PATH", default_value = "/healthz")]
    pub aws_node_health_path: String,

    /// How long an old load balancer stays after the status names its replacement: 5m or more.
    #[arg(long, env = "HERALD_AWS_REPLACEMENT_GRACE", default_value = "5m", value_parser = duration)]
    pub aws_replacement_grace: Duration,

    /// Change nothing at AWS: log what would be changed, and say so on the Services.
    #[arg(
        long,
        env = "HERALD_AWS_DRY_RUN",
        default_value_t = false,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub aws_dry_run: bool,

    /// Everything at AWS is listed anew this often.
    #[arg(long, env = "HERALD_AWS_RESYNC_INTERVAL", default_value = "1h", value_parser = duration)]
    pub aws_resync_interval: Duration,

    /// One load balancer is read again this often, all in turn.
    #[arg(long, env = "HERALD_AWS_AUDIT_INTERVAL", default_value = "30s", value_parser = duration)]
    pub aws_audit_interval: Duration,

    /// Calls that read: a second, and at once after a pause. AWS gives all of an account and region 10/40; an account that was
    /// given more, or whose other users need less, can be used faster.
    #[arg(long, env = "HERALD_AWS_READ_RATE", default_value = "10/40", value_parser = rate)]
    pub aws_read_rate: Rate,

    /// The same for calls that change something.
    #[arg(long, env = "HERALD_AWS_CHANGE_RATE", default_value = "3/20", value_parser = rate)]
    pub aws_change_rate: Rate,

    /// The same for calls that register and deregister targets.
    #[arg(long, env = "HERALD_AWS_TARGET_RATE", default_value = "4/20", value_parser = rate)]
    pub aws_target_rate: Rate,

    /// Load balancers that are worked on at once.
    #[arg(long, env = "HERALD_AWS_PARALLEL", default_value_t = 16, value_parser = parallel)]
    pub aws_parallel: usize,
}

impl AwsArgs {
    /// The cluster's name, if the provider is to run.
    pub(crate) fn cluster(&self) -> Option<&str> {
        let name = self.aws_cluster_name.as_deref().map(str::trim);
        name.filter(|name| !name.is_empty())
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self, claim_classless: bool) -> Result<()> {
        let Some(cluster) = self.cluster() else {
            return Ok(());
        };
        ensure!(
            cluster.len() <= 128,
            "--aws-cluster-name: longer than 128 characters"
        );
        if self.aws_claim_classless && claim_classless {
            bail!(
                "--aws-claim-classless and --claim-classless: one Service cannot get both an address and a load balancer; \
                 set one of them to false"
            );
        }
        ensure!(
            self.aws_replacement_grace >= GRACE,
            "--aws-replacement-grace: at least 5m, because clients keep the addresses of the old load balancer"
        );
        let intervals = Duration::from_secs(1)..=LONGEST;
        ensure!(
            intervals.contains(&self.aws_audit_interval)
                && intervals.contains(&self.aws_resync_interval),
            "--aws-audit-interval, --aws-resync-interval: at least 1s and at most 168h"
        );
        ensure!(
            self.aws_node_health_path.starts_with('/'),
            "--aws-node-health-path: begins with a slash"
        );
        pairs("--aws-tags", &self.aws_tags)?;
        self.node_group_tags().map(drop)
    }

    /// The settings of the provider.
    pub(crate) fn config(&self, cluster_uid: &str, vpc: &str) -> Result<Config> {
        let cluster = self.cluster().unwrap_or_default();
        let defaults = Config::new(cluster, cluster_uid, vpc);
        let policy = self.aws_default_ssl_policy.clone();
        Ok(Config {
            class: herald_api::names::CLASS_AWS_NLB.into(),
            takes_classless: self.aws_claim_classless,
            scheme: self.aws_default_scheme,
            target_type: self.aws_default_target_type,
            tls_policy: policy
                .filter(|name| !name.trim().is_empty())
                .unwrap_or_else(|| defaults.tls_policy.clone()),
            subnets: words(&self.aws_subnets),
            tags: pairs("--aws-tags", &self.aws_tags)?,
            node_groups: words(&self.aws_node_security_groups).into_iter().collect(),
            node_group_tags: self.node_group_tags()?,
            pod_groups: words(&self.aws_pod_security_groups).into_iter().collect(),
            node_ports: self.aws_node_port_range,
            node_health_port: self.aws_node_health_port,
            node_health_path: self.aws_node_health_path.clone(),
            replacement_grace: self.aws_replacement_grace,
            ..defaults
        })
    }

    /// How fast calls may go.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            read: self.aws_read_rate,
            change: self.aws_change_rate,
            targets: self.aws_target_rate,
        }
    }

    /// The tags by which node groups are found; empty when they are not.
    fn node_group_tags(&self) -> Result<BTreeMap<String, String>> {
        pairs(
            "--aws-node-security-group-tags",
            &self.aws_node_security_group_tags,
        )
    }
}

/// The longest interval between two looks: what AWS tells nobody of has to be seen some day.
const LONGEST: Duration = Duration::from_hours(168);
const GRACE: Duration = Duration::from_mins(5);

/// Without blanks and empty entries.
fn words(list: &[String]) -> Vec<String> {
    let trimmed = list.iter().map(|word| word.trim());
    trimmed
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn pairs(flag: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for word in words(list) {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!("{flag}: \"{word}\" is not of the form key=value");
        };
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            bail!("{flag}: the key \"{key}\" is there twice");
        }
    }
    Ok(pairs)
}

fn scheme(text: &str) -> Result<Scheme, String> {
    Scheme::parse(text.trim()).ok_or_else(|| "give internal or internet-facing".into())
}

fn target_type(text: &str) -> Result<TargetType, String> {
    TargetType::parse(text.trim()).ok_or_else(|| "give instance or ip".into())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let parse = |(first, last): (&str, &str)| {
        let first: u16 = first.trim().parse().ok()?;
        let last: u16 = last.trim().parse().ok()?;
        (first > 0 && first <= last).then_some((first, last))
    };
    let range = text.split_once('-').and_then(parse);
    range.ok_or_else(|| "give first-last, such as 30000-32767".into())
}

fn parallel(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok();
    number
        .filter(|number| (1..=256).contains(number))
        .ok_or_else(|| "give a number from 1 to 256".into())
}

/// Calls a second and at once.
fn rate(text: &str) -> Result<Rate, String> {
    let parse = |(second, burst): (&str, &str)| {
        let per_second: f64 = second.trim().parse().ok()?;
        let burst: u32 = burst.trim().parse().ok()?;
        let sound = (0.1..=1000.0).contains(&per_second) && burst > 0;
        sound.then_some(Rate { per_second, burst })
    };
    let rate = text.split_once('/').and_then(parse);
    rate.ok_or_else(|| "give calls a second (0.1 to 1000) and at once, such as 10/40".into())
}

/// A whole number with a unit: s, m or h.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "give a whole number and a unit: 30s, 5m, 1h".into())
}

#[cfg(test)]
mod tests;
