//! What a client gets, by target type, transport and traffic policy.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, wait_for};
use serde_json::{Value, json};

use super::{
    DATAGRAMS, FINALIZER, HTTP, LINES, Nlb, PATIENCE, Site, TARGETS_HEALTHY, annotate, pods, run,
    service, service_of_pods,
};
use crate::e2e::apply;
use crate::e2e::ask::{Answer, TRANSPORTS, Transport};
use crate::e2e::observe::get;
use crate::e2e::scenarios::traffic::node_of_pod;

const EVERY_PORT: [u16; 3] = [HTTP, LINES, DATAGRAMS];

/// Node ports of all nodes, policy Cluster: any pod answers, and does not see the client.
pub(crate) fn instance_targets(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        site.serve(pods(namespace, 3), service(namespace))?;
        let nlb = site.published()?;
        let service = site.service()?;
        for port in EVERY_PORT {
            let wanted: BTreeSet<String> = site
                .aws
                .instances()
                .map(|id| Ok(format!("{id}:{}", node_port(&service, port)?)))
                .collect::<Result<_>>()?;
            let targets = site.healthy(&nlb, port, 3)?;
            ensure!(targets == wanted, "port {port}: {targets:?}");
        }
        site.condition(TARGETS_HEALTHY, "True Healthy: 9 of 9 ")?;
        says_all_ports(site, &nlb)?;
        let answer = site.curl(&[&format!("http://{}/", nlb.hostname)])?;
        ensure!(answer.peer != site.remote, "not translated: {answer:?}");
        for transport in TRANSPORTS {
            every_pod_answers(site, &nlb, transport, |answer| {
                ensure!(answer.peer != site.remote, "not translated: {answer:?}");
                Ok(())
            })?;
        }
        lets_in(site, &nlb)?;
        site.delete()
    })
}

/// Pods as targets. Datagrams always come from the client itself; connections when that is asked for, else from the load
/// balancer, which the proxy protocol can have tell the client.
pub(crate) fn ip_targets(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        site.serve(pods(namespace, 3), service_of_pods(namespace))?;
        let nlb = site.published()?;
        let addresses = pod_addresses(site, false)?;
        for (port, at) in [(HTTP, 8080), (LINES, 9000), (DATAGRAMS, 9000)] {
            let wanted: BTreeSet<String> =
                addresses.iter().map(|ip| format!("{ip}:{at}")).collect();
            let targets = site.healthy(&nlb, port, 3)?;
            ensure!(targets == wanted, "port {port}: {targets:?}");
        }
        let from_the_balancer = |answer: &Answer| {
            ensure!(nlb.addresses.contains(&answer.peer), "{answer:?}, {nlb:?}");
            Ok(())
        };
        let from_the_client = |answer: &Answer| {
            ensure!(answer.peer == site.remote, "not the client: {answer:?}");
            Ok(())
        };
        site.curl(&[&format!("http://{}/", nlb.hostname)])?;
        every_pod_answers(site, &nlb, Transport::Tcp, from_the_balancer)?;
        every_pod_answers(site, &nlb, Transport::Udp, from_the_client)?;

        let ports = format!("{HTTP},{LINES}");
        site.annotations(&[("proxy-protocol-per-target-group", json!(ports))])?;
        attribute(site, &nlb, "proxy_protocol_v2.enabled", "true")?;
        let answer = site.curl(&[&format!("http://{}/", nlb.hostname)])?;
        from_the_client(&answer)?;
        let via = answer
            .via
            .context("the proxy protocol names who passed it on")?;
        ensure!(nlb.addresses.contains(&via), "{answer:?}, {nlb:?}");

        let kept = json!("preserve_client_ip.enabled=true");
        site.annotations(&[
            ("proxy-protocol-per-target-group", Value::Null),
            ("target-group-attributes", kept),
        ])?;
        attribute(site, &nlb, "proxy_protocol_v2.enabled", "false")?;
        attribute(site, &nlb, "preserve_client_ip.enabled", "true")?;
        every_pod_answers(site, &nlb, Transport::Tcp, from_the_client)?;
        site.delete()?;
        pods_of_ipv6(site)
    })
}

/// The same pods by IPv6: connections only, as documented.
fn pods_of_ipv6(site: &Site<'_>) -> Result<()> {
    let mut service = service_of_pods(site.namespace);
    annotate(&mut service, "ip-address-type", "dualstack");
    service["spec"]["ipFamilies"] = json!(["IPv6"]);
    service["spec"]["ports"] = json!([{ "name": "lines", "port": LINES, "targetPort": 9000 }]);
    apply(site.cluster, &[service])?;
    let nlb = site.published()?;
    let addresses = pod_addresses(site, true)?;
    let wanted: BTreeSet<String> = addresses.iter().map(|ip| format!("{ip}:9000")).collect();
    let targets = site.healthy(&nlb, LINES, 3)?;
    ensure!(targets == wanted, "{targets:?}");
    for ipv6 in [true, false] {
        let answer = site.ask(&nlb, ipv6, Transport::Tcp)?;
        let known = nlb.addresses.contains(&answer.peer) && answer.peer.is_ipv6();
        ensure!(known, "{answer:?}, {nlb:?}");
    }
    site.delete()
}

