//! Network Load Balancers made by hand, as a controller would.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use herald_tests::aws::{Aws, Role};
use serde_json::{Value, json};

/// How long targets may take to be checked on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A load balancer.
pub(crate) struct Nlb<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) arn: String,
    pub(crate) hostname: String,
}

impl<'a> Nlb<'a> {
    /// An internet-facing one in both zones, `ipv4` or `dualstack`.
    pub(crate) fn create(aws: &'a Aws, name: &str, family: &str) -> Result<Self> {
        let public = aws.subnets().iter().filter(|one| one.role == Role::Public);
        let subnets: Vec<&str> = public.map(|one| one.id.as_str()).collect();
        let made = aws.call(
            "elbv2",
            "create_load_balancer",
            &json!({
                "Name": name, "Type": "network", "Scheme": "internet-facing",
                "Subnets": subnets, "IpAddressType": family,
            }),
        )?;
        let made = &made["LoadBalancers"][0];
        Ok(Self {
            aws,
            arn: text(&made["LoadBalancerArn"])?,
            hostname: text(&made["DNSName"])?.to_lowercase(),
        })
    }

    /// A listener that forwards to a target group.
    pub(crate) fn listen(&self, protocol: &str, port: u16, group: &str) -> Result<()> {
        let mut arguments = json!({
            "LoadBalancerArn": self.arn, "Protocol": protocol, "Port": port,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}],
        });
        if protocol == "TLS" {
            arguments["Certificates"] = json!([{"CertificateArn": self.aws.certificate_arn()}]);
        }
        self.aws
            .call("elbv2", "create_listener", &arguments)
            .map(drop)
    }

    /// Its address of one IP version in the first zone.
    pub(crate) fn address(&self, ipv6: bool) -> Result<std::net::IpAddr> {
        let addresses = self.aws.addresses(&self.hostname)?;
        let found = addresses.iter().find(|one| one.is_ipv6() == ipv6);
        found
            .copied()
            .with_context(|| format!("{} has {addresses:?}", self.hostname))
    }
}

/// A target group: its name, protocol, target type, and what else its creation takes.
pub(crate) fn group(
    aws: &Aws,
    name: &str,
    protocol: &str,
    kind: &str,
    more: &Value,
) -> Result<String> {
    let mut arguments = json!({
        "Name": name, "Protocol": protocol, "Port": 80, "VpcId": aws.vpc(), "TargetType": kind,
        "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2, "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 5,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        arguments[key] = value.clone();
    }
    let made = aws.call("elbv2", "create_target_group", &arguments)?;
    text(&made["TargetGroups"][0]["TargetGroupArn"])
}

pub(crate) fn attribute(aws: &Aws, group: &str, key: &str, value: &str) -> Result<()> {
    let arguments = json!({
        "TargetGroupArn": group, "Attributes": [{"Key": key, "Value": value}],
    });
    aws.call("elbv2", "modify_target_group_attributes", &arguments)
        .map(drop)
}

/// Registers targets, all with one port.
pub(crate) fn register(aws: &Aws, group: &str, targets: &[String], port: u16) -> Result<()> {
    ensure!(!targets.is_empty(), "no targets for {group}");
    let arguments = json!({"TargetGroupArn": group, "Targets": named(targets, port)});
    aws.call("elbv2", "register_targets", &arguments).map(drop)
}

pub(crate) fn deregister(aws: &Aws, group: &str, target: &str, port: u16) -> Result<()> {
    let targets = named(&[target.to_owned()], port);
    let arguments = json!({"TargetGroupArn": group, "Targets": targets});
    aws.call("elbv2", "deregister_targets", &arguments)
        .map(drop)
}

fn named(targets: &[String], port: u16) -> Value {
    let targets = targets.iter().map(|id| json!({"Id": id, "Port": port}));
    targets.collect()
}

fn text(value: &Value) -> Result<String> {
    let found = value.as_str().map(str::to_owned);
    found.with_context(|| format!("AWS answers {value}"))
}
