//! What an operator has in AWS before Herald comes: a VPC of two zones, and instances for the nodes.

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api_aws::aws::{Aws, REGION, list, text};

/// A VPC with a public and a private subnet in each of two zones, and instances in the private ones.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) vpc: String,
    /// Public in zones a and b, private in zones a and b.
    pub(crate) subnets: [String; 4],
    /// The security group of the nodes.
    pub(crate) nodes: String,
    /// Instances of the nodes n1, n2 …
    pub(crate) instances: Vec<String>,
}

impl Site {
    /// Makes one. Its subnets carry the tags by which load balancers find them.
    pub(crate) fn make(aws: &Aws, nodes: usize) -> Result<Self> {
        let vpc = json!({ "CidrBlock": "10.0.0.0/16", "AmazonProvidedIpv6CidrBlock": true });
        let vpc = aws.ec2("create_vpc", &vpc)?["Vpc"].take();
        let v6 = text(&vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])?;
        let v6: Ipv6Addr = v6
            .split_once('/')
            .context("an IPv6 block has a length")?
            .0
            .parse()?;
        let vpc = text(&vpc["VpcId"])?;
        let mut subnets: [String; 4] = Default::default();
        for (n, subnet) in (0_u16..).zip(&mut subnets) {
            let role = if n < 2 { "elb" } else { "internal-elb" };
            let mut segments = v6.segments();
            segments[3] |= n;
            let asked = json!({
                "VpcId": vpc,
                "CidrBlock": format!("10.0.{n}.0/24"),
                "Ipv6CidrBlock": format!("{}/64", Ipv6Addr::from(segments)),
                "AvailabilityZone": format!("{REGION}{}", if n % 2 == 0 { "a" } else { "b" }),
                "TagSpecifications": [{
                    "ResourceType": "subnet",
                    "Tags": [{ "Key": format!("kubernetes.io/role/{role}"), "Value": "1" }],
                }],
            });
            *subnet = text(&aws.ec2("create_subnet", &asked)?["Subnet"]["SubnetId"])?;
        }
        let group = json!({ "GroupName": "nodes", "Description": "nodes", "VpcId": vpc });
        let group = aws.ec2("create_security_group", &group)?;
        let asked = json!({
            "ImageId": "ami-12c6146b",
            "MinCount": nodes,
            "MaxCount": nodes,
            "SubnetId": subnets[2],
        });
        let made = list(aws.ec2("run_instances", &asked)?, "Instances")?;
        Ok(Self {
            vpc,
            subnets,
            nodes: text(&group["GroupId"])?,
            instances: made
                .iter()
                .map(|instance| text(&instance["InstanceId"]))
                .collect::<Result<_>>()?,
        })
    }

    /// The Node objects of the instances, without status.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        let instances = (1..).zip(&self.instances);
        instances
            .map(|(n, id)| node(&format!("n{n}"), id))
            .collect()
    }
}

/// A Node that is an instance.
pub(crate) fn node(name: &str, instance: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name },
        "spec": { "providerID": format!("aws:///{REGION}a/{instance}") },
    })
}