/// TLS ends at the load balancer; the pods see what it decrypted.
pub(crate) fn tls(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        let mut service = service(namespace);
        annotate(&mut service, "ssl-cert", site.aws.certificate_arn());
        annotate(&mut service, "ssl-ports", "https");
        service["spec"]["ports"] = json!([
            { "name": "https", "port": 443, "targetPort": 8080 },
            { "name": "http", "port": HTTP, "targetPort": 8080 },
        ]);
        site.serve(pods(namespace, 1), service)?;
        let nlb = site.published()?;
        let listener = site.listener(&nlb, 443)?;
        ensure!(
            listener.protocol == "TLS"
                && listener.certificate.as_deref() == Some(site.aws.certificate_arn()),
            "{listener:?}"
        );
        let groups = site.aws.target_groups()?;
        let group = groups.iter().find(|group| group.arn == listener.group);
        let spoken = group.map(|group| group.protocol.as_str());
        ensure!(
            spoken == Some("TCP"),
            "the targets are spoken to by {spoken:?}"
        );
        site.healthy(&nlb, 443, 3)?;
        let trusted = site.aws.certificate();
        let trusted = trusted.to_str().context("path is not UTF-8")?;
        let url = format!("https://{}/", nlb.hostname);
        site.curl(&["--cacert", trusted, &url])?;
        let answer = site.curl_once(&[&url]);
        let error = answer
            .err()
            .context("a certificate nobody trusts is accepted")?;
        let error = format!("{error:#}");
        ensure!(error.contains("certificate"), "{error}");
        site.curl(&[&format!("http://{}/", nlb.hostname)])?;
        site.delete()
    })
}

/// Policy Local: every node is a target, only those with a pod are healthy, the pod sees the client, and traffic follows it.
pub(crate) fn policy_local(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        let mut service = service(namespace);
        service["spec"]["externalTrafficPolicy"] = "Local".into();
        site.serve(pods(namespace, 1), service)?;
        let nlb = site.published()?;
        let service = site.service()?;
        let number = &service["spec"]["healthCheckNodePort"];
        let number = number
            .as_u64()
            .context("no healthCheckNodePort")?
            .to_string();
        let group = site.listener(&nlb, LINES)?.group;
        let asked = json!({ "TargetGroupArns": [group] });
        let seen = site.aws.call("elbv2", "describe_target_groups", &asked)?;
        let seen = &seen["TargetGroups"][0];
        ensure!(
            seen["HealthCheckPort"] == *number
                && seen["HealthCheckProtocol"] == "HTTP"
                && seen["HealthCheckPath"] == "/healthz",
            "{seen}"
        );
        let node = node_of_pod(cluster, namespace, "web")?;
        answered_on(site, &nlb, &node)?;
        site.condition(TARGETS_HEALTHY, "False SomeUnhealthy: 3 of 9 ")?;

        cluster.kubectl(&["cordon", &node])?;
        let moved = moved(site, &nlb, &node);
        cluster.kubectl(&["uncordon", &node])?;
        moved?;
        site.delete()
    })
}

/// The pod goes to another node, and traffic with it.
fn moved(site: &Site<'_>, nlb: &Nlb, from: &str) -> Result<()> {
    let words = ["rollout", "restart", "deployment/web", "-n", site.namespace];
    site.cluster.kubectl(&words)?;
    crate::e2e::rolled_out(site.cluster, site.namespace, "web")?;
    let node = wait_for("the pod on another node", PATIENCE, || {
        let pods = get(site.cluster, &["pods", "-n", site.namespace])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let nodes: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        let alone = nodes.len() == 1 && nodes[0] != from;
        ensure!(alone, "pods on {nodes:?}");
        Ok(Some(nodes[0].to_owned()))
    })?;
    // The condition is not asked: nothing but the audit tells of health that changes later.
    answered_on(site, nlb, &node)
}

/// All nodes are targets, this one alone is healthy, and its pod sees the client's own address.
fn answered_on(site: &Site<'_>, nlb: &Nlb, node: &str) -> Result<()> {
    let number = crate::e2e::observe::number(node)?;
    let instance = site.aws.instances().nth(number - 1);
    let instance = instance.context("a node is an instance")?.to_owned();
    for port in EVERY_PORT {
        let group = site.listener(nlb, port)?.group;
        wait_for(
            &format!("only {instance} healthy on {port}"),
            PATIENCE,
            || {
                let targets = site.aws.targets(&group)?;
                let known = targets.len() == 3
                    && targets.iter().all(|one| {
                        let wanted = ["unhealthy", "healthy"][usize::from(one.id == instance)];
                        one.state == wanted
                    });
                ensure!(known, "{targets:?}");
                Ok(Some(()))
            },
        )?;
    }
    site.aws.settled()?;
    for transport in TRANSPORTS {
        let answer = site.ask(nlb, false, transport)?;
        ensure!(
            answer.node == node && answer.peer == site.remote,
            "{transport:?}, the pod is on {node}: {answer:?}"
        );
    }
    let answer = site.curl(&[&format!("http://{}/", nlb.hostname)])?;
    ensure!(answer.peer == site.remote, "{answer:?}");
    Ok(())
}

