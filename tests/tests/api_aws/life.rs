//! The life of a Service: made, changed in everything that can be changed, and gone.

use anyhow::{Context, Result, ensure};
use herald_tests::wait_for;
use serde_json::json;

use crate::api_aws::calls;
use crate::api_aws::changes;
use crate::api_aws::cloud::{Cloud, FINALIZER, PROVISIONED, TARGETS_HEALTHY, hostname, short};
use crate::api_aws::objects::{annotation, endpoints, nlb, nlb_of_pods, port, with};
use crate::api_aws::replacement::its_time_comes;
use crate::api_server::DEADLINE;

/// Node ports of instances: every change that leaves the load balancer where it is.
pub(crate) fn of_instances(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb("web"))?;
    let condition = objects.wait_for_condition("web", PROVISIONED, "False", "Provisioning")?;
    ensure!(
        condition["message"]
            .as_str()
            .unwrap_or_default()
            .contains("is not active yet"),
        "{condition}"
    );
    let name = cloud.wait_until_provisioned("web", false)?;
    let uid = cloud.uid("web")?;
    let made = cloud.aws.made_for(&uid)?;
    ensure!(made.counts() == [1, 1, 1], "{made:?}");
    let balancer = made.load_balancer()?.clone();
    ensure!(balancer.is["DNSName"].as_str().map(str::to_lowercase) == Some(name.clone()));
    ensure!(balancer.is["Scheme"] == "internal" && balancer.is["Type"] == "network");
    ensure!(
        balancer.tag("heraldlb.io/service") == Some("default/web"),
        "{balancer:?}"
    );
    let service = objects.service("web")?;
    let ports = &service["status"]["loadBalancer"]["ingress"][0]["ports"];
    ensure!(
        *ports == json!([{ "port": 80, "protocol": "TCP" }]),
        "{service}"
    );
    ensure!(
        service["metadata"]["finalizers"] == json!([FINALIZER]),
        "{service}"
    );
    objects.wait_for_event("web", "Provisioned")?;
    cloud.finalizer_came_first("web")?;
    published_when_it_could_serve(cloud, "web")?;
    let number = service["spec"]["ports"][0]["nodePort"].as_u64();
    let number = number.context("a node port")?;
    let all = |state: &str| -> Vec<String> {
        let instances = cloud.site.instances.iter();
        let mut all: Vec<_> = instances
            .map(|id| format!("{id}:{number} {state}"))
            .collect();
        all.sort();
        all
    };
    let group = made.target_group()?.id.clone();
    cloud.wait_for_targets(&group, &all("healthy"))?;
    objects.wait_for_condition("web", TARGETS_HEALTHY, "True", "Healthy")?;

    changes::health_is_told(cloud, &group, &all("unhealthy"))?;
    changes::nodes_come_and_go(cloud, &group, number)?;
    changes::ports_change(cloud, &uid, &balancer)?;
    changes::sources_change(cloud, &uid)?;
    changes::settings_change(cloud, &uid, &balancer)?;
    changes::what_is_taken_away_comes_back(cloud, &uid, &balancer)?;

    let made = cloud.aws.made_for(&uid)?;
    ensure!(
        made.load_balancer()?.id == balancer.id,
        "it was replaced: {made:?}"
    );
    removal(cloud, "web", &uid)
}

/// The host name was written after the load balancer had become active and had all its listeners.
fn published_when_it_could_serve(cloud: &Cloud, service: &str) -> Result<()> {
    let ours = format!("hld-default-{}-", short(service));
    let calls = calls::since(&cloud.moto, 0)?;
    let of = |action: &str| {
        let mut ours = calls.iter().filter(|call| {
            call.action == action && call.status == Some(200) && calls::names(call, &ours)
        });
        let last = ours.next_back();
        last.with_context(|| format!("no {action} for {service}"))
    };
    let active = of("CreateLoadBalancer")?.time + crate::api_aws::cloud::PROVISIONING;
    let listener = of("CreateListener")?;
    let listens = listener.time + listener.seconds.unwrap_or_default();
    let writes = cloud.audit.writes(service)?;
    let published = writes
        .iter()
        .find(|write| write.status && write.patch.to_string().contains("\"hostname\""));
    let published = published.with_context(|| format!("no host name: {writes:?}"))?;
    ensure!(
        published.time > active && published.time > listens,
        "host name at {}, active at {active}, listening at {listens}",
        published.time
    );
    Ok(())
}

