//! Everything that can be changed, while clients come: in place, or by another load balancer.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use herald_tests::moto::Settings;
use herald_tests::{Cluster, wait_for};
use serde_json::{Value, json};

use super::load::Load;
use super::{HTTP, LINES, Nlb, PATIENCE, Site, annotate, pods, run, service};
use crate::e2e::ask::Transport;

/// Requests a second beside the changes.
const RATE: u32 = 50;
/// Seconds from a target's registration to its first health, where that is to be awaited.
const REGISTRATION: f64 = 4.0;
const RETIRE_AT: &str = "heraldlb.io/retire-at";

/// Ports, source ranges, attributes, health checks, tags and certificate: the load balancer stays, and no request is lost.
pub(crate) fn in_place(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        let mut service = service(namespace);
        annotate(&mut service, "ssl-cert", site.aws.certificate_arn());
        annotate(&mut service, "ssl-ports", "443");
        let https = json!({ "name": "https", "port": 443, "targetPort": 8080 });
        if let Some(ports) = service["spec"]["ports"].as_array_mut() {
            ports.push(https);
        }
        site.serve(pods(namespace, 2), service)?;
        let nlb = site.published()?;
        for port in [LINES, 443] {
            site.healthy(&nlb, port, 3)?;
        }
        site.ask(&nlb, false, Transport::Tcp)?;
        let load = Load::start(cluster, nlb.at(LINES), RATE)?;
        port(site, &nlb)?;
        source_ranges(site, &nlb)?;
        attributes(site, &nlb)?;
        health_check(site, &nlb)?;
        tags(site, &nlb)?;
        certificate(site, &nlb)?;
        ensure!(site.published()? == nlb, "another load balancer");
        load.finish_without_failure()?;
        site.delete()
    })
}

fn port(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let change = |patch: Value| {
        let patch = patch.to_string();
        let words = ["patch", "service", "-n", site.namespace, "web"];
        let words = [&words[..], &["--type=json", "-p", &patch]].concat();
        site.cluster.kubectl(&words)
    };
    let more = json!({ "name": "more", "port": 81, "targetPort": 8080 });
    change(json!([{ "op": "add", "path": "/spec/ports/-", "value": more }]))?;
    let group = until("a listener on 81", || Ok(site.listener(nlb, 81)?.group))?;
    site.healthy(nlb, 81, 3)?;
    site.curl(&[&format!("http://{}:81/", nlb.hostname)])?;

    change(json!([{ "op": "remove", "path": "/spec/ports/4" }]))?;
    until("no listener on 81, and no group", || {
        ensure!(site.listener(nlb, 81).is_err(), "it listens");
        let groups = site.aws.target_groups()?;
        ensure!(
            groups.iter().all(|one| one.arn != group),
            "{group} is there"
        );
        Ok(())
    })?;
    site.aws.settled()?;
    let answer = site.curl_once(&[&format!("http://{}:81/", nlb.hostname)]);
    ensure!(answer.is_err(), "port 81 answers: {answer:?}");
    Ok(())
}

