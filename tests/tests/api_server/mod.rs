//! A real kube-apiserver with its etcd on loopback, for tests that need the API and no nodes. Needs no privileges.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use herald_tests::{Part, ensure_part, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Generous: the machine may be busy with a build.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);
/// Who the server takes for an administrator.
const ADMIN_TOKEN: &str = "admin-of-a-test";

/// The server; ends, with everything it stored, when dropped.
#[derive(Debug)]
pub(crate) struct ApiServer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    /// Where `kubectl proxy` answers.
    plain: u16,
    processes: Vec<Child>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log("kube-apiserver");
        }
        for child in self.processes.iter_mut().rev() {
            // They store nothing that matters: no reason to wait for an orderly end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl ApiServer {
    /// Starts it and waits until it is ready.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with further flags of the API server; it runs in a folder of its own.
    pub(crate) fn start_with(flags: &[&str]) -> Result<Self> {
        let program = ensure_part(Part::Kubernetes)?;
        let folder = TempDir::with_prefix("herald-api-").context("make a folder")?;
        let [client, peer, port, plain] = free_ports()?;
        let mut server = Self {
            program,
            folder,
            port,
            plain,
            processes: Vec::new(),
        };
        server.write_secrets()?;
        let etcd = format!("http://127.0.0.1:{client}");
        server.spawn(
            "etcd",
            &[
                "--data-dir=etcd",
                "--unsafe-no-fsync",
                &format!("--listen-client-urls={etcd}"),
                &format!("--advertise-client-urls={etcd}"),
                &format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                &format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                &format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            ],
        )?;
        let etcd_servers = format!("--etcd-servers={etcd}");
        let secure_port = format!("--secure-port={port}");
        let own = [
            etcd_servers.as_str(),
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // Its own address is no endpoint that the API would accept.
            "--endpoint-reconciler-type=none",
            &secure_port,
            "--cert-dir=certificates",
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=service-account.pub",
            "--service-account-signing-key-file=service-account.key",
            "--authorization-mode=Node,RBAC",
            "--token-auth-file=tokens.csv",
            "--allow-privileged=true",
        ];
        server.spawn("kube-apiserver", &[&own, flags].concat())?;
        wait_for("ready API server", DEADLINE, || {
            for child in &mut server.processes {
                if let Some(status) = child.try_wait()? {
                    return Ok(Some(Err(status)));
                }
            }
            server
                .admin()
                .run(&["get", "--raw=/readyz"])
                .map(|_| Some(Ok(())))
        })?
        .or_else(|status| {
            server.show_log("etcd");
            server.show_log("kube-apiserver");
            bail!("etcd or kube-apiserver ended: {status}")
        })?;
        server.spawn(
            "kubectl",
            &[
                "proxy",
                &format!("--port={plain}"),
                &format!("--server={}", server.url()),
                "--insecure-skip-tls-verify",
                &format!("--token={ADMIN_TOKEN}"),
            ],
        )?;
        wait_for("the API server behind kubectl proxy", DEADLINE, || {
            server.read("/version").map(Some)
        })?;
        Ok(server)
    }

    /// Where it answers; its certificate is its own.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// `kubectl` as administrator.
    pub(crate) fn admin(&self) -> Kubectl<'_> {
        self.with_token(ADMIN_TOKEN)
    }

    /// `kubectl` as whoever the token names.
    pub(crate) fn with_token(&self, token: &str) -> Kubectl<'_> {
        Kubectl {
            server: self,
            token: token.to_owned(),
        }
    }

    /// What an administrator reads at this path; null if it is not there. A hundredth of what `kubectl get` costs, for what is
    /// asked again and again.
    pub(crate) fn read(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.plain))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(serde_json::from_str(body)?),
            Some("404") => Ok(Value::Null),
            _ => bail!("{path}: {head}: {body}"),
        }
    }

    fn write_secrets(&self) -> Result<()> {
        let tokens = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(self.folder.path().join("tokens.csv"), tokens)?;
        let key = rcgen::KeyPair::generate().context("make the key that signs tokens")?;
        fs::write(
            self.folder.path().join("service-account.key"),
            key.serialize_pem(),
        )?;
        fs::write(
            self.folder.path().join("service-account.pub"),
            key.public_key_pem(),
        )?;
        Ok(())
    }

    fn spawn(&mut self, role: &str, args: &[&str]) -> Result<()> {
        let log = File::create(self.log(role))?;
        let child = Command::new(&self.program)
            .arg(role)
            .args(args)
            .current_dir(self.folder.path())
            // The user's own configuration must not reach the test.
            .env("KUBECONFIG", self.folder.path().join("no-kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {role}"))?;
        self.processes.push(child);
        Ok(())
    }

    fn log(&self, role: &str) -> PathBuf {
        self.folder.path().join(format!("{role}.log"))
    }

    fn show_log(&self, role: &str) {
        let text = fs::read_to_string(self.log(role)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!(
            "--- end of {role}'s log\n{}",
            lines[lines.len().saturating_sub(40)..].join("\n")
        );
    }
}

/// `kubectl` as one user.
#[derive(Debug)]
pub(crate) struct Kubectl<'a> {
    server: &'a ApiServer,
    token: String,
}

impl<'a> Kubectl<'a> {
    /// Where it goes.
    pub(crate) fn server(&self) -> &'a ApiServer {
        self.server
    }

    /// Waits until all custom resources are served.
    pub(crate) fn wait_for_crds(&self) -> Result<()> {
        let established = "--for=condition=Established";
        let timeout = format!("--timeout={}s", DEADLINE.as_secs());
        self.run(&["wait", established, &timeout, "crd", "--all"])
            .map(drop)
    }

    /// What it prints; its complaint is the error.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        text(args, &self.output(args, None)?)
    }

    /// As [`run`](Self::run), with an object on its standard input (`-f -`).
    pub(crate) fn run_with(&self, args: &[&str], object: &Value) -> Result<String> {
        text(args, &self.output(args, Some(object))?)
    }

    fn output(&self, args: &[&str], input: Option<&Value>) -> Result<Output> {
        let mut child = Command::new(&self.server.program)
            .arg("kubectl")
            .arg(format!("--server=https://127.0.0.1:{}", self.server.port))
            .arg("--insecure-skip-tls-verify")
            .arg(format!("--token={}", self.token))
            .args(args)
            // The user's own configuration must not reach the test.
            .env(
                "KUBECONFIG",
                self.server.folder.path().join("no-kubeconfig"),
            )
            .env("HOME", self.server.folder.path())
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl")?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // kubectl may have failed before it read all; then its own complaint counts.
            let _ = stdin.write_all(input.to_string().as_bytes());
        }
        child.wait_with_output().context("wait for kubectl")
    }
}

fn text(args: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An object of Herald's group.
pub(crate) fn object(kind: &str, name: &str, part: &str, content: &Value) -> Value {
    json!({
        "apiVersion": "heraldlb.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": name },
        part: content,
    })
}

/// A folder of the checkout.
pub(crate) fn checkout(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(path).display().to_string()
}

/// Ports that nobody listened on a moment ago.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
