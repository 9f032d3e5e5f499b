//! Herald on the cluster, installed as users do: from the manifests of the checkout as they stand.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE};
use crate::control_plane::api_server;
use crate::state::ServiceProxy;

/// Namespace Herald lives in.
pub const NAMESPACE: &str = "herald-system";

impl Cluster {
    /// Applies `deploy/overlays/<mode>` (`aws` where the cluster has AWS beside it) and waits until controller and
    /// speakers are rolled out. Their images must have been imported.
    pub fn install_herald(&self) -> Result<()> {
        let deploy = deploy();
        let namespace = deploy.join("base/namespace.yaml");
        let namespace = namespace
            .to_str()
            .context("the checkout's path is not UTF-8")?;
        self.kubectl(&["apply", "-f", namespace])?;
        if self.state.service_proxy == ServiceProxy::All {
            // Nothing carries the API server's cluster IP before the first speaker runs: tell them its address.
            let data = json!({"apiserver": api_server()});
            self.kubectl_apply(&object("ConfigMap", "herald-config", "data", &data))?;
        }
        let mut overlay = self.state.service_proxy.name();
        if let Some(site) = &self.state.aws {
            if self.state.service_proxy != ServiceProxy::External {
                bail!(
                    "the overlay for AWS is for clusters with kube-proxy: choose service proxy external"
                );
            }
            overlay = "aws";
            let data = json!(site.controller_environment(self.name()));
            self.kubectl_apply(&object("ConfigMap", "herald-aws", "data", &data))?;
            let keys = json!({"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"});
            let secret = object("Secret", "herald-aws-credentials", "stringData", &keys);
            self.kubectl_apply(&secret)?;
        }
        let overlay = deploy.join("overlays").join(overlay);
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

fn object(kind: &str, name: &str, field: &str, data: &Value) -> String {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: data}).to_string()
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy")
}
