//! A change that needs another load balancer: the old one serves until the new one can, and for a while longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Health;
use herald_tests::wait_for;
use serde_json::json;

use crate::api_aws::aws::{Made, REGION, Tagged};
use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, PROVISIONED, hostname};
use crate::api_aws::life::removal;
use crate::api_aws::objects::{annotation, endpoints, nlb_of_pods};
use crate::api_server::DEADLINE;

/// When the old load balancer may go, as noted on it.
const RETIRE_AT: &str = "heraldlb.io/retire-at";
const GRACE: Duration = Duration::from_mins(5);

/// From internal to internet-facing.
pub(crate) fn by_scheme(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb_of_pods("moved"))?;
    objects.apply(&endpoints("moved", &["10.0.2.30"]))?;
    let before = cloud.wait_until_provisioned("moved", false)?;
    let uid = cloud.uid("moved")?;
    let old = cloud.aws.made_for(&uid)?.load_balancer()?.clone();
    // The pod does not pass the new load balancer's health checks, whatever its target group will be.
    let serving = cloud.aws.made_for(&uid)?.target_group()?.id.clone();
    let report = |group: Option<&str>, state: &str| {
        cloud.moto.health(&[Health {
            region: REGION.into(),
            group: group.map(str::to_owned),
            id: Some("10.0.2.30".into()),
            state: Some(state.into()),
            ..Health::default()
        }])
    };
    report(Some(&serving), "healthy")?;
    report(None, "unhealthy")?;
    let mark = calls::mark(&cloud.moto)?;
    objects.annotate(
        "moved",
        &annotation("aws-load-balancer-scheme", Some("internet-facing")),
    )?;
    let both = cloud.until("both load balancers, active", &uid, |made| {
        let all = &made.load_balancers;
        ensure!(all.len() == 2, "{all:?}");
        ensure!(
            all.iter().all(|one| one.is["State"]["Code"] == "active"),
            "{all:?}"
        );
        let new = other(made, &old)?;
        let listeners = cloud.aws.listeners(&new.id)?;
        ensure!(listeners.len() == 1, "{listeners:?}");
        Ok(true)
    })?;
    let new = other(&both, &old)?.clone();
    ensure!(new.is["Scheme"] == "internet-facing", "{new:?}");
    // It is told, and clients are still sent to the old one.
    objects.wait_for_condition("moved", PROVISIONED, "True", "Replacing")?;
    ensure!(hostname(&objects.service("moved")?) == Some(before.clone()));
    report(None, "healthy")?;
    let after = wait_for("the status to name the new load balancer", DEADLINE, || {
        Ok(hostname(&objects.service("moved")?).filter(|name| *name != before))
    })?;
    ensure!(new.is["DNSName"].as_str().map(str::to_lowercase) == Some(after));
    // From now on its time runs: five minutes at least, in which its targets follow the pods.
    let kept = cloud.until("the old one to be told when to go", &uid, |made| {
        Ok(made
            .load_balancers
            .iter()
            .any(|one| one.tag(RETIRE_AT).is_some()))
    })?;
    let tagged = kept.load_balancers.iter().find(|one| one.id == old.id);
    let at: u64 = tagged
        .context("the old one")?
        .tag(RETIRE_AT)
        .context(RETIRE_AT)?
        .parse()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let left = at.saturating_sub(now.as_secs());
    ensure!(
        (240..=GRACE.as_secs()).contains(&left),
        "it goes in {left} s"
    );
    objects.apply(&endpoints("moved", &["10.0.2.30", "10.0.3.30"]))?;
    cloud.until("both to have both pods", &uid, |made| {
        for group in &made.target_groups {
            let targets = cloud.aws.targets(&group.id)?;
            ensure!(targets.len() == 2, "{targets:?}");
        }
        Ok(made.target_groups.len() == 2)
    })?;
    let deleted = |calls: &[herald_tests::moto::Call]| {
        calls
            .iter()
            .any(|call| call.action.starts_with("Delete") && calls::names(call, &old.id))
    };
    ensure!(
        !deleted(&calls::since(&cloud.moto, mark)?),
        "it went too early"
    );
    its_time_comes(cloud, &uid, &old)?;
    objects.wait_for_condition("moved", PROVISIONED, "True", "Provisioned")?;
    removal(cloud, "moved", &uid)
}

/// The grace is over: AWS's clock is a test's to turn, the controller's is not, so the note on the old load balancer is.
pub(crate) fn its_time_comes(cloud: &Cloud, uid: &str, old: &Tagged) -> Result<()> {
    cloud.until("a note when the old one goes", uid, |made| {
        let old = made.load_balancers.iter().find(|one| one.id == old.id);
        Ok(old.context("the old one")?.tag(RETIRE_AT).is_some())
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let due = json!({ "Key": RETIRE_AT, "Value": (now - 1).to_string() });
    let due = json!({ "ResourceArns": [old.id], "Tags": [due] });
    cloud.aws.elb("add_tags", &due)?;
    cloud.until("the old one to be gone", uid, |made| {
        ensure!(made.counts() == [1, 1, 1], "{:?}", made.counts());
        Ok(made.load_balancer()?.id != old.id)
    })?;
    Ok(())
}

fn other<'a>(made: &'a Made, old: &Tagged) -> Result<&'a Tagged> {
    let mut all = made.load_balancers.iter();
    all.find(|one| one.id != old.id)
        .context("a new load balancer")
}
