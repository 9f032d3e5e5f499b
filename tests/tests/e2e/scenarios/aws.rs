//! Services with a Network Load Balancer: what AWS has, what the Service says, and what a client behind the router gets.

pub(crate) mod change;
pub(crate) mod delete;
pub(crate) mod load;
mod report;
pub(crate) mod rollout;
pub(crate) mod serve;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use herald_tests::aws::{Aws, Listener};
use herald_tests::moto::Settings;
use herald_tests::{Cluster, Place, wait_for};
use serde_json::{Value, json};

use crate::e2e::ask::{Answer, Transport, ask, parse};
use crate::e2e::objects::echo;
use crate::e2e::observe::{condition, get};
use crate::e2e::{apply, rolled_out};

/// How long AWS, Herald and the pods may take together on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const CLASS: &str = "heraldlb.io/aws-nlb";
const FINALIZER: &str = "heraldlb.io/aws-nlb";
const PROVISIONED: &str = "heraldlb.io/Provisioned";
const TARGETS_HEALTHY: &str = "heraldlb.io/TargetsHealthy";
const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";
/// Tag of everything that belongs to one load balancer: the Service's UID.
const OWNER: &str = "heraldlb.io/load-balancer";

/// The ports of [`service`].
const HTTP: u16 = 80;
const LINES: u16 = 9000;
const DATAGRAMS: u16 = 9001;

/// Where a scenario runs.
pub(crate) struct Site<'a> {
    cluster: &'a Cluster,
    aws: Aws,
    namespace: &'a str,
    /// The client's address.
    remote: IpAddr,
}

/// A load balancer as a Service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nlb {
    arn: String,
    hostname: String,
    addresses: Vec<IpAddr>,
}

