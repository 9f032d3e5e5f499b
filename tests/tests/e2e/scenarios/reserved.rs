//! Whoever may make Services or pools takes no address that the cluster itself lives on.
//!
//! The Services are hidden from kube-proxy, which carries what they ask for: what is kept from harm here, is from Herald.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use herald_tests::{Cluster, Place, wait_for};
use serde_json::{Value, json};

use crate::e2e::ask::TRANSPORTS;
use crate::e2e::dns::resolve;
use crate::e2e::objects::{Service, echo, pool};
use crate::e2e::observe::{SOON, ruleset, wait_condition};
use crate::e2e::scenarios::cluster_ips::{cluster_ips_of, from_pod};
use crate::e2e::{apply, rolled_out};

/// Nobody's: a Service may have them as external IPs.
const FREE: [&str; 2] = ["10.77.0.95", "fd00:77::95"];
const POOL: &str = "somebodys";

/// External IPs that are cluster IPs take no traffic from name server and API server, which answer nodes and pods as before,
/// over every family and transport.
pub(crate) fn external_ips(cluster: &Cluster, namespace: &str) -> Result<()> {
    let dns = cluster_ips_of(cluster, "kube-system", "kube-dns")?;
    let api = cluster_ips_of(cluster, "default", "kubernetes")?;
    ensure!(dns.len() == 2 && !api.is_empty(), "{dns:?}, {api:?}");
    let askers = dns.iter().map(|server| asker(namespace, *server));
    let mut objects: Vec<Value> = askers.collect();
    objects.push(Service::new(namespace, "web", "asker-v4").value());
    apply(cluster, &objects)?;
    rolled_out(cluster, namespace, "asker-v4")?;
    rolled_out(cluster, namespace, "asker-v6")?;
    all_answer(cluster, namespace, &dns, &api).context("before there is another Service")?;

    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    take(cluster, namespace, "kube-system/kube-dns", &dns, &ports)?;
    let ports = json!([{ "name": "https", "port": 443, "protocol": "TCP" }]);
    take(cluster, namespace, "default/kubernetes", &api, &ports)?;
    all_answer(cluster, namespace, &dns, &api)
}

/// A pool of what nodes and the API server have gives nothing, and says so; who asks for it is told, and they answer as
/// before.
pub(crate) fn of_nodes(cluster: &Cluster, namespace: &str) -> Result<()> {
    let node = Place::Node(1).addresses().context("a node's addresses")?;
    let api = Place::ControlPlane.addresses().context("its addresses")?[0];
    let ranges = [node[0], node[1], api].map(|address| address.to_string());
    apply(
        cluster,
        &[pool(POOL, &ranges.each_ref().map(String::as_str))],
    )?;
    let said = wait_condition(cluster, &["addresspool", POOL], "Ready", "False Reserved")?;
    for address in [
        format!("{api} (the address of an API server)"),
        format!("{} (an address of node n1)", node[0]),
        format!("{} (an address of node n1)", node[1]),
    ] {
        ensure!(said.contains(&address), "no {address} in {said}");
    }
    println!("pool: {said}");
    let (of_api, of_node) = ("the address of an API server", "an address of node n1");
    let wishes = [
        ("api", api, 6443, of_api),
        ("kubelet-v4", node[0], 10250, of_node),
        ("kubelet-v6", node[1], 10250, of_node),
    ];
    for (name, address, port, what) in wishes {
        let mut wish = without_pods(namespace, name, json!([{ "name": "tcp", "port": port }]));
        wish["spec"]["type"] = "LoadBalancer".into();
        wish["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
        wish["metadata"]["annotations"]["heraldlb.io/addresses"] = address.to_string().into();
        apply(cluster, &[wish])?;
        let service = ["service", "-n", namespace, name];
        let kind = "heraldlb.io/Allocated";
        let said = wait_condition(cluster, &service, kind, "False AddressReserved")?;
        ensure!(said.contains(&format!("{address} is {what}")), "{said}");
        println!("{name}: {said}");
    }
    api_answers(cluster, Place::Node(1), (api, 6443).into())?;
    for address in node {
        kubelet_answers(cluster, Place::Node(2), address)?;
    }
    cluster.kubectl(&["delete", "service", "-n", namespace, "--all"])?;
    cluster.kubectl(&["delete", "addresspool", POOL, "--timeout=30s"])?;
    Ok(())
}

/// A Service without pods wants what `owner` has, and some that is free. Returns when it was refused the former and every
/// speaker has put the latter into its rules: by then they have seen all of it.
fn take(
    cluster: &Cluster,
    namespace: &str,
    owner: &str,
    wanted: &[IpAddr],
    ports: &Value,
) -> Result<()> {
    let name = owner.replace('/', "-");
    let mut taker = without_pods(namespace, &name, ports.clone());
    let all = wanted.iter().map(ToString::to_string);
    let all: Vec<String> = all.chain(FREE.map(str::to_owned)).collect();
    taker["spec"]["externalIPs"] = json!(all);
    apply(cluster, &[taker])?;
    let said = wait_condition(
        cluster,
        &["service", "-n", namespace, &name],
        "heraldlb.io/ExternalIPs",
        "False ExternalIPRefused",
    )?;
    for address in wanted {
        let expected = format!("{address} is the cluster IP of Service {owner}");
        ensure!(said.contains(&expected), "{said}");
    }
    println!("{name}: {said}");
    for port in ports.as_array().into_iter().flatten() {
        let protocol = port["protocol"].as_str().unwrap_or_default();
        let suffix = format!(" . {} . {} :", protocol.to_lowercase(), port["port"]);
        carried(cluster, &FREE.map(|address| format!("{address}{suffix}")))?;
    }
    Ok(())
}

/// Waits until these elements are in the rules of all nodes.
fn carried(cluster: &Cluster, elements: &[String]) -> Result<()> {
    for number in 1..=cluster.nodes() {
        let what = format!("{elements:?} in the rules of n{number}");
        wait_for(&what, SOON, || {
            let rules = ruleset(cluster, number)?;
            let all = elements.iter().all(|element| rules.contains(element));
            Ok(all.then_some(()))
        })?;
    }
    Ok(())
}

/// Hidden from kube-proxy, with ports that nothing is behind.
fn without_pods(namespace: &str, name: &str, ports: Value) -> Value {
    let service = Service::new(namespace, name, "nobody").not_for_kube_proxy();
    let mut service = service.value();
    service["spec"]["ports"] = ports;
    service
}

/// An echo pod that asks one name server only.
fn asker(namespace: &str, server: IpAddr) -> Value {
    let mut asker = echo(namespace, asker_name(server), 1);
    let pod = &mut asker["spec"]["template"]["spec"];
    pod["dnsPolicy"] = "None".into();
    pod["dnsConfig"] = json!({ "nameservers": [server] });
    asker
}

fn asker_name(server: IpAddr) -> &'static str {
    if server.is_ipv4() {
        "asker-v4"
    } else {
        "asker-v6"
    }
}