fn source_ranges(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let balancers = site.aws.load_balancers()?;
    let own = balancers.into_iter().find(|one| one.arn == nlb.arn);
    let groups = own.context("it is there")?.security_groups;
    let sources = || -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for group in &groups {
            let rules = site.rules(group)?.into_iter();
            all.extend(rules.filter_map(|rule| Some(rule.split_once(" from ")?.1.to_owned())));
        }
        Ok(all)
    };
    for (ranges, wanted) in [
        (
            json!(["10.78.0.0/24", "192.0.2.0/24"]),
            vec!["10.78.0.0/24", "192.0.2.0/24"],
        ),
        (Value::Null, vec!["0.0.0.0/0"]),
    ] {
        site.patch(&json!({ "spec": { "loadBalancerSourceRanges": ranges } }))?;
        until(&format!("only {wanted:?} let in"), || {
            let seen = sources()?;
            ensure!(seen.iter().eq(&wanted), "{seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn attributes(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let cross_zone = "load_balancing.cross_zone.enabled";
    for (annotation, wanted) in [
        (json!(format!("{cross_zone}=true")), "true"),
        (Value::Null, "false"),
    ] {
        site.annotations(&[("attributes", annotation)])?;
        until(&format!("{cross_zone}={wanted}"), || {
            let asked = json!({ "LoadBalancerArn": nlb.arn });
            let all = site
                .aws
                .call("elbv2", "describe_load_balancer_attributes", &asked)?;
            let all = all["Attributes"].as_array().cloned().unwrap_or_default();
            let is = json!({ "Key": cross_zone, "Value": wanted });
            ensure!(all.contains(&is), "{all:?}");
            Ok(())
        })?;
    }
    let delay = "deregistration_delay.timeout_seconds";
    for (annotation, wanted) in [(json!(format!("{delay}=30")), "30"), (Value::Null, "300")] {
        site.annotations(&[("target-group-attributes", annotation)])?;
        until(&format!("{delay}={wanted}"), || {
            let group = site.listener(nlb, LINES)?.group;
            let groups = site.aws.target_groups()?;
            let found = groups.into_iter().find(|one| one.arn == group);
            let seen = found.and_then(|one| one.attributes.get(delay).cloned());
            ensure!(seen.as_deref() == Some(wanted), "{seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn health_check(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    site.annotations(&[
        ("healthcheck-interval", json!("7")),
        ("healthcheck-unhealthy-threshold", json!("4")),
    ])?;
    until("the health check as asked for", || {
        let asked = json!({ "TargetGroupArns": [site.listener(nlb, LINES)?.group] });
        let seen = site.aws.call("elbv2", "describe_target_groups", &asked)?;
        let seen = &seen["TargetGroups"][0];
        let as_asked =
            seen["HealthCheckIntervalSeconds"] == 7 && seen["UnhealthyThresholdCount"] == 4;
        ensure!(as_asked, "{seen}");
        Ok(())
    })
}

fn tags(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    for (annotation, wanted) in [(json!("team=shop"), Some("shop")), (Value::Null, None)] {
        site.annotations(&[("additional-resource-tags", annotation)])?;
        until(&format!("tag team {wanted:?}"), || {
            let balancers = site.aws.load_balancers()?;
            let own = balancers.iter().find(|one| one.arn == nlb.arn);
            let seen = own.context("it is there")?.tags.get("team");
            ensure!(seen.map(String::as_str) == wanted, "{seen:?}");
            let group = site.listener(nlb, LINES)?.group;
            let groups = site.aws.target_groups()?;
            let group = groups.iter().find(|one| one.arn == group);
            let seen = group.context("it is there")?.tags.get("team");
            ensure!(
                seen.map(String::as_str) == wanted,
                "of the target group: {seen:?}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// Clients are shown another certificate.
fn certificate(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let before = site.aws.certificate();
    let (arn, after) = site.another_certificate(&nlb.hostname)?;
    let url = format!("https://{}/", nlb.hostname);
    let before = before.to_str().context("path is not UTF-8")?;
    site.curl(&["--cacert", before, &url])?;
    site.annotations(&[("ssl-cert", json!(arn))])?;
    until("the listener with the other certificate", || {
        let seen = site.listener(nlb, 443)?.certificate;
        ensure!(seen.as_ref() == Some(&arn), "{seen:?}");
        Ok(())
    })?;
    site.aws.settled()?;
    let after = after.to_str().context("path is not UTF-8")?;
    site.curl(&["--cacert", after, &url])?;
    let old = site.curl_once(&["--cacert", before, &url]);
    ensure!(old.is_err(), "the old certificate is still shown: {old:?}");
    Ok(())
}

/// Scheme and target type: a second load balancer, to which the status switches once it has healthy targets. The first one
/// serves on, for those who still know it.
pub(crate) fn replacement(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        let slow = Settings {
            registration: Some(REGISTRATION),
            ..Settings::default()
        };
        site.aws.moto().settings(Some(site.aws.region()), &slow)?;
        site.serve(pods(namespace, 2), service(namespace))?;
        let first = site.published()?;
        let instances = site.healthy(&first, LINES, 3)?;
        site.ask(&first, false, Transport::Tcp)?;
        let load = Load::start(cluster, first.at(LINES), RATE)?;

        site.annotations(&[("scheme", json!("internet-facing"))])?;
        let second = switched(site, &first)?;
        scheme(site, &second, "internet-facing")?;
        ensure!(
            site.healthy(&second, LINES, 3)? == instances,
            "other targets"
        );
        to_retire(site, &first)?;
        let newer = Load::start(cluster, second.at(LINES), RATE)?;

        site.annotations(&[("nlb-target-type", json!("ip"))])?;
        let third = switched(site, &second)?;
        scheme(site, &third, "internet-facing")?;
        site.healthy(&third, LINES, 2)?;
        to_retire(site, &second)?;

        // By all three, and by the name in the status.
        site.ask(&third, false, Transport::Tcp)?;
        site.curl(&[&format!("http://{}/", third.hostname)])?;
        load.finish_without_failure()?;
        newer.finish_without_failure()?;
        let uid = site.uid()?;
        let left = site.owned(&uid)?.into_iter();
        let left: Vec<_> = left.filter(|arn| arn.contains("loadbalancer/")).collect();
        ensure!(
            left.len() == 3,
            "the old ones stay for their grace: {left:?}"
        );
        site.delete()
    })
}

/// Waits until the status names another load balancer, and checks all the while that what it names has healthy targets.
fn switched(site: &Site<'_>, from: &Nlb) -> Result<Nlb> {
    let mut looks = 0;
    let hostname = wait_for("another host name in the status", PATIENCE, || {
        looks += 1;
        let hostname = site.hostname()?.context("the status names nobody")?;
        Ok((hostname != from.hostname).then_some(hostname))
    })?;
    let to = site.nlb(&hostname)?;
    for port in [HTTP, LINES] {
        let targets = site.aws.targets(&site.listener(&to, port)?.group)?;
        let serves = targets.iter().any(|one| one.state == "healthy");
        ensure!(
            serves,
            "the status names {hostname}, whose targets are {targets:?}"
        );
    }
    println!(
        "switched to {hostname}, after {looks} looks at {}",
        from.hostname
    );
    Ok(to)
}

fn scheme(site: &Site<'_>, nlb: &Nlb, wanted: &str) -> Result<()> {
    let balancers = site.aws.load_balancers()?;
    let own = balancers.into_iter().find(|one| one.arn == nlb.arn);
    let seen = own.context("it is there")?.scheme;
    ensure!(seen == wanted, "{} is {seen}", nlb.hostname);
    Ok(())
}

/// The old one has its end written on it, minutes from now.
fn to_retire(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let at = until("the end of the old one", || {
        let balancers = site.aws.load_balancers()?;
        let own = balancers.into_iter().find(|one| one.arn == nlb.arn);
        let tags = own.context("it is gone")?.tags;
        Ok(tags
            .get(RETIRE_AT)
            .context("no end is written on it")?
            .parse::<u64>()?)
    })?;
    ensure!(
        at >= now + 150,
        "it would go {} s after it was switched",
        at.saturating_sub(now)
    );
    Ok(())
}

/// Waits until `find` finds it.
fn until<T>(what: &str, mut find: impl FnMut() -> Result<T>) -> Result<T> {
    wait_for(what, PATIENCE, || find().map(Some))
}

impl Site<'_> {
    /// A certificate for a name, as AWS and the load balancer know it, and the file that a client trusts.
    fn another_certificate(&self, name: &str) -> Result<(String, std::path::PathBuf)> {
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let asked = json!({ "Certificate": certificate, "PrivateKey": key });
        let made = self.aws.call("acm", "import_certificate", &asked)?;
        let arn = made["CertificateArn"]
            .as_str()
            .context("an ARN")?
            .to_owned();
        let own = self.cluster.folder().join("aws");
        let file = format!("certificates/{}.pem", arn.replace(['/', ':'], "_"));
        std::fs::write(own.join(file), format!("{certificate}{key}"))?;
        let trusted = own.join("another-certificate.pem");
        std::fs::write(&trusted, certificate)?;
        Ok((arn, trusted))
    }
}