/// Runs a scenario with AWS as at the start; tells everything that is known if it fails.
fn run(
    cluster: &Cluster,
    namespace: &str,
    scenario: impl FnOnce(&Site<'_>) -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    let aws = cluster.aws()?;
    let remote = Place::Remote.addresses().context("remote has addresses")?[0];
    let usual = Settings {
        registration: Some(0.0),
        draining: Some(None),
        ..Settings::default()
    };
    aws.moto().settings(Some(aws.region()), &usual)?;
    aws.moto().forget_calls()?;
    let site = Site {
        cluster,
        aws,
        namespace,
        remote,
    };
    scenario(&site).map_err(|error| anyhow!("{error:#}\n{}", report::of(&site)))?;
    println!("{namespace}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A Service `web` before pods `web`: HTTP on 80, lines on 9000 and datagrams on 9001. Checks are as fast as AWS allows.
fn service(namespace: &str) -> Value {
    let mut annotations = serde_json::Map::new();
    for (key, value) in [
        ("healthcheck-interval", "5"),
        ("healthcheck-timeout", "5"),
        ("healthcheck-healthy-threshold", "2"),
        ("healthcheck-unhealthy-threshold", "2"),
    ] {
        annotations.insert(format!("{PREFIX}{key}"), value.into());
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": namespace, "annotations": annotations },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": CLASS,
            "selector": { "app": "web" },
            "ports": [
                { "name": "http", "port": HTTP, "targetPort": 8080 },
                { "name": "lines", "port": LINES, "targetPort": 9000 },
                { "name": "datagrams", "port": DATAGRAMS, "targetPort": 9000, "protocol": "UDP" },
            ],
        },
    })
}

/// The same with pods as targets, reached without node ports.
fn service_of_pods(namespace: &str) -> Value {
    let mut service = service(namespace);
    annotate(&mut service, "nlb-target-type", "ip");
    service["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    service
}

/// Echo pods `web` that also understand the proxy protocol.
fn pods(namespace: &str, replicas: usize) -> Value {
    let mut pods = echo(namespace, "web", replicas);
    let environment = &mut pods["spec"]["template"]["spec"]["containers"][0]["env"];
    if let Some(variables) = environment.as_array_mut() {
        variables.push(json!({ "name": "ECHO_PROXY_PROTOCOL", "value": "accept" }));
    }
    pods
}

fn annotate(service: &mut Value, key: &str, value: &str) {
    service["metadata"]["annotations"][format!("{PREFIX}{key}")] = value.into();
}

impl Site<'_> {
    /// Makes the pods `web`, and a Service before them once they are ready, so that their first health check succeeds.
    fn serve(&self, pods: Value, service: Value) -> Result<()> {
        apply(self.cluster, &[pods])?;
        rolled_out(self.cluster, self.namespace, "web")?;
        apply(self.cluster, &[service])
    }

    /// The Service `web` as it is.
    fn service(&self) -> Result<Value> {
        get(self.cluster, &["service", "-n", self.namespace, "web"])
    }

    /// What marks everything that belongs to the Service `web` in AWS.
    fn uid(&self) -> Result<String> {
        let service = self.service()?;
        let uid = service["metadata"]["uid"].as_str();
        Ok(uid.context("the Service has a UID")?.to_owned())
    }

    /// Changes the Service `web`: a merge patch.
    fn patch(&self, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let words = ["patch", "service", "-n", self.namespace, "web"];
        let words = [&words[..], &["--type=merge", "-p", &patch]].concat();
        self.cluster.kubectl(&words).map(drop)
    }

    /// Sets annotations of the Service `web`; null removes one.
    fn annotations(&self, values: &[(&str, Value)]) -> Result<()> {
        let full = values
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()));
        let values: serde_json::Map<String, Value> = full.collect();
        self.patch(&json!({ "metadata": { "annotations": values } }))
    }

    /// Waits until the Service `web` says that a load balancer serves it, and gives that.
    fn published(&self) -> Result<Nlb> {
        self.condition(PROVISIONED, "True Provisioned")?;
        let hostname = self.hostname()?.context("no host name in the status")?;
        self.nlb(&hostname)
    }

    /// The host name in the status of the Service `web`.
    fn hostname(&self) -> Result<Option<String>> {
        let service = self.service()?;
        let name = service["status"]["loadBalancer"]["ingress"][0]["hostname"].as_str();
        Ok(name.map(str::to_owned))
    }

    /// The load balancer of a host name, once clients know it.
    fn nlb(&self, hostname: &str) -> Result<Nlb> {
        self.aws.settled()?;
        wait_for(&format!("addresses of {hostname}"), PATIENCE, || {
            let mut all = self.aws.load_balancers()?;
            all.retain(|one| one.dns_name == hostname && one.state == "active");
            let addresses = self.aws.addresses(hostname)?;
            let found = all.pop().filter(|_| !addresses.is_empty());
            Ok(found.map(|found| Nlb {
                arn: found.arn,
                hostname: hostname.to_owned(),
                addresses,
            }))
        })
    }

    /// Waits until a condition of the Service `web` begins so.
    fn condition(&self, kind: &str, begins: &str) -> Result<String> {
        wait_for(&format!("{kind}: {begins}"), PATIENCE, || {
            let seen = condition(&self.service()?, kind);
            ensure!(seen.starts_with(begins), "{kind}: {seen}");
            Ok(Some(seen))
        })
    }

    /// The listener of a port.
    fn listener(&self, nlb: &Nlb, port: u16) -> Result<Listener> {
        let all = self.aws.listeners(&nlb.arn)?;
        let found = all.iter().find(|one| one.port == port);
        found
            .cloned()
            .with_context(|| format!("no listener on {port}: {all:?}"))
    }

    /// Waits until so many targets of a port are healthy and no others are registered; gives their `id:port`.
    fn healthy(&self, nlb: &Nlb, port: u16, count: usize) -> Result<BTreeSet<String>> {
        let group = self.listener(nlb, port)?.group;
        let what = format!("{count} healthy targets behind port {port}, and no others");
        let found = wait_for(&what, PATIENCE, || {
            let mut targets = self.aws.targets(&group)?;
            targets.retain(|one| one.state != "draining");
            let all = targets.len() == count && targets.iter().all(|one| one.state == "healthy");
            ensure!(all, "{targets:?}");
            let names = targets.iter().map(|one| format!("{}:{}", one.id, one.port));
            Ok(Some(names.collect()))
        })?;
        self.aws.settled()?;
        Ok(found)
    }

    /// What a client behind the router is told over the load balancer's first address of a family, once it is told anything.
    fn ask(&self, nlb: &Nlb, ipv6: bool, transport: Transport) -> Result<Answer> {
        let port = if transport == Transport::Tcp {
            LINES
        } else {
            DATAGRAMS
        };
        let to = nlb.at(port);
        let to = to.iter().find(|one| one.is_ipv6() == ipv6);
        let to = *to.with_context(|| format!("{nlb:?} has no such address"))?;
        self.until_answered(to, transport)
    }

    fn until_answered(&self, to: SocketAddr, transport: Transport) -> Result<Answer> {
        wait_for(&format!("{transport:?} answer of {to}"), PATIENCE, || {
            ask(self.cluster.name(), Place::Remote, to, transport).map(Some)
        })
    }

    /// `curl` behind the router, by the host name, once it succeeds.
    fn curl(&self, arguments: &[&str]) -> Result<Answer> {
        wait_for(&format!("curl {arguments:?}"), PATIENCE, || {
            self.curl_once(arguments).map(Some)
        })
    }

    fn curl_once(&self, arguments: &[&str]) -> Result<Answer> {
        let curl = [&["curl", "-sS", "-m", "5"], arguments].concat();
        parse(&self.cluster.run(Place::Remote, &curl)?)
    }

    /// Removes the Service `web`, and checks that nothing of it is left in AWS and that its name is gone.
    fn delete(&self) -> Result<()> {
        let (uid, hostname) = (self.uid()?, self.hostname()?);
        let begun = Instant::now();
        let words = ["delete", "service", "-n", self.namespace, "web"];
        // Ends when the finalizer is gone.
        self.cluster
            .kubectl(&[&words[..], &["--timeout=90s"]].concat())?;
        println!("deleted in {:.1} s", begun.elapsed().as_secs_f64());
        let left = self.owned(&uid)?;
        ensure!(left.is_empty(), "left in AWS: {left:?}");
        if let Some(hostname) = hostname {
            self.aws.settled()?;
            ensure!(self.aws.addresses(&hostname)?.is_empty());
            let answer = self.curl_once(&[&format!("http://{hostname}/")]);
            ensure!(answer.is_err(), "{hostname} still answers: {answer:?}");
        }
        Ok(())
    }

    /// Everything in AWS that is marked as one Service's.
    fn owned(&self, uid: &str) -> Result<Vec<String>> {
        let owned = |tags: &std::collections::BTreeMap<String, String>| {
            tags.get(OWNER).is_some_and(|owner| owner == uid)
        };
        let balancers = self.aws.load_balancers()?.into_iter();
        let balancers = balancers.filter(|one| owned(&one.tags)).map(|one| one.arn);
        let groups = self.aws.target_groups()?.into_iter();
        let groups = groups.filter(|one| owned(&one.tags)).map(|one| one.arn);
        let filters = json!({ "Filters": [{ "Name": format!("tag:{OWNER}"), "Values": [uid] }] });
        let fronts = self.aws.call("ec2", "describe_security_groups", &filters)?;
        let fronts = fronts["SecurityGroups"].as_array().into_iter().flatten();
        let fronts = fronts.filter_map(|one| Some(one["GroupId"].as_str()?.to_owned()));
        Ok(balancers
            .chain(groups)
            .chain(fronts.collect::<Vec<_>>())
            .collect())
    }

    /// Whom a security group lets in: `tcp 80-80 from 0.0.0.0/0`.
    fn rules(&self, group: &str) -> Result<BTreeSet<String>> {
        let asked = json!({ "GroupIds": [group] });
        let answer = self.aws.call("ec2", "describe_security_groups", &asked)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut found = BTreeSet::new();
        for one in list(&answer["SecurityGroups"][0]["IpPermissions"]) {
            let protocol = one["IpProtocol"].as_str().unwrap_or_default();
            let [from, to] = ["FromPort", "ToPort"].map(|key| one[key].as_i64().unwrap_or(-1));
            for (of, key) in [
                ("IpRanges", "CidrIp"),
                ("Ipv6Ranges", "CidrIpv6"),
                ("UserIdGroupPairs", "GroupId"),
            ] {
                for source in list(&one[of]) {
                    let source = source[key].as_str().unwrap_or_default();
                    found.insert(format!("{protocol} {from}-{to} from {source}"));
                }
            }
        }
        Ok(found)
    }
}

impl Nlb {
    /// Its addresses with a port.
    fn at(&self, port: u16) -> Vec<SocketAddr> {
        let all = self.addresses.iter();
        all.map(|address| SocketAddr::new(*address, port)).collect()
    }
}
