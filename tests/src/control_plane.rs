//! etcd, API server, controllers and scheduler, in one namespace on the LAN.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::certs::{Authority, Credentials, Pair, write_kubeconfig};
use crate::network::namespace;
use crate::process::{self, MARK};
use crate::state::{State, folder};
use crate::topology::{API_CLUSTER_IPS, API_PORT, POD_CIDRS, Place, SERVICE_CIDRS, node_name};
use crate::wait::{Hopeless, wait_for};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Where the API server answers on the LAN.
pub fn api_server() -> String {
    let address = Place::ControlPlane
        .addresses()
        .map(|[v4, _]| v4.to_string());
    format!("https://{}:{API_PORT}", address.unwrap_or_default())
}

/// Folder of the cluster's certificates and keys.
pub(crate) fn certs_folder(name: &str) -> PathBuf {
    folder(name).join("certs")
}

/// Path of a user's kubeconfig for use on the LAN.
pub(crate) fn kubeconfig(name: &str, user: &str) -> PathBuf {
    certs_folder(name).join(format!("{user}.kubeconfig"))
}

/// Makes the authority, every certificate, and a kubeconfig for everyone on the LAN.
pub(crate) fn write_credentials(state: &State) -> Result<()> {
    let certs = certs_folder(&state.name);
    let authority = Authority::create(&certs)?;
    let mut names = vec![
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        "localhost".to_owned(),
    ];
    names.extend(API_CLUSTER_IPS.map(str::to_owned));
    names.extend(
        Place::ControlPlane
            .addresses()
            .into_iter()
            .flatten()
            .map(|ip| ip.to_string()),
    );
    let service = ["", ".default", ".default.svc", ".default.svc.cluster.local"];
    names.extend(service.map(|rest| format!("kubernetes{rest}")));
    authority.server("kube-apiserver", &names)?;
    authority.client(
        "kubelet-client",
        "kube-apiserver-kubelet-client",
        Some("system:masters"),
    )?;

    let mut users = vec![
        (
            "admin".to_owned(),
            "admin".to_owned(),
            Some("system:masters"),
        ),
        (
            "kube-proxy".to_owned(),
            "system:kube-proxy".to_owned(),
            None,
        ),
    ];
    for role in ["kube-controller-manager", "kube-scheduler"] {
        users.push((role.to_owned(), format!("system:{role}"), None));
    }
    for node in 1..=state.nodes {
        let name = node_name(node);
        users.push((
            name.clone(),
            format!("system:node:{name}"),
            Some("system:nodes"),
        ));
        let addresses = Place::Node(node).addresses().into_iter().flatten();
        let names: Vec<String> = addresses
            .map(|ip| ip.to_string())
            .chain([name.clone()])
            .collect();
        authority.server(&format!("{name}-kubelet"), &names)?;
    }
    for (name, user, group) in users {
        let pair = authority.client(&name, &user, group)?;
        let path = kubeconfig(&state.name, &name);
        let ca = certs.join("ca.crt");
        write_kubeconfig(&path, &api_server(), &ca, &Credentials::Certificate(&pair))?;
    }
    Ok(())
}

