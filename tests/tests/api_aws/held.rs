//! Changes that are held back: for one Service by its user, for all by the operator.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, PROVISIONED};
use crate::api_aws::objects::{nlb, port};

/// The annotation `heraldlb.io/paused`.
pub(crate) fn by_the_user(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb("paused"))?;
    cloud.wait_until_provisioned("paused", true)?;
    let uid = cloud.uid("paused")?;
    let before = cloud.aws.made_for(&uid)?;
    objects.annotate("paused", "heraldlb.io/paused=true")?;
    let ports =
        json!({ "spec": { "ports": [port("http", 80, "TCP"), port("https", 443, "TCP")] } });
    objects.patch("paused", &ports.to_string())?;
    let condition = objects.wait_for_condition("paused", PROVISIONED, "True", "Paused")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("held back until the pause annotation is removed"),
        "{message}"
    );
    objects.wait_for_event("paused", "Paused")?;
    ensure!(cloud.aws.made_for(&uid)? == before, "it was changed");
    objects.annotate("paused", "heraldlb.io/paused-")?;
    cloud.wait_until_published("paused", &["80/TCP", "443/TCP"])?;
    objects.wait_for_condition("paused", PROVISIONED, "True", "Provisioned")?;
    // A deletion is held back too.
    objects.annotate("paused", "heraldlb.io/paused=true")?;
    let before = cloud.aws.made_for(&uid)?;
    objects.delete("service/paused")?;
    objects.wait_for_condition("paused", PROVISIONED, "False", "Paused")?;
    ensure!(cloud.aws.made_for(&uid)? == before, "it was removed");
    objects.annotate("paused", "heraldlb.io/paused-")?;
    cloud.wait_until_gone("paused", &uid)
}

/// The flag `--aws-dry-run`: nothing is changed in AWS, and what would be is seen.
pub(crate) fn by_the_operator(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb("running"))?;
    let controller = cloud.controller("first", &[])?;
    cloud.wait_until_provisioned("running", true)?;
    controller.stop()?;
    let mark = calls::mark(&cloud.moto)?;
    let controller = cloud.controller("first", &["--aws-dry-run"])?;
    objects.apply(&nlb("dry"))?;
    let ports =
        json!({ "spec": { "ports": [port("http", 80, "TCP"), port("https", 443, "TCP")] } });
    objects.patch("running", &ports.to_string())?;
    let condition = objects.wait_for_condition("dry", PROVISIONED, "False", "DryRun")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.contains("changes are held back"), "{message}");
    objects.wait_for_condition("running", PROVISIONED, "True", "DryRun")?;
    calls::nothing_changed(&cloud.moto, mark, "a dry run")?;
    // What would be done, step by step.
    let page = controller.page("/debug/plan?service=default/dry")?;
    ensure!(
        page.contains("create internal load balancer hld-default-dry-"),
        "{page}"
    );
    controller.stop()?;
    let controller = cloud.controller("first", &[])?;
    cloud.wait_until_provisioned("dry", true)?;
    cloud.wait_until_published("running", &["80/TCP", "443/TCP"])?;
    for name in ["dry", "running"] {
        let uid = cloud.uid(name)?;
        objects.delete(&format!("service/{name}"))?;
        cloud.wait_until_gone(name, &uid)?;
    }
    controller.stop()
}
