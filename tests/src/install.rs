//! Herald on the cluster, installed as users do: from the manifests of the checkout as they stand.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE};
use crate::control_plane::api_server;
use crate::state::ServiceProxy;

/// Namespace Herald lives in.
pub const NAMESPACE: &str = "herald-system";

impl Cluster {
    /// Applies `deploy/overlays/<mode>` and waits until controller and speakers are rolled out. Their images must
    /// have been imported.
    pub fn install_herald(&self) -> Result<()> {
        let deploy = deploy();
        if self.state.service_proxy == ServiceProxy::All {
            // Nothing carries the API server's cluster IP before the first speaker runs: tell them its address.
            let namespace = deploy.join("base/namespace.yaml");
            let namespace = namespace
                .to_str()
                .context("the checkout's path is not UTF-8")?;
            self.kubectl(&["apply", "-f", namespace])?;
            let config = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "herald-config", "namespace": NAMESPACE},
                "data": {"apiserver": api_server()},
            });
            self.kubectl_apply(&config.to_string())?;
        }
        let overlay = deploy
            .join("overlays")
            .join(self.state.service_proxy.name());
        self.kubectl(&[
            "apply",
            "-k",
            overlay.to_str().context("the path is not UTF-8")?,
        ])?;
        self.wait_for_herald()
    }

    /// Waits until Herald's controller and every speaker are ready.
    pub fn wait_for_herald(&self) -> Result<()> {
        self.wait_for_rollout(NAMESPACE, "daemonset/herald-speaker", PATIENCE)?;
        self.wait_for_rollout(NAMESPACE, "deployment/herald-controller", PATIENCE)
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy")
}
