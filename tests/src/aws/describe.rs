//! What the API says of load balancers, in the form tests ask for it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Aws;

/// Most resources whose tags one call tells.
const PER_CALL: usize = 20;

/// A Network Load Balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub dns_name: String,
    /// `provisioning`, `active` …
    pub state: String,
    pub scheme: String,
    /// `ipv4` or `dualstack`.
    pub address_type: String,
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub tags: BTreeMap<String, String>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub arn: String,
    pub port: u16,
    pub protocol: String,
    /// ARN of the target group it forwards to.
    pub group: String,
    /// ARN of the default certificate.
    pub certificate: Option<String>,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub protocol: String,
    /// `instance` or `ip`.
    pub target_type: String,
    /// Load balancers that use it.
    pub load_balancers: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// A target and its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub id: String,
    pub port: u16,
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining` or `unavailable`.
    pub state: String,
    pub reason: Option<String>,
}

impl Aws {
    /// All load balancers, with their tags.
    pub fn load_balancers(&self) -> Result<Vec<LoadBalancer>> {
        let answer = self.call("elbv2", "describe_load_balancers", &json!({}))?;
        let mut found = Vec::new();
        for one in list(&answer["LoadBalancers"]) {
            let zones = list(&one["AvailabilityZones"]);
            found.push(LoadBalancer {
                arn: text(&one["LoadBalancerArn"]),
                name: text(&one["LoadBalancerName"]),
                dns_name: text(&one["DNSName"]).to_lowercase(),
                state: text(&one["State"]["Code"]),
                scheme: text(&one["Scheme"]),
                address_type: text(&one["IpAddressType"]),
                subnets: zones.map(|zone| text(&zone["SubnetId"])).collect(),
                security_groups: list(&one["SecurityGroups"]).map(text).collect(),
                tags: BTreeMap::new(),
            });
        }
        let mut tags = self.tags(&found.iter().map(|one| one.arn.clone()).collect::<Vec<_>>())?;
        for one in &mut found {
            one.tags = tags.remove(&one.arn).unwrap_or_default();
        }
        Ok(found)
    }

    /// The one load balancer that has this tag.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn load_balancer(&self, key: &str, value: &str) -> Result<LoadBalancer> {
        let mut found = self.load_balancers()?;
        found.retain(|one| one.tags.get(key).is_some_and(|tag| tag == value));
        ensure!(found.len() < 2, "{} have tag {key}={value}", found.len());
        found
            .pop()
            .with_context(|| format!("no load balancer has tag {key}={value}"))
    }

    /// A load balancer's listeners, by port.
    pub fn listeners(&self, load_balancer: &str) -> Result<Vec<Listener>> {
        let arguments = json!({"LoadBalancerArn": load_balancer});
        let answer = self.call("elbv2", "describe_listeners", &arguments)?;
        let mut found: Vec<Listener> = list(&answer["Listeners"])
            .map(|one| Listener {
                arn: text(&one["ListenerArn"]),
                port: port(&one["Port"]),
                protocol: text(&one["Protocol"]),
                group: text(&one["DefaultActions"][0]["TargetGroupArn"]),
                certificate: one["Certificates"][0]["CertificateArn"]
                    .as_str()
                    .map(str::to_owned),
            })
            .collect();
        found.sort_by_key(|one| one.port);
        Ok(found)
    }

    /// All target groups, with tags and attributes.
    pub fn target_groups(&self) -> Result<Vec<TargetGroup>> {
        let answer = self.call("elbv2", "describe_target_groups", &json!({}))?;
        let mut found = Vec::new();
        for one in list(&answer["TargetGroups"]) {
            let arn = text(&one["TargetGroupArn"]);
            let arguments = json!({"TargetGroupArn": arn});
            let given = self.call("elbv2", "describe_target_group_attributes", &arguments)?;
            found.push(TargetGroup {
                name: text(&one["TargetGroupName"]),
                protocol: text(&one["Protocol"]),
                target_type: text(&one["TargetType"]),
                load_balancers: list(&one["LoadBalancerArns"]).map(text).collect(),
                attributes: pairs(&given["Attributes"]),
                tags: BTreeMap::new(),
                arn,
            });
        }
        let mut tags = self.tags(&found.iter().map(|one| one.arn.clone()).collect::<Vec<_>>())?;
        for one in &mut found {
            one.tags = tags.remove(&one.arn).unwrap_or_default();
        }
        Ok(found)
    }

    /// A target group's targets and their health.
    pub fn targets(&self, group: &str) -> Result<Vec<Target>> {
        let arguments = json!({"TargetGroupArn": group});
        let answer = self.call("elbv2", "describe_target_health", &arguments)?;
        let found = list(&answer["TargetHealthDescriptions"]).map(|one| Target {
            id: text(&one["Target"]["Id"]),
            port: port(&one["Target"]["Port"]),
            state: text(&one["TargetHealth"]["State"]),
            reason: one["TargetHealth"]["Reason"].as_str().map(str::to_owned),
        });
        Ok(found.collect())
    }

    fn tags(&self, arns: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut found = BTreeMap::new();
        for some in arns.chunks(PER_CALL) {
            let answer = self.call("elbv2", "describe_tags", &json!({"ResourceArns": some}))?;
            let described = list(&answer["TagDescriptions"]);
            found.extend(described.map(|one| (text(&one["ResourceArn"]), pairs(&one["Tags"]))));
        }
        Ok(found)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn port(value: &Value) -> u16 {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.unwrap_or_default()
}

fn pairs(value: &Value) -> BTreeMap<String, String> {
    list(value)
        .map(|one| (text(&one["Key"]), text(&one["Value"])))
        .collect()
}