/// Pods as targets: they follow the EndpointSlices, and the target type can be changed.
pub(crate) fn of_pods(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    objects.apply(&nlb_of_pods("pods"))?;
    objects.apply(&endpoints("pods", &["10.0.2.20", "10.0.3.20"]))?;
    cloud.wait_until_provisioned("pods", false)?;
    let uid = cloud.uid("pods")?;
    let made = cloud.aws.made_for(&uid)?;
    let group = made.target_group()?.id.clone();
    cloud.wait_for_targets(
        &group,
        &[
            "10.0.2.20:8080 healthy".into(),
            "10.0.3.20:8080 healthy".into(),
        ],
    )?;
    let mark = calls::mark(&cloud.moto)?;
    objects.apply(&endpoints("pods", &["10.0.3.20", "10.0.3.21"]))?;
    cloud.wait_for_targets(
        &group,
        &[
            "10.0.3.20:8080 healthy".into(),
            "10.0.3.21:8080 healthy".into(),
        ],
    )?;
    let calls = calls::since(&cloud.moto, mark)?;
    let order: Vec<&str> = calls::changing(&calls)
        .into_iter()
        .filter(|call| calls::names(call, &group))
        .map(|call| call.action.as_str())
        .collect();
    ensure!(
        order == ["RegisterTargets", "DeregisterTargets"],
        "{order:?}"
    );
    // Node ports instead: another kind of targets is another load balancer, and clients are sent there once it serves.
    let old = made.load_balancer()?;
    let ports = json!({ "spec": { "allocateLoadBalancerNodePorts": true } });
    objects.patch("pods", &ports.to_string())?;
    objects.annotate(
        "pods",
        &annotation("aws-load-balancer-nlb-target-type", Some("instance")),
    )?;
    its_time_comes(cloud, &uid, old)?;
    let made = cloud.aws.made_for(&uid)?;
    let group = made.target_group()?;
    ensure!(group.is["TargetType"] == "instance", "{group:?}");
    let targets = cloud.aws.targets(&group.id)?;
    ensure!(targets.len() == 3, "{targets:?}");
    cloud.finalizer_came_first("pods")?;
    removal(cloud, "pods", &uid)
}

/// TLS at the load balancer, with a certificate that is changed.
pub(crate) fn of_tls(cloud: &Cloud) -> Result<()> {
    let objects = cloud.objects();
    let [one, two] = [
        cloud.aws.certificate("one.test")?,
        cloud.aws.certificate("two.test")?,
    ];
    let mut service = with(nlb("secure"), "aws-load-balancer-ssl-cert", &one);
    service = with(service, "aws-load-balancer-ssl-ports", "443");
    service["spec"]["ports"] = json!([port("http", 80, "TCP"), port("https", 443, "TCP")]);
    objects.apply(&service)?;
    cloud.wait_until_provisioned("secure", false)?;
    let uid = cloud.uid("secure")?;
    let balancer = cloud.aws.made_for(&uid)?.load_balancer()?.id.clone();
    let certificate = |expected: &str| {
        wait_for(&format!("certificate {expected}"), DEADLINE, || {
            let listeners = cloud.aws.listeners(&balancer)?;
            let [plain, tls] = &listeners[..] else {
                anyhow::bail!("{listeners:?}");
            };
            ensure!(
                plain["Protocol"] == "TCP" && tls["Protocol"] == "TLS",
                "{listeners:?}"
            );
            ensure!(
                tls["Certificates"][0]["CertificateArn"] == expected,
                "{tls}"
            );
            Ok(Some(()))
        })
    };
    certificate(&one)?;
    objects.annotate(
        "secure",
        &annotation("aws-load-balancer-ssl-cert", Some(&two)),
    )?;
    certificate(&two)?;
    // Without a certificate the port is plain again; no moment without a listener: it is changed, not replaced.
    objects.annotate("secure", &annotation("aws-load-balancer-ssl-cert", None))?;
    objects.annotate("secure", &annotation("aws-load-balancer-ssl-ports", None))?;
    wait_for("plain TCP", DEADLINE, || {
        let listeners = cloud.aws.listeners(&balancer)?;
        Ok(
            (listeners.len() == 2 && listeners.iter().all(|one| one["Protocol"] == "TCP"))
                .then_some(()),
        )
    })?;
    removal(cloud, "secure", &uid)
}

/// Deleted: all of it goes, the front group too, and the finalizer last.
pub(crate) fn removal(cloud: &Cloud, service: &str, uid: &str) -> Result<()> {
    let mark = calls::mark(&cloud.moto)?;
    let ours = changes::made_names(&cloud.aws.made_for(uid)?);
    cloud.objects().delete(&format!("service/{service}"))?;
    cloud.wait_until_gone(service, uid)?;
    let calls = calls::since(&cloud.moto, mark)?;
    let last = calls
        .iter()
        .filter(|call| call.changing && ours.iter().any(|name| calls::names(call, name)))
        .map(|call| call.time + call.seconds.unwrap_or_default())
        .fold(0.0, f64::max);
    let writes = cloud.audit.writes(service)?;
    let removed = writes.iter().rfind(|write| !write.status);
    let removed = removed.context("no write that removed the finalizer")?;
    ensure!(
        last > 0.0 && removed.time > last,
        "{service}: finalizer removed at {}, last change at {last}",
        removed.time
    );
    ensure!(hostname(&removed.patch).is_none(), "{removed:?}");
    Ok(())
}
