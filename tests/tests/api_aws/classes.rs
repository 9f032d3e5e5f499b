//! Who takes which Service, and that pools need no AWS.

use std::process::Command;

use anyhow::{Result, ensure};
use herald_tests::wait_for;
use serde_json::json;

use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, FINALIZER, PROVISIONED};
use crate::api_aws::objects::{nlb, port};
use crate::api_server::DEADLINE;
use crate::controller::objects::{pool, service};

/// Two that would both take what has no class.
pub(crate) fn a_contradiction_is_refused_at_the_start(cloud: &Cloud) -> Result<()> {
    let mut command = cloud.bench().command();
    command
        .arg("--claim-classless=true")
        .arg("--aws-claim-classless");
    cloud.configure(&mut command, cloud.moto.endpoint(), None, &[]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it started");
    for part in ["--claim-classless", "--aws-claim-classless"] {
        ensure!(said.contains(part), "{said}");
    }
    Ok(())
}

/// A pool gives its addresses while AWS cannot be reached; the Service for AWS says why it waits.
pub(crate) fn pools_work_while_aws_does_not(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&pool("lan", &["192.0.2.0/26"]))?;
    objects.apply(&nlb("waiting"))?;
    let configure = |command: &mut Command| {
        // Nobody listens there.
        cloud.configure(command, "http://127.0.0.1:1", None, &[]);
    };
    let controller = cloud.bench().controller("first", configure)?;
    controller.wait_to_lead()?;
    objects.apply(&service("plain"))?;
    objects.wait_for_addresses("plain", &["192.0.2.0"])?;
    let condition =
        objects.wait_for_condition("waiting", PROVISIONED, "False", "ConnectionFailed")?;
    objects.wait_for_event("waiting", "ConnectionFailed")?;
    objects.apply(&service("another"))?;
    objects.wait_for_addresses("another", &["192.0.2.1"])?;
    // Without AWS nothing was made, so it can be deleted at once.
    ensure!(
        condition["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{condition}"
    );
    objects.delete("service/waiting")?;
    wait_for("the Service to be gone", DEADLINE, || {
        Ok((!objects.exists("service/waiting")?).then_some(()))
    })?;
    controller.stop()
}

/// Left to the pool by default, taken with the flag.
pub(crate) fn without_class(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    // The pool's since the beginning, beside all that went on.
    let plain = objects.service("plain")?;
    ensure!(
        plain["metadata"]["finalizers"].is_null() && objects.addresses("plain")? == ["192.0.2.0"],
        "{plain}"
    );
    let all = calls::since(&cloud.moto, 0)?;
    ensure!(!all.iter().any(|call| calls::names(call, "-plain-")));
    objects.delete("service/plain")?;
    objects.delete("service/another")?;
    let flags = ["--claim-classless=false", "--aws-claim-classless"];
    let controller = cloud.controller("first", &flags)?;
    let mut taken = service("taken");
    taken["spec"]["allocateLoadBalancerNodePorts"] = json!(true);
    taken["spec"]["ports"] = json!([port("http", 80, "TCP")]);
    objects.apply(&taken)?;
    cloud.wait_until_provisioned("taken", true)?;
    controller.stop()?;
    // The flag is taken back: what was made stays, and goes with its Service.
    let controller = cloud.controller("first", &[])?;
    let uid = cloud.uid("taken")?;
    ensure!(cloud.aws.made_for(&uid)?.counts() == [1, 1, 1]);
    ensure!(objects.service("taken")?["metadata"]["finalizers"] == json!([FINALIZER]));
    objects.delete("service/taken")?;
    cloud.wait_until_gone("taken", &uid)?;
    controller.stop()
}