/// Starts etcd and the API server.
pub(crate) fn start_api(state: &mut State, program: &Path) -> Result<()> {
    let data = folder(&state.name).join("etcd");
    let etcd = [
        format!("--data-dir={}", data.display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=default=http://127.0.0.1:2380".to_owned(),
        // A power cut loses nothing worth keeping.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    start(state, program, "etcd", &etcd)?;
    start(state, program, "kube-apiserver", &api_arguments(state))
}

/// Waits until the API server answers that it is ready.
pub(crate) fn wait_for_api(state: &State, deadline: Duration) -> Result<()> {
    let certs = certs_folder(&state.name);
    let admin = Pair::at(&certs, "admin");
    let url = format!("{}/readyz", api_server());
    wait_for("ready API server", deadline, || {
        check_running(state, &["etcd", "kube-apiserver"])?;
        let mut curl = namespace(state, Place::ControlPlane).command("curl")?;
        curl.env(MARK, &state.name);
        // Not through the proxy that the environment may name.
        curl.args([
            "--noproxy",
            "*",
            "--silent",
            "--show-error",
            "--max-time",
            "5",
            "--cacert",
        ]);
        curl.arg(certs.join("ca.crt"))
            .arg("--cert")
            .arg(&admin.certificate);
        curl.arg("--key").arg(&admin.key).arg(&url);
        let answer = process::run(&mut curl)?;
        if answer == "ok" {
            Ok(Some(()))
        } else {
            bail!("{url} says {answer}")
        }
    })
}

/// Starts the controllers and the scheduler.
pub(crate) fn start_controllers(state: &mut State, program: &Path) -> Result<()> {
    let certs = certs_folder(&state.name);
    let at = |file: &str| certs.join(file).display().to_string();
    let common = |role: &str| {
        let config = kubeconfig(&state.name, role).display().to_string();
        vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    };
    let mut controllers = common("kube-controller-manager");
    controllers.extend([
        format!("--cluster-cidr={POD_CIDRS}"),
        format!("--service-cluster-ip-range={SERVICE_CIDRS}"),
        format!("--root-ca-file={}", at("ca.crt")),
        format!(
            "--service-account-private-key-file={}",
            at("service-account.key")
        ),
        // Its own place would be made on the machine.
        format!(
            "--flex-volume-plugin-dir={}",
            folder(&state.name).join("plugins").display()
        ),
        "--allocate-node-cidrs".to_owned(),
        "--use-service-account-credentials".to_owned(),
        "--node-monitor-period=1s".to_owned(),
        "--node-monitor-grace-period=10s".to_owned(),
    ]);
    let scheduler = common("kube-scheduler");
    start(state, program, "kube-controller-manager", &controllers)?;
    start(state, program, "kube-scheduler", &scheduler)
}

/// An error that names the first of these processes that has ended, and its log.
pub(crate) fn check_running(state: &State, roles: &[&str]) -> Result<()> {
    let ended = roles.iter().find(|role| state.running(role).is_none());
    if let Some(role) = ended {
        let log = folder(&state.name).join("logs").join(format!("{role}.log"));
        let text = format!(
            "{role} has ended; its log is {}{}",
            log.display(),
            tail(&log)
        );
        return Err(Hopeless(text).into());
    }
    Ok(())
}

/// The end of a log, on lines of its own, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    last.iter()
        .flat_map(|line| {
            [
                "
    ", line,
            ]
        })
        .collect()
}

fn api_arguments(state: &State) -> Vec<String> {
    let certs = certs_folder(&state.name);
    let at = |file: &str| certs.join(file).display().to_string();
    let address = Place::ControlPlane
        .addresses()
        .map(|[v4, _]| v4.to_string());
    vec![
        "--bind-address=::".to_owned(),
        format!("--secure-port={API_PORT}"),
        format!("--advertise-address={}", address.unwrap_or_default()),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_CIDRS}"),
        format!("--client-ca-file={}", at("ca.crt")),
        format!("--tls-cert-file={}", at("kube-apiserver.crt")),
        format!("--tls-private-key-file={}", at("kube-apiserver.key")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", at("service-account.pub")),
        format!(
            "--service-account-signing-key-file={}",
            at("service-account.key")
        ),
        format!("--kubelet-certificate-authority={}", at("ca.crt")),
        format!("--kubelet-client-certificate={}", at("kubelet-client.crt")),
        format!("--kubelet-client-key={}", at("kubelet-client.key")),
        // Names of nodes are in no DNS.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn start(state: &mut State, program: &Path, role: &str, arguments: &[String]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(role).args(arguments).env(MARK, &state.name);
    let log = folder(&state.name).join("logs").join(format!("{role}.log"));
    let inside = vec![namespace(state, Place::ControlPlane).join()?];
    let process = process::start(role, command, &log, inside)?;
    state.processes.push(process);
    state
        .save()
        .with_context(|| format!("write down that {role} runs"))
}
