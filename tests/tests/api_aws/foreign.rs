//! Load balancers of others, in the same account and VPC: nothing Herald does names them.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::api_aws::aws::{Made, text};
use crate::api_aws::calls;
use crate::api_aws::cloud::{CLUSTER, Cloud};

/// Names of others' load balancers with the tags that say whose they are.
const OTHERS: [(&str, &[(&str, &str)]); 3] = [
    (
        "k8s-default-web-0123456789",
        &[
            ("elbv2.k8s.aws/cluster", CLUSTER),
            ("service.k8s.aws/stack", "default/web"),
            ("service.k8s.aws/resource", "LoadBalancer"),
        ],
    ),
    (
        "a0123456789abcdef0123456789abcde",
        &[
            ("kubernetes.io/service-name", "default/web"),
            ("kubernetes.io/cluster/prod", "owned"),
        ],
    ),
    // Herald's in a cluster of the same name, for a Service of the same name.
    (
        "hld-default-web-0123456789",
        &[
            ("heraldlb.io/cluster", CLUSTER),
            ("heraldlb.io/cluster-uid", "of-another-kube-system"),
            ("heraldlb.io/load-balancer", "uid-of-another-web"),
            ("heraldlb.io/service", "default/web"),
            ("heraldlb.io/role", "load-balancer"),
        ],
    ),
];

/// Makes them, with all that belongs to them, and gives what there is now.
pub(crate) fn add(cloud: &Cloud) -> Result<Made> {
    let aws = &cloud.aws;
    for (name, tags) in OTHERS {
        let tags = tags
            .iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }));
        let tags: Vec<Value> = tags.collect();
        let group = json!({
            "GroupName": name,
            "Description": name,
            "VpcId": cloud.site.vpc,
            "TagSpecifications": [{ "ResourceType": "security-group", "Tags": tags }],
        });
        let group = text(&aws.ec2("create_security_group", &group)?["GroupId"])?;
        let balancer = json!({
            "Name": name,
            "Type": "network",
            "Scheme": "internal",
            "Subnets": cloud.site.subnets[2..],
            "SecurityGroups": [group],
            "Tags": tags,
        });
        let balancer = aws.elb("create_load_balancer", &balancer)?;
        let target = json!({
            "Name": name,
            "Protocol": "TCP",
            "Port": 80,
            "VpcId": cloud.site.vpc,
            "TargetType": "ip",
            "Tags": tags,
        });
        let target = aws.elb("create_target_group", &target)?;
        let target = &target["TargetGroups"][0]["TargetGroupArn"];
        let targets =
            json!({ "TargetGroupArn": target, "Targets": [{ "Id": "10.0.2.99", "Port": 80 }] });
        aws.elb("register_targets", &targets)?;
        let listener = json!({
            "LoadBalancerArn": balancer["LoadBalancers"][0]["LoadBalancerArn"],
            "Protocol": "TCP",
            "Port": 80,
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": target }],
            "Tags": tags,
        });
        aws.elb("create_listener", &listener)?;
    }
    others(cloud)
}

/// After all that the controllers did: the same as before, and not one changing call names them.
pub(crate) fn untouched(cloud: &Cloud, before: &Made) -> Result<()> {
    let after = others(cloud)?;
    ensure!(
        settled(&after) == settled(before),
        "others' things changed: {before:?} {after:?}"
    );
    let all = calls::since(&cloud.moto, 0)?;
    let changes = calls::changing(&all);
    let groups = before.security_groups.iter().map(|group| group.id.as_str());
    let names = OTHERS.iter().map(|(name, _)| *name);
    for name in names.chain(groups) {
        if let Some(call) = changes.iter().find(|call| calls::names(call, name)) {
            bail!("{} names {name}: {:?}", call.action, call.params);
        }
    }
    println!(
        "{} changing calls, none names what is others'",
        changes.len()
    );
    ensure!(changes.len() > 100, "too few changes to show anything");
    Ok(())
}

fn others(cloud: &Cloud) -> Result<Made> {
    let mut all = cloud.aws.all()?;
    let named = |value: &Value| OTHERS.iter().any(|(name, _)| value == name);
    all.load_balancers
        .retain(|one| named(&one.is["LoadBalancerName"]));
    all.target_groups
        .retain(|one| named(&one.is["TargetGroupName"]));
    all.security_groups
        .retain(|one| named(&one.is["GroupName"]));
    ensure!(all.counts() == [OTHERS.len(); 3], "{all:?}");
    Ok(all)
}

/// Without the state that AWS itself moves on.
fn settled(made: &Made) -> Made {
    let mut made = made.clone();
    for balancer in &mut made.load_balancers {
        balancer.is["State"] = json!("any");
    }
    made
}
