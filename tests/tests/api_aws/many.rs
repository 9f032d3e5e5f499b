//! Two hundred Services: what they cost AWS's API, made at once and then left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::moto::{Call, Fault, Settings};
use herald_tests::wait_for;
use serde_json::Value;

use crate::api_aws::aws::Tagged;
use crate::api_aws::calls;
use crate::api_aws::cloud::{Cloud, PROVISIONED, hostname};
use crate::api_aws::objects::nlb;
use crate::api_server::DEADLINE;
use crate::controller::objects::condition;

const COUNT: usize = 200;
/// More than an account has at first, so that the test takes a minute; each with its burst.
const READS: (f64, f64) = (150.0, 40.0);
const CHANGES: (f64, f64) = (30.0, 20.0);
const TARGETS: (f64, f64) = (30.0, 20.0);
/// How long a busy machine may hold calls up on their way, in seconds.
const SLACK: f64 = 3.0;
const RATES: [&str; 3] = [
    "--aws-read-rate=150/40",
    "--aws-change-rate=30/20",
    "--aws-target-rate=30/20",
];

/// Made at once, while AWS throttles: all arrive, none twice, and the calls keep to the limits.
pub(crate) fn at_once(cloud: &Cloud) -> Result<()> {
    let more = Settings {
        load_balancers: Some(300),
        ..Settings::default()
    };
    cloud.moto.settings(None, &more)?;
    let throttling = (0..20).map(|n| Fault {
        action: if n % 2 == 0 { "changing" } else { "reading" }.into(),
        skip: 40,
        count: Some(5),
        code: Some("Throttling".into()),
        ..Fault::default()
    });
    cloud.moto.faults(&throttling.collect::<Vec<_>>())?;
    // No audit in between: only what is needed is called.
    let controller =
        cloud.controller("only", &[&RATES[..], &["--aws-audit-interval=1h"]].concat())?;
    let services: Vec<Value> = (0..COUNT).map(|n| nlb(&format!("s{n}"))).collect();
    let begun = Instant::now();
    cloud.objects().apply_all(&services)?;
    all_provisioned(cloud)?;
    println!("{COUNT} Services in {:.1} s", begun.elapsed().as_secs_f64());
    controller.stop()?;

    let made = cloud.aws.all()?;
    let ours = |all: &[Tagged]| {
        let ids = all
            .iter()
            .filter_map(|one| one.tag("heraldlb.io/load-balancer"));
        let each: BTreeSet<&str> = ids.clone().collect();
        (ids.count(), each.len())
    };
    for (what, all) in [
        ("load balancers", &made.load_balancers),
        ("target groups", &made.target_groups),
        ("front groups", &made.security_groups),
    ] {
        ensure!(
            ours(all) == (COUNT, COUNT),
            "{what}, and Services: {:?}",
            ours(all)
        );
    }
    // All of them want the one group that the cluster shares.
    let shared = made.security_groups.iter();
    let shared = shared.filter(|group| group.tag("heraldlb.io/role") == Some("backend"));
    ensure!(shared.count() == 1, "{:?}", made.security_groups);
    let all = calls::since(&cloud.moto, 0)?;
    let injected = all.iter().filter(|call| call.injected).count();
    ensure!(injected == 100, "{injected} calls were throttled");
    let created = all
        .iter()
        .filter(|call| call.action == "CreateLoadBalancer" && call.code.is_empty());
    ensure!(
        created.count() == COUNT,
        "a load balancer was created again"
    );
    let unlike =
        |class: fn(&Call) -> bool| all.iter().filter(|call| class(call)).collect::<Vec<_>>();
    for (class, calls, (rate, burst)) in [
        ("reading", unlike(|call| !call.changing), READS),
        (
            "changing",
            unlike(|call| call.changing && !call.action.ends_with("gisterTargets")),
            CHANGES,
        ),
        (
            "target",
            unlike(|call| call.action.ends_with("gisterTargets")),
            TARGETS,
        ),
    ] {
        calls::within_rate(&calls, rate, burst, SLACK).context(class)?;
        println!(
            "{} {class} calls, {:.1} for each Service",
            calls.len(),
            per_service(calls.len())
        );
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn per_service(calls: usize) -> f64 {
    calls as f64 / COUNT as f64
}

fn all_provisioned(cloud: &Cloud) -> Result<()> {
    wait_for("all Services to be provisioned", 2 * DEADLINE, || {
        let mut names = BTreeSet::new();
        let mut waiting = BTreeMap::new();
        for (name, service) in cloud.objects().services()? {
            if service["spec"]["type"] != "LoadBalancer" {
                continue;
            }
            let provisioned = condition(&service, PROVISIONED);
            match hostname(&service) {
                Some(hostname) if provisioned["status"] == "True" => drop(names.insert(hostname)),
                _ => drop(waiting.insert(name, provisioned)),
            }
        }
        if names.len() < COUNT {
            bail!(
                "{} are, the next one is {:?}",
                names.len(),
                waiting.first_key_value()
            );
        }
        Ok(Some(()))
    })
}

/// Nothing differs: a resync reads what docs/aws.md says, and changes nothing.
pub(crate) fn idle(cloud: &Cloud) -> Result<()> {
    let mark = calls::mark(&cloud.moto)?;
    let flags = ["--aws-audit-interval=1h", "--aws-resync-interval=25s"];
    let controller = cloud.controller("only", &[&RATES[..], &flags].concat())?;
    // From the second resync to the third: the first one is the start. The reads take some 4 s at these rates; a busy machine has
    // several times as long.
    let second = wait_for("three resyncs", DEADLINE, || {
        let calls = calls::since(&cloud.moto, mark)?;
        let begins: Vec<usize> = calls
            .iter()
            .enumerate()
            .filter(|(_, call)| call.action == "DescribeLoadBalancers" && begins(call))
            .map(|(n, _)| n)
            .collect();
        let [_, second, third, ..] = begins[..] else {
            bail!("{} resyncs", begins.len());
        };
        Ok(Some(calls[second..third].to_vec()))
    })?;
    controller.stop()?;
    calls::nothing_changed(&cloud.moto, mark, "an idle resync")?;
    let (balancers, groups) = (COUNT, COUNT);
    let expected = [
        ("DescribeListeners", balancers),
        ("DescribeLoadBalancers", 1),
        ("DescribeRouteTables", 1),
        ("DescribeSecurityGroups", 1),
        ("DescribeSubnets", 1),
        // Load balancers and target groups twenty at a time; listeners with their load balancer.
        (
            "DescribeTags",
            balancers.div_ceil(20) + groups.div_ceil(20) + balancers,
        ),
        ("DescribeTargetGroups", 1),
        ("DescribeTargetHealth", groups),
        ("DescribeVpcs", 1),
    ];
    let expected: BTreeMap<String, usize> = expected
        .into_iter()
        .map(|(action, count)| (action.to_owned(), count))
        .collect();
    let found = calls::counts(&second);
    ensure!(found == expected, "{found:?}, not {expected:?}");
    println!(
        "an idle resync of {COUNT} Services: 0 changing calls, {} reading ones, {:.1} for each Service",
        second.len(),
        per_service(second.len())
    );
    Ok(())
}

/// Whether a list of load balancers is the first page of all of them.
fn begins(call: &Call) -> bool {
    let some = |key: &String| {
        key.starts_with("Names.") || key.starts_with("LoadBalancerArns.") || key == "Marker"
    };
    !call.params.keys().any(some)
}
