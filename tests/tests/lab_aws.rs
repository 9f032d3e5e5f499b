//! AWS in the lab, without Herald: load balancers made through the API carry traffic as AWS would have it. Needs root.

#[path = "lab_aws/changes.rs"]
mod changes;
#[path = "lab_aws/nlb.rs"]
mod nlb;
#[path = "lab_aws/talk.rs"]
mod talk;
#[path = "lab_aws/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use herald_tests::aws::{self, Aws};
use herald_tests::{Cluster, ClusterOptions, Place, down};
use nlb::{DEADLINE, Nlb};
use serde_json::{Value, json};

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
    traffic::instances_see_the_client(&lab, &balancer)?;
    traffic::datagrams_reach_instances(&lab, &balancer)?;
    traffic::pods_see_the_load_balancer(&lab, &balancer)?;
    traffic::the_proxy_protocol_names_the_client(&lab, &balancer)?;
    traffic::tls_ends_at_the_load_balancer(&lab, &balancer)?;
    changes::changes_drop_no_connection(&lab, &balancer)?;
    changes::a_deregistered_target_keeps_its_connections(&lab, &balancer)?;
    changes::both_families(&lab)?;
    changes::unhealthy_targets_get_nothing(&lab, &balancer)
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
