//! Objects the controller works on, and waiting for what it makes of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_server::{DEADLINE, Kubectl, object};

/// A pool of these ranges.
pub(crate) fn pool(name: &str, addresses: &[&str]) -> Value {
    object(
        "AddressPool",
        name,
        "spec",
        &json!({ "addresses": addresses }),
    )
}

/// A LoadBalancer Service of one family.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": false,
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "port": 80, "protocol": "TCP" }],
        },
    })
}

/// One of two families, IPv4 first.
pub(crate) fn dual_stack(name: &str, policy: &str) -> Value {
    let mut service = service(name);
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    service
}

/// What an administrator sees and does.
#[derive(Debug)]
pub(crate) struct Objects<'a> {
    kubectl: Kubectl<'a>,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(kubectl: Kubectl<'a>) -> Self {
        Self { kubectl }
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl
            .run_with(&["apply", "--server-side", "-f", "-"], object)
            .map(drop)
    }

    pub(crate) fn apply_all(&self, objects: &[Value]) -> Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.kubectl
            .run_with(&["create", "-f", "-"], &list)
            .map(drop)
    }

    /// Asks for a deletion and does not wait for the object's finalizers.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.kubectl
            .run(&["delete", "--wait=false", name])
            .map(drop)
    }

    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        Ok(!self
            .kubectl
            .run(&["get", "--ignore-not-found", "-o", "name", name])?
            .is_empty())
    }

    pub(crate) fn annotate(&self, service: &str, annotation: &str) -> Result<()> {
        self.kubectl
            .run(&["annotate", "--overwrite", "service", service, annotation])
            .map(drop)
    }

    /// Any command.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<()> {
        self.kubectl.run(args).map(drop)
    }

    pub(crate) fn patch(&self, service: &str, patch: &str) -> Result<()> {
        self.kubectl
            .run(&[
                "patch",
                "service",
                service,
                "--type=merge",
                "--patch",
                patch,
            ])
            .map(drop)
    }

    /// Changes the status of an object, named as `kind/name`.
    pub(crate) fn patch_status(&self, object: &str, patch: &str) -> Result<()> {
        let status = "--subresource=status";
        self.kubectl
            .run(&["patch", object, status, "--type=merge", "--patch", patch])
            .map(drop)
    }

    pub(crate) fn service(&self, name: &str) -> Result<Value> {
        let service = self.read(&format!("services/{name}"))?;
        ensure!(!service.is_null(), "there is no Service {name}");
        Ok(service)
    }

    /// Something of the namespace, as `services/web`; null if it is not there.
    pub(crate) fn read(&self, path: &str) -> Result<Value> {
        let server = self.kubectl.server();
        server.read(&format!("/api/v1/namespaces/default/{path}"))
    }

    /// What `kubectl get` shows.
    pub(crate) fn get(&self, what: &[&str]) -> Result<Value> {
        let args = [&["get", "-o", "json"], what].concat();
        Ok(serde_json::from_str(&self.kubectl.run(&args)?)?)
    }

    /// What `kubectl get` prints.
    pub(crate) fn show(&self, what: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["get"], what].concat())
    }

    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<String>> {
        Ok(addresses(&self.service(name)?))
    }

    pub(crate) fn condition(&self, name: &str, kind: &str) -> Result<Value> {
        Ok(condition(&self.service(name)?, kind))
    }

    pub(crate) fn wait_for_addresses(&self, name: &str, expected: &[&str]) -> Result<()> {
        wait_for(&format!("{name} to have {expected:?}"), DEADLINE, || {
            let service = self.service(name)?;
            let addresses = addresses(&service);
            if addresses != expected {
                bail!("it has {addresses:?}, {}", service["status"]);
            }
            Ok(Some(()))
        })
    }

    pub(crate) fn wait_for_condition(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<Value> {
        wait_for(
            &format!("{name}: {kind}={status}, {reason}"),
            DEADLINE,
            || {
                let condition = self.condition(name, kind)?;
                if condition["status"] != status || condition["reason"] != reason {
                    bail!("it is {condition}");
                }
                Ok(Some(condition))
            },
        )
    }

    pub(crate) fn wait_for_ready(&self, pool: &str, status: &str, reason: &str) -> Result<()> {
        self.wait_for_pool(pool, &format!("Ready={status}, {reason}"), |pool| {
            let ready = condition(pool, "Ready");
            ready["status"] == status
                && ready["reason"] == reason
                && ready["observedGeneration"] == pool["metadata"]["generation"]
        })
    }

    pub(crate) fn wait_for_pool(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        wait_for(&format!("AddressPool {name}: {what}"), DEADLINE, || {
            let pool = self.get(&["addresspool", name])?;
            if !is(&pool) {
                bail!("it is {} {}", pool["metadata"], pool["status"]);
            }
            Ok(Some(()))
        })
    }

    /// Waits for an Event of a Service, and gives the last one.
    pub(crate) fn wait_for_event(&self, service: &str, reason: &str) -> Result<Value> {
        let selector = format!(
            "--field-selector=involvedObject.kind=Service,involvedObject.name={service},reason={reason}"
        );
        wait_for(&format!("Event {reason} of {service}"), DEADLINE, || {
            let events = self.get(&["events", &selector])?;
            Ok(events["items"]
                .as_array()
                .and_then(|list| list.last())
                .cloned())
        })
    }

    /// The addresses of each Service that has any, joined by blanks.
    pub(crate) fn all_addresses(&self) -> Result<BTreeMap<String, String>> {
        let services = self.services()?;
        let all = services
            .into_iter()
            .map(|(name, service)| (name, addresses(&service).join(" ")));
        Ok(all.filter(|(_, addresses)| !addresses.is_empty()).collect())
    }

    /// Resource versions of all Services.
    pub(crate) fn versions(&self) -> Result<BTreeMap<String, Value>> {
        let services = self.services()?.into_iter();
        Ok(services
            .map(|(name, s)| (name, s["metadata"]["resourceVersion"].clone()))
            .collect())
    }

    /// All Services by name.
    pub(crate) fn services(&self) -> Result<Vec<(String, Value)>> {
        let list = self.read("services")?;
        let items = list["items"].as_array().context("a list")?.iter();
        Ok(items
            .map(|service| {
                (
                    service["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    service.clone(),
                )
            })
            .collect())
    }

    pub(crate) fn lease_holder(&self) -> Result<String> {
        let lease = self.get(&["-n", "herald-system", "lease", "herald-controller"])?;
        Ok(lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

fn addresses(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    let ips = ingress
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["ip"].as_str());
    ips.map(str::to_owned).collect()
}

/// A condition in an object's status; null if it is not there.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}
