//! When AWS is not as it should be. DESIGN I7: one Service whose calls hang delays no other.

use std::fs;

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Fault;

use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, PROVISIONED};
use crate::api_aws::objects::nlb;

/// An endpoint whose certificate the given authority has not signed is not talked to.
pub(crate) fn of_a_stranger(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let strange = cloud.bench().folder().join("strange");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(&strange, other.cert.pem())?;
    let controller = cloud.bench().controller("only", |command| {
        cloud.configure(command, cloud.moto.endpoint(), Some(&strange), &[]);
    })?;
    objects.apply(&nlb("strange"))?;
    let condition =
        objects.wait_for_condition("strange", PROVISIONED, "False", "ConnectionFailed")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.contains("certificate"), "{message}");
    ensure!(calls::since(&cloud.moto, 0)?.is_empty());
    objects.delete("service/strange")?;
    controller.stop()
}

/// How long its call hangs: less than the client waits for an answer.
const HANGS: f64 = 25.0;

pub(crate) fn of_one_delays_no_other(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let mark = calls::mark(&cloud.moto)?;
    cloud.moto.fault(&Fault {
        holds: Some("-slow-".into()),
        delay: HANGS,
        ..Fault::default()
    })?;
    objects.apply(&nlb("slow"))?;
    let hanging = cloud.wait_for_call("a call that hangs", mark, |call| {
        calls::names(call, "-slow-")
    })?;
    objects.apply(&nlb("quick"))?;
    cloud.wait_until_provisioned("quick", true)?;
    let calls = calls::since(&cloud.moto, mark)?;
    let still = calls.iter().find(|call| call.number == hanging.number);
    let still = still.context("the call")?;
    ensure!(
        still.status.is_none(),
        "it took longer than {HANGS} s: {still:?}"
    );
    let slow = calls
        .iter()
        .filter(|call| calls::names(call, "-slow-"))
        .count();
    ensure!(slow == 1, "calls for a Service overtook each other: {slow}");
    // It comes in the end.
    cloud.wait_until_provisioned("slow", true)?;
    for name in ["slow", "quick"] {
        let uid = cloud.uid(name)?;
        objects.delete(&format!("service/{name}"))?;
        cloud.wait_until_gone(name, &uid)?;
    }
    Ok(())
}