/// Asks until every pod has answered, and checks each answer.
fn every_pod_answers(
    site: &Site<'_>,
    nlb: &Nlb,
    transport: Transport,
    check: impl Fn(&Answer) -> Result<()>,
) -> Result<()> {
    let wanted = replicas(site)?;
    let mut pods = BTreeSet::new();
    wait_for(&format!("{wanted} pods by {transport:?}"), PATIENCE, || {
        let answer = site.ask(nlb, false, transport)?;
        check(&answer)?;
        pods.insert(answer.pod);
        ensure!(pods.len() == wanted, "only {pods:?} answered");
        Ok(Some(()))
    })
}

fn replicas(site: &Site<'_>) -> Result<usize> {
    let words = ["deployment", "-n", site.namespace, "web"];
    let number = get(site.cluster, &words)?["spec"]["replicas"].as_u64();
    Ok(usize::try_from(number.context("replicas")?)?)
}

/// Waits until the groups of both TCP ports have this attribute so, and traffic with them.
fn attribute(site: &Site<'_>, nlb: &Nlb, key: &str, value: &str) -> Result<()> {
    for port in [HTTP, LINES] {
        let group = site.listener(nlb, port)?.group;
        wait_for(&format!("{key}={value} on {port}"), PATIENCE, || {
            let groups = site.aws.target_groups()?;
            let found = groups.into_iter().find(|one| one.arn == group);
            let seen = found.and_then(|one| one.attributes.get(key).cloned());
            ensure!(seen.as_deref() == Some(value), "{key}: {seen:?}");
            Ok(Some(()))
        })?;
    }
    site.aws.settled()
}

/// The status names every port without an error, and the Service has the finalizer.
fn says_all_ports(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let service = site.service()?;
    let ingress = &service["status"]["loadBalancer"]["ingress"];
    let wanted = json!([{
        "hostname": nlb.hostname,
        "ports": [
            { "port": HTTP, "protocol": "TCP" },
            { "port": LINES, "protocol": "TCP" },
            { "port": DATAGRAMS, "protocol": "UDP" },
        ],
    }]);
    ensure!(*ingress == wanted, "{ingress}, not {wanted}");
    let finalizers = &service["metadata"]["finalizers"];
    let ours = finalizers
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == FINALIZER));
    ensure!(ours, "{finalizers}");
    Ok(())
}

/// The front group lets everybody in on the ports, and the nodes' group lets the load balancers in on node ports.
fn lets_in(site: &Site<'_>, nlb: &Nlb) -> Result<()> {
    let balancers = site.aws.load_balancers()?;
    let groups = balancers.into_iter().find(|one| one.arn == nlb.arn);
    let groups = groups.context("it is there")?.security_groups;
    let mut all = BTreeSet::new();
    for group in &groups {
        all.extend(site.rules(group)?);
    }
    for rule in ["tcp 80-80", "tcp 9000-9000", "udp 9001-9001"] {
        let rule = format!("{rule} from 0.0.0.0/0");
        ensure!(all.contains(&rule), "no {rule} in {all:?} of {groups:?}");
    }
    let nodes = site.rules(site.aws.node_group())?;
    for ports in ["tcp 30000-32767", "udp 30000-32767", "tcp 10256-10256"] {
        let open = groups
            .iter()
            .any(|group| nodes.contains(&format!("{ports} from {group}")));
        // All ports, for pods, include these.
        let wide = groups.iter().any(|group| {
            let kind = &ports[..3];
            nodes.contains(&format!("{kind} 0-65535 from {group}"))
                || nodes.contains(&format!("-1 -1--1 from {group}"))
        });
        ensure!(open || wide, "{ports} is not open to {groups:?}: {nodes:?}");
    }
    Ok(())
}

fn node_port(service: &Value, port: u16) -> Result<u64> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut ports = ports.filter(|one| one["port"] == port);
    let number = ports.find_map(|one| one["nodePort"].as_u64());
    number.with_context(|| format!("port {port} has no node port"))
}

fn pod_addresses(site: &Site<'_>, ipv6: bool) -> Result<BTreeSet<String>> {
    let pods = get(site.cluster, &["pods", "-n", site.namespace])?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let ips = pods.flat_map(|pod| pod["status"]["podIPs"].as_array().into_iter().flatten());
    let ips = ips.filter_map(|ip| ip["ip"].as_str());
    Ok(ips
        .filter(|ip| ip.contains(':') == ipv6)
        .map(str::to_owned)
        .collect())
}
