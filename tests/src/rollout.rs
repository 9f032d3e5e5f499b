//! What Kubernetes says about its objects: who is ready, what is rolled out.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::wait::wait_for;

impl Cluster {
    /// Waits until a Deployment or DaemonSet (`deployment/name`) is rolled out: all its pods are of the newest
    /// template and ready.
    pub fn wait_for_rollout(
        &self,
        namespace: &str,
        workload: &str,
        deadline: Duration,
    ) -> Result<()> {
        wait_for(
            &format!("roll-out of {workload} in {namespace}"),
            deadline,
            || {
                let object = self.kubectl_json(&["get", workload, "-n", namespace])?;
                match not_rolled_out(&object) {
                    None => Ok(Some(())),
                    Some(why) => bail!("{why}; {}", self.pods_not_ready(namespace)?.join("; ")),
                }
            },
        )
    }

    /// Nodes that are not Ready, each with the reason it gives.
    pub fn nodes_not_ready(&self) -> Result<Vec<String>> {
        let list = self.kubectl_json(&["get", "nodes"])?;
        Ok(not_ready(&list))
    }

    /// Pods of a namespace that are not Ready, each with the reason it gives.
    pub fn pods_not_ready(&self, namespace: &str) -> Result<Vec<String>> {
        let list = self.kubectl_json(&["get", "pods", "-n", namespace])?;
        Ok(not_ready(&list))
    }
}

/// Objects of a list whose Ready condition is not true.
fn not_ready(list: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let conditions = item["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let ready = conditions
            .clone()
            .find(|condition| condition["type"] == "Ready");
        if ready.is_some_and(|ready| ready["status"] == "True") {
            continue;
        }
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let mut why: Vec<String> = ready
            .iter()
            .map(|ready| ready["message"].to_string())
            .collect();
        let containers = item["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten();
        let waiting = containers.map(|container| &container["state"]["waiting"]);
        why.extend(
            waiting
                .filter(|waiting| !waiting.is_null())
                .map(|waiting| format!("{} {}", waiting["reason"], waiting["message"])),
        );
        let mut scheduled = conditions.filter(|condition| condition["type"] == "PodScheduled");
        why.extend(
            scheduled
                .find(|condition| condition["status"] != "True")
                .map(|condition| condition["message"].to_string()),
        );
        all.push(format!("{name}: {}", why.join(" ")));
    }
    all
}

/// Why a workload is not rolled out yet; none if it is. A DaemonSet counts under other names than a Deployment.
fn not_rolled_out(object: &Value) -> Option<String> {
    let status = &object["status"];
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    if count(&status["observedGeneration"]) < count(&object["metadata"]["generation"]) {
        return Some("not yet seen by its controller".to_owned());
    }
    let (wanted, updated, ready) = if object["kind"] == "DaemonSet" {
        let wanted = count(&status["desiredNumberScheduled"]);
        (
            wanted,
            count(&status["updatedNumberScheduled"]),
            count(&status["numberReady"]),
        )
    } else {
        if count(&status["replicas"]) > count(&status["updatedReplicas"]) {
            return Some("pods of the last template are still there".to_owned());
        }
        let wanted = count(&object["spec"]["replicas"]);
        (
            wanted,
            count(&status["updatedReplicas"]),
            count(&status["readyReplicas"]),
        )
    };
    if updated >= wanted && ready >= wanted && (wanted > 0 || object["kind"] != "DaemonSet") {
        return None;
    }
    Some(format!(
        "{ready} of {wanted} pods ready, {updated} of the newest template"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_daemon_set_with_no_pod_yet_is_not_rolled_out() {
        let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 0});
        let set = json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": status});
        assert!(not_rolled_out(&set).is_some());
    }

    #[test]
    fn a_deployment_waits_for_its_old_pods() {
        let deployment = |replicas: u64| {
            json!({
                "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1},
                "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": 1, "readyReplicas": 1},
            })
        };
        assert!(not_rolled_out(&deployment(2)).is_some());
        assert_eq!(not_rolled_out(&deployment(1)), None);
    }

    #[test]
    fn says_why_an_object_is_not_ready() {
        let list = json!({"items": [
            {"metadata": {"name": "n1"}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}},
            {"metadata": {"name": "n2"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        ]});
        assert_eq!(not_ready(&list), ["n1: \"cni plugin not initialized\""]);
    }
}
