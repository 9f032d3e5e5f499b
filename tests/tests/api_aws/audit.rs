//! What the controller wrote to Services and when, from the API server's audit log: its clock is that of AWS's log of calls.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The audit log of an API server.
#[derive(Debug)]
pub(crate) struct Audit {
    log: PathBuf,
}

/// A write of the controller.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// When it came in: seconds since 1970.
    pub(crate) time: f64,
    /// Whether it was to the status.
    pub(crate) status: bool,
    /// The HTTP status it was answered with.
    pub(crate) code: u64,
    /// The patch.
    pub(crate) patch: Value,
}

impl Audit {
    /// The API server's flags for a log in this folder, and the log.
    pub(crate) fn prepare(folder: &Path) -> Result<(Vec<String>, Self)> {
        let (policy, log) = (folder.join("policy"), folder.join("audit"));
        let resources = json!([{ "group": "", "resources": ["services", "services/status"] }]);
        let policy_object = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [
                { "level": "Request", "verbs": ["patch", "update"], "resources": resources },
                { "level": "None" },
            ],
        });
        fs::write(&policy, policy_object.to_string())?;
        let flags = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
        ];
        Ok((flags, Self { log }))
    }

    /// The controller's writes to a Service, in order.
    pub(crate) fn writes(&self, service: &str) -> Result<Vec<Write>> {
        let text = fs::read_to_string(&self.log).context("read the audit log")?;
        let mut writes = Vec::new();
        // The last line may still be on its way.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let event: Value = serde_json::from_str(line)?;
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let object = &event["objectRef"];
            if !user.ends_with(":herald-controller") || object["name"] != service {
                continue;
            }
            let time = event["requestReceivedTimestamp"]
                .as_str()
                .unwrap_or_default();
            let time = OffsetDateTime::parse(time, &Rfc3339)?;
            #[allow(clippy::cast_precision_loss, reason = "microseconds fit")]
            writes.push(Write {
                time: time.unix_timestamp_nanos() as f64 / 1e9,
                status: object["subresource"] == "status",
                code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
                patch: event["requestObject"].clone(),
            });
        }
        writes.sort_by(|one, other| one.time.total_cmp(&other.time));
        Ok(writes)
    }
}
