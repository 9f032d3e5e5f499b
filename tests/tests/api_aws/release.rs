//! Services that are no longer served: what was made for them goes, and they stay.

use anyhow::{Result, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_aws::cloud::{Cloud, FINALIZER};
use crate::api_aws::objects::nlb;
use crate::api_server::DEADLINE;
use crate::controller::objects::service;

/// By a change of type, and where the finalizer was left on what is somebody else's.
pub(crate) fn when_not_its_own(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb("flip"))?;
    // Left by an earlier class, a restored backup, or a hand.
    let mut inherited = service("inherit");
    inherited["metadata"]["finalizers"] = json!([FINALIZER]);
    inherited["spec"]["loadBalancerClass"] = json!("example.com/other");
    objects.apply(&inherited)?;
    objects.patch_status(
        "service/inherit",
        r#"{"status":{"loadBalancer":{"ingress":[{"hostname":"other.example.com"}]}}}"#,
    )?;
    without_finalizer(cloud, "inherit")?;
    let inherited = objects.service("inherit")?;
    ensure!(
        inherited["status"]["loadBalancer"]["ingress"][0]["hostname"] == "other.example.com",
        "what another wrote is gone: {inherited}"
    );

    cloud.wait_until_provisioned("flip", false)?;
    let uid = cloud.uid("flip")?;
    objects.patch(
        "flip",
        r#"{"spec":{"type":"ClusterIP","loadBalancerClass":null,"allocateLoadBalancerNodePorts":null}}"#,
    )?;
    without_finalizer(cloud, "flip")?;
    let left = cloud.aws.made_for(&uid)?;
    ensure!(left.counts() == [0, 0, 0], "{left:?}");
    objects.wait_for_event("flip", "Released")?;
    // And back: a new load balancer, for the same Service.
    objects.patch(
        "flip",
        r#"{"spec":{"type":"LoadBalancer","loadBalancerClass":"heraldlb.io/aws-nlb"}}"#,
    )?;
    cloud.wait_until_provisioned("flip", true)?;
    objects.delete("service/flip")?;
    objects.delete("service/inherit")?;
    cloud.wait_until_gone("flip", &uid)
}

fn without_finalizer(cloud: &Cloud, name: &str) -> Result<()> {
    wait_for(&format!("{name} to be let go"), DEADLINE, || {
        let service = cloud.objects().service(name)?;
        let ours = |entry: &Value| {
            entry["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("heraldlb.io/"))
        };
        let conditions = service["status"]["conditions"].as_array();
        let told = conditions.into_iter().flatten().any(ours);
        ensure!(
            service["metadata"]["finalizers"].is_null() && !told,
            "{} {}",
            service["metadata"]["finalizers"],
            service["status"]
        );
        Ok(Some(()))
    })
}
