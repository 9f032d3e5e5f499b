//! AWS in the lab, without Herald: load balancers made through the API carry traffic as AWS would have it. Needs root.

#[path = "lab_aws/nlb.rs"]
mod nlb;
#[path = "lab_aws/talk.rs"]
mod talk;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use herald_tests::aws::{self, Aws};
use herald_tests::moto::Settings;
use herald_tests::{Cluster, ClusterOptions, Place, down, wait_for};
use nlb::{DEADLINE, Nlb, attribute, deregister, group, register};
use serde_json::{Value, json};
use talk::{Answer, Held};

const HTTP: u16 = 8080;
const LINES: u16 = 9000;

/// Three pods, one a node, that tell the client's address, also if the proxy protocol brings it. Their Service is of
/// a class that nobody serves here: it has node ports and a health check, and no load balancer.
const ECHO: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 3
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: echo}}
      containers:
        - name: echo
          image: localhost/herald-echo:dev
          imagePullPolicy: IfNotPresent
          env:
            - {name: ECHO_PROXY_PROTOCOL, value: accept}
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: LoadBalancer
  loadBalancerClass: example.com/nobody
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  selector: {app: echo}
  ports:
    - {name: http, port: 80, targetPort: 8080}
    - {name: lines, port: 9000, targetPort: 9000, protocol: TCP}
    - {name: datagrams, port: 9000, targetPort: 9000, protocol: UDP}
";

/// What the scenarios work with.
struct Lab<'a> {
    cluster: &'a Cluster,
    aws: &'a Aws,
    remote: IpAddr,
    /// Instance ids.
    nodes: Vec<String>,
    /// IPv4 addresses of the pods, and IPv6.
    pods: [Vec<String>; 2],
    service: Value,
}

#[test]
fn load_balancers_carry_traffic() -> Result<()> {
    let name = format!("aws-{}", std::process::id());
    let cluster = Cluster::up(&ClusterOptions {
        aws: Some(aws::Options::default()),
        images: vec![echo_image()?],
        ..ClusterOptions::new(&name)
    })?;
    let result = scenarios(&cluster);
    if result.is_err()
        && let Ok(folder) = cluster.dump("load balancers did not carry traffic")
    {
        eprintln!("logs are in {}", folder.display());
    }
    if std::env::var_os("HERALD_KEEP").is_some() {
        eprintln!("HERALD_KEEP is set: cluster {name} stays");
        return result;
    }
    down(&name)?;
    result?;
    let left = processes(&name);
    ensure!(left.is_empty(), "left after down: {left:?}");
    Ok(())
}

fn scenarios(cluster: &Cluster) -> Result<()> {
    // Also for a process that has not brought it up.
    let cluster = &Cluster::open(cluster.name())?;
    let aws = &cluster.aws()?;
    nodes_are_instances(cluster, aws)?;
    cluster.kubectl_apply(ECHO)?;
    cluster.wait_for_rollout("default", "deployment/echo", DEADLINE)?;
    let pods = cluster.kubectl_json(&["get", "pods", "-l", "app=echo"])?;
    let of_family = |ipv6: bool| -> Vec<String> {
        let ips = list(&pods["items"]).flat_map(|pod| list(&pod["status"]["podIPs"]));
        let ips = ips.filter_map(|ip| ip["ip"].as_str());
        ips.filter(|ip| ip.contains(':') == ipv6)
            .map(str::to_owned)
            .collect()
    };
    let lab = Lab {
        cluster,
        aws,
        remote: Place::Remote.addresses().context("remote has addresses")?[0],
        nodes: aws.instances().map(str::to_owned).collect(),
        pods: [of_family(false), of_family(true)],
        service: cluster.kubectl_json(&["get", "service", "echo"])?,
    };
    let balancer = Nlb::create(aws, "shop", "ipv4")?;
    instances_see_the_client(&lab, &balancer)?;
    datagrams_reach_instances(&lab, &balancer)?;
    pods_see_the_load_balancer(&lab, &balancer)?;
    the_proxy_protocol_names_the_client(&lab, &balancer)?;
    tls_ends_at_the_load_balancer(&lab, &balancer)?;
    changes_drop_no_connection(&lab, &balancer)?;
    a_deregistered_target_keeps_its_connections(&lab, &balancer)?;
    both_families(&lab)?;
    unhealthy_targets_get_nothing(&lab, &balancer)
}