/// Name server and API server by their cluster IPs, from every node, and the former from pods too.
fn all_answer(cluster: &Cluster, namespace: &str, dns: &[IpAddr], api: &[IpAddr]) -> Result<()> {
    let name = format!("web.{namespace}.svc.cluster.local");
    let web = cluster_ips_of(cluster, namespace, "web")?;
    for place in (1..=cluster.nodes()).map(Place::Node) {
        for (server, transport) in dns.iter().flat_map(|ip| TRANSPORTS.map(|t| (*ip, t))) {
            let what = format!("{transport:?} answer of {server} to {}", place.label());
            let to = (server, 53).into();
            let found = wait_for(&what, SOON, || {
                resolve(cluster.name(), place, to, transport, &name).map(Some)
            })?;
            ensure!(web.contains(&found.into()), "{what}: {found}, not {web:?}");
        }
        for address in api {
            api_answers(cluster, place, (*address, 443).into())?;
        }
    }
    for server in dns {
        let url = format!("http://{name}:80");
        let answer = from_pod(cluster, namespace, asker_name(*server), &url)?;
        ensure!(answer.pod.starts_with("asker-v4-"), "{answer:?}");
    }
    Ok(())
}

/// Waits for the API server's word that it is alive; its certificate is looked at.
fn api_answers(cluster: &Cluster, from: Place, to: SocketAddr) -> Result<()> {
    let (program, config) = (cluster.folder().join("bin/kubectl"), cluster.kubeconfig());
    let kubectl = [
        &*program.to_string_lossy(),
        &format!("--kubeconfig={}", config.display()),
        &format!("--server=https://{to}"),
        "--request-timeout=3s",
        "get",
        "--raw=/livez",
    ];
    wait_for(
        &format!("answer of the API server at {to} to {}", from.label()),
        SOON,
        || Ok((cluster.run(from, &kubectl)?.trim() == "ok").then_some(())),
    )
}

/// Waits for an answer of the kubelet to somebody it does not know.
fn kubelet_answers(cluster: &Cluster, from: Place, node: IpAddr) -> Result<()> {
    let url = format!("https://{}/pods", SocketAddr::from((node, 10250)));
    let curl = ["curl", "-sSk", "--noproxy", "*", "--max-time", "3", &url];
    wait_for(
        &format!("answer of {url} to {}", from.label()),
        SOON,
        || {
            let text = cluster.run(from, &curl)?;
            ensure!(text.contains("Unauthorized"), "{text}");
            Ok(Some(()))
        },
    )
}
