//! DESIGN I7: one Service whose calls hang delays no other.

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Fault;

use crate::api_aws::calls;
use crate::api_aws::cloud::Cloud;
use crate::api_aws::objects::nlb;

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