/// Provider ids, zones and addresses agree with AWS's instances.
fn nodes_are_instances(cluster: &Cluster, aws: &Aws) -> Result<()> {
    let nodes = cluster.kubectl_json(&["get", "nodes"])?;
    let answer = aws.call("ec2", "describe_instances", &json!({}))?;
    let instances = list(&answer["Reservations"]).flat_map(|one| list(&one["Instances"]));
    let of_aws: BTreeSet<(String, String)> = instances
        .map(|one| {
            let zone = text(&one["Placement"]["AvailabilityZone"]);
            let id = format!("aws:///{zone}/{}", text(&one["InstanceId"]));
            (id, text(&one["PrivateIpAddress"]))
        })
        .collect();
    let of_kubernetes: BTreeSet<(String, String)> = list(&nodes["items"])
        .map(|node| {
            let id = text(&node["spec"]["providerID"]);
            (id, text(&node["status"]["addresses"][0]["address"]))
        })
        .collect();
    ensure!(
        of_aws.len() == 3 && of_aws == of_kubernetes,
        "{of_aws:?} and {of_kubernetes:?}"
    );
    let zone = "topology.kubernetes.io/zone";
    let zones: BTreeSet<String> = list(&nodes["items"])
        .map(|node| text(&node["metadata"]["labels"][zone]))
        .collect();
    ensure!(zones.len() == 2, "{zones:?}");
    Ok(())
}

/// Node ports as targets: the client's address is kept. Health is what kube-proxy says of local pods.
fn instances_see_the_client(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let more = json!({
        "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz",
        "HealthCheckPort": lab.service["spec"]["healthCheckNodePort"].to_string(),
    });
    let group = group(lab.aws, "instances", "TCP", "instance", &more)?;
    register(lab.aws, &group, &lab.nodes, lab.node_port(0)?)?;
    balancer.listen("TCP", 80, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}/", balancer.hostname);
    let mut nodes = BTreeSet::new();
    wait_for("answers from all nodes", DEADLINE, || {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(answer.peer == lab.remote, "{answer:?}");
        nodes.insert(answer.node);
        Ok((nodes.len() == 3).then_some(()))
    })?;
    // A client whose answers would not come back by the router is served too, if under another address.
    let answer = lab
        .cluster
        .run(Place::Client, &["curl", "-sS", "-m5", &url])?;
    Answer::parse(&answer).map(drop)
}

