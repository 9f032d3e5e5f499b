//! AWS has no fencing: a leader that slept through the end of its lease must notice by itself.

use std::fs;

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Fault;
use herald_tests::wait_for;

use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, FINALIZER};
use crate::api_aws::objects::nlb;
use crate::api_server::DEADLINE;

/// How long the leader's call takes: it sleeps by then, and finds the answer when it wakes.
const HELD: f64 = 10.0;

pub(crate) fn a_paused_one_changes_nothing(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let old = cloud.controller("old", &[])?;
    let stand_by = cloud.bench().controller("new", |command| {
        let (endpoint, authority) = (cloud.moto.endpoint(), cloud.authority.as_deref());
        cloud.configure(command, endpoint, authority, &[]);
        // By its access key the log tells the two apart.
        command
            .env("AWS_ACCESS_KEY_ID", "other")
            .env("AWS_SECRET_ACCESS_KEY", "other");
    })?;
    let mark = calls::mark(&cloud.moto)?;
    // In the middle of a pass: the target group is made, and the answer is long in coming.
    cloud.moto.fault(&Fault {
        action: "CreateTargetGroup".into(),
        delay: HELD,
        access_key: Some("test".into()),
        ..Fault::default()
    })?;
    objects.apply(&nlb("shared"))?;
    let held = cloud.wait_for_call("the call in which the leader sleeps", mark, |call| {
        call.action == "CreateTargetGroup"
    })?;
    ensure!(held.access_key == "test", "{held:?}");
    old.signal("STOP")?;
    let result = taken_over(cloud, held.number);
    // Whatever came of it, it must not stay stopped.
    old.signal("CONT")?;
    result?;
    let woken = calls::mark(&cloud.moto)?;
    stand_by.wait_to_lead()?;
    wait_for("the old leader to notice", DEADLINE, || {
        Ok((old.metric("heraldlb_controller_leader")? < 0.5).then_some(()))
    })?;
    // Its pass went on where it had slept, and was stopped at the next change.
    wait_for("the old leader's pass to end", DEADLINE, || {
        let log = fs::read_to_string(cloud.bench().folder().join("old.log"))?;
        Ok(log.contains("the pass ends").then_some(()))
    })?;
    // The new one goes on and removes it all, which the old one sees happen.
    let uid = cloud.uid("shared")?;
    objects.delete("service/shared")?;
    cloud.wait_until_gone("shared", &uid)?;
    let calls = calls::since(&cloud.moto, mark)?;
    let late: Vec<_> = calls
        .iter()
        .filter(|call| call.changing && call.access_key == "test" && call.number > held.number)
        .collect();
    ensure!(
        late.is_empty(),
        "the old leader woke at {woken} and changed: {late:?}"
    );
    let new = calls
        .iter()
        .filter(|call| call.changing && call.access_key == "other");
    println!(
        "the old leader changed nothing after it woke, the new one made {} changes",
        new.count()
    );
    old.stop()?;
    stand_by.stop()
}

/// The other replica leads, and makes what the first one began.
fn taken_over(cloud: &Cloud, held: u64) -> Result<()> {
    wait_for("the other replica to take the lease", DEADLINE, || {
        Ok((cloud.objects().lease_holder()? == "new").then_some(()))
    })?;
    cloud.wait_until_provisioned("shared", true)?;
    let made = cloud.made("shared")?;
    ensure!(made.counts() == [1, 1, 1], "{made:?}");
    let service = cloud.objects().service("shared")?;
    ensure!(
        service["metadata"]["finalizers"][0] == FINALIZER,
        "{service}"
    );
    // The answer waits for the sleeper.
    wait_for("the answer to the held call", DEADLINE, || {
        let calls = calls::since(&cloud.moto, held - 1)?;
        let call = calls.iter().find(|call| call.number == held);
        Ok(call.context("the held call")?.status.map(drop))
    })
}
