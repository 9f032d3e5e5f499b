//! DESIGN I4 and I8: `kill -9` right before and right after a call of creation, change and removal.

use anyhow::{Result, ensure};
use herald_tests::moto::{Call, Fault};
use herald_tests::wait_for;
use serde_json::json;

use crate::api_aws::aws::Made;
use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, short};
use crate::api_aws::objects::{annotation, nlb, port};
use crate::api_server::DEADLINE;

/// What a Service goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Create,
    Change,
    Delete,
}

/// Whether the call takes effect before the end.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Lost,
    Kept,
}

use Effect::{Kept, Lost};
use Stage::{Change, Create, Delete};

/// Stage, number of the changing call in it from 0, and whether that call takes effect.
const KILLS: [(Stage, u32, Effect); 10] = [
    (Create, 0, Kept),
    (Create, 1, Lost),
    (Create, 2, Kept),
    (Create, 4, Lost),
    (Create, 4, Kept),
    (Change, 0, Kept),
    (Change, 2, Lost),
    (Change, 4, Kept),
    (Delete, 0, Kept),
    (Delete, 1, Lost),
];

pub(crate) fn at_ten_calls(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let mut controller = cloud.controller("only", &[])?;
    // The backend group is there for good: every round is of its own Service only.
    objects.apply(&nlb("first"))?;
    cloud.wait_until_provisioned("first", true)?;
    let mut killed = Vec::new();
    for (n, (stage, number, effect)) in KILLS.into_iter().enumerate() {
        let name = format!("k{n}");
        if stage != Create {
            objects.apply(&nlb(&name))?;
            cloud.wait_until_provisioned(&name, true)?;
        }
        let mark = calls::mark(&cloud.moto)?;
        freeze(cloud, number, effect)?;
        match stage {
            Create => objects.apply(&nlb(&name))?,
            Change => change(cloud, &name)?,
            Delete => objects.delete(&format!("service/{name}"))?,
        }
        let uid = cloud.uid(&name)?;
        let call = frozen(cloud, mark)?;
        controller.kill()?;
        cloud.moto.heal(None)?;
        killed.push(format!("{stage:?} {number} {effect:?}: {}", call.action));
        controller = cloud.controller("only", &[])?;
        match stage {
            Create => drop(cloud.wait_until_provisioned(&name, true)?),
            Change => changed(cloud, &name, &uid)?,
            Delete => cloud.wait_until_gone(&name, &uid)?,
        }
        if stage != Delete {
            once(cloud, &name, &cloud.aws.made_for(&uid)?)?;
            objects.delete(&format!("service/{name}"))?;
            cloud.wait_until_gone(&name, &uid)?;
        }
    }
    println!("killed at {}", killed.join(", "));
    // Nothing of all those rounds is left, and what was there all the time is as it was.
    let all = cloud.aws.all()?;
    ensure!(
        all.load_balancers.len() == 1 && all.target_groups.len() == 1,
        "{all:?}"
    );
    once(cloud, "first", &cloud.made("first")?)?;
    // The last one takes what the cluster shares along.
    let uid = cloud.uid("first")?;
    objects.delete("service/first")?;
    cloud.wait_until_gone("first", &uid)?;
    let left = cloud.aws.all()?;
    let ours = |group: &&crate::api_aws::aws::Tagged| group.tag("heraldlb.io/cluster").is_some();
    ensure!(left.security_groups.iter().find(ours).is_none(), "{left:?}");
    let nodes = left
        .security_groups
        .iter()
        .find(|group| group.id == cloud.site.nodes);
    ensure!(
        nodes.is_some_and(|group| group.is["IpPermissions"] == json!([])),
        "{nodes:?}"
    );
    controller.stop()
}

/// The changing call with this number, and every later one, is not answered: the controller hangs in it until it is killed.
fn freeze(cloud: &Cloud, number: u32, effect: Effect) -> Result<()> {
    cloud.moto.fault(&Fault {
        action: "changing".into(),
        skip: number,
        delay: 3600.0,
        code: Some("ServiceUnavailable".into()),
        status: Some(503),
        when: match effect {
            Lost => "before".into(),
            Kept => "after".into(),
        },
        access_key: Some("test".into()),
        sticks: true,
        ..Fault::default()
    })
}

/// The call in which the controller hangs.
fn frozen(cloud: &Cloud, mark: u64) -> Result<Call> {
    wait_for("the controller to hang in its call", DEADLINE, || {
        // What has met its call meets every other one from then on.
        let met = cloud
            .moto
            .faults_left()?
            .iter()
            .any(|fault| fault.action == "*");
        let calls = calls::since(&cloud.moto, mark)?;
        let mut hanging = calls
            .into_iter()
            .filter(|call| call.changing && call.status.is_none());
        Ok(met.then(|| hanging.next()).flatten())
    })
}

/// Another port, other clients, other checks.
fn change(cloud: &Cloud, name: &str) -> Result<()> {
    let spec = json!({
        "metadata": { "annotations": { annotation_key("aws-load-balancer-healthcheck-interval"): "20" } },
        "spec": {
            "ports": [port("http", 81, "TCP")],
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
        },
    });
    cloud.objects().patch(name, &spec.to_string())
}

fn annotation_key(name: &str) -> String {
    annotation(name, Some("")).trim_end_matches('=').to_owned()
}

fn changed(cloud: &Cloud, name: &str, uid: &str) -> Result<()> {
    wait_for(&format!("{name} to be changed"), DEADLINE, || {
        cloud.poke(name)?;
        let made = cloud.aws.made_for(uid)?;
        let listeners = cloud.aws.listeners(&made.load_balancer()?.id)?;
        let ports: Vec<_> = listeners.iter().map(|one| one["Port"].as_u64()).collect();
        ensure!(ports == [Some(81)], "{ports:?}");
        let group = &made.target_group()?.is;
        ensure!(group["HealthCheckIntervalSeconds"] == 20, "{group}");
        let rules = &made.security_group()?.is["IpPermissions"];
        ensure!(
            rules.as_array().is_some_and(|rules| rules.len() == 1)
                && rules[0]["FromPort"] == 81
                && rules[0]["IpRanges"][0]["CidrIp"] == "192.0.2.0/24",
            "{rules}"
        );
        Ok(Some(()))
    })
}

/// One of each, belonging together, with all targets.
fn once(cloud: &Cloud, name: &str, made: &Made) -> Result<()> {
    ensure!(made.counts() == [1, 1, 1], "{name}: {made:?}");
    let listeners = cloud.aws.listeners(&made.load_balancer()?.id)?;
    let [listener] = &listeners[..] else {
        anyhow::bail!("{name}: {listeners:?}");
    };
    let group = made.target_group()?;
    ensure!(
        listener["DefaultActions"][0]["TargetGroupArn"] == group.id.as_str(),
        "{name}: {listener}"
    );
    let targets = cloud.aws.targets(&group.id)?;
    ensure!(
        targets.len() == cloud.site.instances.len(),
        "{name}: {targets:?}"
    );
    // Two of one name prefix would be one that was made twice.
    let ours = format!("hld-default-{}-", short(name));
    let all = cloud.aws.all()?;
    let named = all
        .load_balancers
        .iter()
        .filter(|one| one.id.contains(&ours));
    ensure!(named.count() == 1, "{name} is there twice");
    Ok(())
}