/// UDP node ports: checked at kube-proxy's own health port.
fn datagrams_reach_instances(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let more = json!({
        "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz", "HealthCheckPort": "10256",
    });
    let group = group(lab.aws, "datagrams", "UDP", "instance", &more)?;
    register(lab.aws, &group, &lab.nodes, lab.node_port(2)?)?;
    balancer.listen("UDP", LINES, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let to = SocketAddr::new(balancer.address(false)?, LINES);
    let mut nodes = BTreeSet::new();
    wait_for("datagrams from all nodes", DEADLINE, || {
        let answer = talk::udp(lab.cluster, to)?;
        ensure!(answer.peer == lab.remote, "{answer:?}");
        nodes.insert(answer.node);
        Ok((nodes.len() == 3).then_some(()))
    })
}

/// Pods as targets: the client's address is not kept, unless that is asked for.
fn pods_see_the_load_balancer(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "pods", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 81, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:81/", balancer.hostname);
    let own = lab.aws.addresses(&balancer.hostname)?;
    let mut pods = BTreeSet::new();
    wait_for("answers from all pods", DEADLINE, || {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(own.contains(&answer.peer), "{answer:?}");
        pods.insert(answer.pod);
        Ok((pods.len() == 3).then_some(()))
    })?;
    attribute(lab.aws, &group, "preserve_client_ip.enabled", "true")?;
    lab.aws.settled()?;
    let answer = talk::http(lab.cluster, &[&url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    Ok(())
}

fn the_proxy_protocol_names_the_client(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "proxied", "TCP", "ip", &json!({}))?;
    attribute(lab.aws, &group, "proxy_protocol_v2.enabled", "true")?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 82, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:82/", balancer.hostname);
    let own = lab.aws.addresses(&balancer.hostname)?;
    let answer = talk::http(lab.cluster, &[&url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    ensure!(
        answer.via.is_some_and(|via| own.contains(&via)),
        "{answer:?}"
    );
    // Both: the connection itself comes from the client too.
    attribute(lab.aws, &group, "preserve_client_ip.enabled", "true")?;
    lab.aws.settled()?;
    let answer = talk::http(lab.cluster, &[&url])?;
    let both = [Some(answer.peer), answer.via];
    ensure!(both == [Some(lab.remote); 2], "{answer:?}");
    Ok(())
}

/// Terminated, and terminated and encrypted again; instances see the client all the same.
fn tls_ends_at_the_load_balancer(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let instances = group(lab.aws, "tls", "TCP", "instance", &json!({}))?;
    register(lab.aws, &instances, &lab.nodes, lab.node_port(0)?)?;
    balancer.listen("TLS", 443, &instances)?;
    lab.aws
        .wait_for_targets(&instances, "healthy", 3, DEADLINE)?;
    let certificate = lab.aws.certificate();
    let trusted = certificate.to_str().context("path is not UTF-8")?;
    let url = format!("https://{}/", balancer.hostname);
    let answer = talk::http(lab.cluster, &["--cacert", trusted, &url])?;
    ensure!(answer.peer == lab.remote, "{answer:?}");
    ensure!(
        talk::http(lab.cluster, &[&url]).is_err(),
        "nobody trusts it"
    );

    let folder = lab.cluster.folder().join("aws/certificates");
    let pair = only_file(&folder)?;
    let mut server = Command::new("openssl");
    server
        .args(["s_server", "-quiet", "-www", "-accept", "8443", "-cert"])
        .args([&pair, Path::new("-key"), &pair]);
    let _server = lab.cluster.spawn_in(Place::Client, server)?;
    let group = group(
        lab.aws,
        "tls-again",
        "TLS",
        "ip",
        &json!({"HealthCheckProtocol": "TCP"}),
    )?;
    let client = Place::Client.addresses().context("client has addresses")?[0];
    register(lab.aws, &group, &[client.to_string()], 8443)?;
    balancer.listen("TLS", 444, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 1, DEADLINE)?;
    let url = format!("https://{}:444/", balancer.hostname);
    let curl = ["curl", "-sS", "-m5", "--cacert", trusted, &url];
    let page = lab.cluster.run(Place::Remote, &curl)?;
    ensure!(page.contains("s_server"), "{page}");
    Ok(())
}

/// A new listener and fewer targets: connections go on, and new ones are made all the while.
fn changes_drop_no_connection(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let group = group(lab.aws, "lines", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], LINES)?;
    balancer.listen("TCP", 83, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let to = SocketAddr::new(balancer.address(false)?, 83);
    let mut held = Held::open(lab.cluster, to)?;
    let pod = held.ask()?.pod;
    let done = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut made = 0;
            while !done.load(Ordering::Relaxed) {
                talk::tcp(lab.cluster, to).with_context(|| format!("after {made}"))?;
                made += 1;
            }
            anyhow::Ok(made)
        });
        let changed = balancer
            .listen("TCP", 84, &group)
            .and_then(|()| lab.aws.settled())
            .and_then(|()| deregister(lab.aws, &group, &lab.pods[0][0], LINES))
            .and_then(|()| lab.aws.settled());
        done.store(true, Ordering::Relaxed);
        let made = asking.join().map_err(|_| anyhow!("the client panicked"))?;
        changed.and(made)
    })?;
    ensure!(made > 0, "no connection was tried");
    ensure!(held.ask()?.pod == pod, "the connection stays");
    Ok(())
}

/// Both data paths: new connections go elsewhere at once, the one there is lives until the delay is over.
fn a_deregistered_target_keeps_its_connections(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let delay = Duration::from_secs(60);
    let manual = Settings {
        clock: Some("manual"),
        ..Settings::default()
    };
    lab.aws.moto().settings(Some(lab.aws.region()), &manual)?;
    for (name, port, kept) in [("drained-a", 90, "true"), ("drained-b", 91, "false")] {
        let group = group(lab.aws, name, "TCP", "ip", &json!({}))?;
        for (key, value) in [
            ("preserve_client_ip.enabled", kept),
            ("deregistration_delay.timeout_seconds", "60"),
            (
                "deregistration_delay.connection_termination.enabled",
                "true",
            ),
        ] {
            attribute(lab.aws, &group, key, value)?;
        }
        register(lab.aws, &group, &lab.pods[0], LINES)?;
        balancer.listen("TCP", port, &group)?;
        lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
        let to = SocketAddr::new(balancer.address(false)?, port);
        let mut held = Held::open(lab.cluster, to)?;
        let leaving = held.ask()?.pod;
        deregister(lab.aws, &group, &lab.address_of(&leaving)?, LINES)?;
        lab.aws.settled()?;
        for _ in 0..20 {
            let answer = talk::tcp(lab.cluster, to)?;
            ensure!(answer.pod != leaving, "{name}: {answer:?} gets new ones");
        }
        ensure!(held.ask()?.pod == leaving, "the connection stays");
        lab.aws.moto().advance(Some(lab.aws.region()), delay)?;
        wait_for("end of the connection", DEADLINE, || {
            Ok(held.ask().is_err().then_some(()))
        })?;
        ensure!(lab.aws.targets(&group)?.len() == 2);
    }
    let real = Settings {
        clock: Some("real"),
        ..Settings::default()
    };
    lab.aws.moto().settings(Some(lab.aws.region()), &real)
}

