//! What a user or an account got wrong: said on the object, with the remedy, and nobody else's problem.

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Fault;
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_aws::cloud::{Cloud, PROVISIONED};
use crate::api_aws::objects::{annotation, nlb, port, with};
use crate::api_server::DEADLINE;

/// A Service, the reason it is told, and what the message must name.
type Case = (Value, &'static str, &'static [&'static str]);

pub(crate) fn is_told_and_stops_nothing(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let cases = refused();
    for (service, _, _) in &cases {
        objects.apply(service)?;
    }
    let both = [
        port("dns", 53, "TCP"),
        port("dns-udp", 53, "UDP"),
        port("http", 80, "TCP"),
    ];
    let mut two = nlb("twoports");
    two["spec"]["ports"] = json!(both);
    objects.apply(&two)?;
    objects.apply(&with(
        nlb("misspelt"),
        "aws-load-balancer-shceme",
        "internal",
    ))?;
    // AWS says no, once each: the account has too many, and the role may not.
    for (holds, code, status, message) in [
        ("-denied-", "AccessDenied", 403, "not authorized"),
        ("-quota-", "TooManyLoadBalancers", 400, "the limit is 50"),
    ] {
        cloud.moto.fault(&Fault {
            action: "CreateLoadBalancer".into(),
            code: Some(code.into()),
            status: Some(status),
            message: message.into(),
            holds: Some(holds.into()),
            ..Fault::default()
        })?;
    }
    objects.apply(&nlb("denied"))?;
    objects.apply(&nlb("quota"))?;

    for (service, reason, parts) in &cases {
        let name = service["metadata"]["name"].as_str().context("a name")?;
        let condition = objects.wait_for_condition(name, PROVISIONED, "False", reason)?;
        let message = condition["message"].as_str().unwrap_or_default();
        for part in *parts {
            ensure!(message.contains(part), "{name}: {message}");
        }
        objects.wait_for_event(name, reason)?;
        let made = cloud.made(name)?;
        ensure!(
            made.counts() == [0, 0, 0],
            "made for what is refused: {made:?}"
        );
    }
    // One of two ports is served, and the other says why not.
    cloud.wait_until_published("twoports", &["53/TCP", "53/UDP PortConflict", "80/TCP"])?;
    let condition = objects.wait_for_condition("twoports", PROVISIONED, "True", "PortConflict")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("aws-load-balancer-enable-tcp-udp-listener"),
        "{message}"
    );
    // Served without what is not understood.
    cloud.wait_until_provisioned("misspelt", true)?;
    for (name, reason, part) in [
        (
            "misspelt",
            "UnknownAnnotation",
            "aws-load-balancer-shceme is not known",
        ),
        ("denied", "AccessDenied", "IAM policy"),
        ("quota", "TooManyLoadBalancers", "the limit is 50"),
    ] {
        let event = objects.wait_for_event(name, reason)?;
        let note = event["message"].as_str().unwrap_or_default();
        ensure!(event["type"] == "Warning" && note.contains(part), "{event}");
    }
    // With what was wrong put right, they go on by themselves.
    cloud.wait_until_provisioned("denied", false)?;
    cloud.wait_until_provisioned("quota", false)?;
    objects.annotate(
        "sideways",
        &annotation("aws-load-balancer-scheme", Some("internal")),
    )?;
    cloud.wait_until_provisioned("sideways", true)?;
    works_on_when_it_turns_bad(cloud)
}

/// Services that are refused.
fn refused() -> Vec<Case> {
    let mut local = with(nlb("proxied"), "aws-load-balancer-proxy-protocol", "*");
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    vec![
        (
            with(nlb("sideways"), "aws-load-balancer-scheme", "sideways"),
            "InvalidAnnotation",
            &["aws-load-balancer-scheme", "internal or internet-facing"],
        ),
        (
            with(
                nlb("nosubnet"),
                "aws-load-balancer-subnets",
                "subnet-of-nobody",
            ),
            "InvalidSubnet",
            &["subnet-of-nobody"],
        ),
        (
            with(
                nlb("prefixes"),
                "aws-load-balancer-security-group-prefix-lists",
                "pl-1",
            ),
            "UnsupportedAnnotation",
            &[
                "aws-load-balancer-security-group-prefix-lists",
                "spec.loadBalancerSourceRanges",
            ],
        ),
        (
            local,
            "ProxyProtocolHealthCheck",
            &["proxy protocol", "aws-load-balancer-healthcheck-port"],
        ),
    ]
}

/// A working load balancer survives a mistake, and its status says both.
fn works_on_when_it_turns_bad(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let before = cloud.made("sideways")?;
    let name = cloud.wait_until_provisioned("sideways", false)?;
    objects.annotate(
        "sideways",
        &annotation("aws-load-balancer-scheme", Some("upwards")),
    )?;
    objects.wait_for_condition("sideways", PROVISIONED, "False", "InvalidAnnotation")?;
    let service = objects.service("sideways")?;
    ensure!(
        service["status"]["loadBalancer"]["ingress"][0]["hostname"] == name,
        "{service}"
    );
    ensure!(cloud.made("sideways")? == before, "it was changed");
    // It can be deleted as it is.
    for name in ["sideways", "nosubnet", "prefixes", "proxied", "twoports"] {
        let uid = cloud.uid(name)?;
        objects.delete(&format!("service/{name}"))?;
        cloud.wait_until_gone(name, &uid)?;
    }
    wait_for("faults to be used up", DEADLINE, || {
        let left = cloud.moto.faults_left()?;
        let ours = left
            .iter()
            .any(|fault| fault.action == "CreateLoadBalancer");
        Ok((!ours).then_some(()))
    })
}
