//! Controllers as plain processes, each with its own name in the lease and its own admin port.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::{Hopeless, wait_for};

use crate::api_server::DEADLINE;

/// A running controller; killed when dropped.
#[derive(Debug)]
pub(crate) struct Controller {
    child: Child,
    port: u16,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, built from the sources as they are.
pub(crate) fn build() -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "herald-controller"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "building the controller failed");
    // target/debug/deps/api_…-… → target/debug
    let test = std::env::current_exe().context("find this test's program")?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("find the target folder")?;
    Ok(folder.join("herald-controller"))
}

impl Controller {
    /// Starts one that is `name` in the lease and waits until it has listed everything.
    pub(crate) fn start(
        program: &Path,
        kubeconfig: &Path,
        name: &str,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = kubeconfig.with_file_name(format!("{name}.log"));
        let to = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        command
            .arg(format!("--admin-address=127.0.0.1:{port}"))
            .arg(format!("--pod-name={name}"))
            .args(["--log-format=json", "--log=info,herald_controller=debug"])
            .env("KUBECONFIG", kubeconfig)
            .env_remove("HERALD_APISERVER")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to);
        configure(&mut command);
        let child = command.spawn().context("start the controller")?;
        let mut controller = Self { child, port };
        wait_for(&format!("{name} to be ready"), DEADLINE, || {
            if let Some(status) = controller.child.try_wait()? {
                let text = fs::read_to_string(&log)?;
                return Err(Hopeless(format!("{name} ended with {status}: {text}")).into());
            }
            Ok(controller.page("/readyz")?.starts_with("ok").then_some(()))
        })?;
        Ok(controller)
    }

    /// The body of an admin page that answers 200.
    pub(crate) fn page(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: controller\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.contains(" 200 "), "{path}: {head}: {body}");
        Ok(body.to_owned())
    }

    /// The value of a metric, labels included in its name; 0 while it is not there.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.page("/metrics")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| value.parse().context(value.to_owned()))
    }

    /// Waits until it leads.
    pub(crate) fn wait_to_lead(&self) -> Result<()> {
        wait_for("the controller to lead", DEADLINE, || {
            Ok((self.metric("heraldlb_controller_leader")? > 0.0).then_some(()))
        })
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()?;
        ensure!(sent.success(), "cannot send SIG{name}");
        Ok(())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        let status = wait_for("the controller to end", DEADLINE, || {
            Ok(self.child.try_wait()?)
        })?;
        if !status.success() {
            bail!("the controller ended with {status} on SIGTERM");
        }
        Ok(())
    }
}