/// A dualstack load balancer with pods of either family, and IPv6 clients of IPv4 targets.
fn both_families(lab: &Lab<'_>) -> Result<()> {
    let balancer = Nlb::create(lab.aws, "both", "dualstack")?;
    let six = Place::Remote.addresses().context("remote has addresses")?[1];
    for (name, port, kept) in [("six", 80, "false"), ("six-kept", 81, "true")] {
        let group = group(
            lab.aws,
            name,
            "TCP",
            "ip",
            &json!({"IpAddressType": "ipv6"}),
        )?;
        attribute(lab.aws, &group, "preserve_client_ip.enabled", kept)?;
        register(lab.aws, &group, &lab.pods[1], HTTP)?;
        balancer.listen("TCP", port, &group)?;
        lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
        let url = format!("http://{}:{port}/", balancer.hostname);
        let answer = talk::http(lab.cluster, &["-6", &url])?;
        let own = lab.aws.addresses(&balancer.hostname)?;
        let as_wanted = if kept == "true" {
            answer.peer == six
        } else {
            own.contains(&answer.peer)
        };
        ensure!(as_wanted && answer.peer.is_ipv6(), "{name}: {answer:?}");
    }
    let group = group(lab.aws, "four", "TCP", "ip", &json!({}))?;
    register(lab.aws, &group, &lab.pods[0], HTTP)?;
    balancer.listen("TCP", 82, &group)?;
    lab.aws.wait_for_targets(&group, "healthy", 3, DEADLINE)?;
    let url = format!("http://{}:82/", balancer.hostname);
    for family in ["-4", "-6"] {
        talk::http(lab.cluster, &[family, &url])?;
    }
    // With it go its name and its addresses.
    let address = SocketAddr::new(balancer.address(true)?, 82);
    let arguments = json!({"LoadBalancerArn": balancer.arn});
    lab.aws.call("elbv2", "delete_load_balancer", &arguments)?;
    lab.aws.settled()?;
    ensure!(lab.aws.addresses(&balancer.hostname)?.is_empty());
    let url = format!("http://{}:82/", balancer.hostname);
    ensure!(talk::http(lab.cluster, &[&url]).is_err(), "no such name");
    ensure!(talk::tcp(lab.cluster, address).is_err(), "nobody is there");
    Ok(())
}

/// Nodes without a pod fail kube-proxy's check under policy Local: none of them is asked, nor is anything lost.
fn unhealthy_targets_get_nothing(lab: &Lab<'_>, balancer: &Nlb<'_>) -> Result<()> {
    let listeners = lab.aws.listeners(&balancer.arn)?;
    let group = &listeners
        .iter()
        .find(|one| one.port == 80)
        .context("listener 80")?
        .group;
    lab.cluster
        .kubectl(&["scale", "deployment", "echo", "--replicas=1"])?;
    lab.cluster
        .wait_for_rollout("default", "deployment/echo", DEADLINE)?;
    lab.aws.wait_for_targets(group, "unhealthy", 2, DEADLINE)?;
    let url = format!("http://{}/", balancer.hostname);
    let node = talk::http(lab.cluster, &[&url])?.node;
    for _ in 0..20 {
        let answer = talk::http(lab.cluster, &[&url])?;
        ensure!(
            answer.node == node && answer.peer == lab.remote,
            "{answer:?}"
        );
    }
    Ok(())
}

impl Lab<'_> {
    /// The node port of one of the Service's ports.
    fn node_port(&self, number: usize) -> Result<u16> {
        let port = self.service["spec"]["ports"][number]["nodePort"].as_u64();
        Ok(u16::try_from(port.context("the Service has node ports")?)?)
    }

    /// A pod's IPv4 address.
    fn address_of(&self, pod: &str) -> Result<String> {
        let path = "jsonpath={.status.podIP}";
        self.cluster.kubectl(&["get", "pod", pod, "-o", path])
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(folder)?.next();
    Ok(entry.context("the folder is empty")??.path())
}

/// The archive of the echo server: of the folder that HERALD_IMAGES names (`cargo xtask test` does), else of the one
/// that `cargo xtask image` fills.
fn echo_image() -> Result<PathBuf> {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/image/image");
    let folder = std::env::var_os("HERALD_IMAGES").map_or_else(usual, PathBuf::from);
    let archive = folder.join("herald-echo.tar");
    ensure!(
        archive.exists(),
        "no {}: `cargo xtask image` makes it",
        archive.display()
    );
    Ok(archive)
}

/// Processes that carry the cluster's mark.
fn processes(cluster: &str) -> Vec<String> {
    let wanted = format!("HERALD_LAB={cluster}");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let marked = entries.filter(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|one| one == wanted.as_bytes())
    });
    let name = |path: PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    marked.map(|entry| name(entry.path())).collect()
}
