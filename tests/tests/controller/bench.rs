//! An API server with the manifests applied, and the controller's program with the permissions they give it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;

use crate::api_server::{ApiServer, Kubectl, checkout};
use crate::controller::objects::Objects;
use crate::controller::process::{Controller, build};

/// What tests of the controller's program stand on.
#[derive(Debug)]
pub(crate) struct Bench {
    server: ApiServer,
    program: PathBuf,
    folder: TempDir,
}

impl Bench {
    /// On `server`, with the manifests of this folder of the checkout.
    pub(crate) fn new(server: ApiServer, manifests: &str) -> Result<Self> {
        let program = build()?;
        let admin = server.admin();
        admin.run(&["apply", "--server-side", "-k", &checkout(manifests)])?;
        admin.wait_for_crds()?;
        let folder = TempDir::with_prefix("herald-controller-")?;
        kubeconfig(&server, folder.path())?;
        Ok(Self {
            server,
            program,
            folder,
        })
    }

    /// Starts a replica that is `name` in the lease; `configure` adds flags and environment.
    pub(crate) fn controller(
        &self,
        name: &str,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Controller> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        Controller::start(&self.program, &kubeconfig, name, configure)
    }

    /// The program, for a run that is to end by itself.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command
    }

    /// A folder that goes with the bench.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The ends of all controllers' logs.
    pub(crate) fn show_logs(&self) -> Result<()> {
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(&path)?;
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- end of {}", path.display());
                eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
        Ok(())
    }

    /// `kubectl` as administrator.
    pub(crate) fn admin(&self) -> Kubectl<'_> {
        self.server.admin()
    }

    /// What an administrator sees and does.
    pub(crate) fn objects(&self) -> Objects<'_> {
        Objects::new(self.server.admin())
    }
}

/// A kubeconfig with a token of the controller's ServiceAccount.
fn kubeconfig(server: &ApiServer, folder: &Path) -> Result<()> {
    let token = [
        "-n",
        "herald-system",
        "create",
        "token",
        "herald-controller",
        "--duration=2h",
    ];
    let token = server.admin().run(&token)?;
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": server.url(), "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "u", "user": { "token": token.trim() } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
    Ok(())
}
