//! A bench with an AWS: moto, what an operator has in it, and controllers that provision there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use herald_tests::moto::{Call, Moto, Options};
use herald_tests::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_aws::audit::Audit;
use crate::api_aws::aws::{Aws, KEY, Made, REGION, text};
use crate::api_aws::calls;
use crate::api_aws::site::Site;
use crate::api_server::{ApiServer, DEADLINE};
use crate::controller::bench::Bench;
use crate::controller::objects::{Objects, condition};
use crate::controller::process::Controller;

/// The cluster's name in AWS.
pub(crate) const CLUSTER: &str = "prod";
/// The annotation that nobody reads: a change that makes the controller look again at once.
const POKE: &str = "example.com/poke";
pub(crate) const PROVISIONED: &str = "heraldlb.io/Provisioned";
pub(crate) const TARGETS_HEALTHY: &str = "heraldlb.io/TargetsHealthy";
pub(crate) const FINALIZER: &str = "heraldlb.io/aws-nlb";
/// Seconds until a load balancer is active, where AWS is told to take its time.
pub(crate) const PROVISIONING: f64 = 3.0;

/// API server, AWS and the controller's program.
#[derive(Debug)]
pub(crate) struct Cloud {
    bench: Bench,
    pub(crate) moto: Moto,
    pub(crate) aws: Aws,
    pub(crate) site: Site,
    pub(crate) audit: Audit,
    /// The certificate authority of AWS's endpoint, if it is served over TLS.
    pub(crate) authority: Option<PathBuf>,
    pokes: AtomicU64,
    _folder: TempDir,
}

impl Cloud {
    /// A cluster of three nodes.
    pub(crate) fn new(tls: bool) -> Result<Self> {
        let folder = TempDir::with_prefix("herald-aws-")?;
        let (flags, audit) = Audit::prepare(folder.path())?;
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let bench = Bench::new(ApiServer::start_with(&flags)?, "deploy/overlays/aws")?;
        let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
        let mut options = Options {
            access_keys: &[(KEY, KEY)],
            ..Options::default()
        };
        if tls {
            let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
            fs::write(&certificate, pair.cert.pem())?;
            fs::write(&key, pair.signing_key.serialize_pem())?;
            options.tls = Some((&certificate, &key));
        }
        let moto = Moto::start_with(&options)?;
        let authority = tls.then_some(certificate);
        let aws = Aws::of(&moto, authority.as_deref())?;
        let site = Site::make(&aws, 3)?;
        let cloud = Self {
            bench,
            moto,
            aws,
            site,
            audit,
            authority,
            pokes: AtomicU64::new(0),
            _folder: folder,
        };
        for node in cloud.site.nodes() {
            cloud.add_node(&node)?;
        }
        Ok(cloud)
    }

    pub(crate) fn objects(&self) -> Objects<'_> {
        self.bench.objects()
    }

    pub(crate) fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Makes a Node that is ready.
    pub(crate) fn add_node(&self, node: &Value) -> Result<()> {
        let objects = self.objects();
        objects.apply(node)?;
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "Test" }] } });
        let name = text(&node["metadata"]["name"])?;
        objects.patch_status(&format!("node/{name}"), &ready.to_string())
    }

    /// The flags and environment of every controller here.
    pub(crate) fn configure(
        &self,
        command: &mut Command,
        endpoint: &str,
        authority: Option<&Path>,
        flags: &[&str],
    ) {
        command
            .arg(format!("--aws-cluster-name={CLUSTER}"))
            .arg(format!("--aws-region={REGION}"))
            .arg(format!("--aws-vpc-id={}", self.site.vpc))
            .arg(format!("--aws-endpoint={endpoint}"))
            .arg(format!("--aws-node-security-groups={}", self.site.nodes))
            .args(flags)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        if let Some(authority) = authority {
            command.arg(format!("--aws-ca-bundle={}", authority.display()));
        }
    }

    /// Starts a controller and waits until it leads.
    pub(crate) fn controller(&self, name: &str, flags: &[&str]) -> Result<Controller> {
        let (endpoint, authority) = (self.moto.endpoint(), self.authority.as_deref());
        let configure = |command: &mut Command| self.configure(command, endpoint, authority, flags);
        let controller = self.bench.controller(name, configure)?;
        controller.wait_to_lead()?;
        Ok(controller)
    }

    /// Runs a test, and shows how things stand if it fails.
    pub(crate) fn explain(&self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.bench.show_logs()?;
            let calls = calls::since(&self.moto, 0)?;
            let tail = &calls[calls.len().saturating_sub(60)..];
            eprintln!("--- last calls to AWS\n{}", calls::lines(tail));
            for (name, service) in self.objects().services()? {
                let metadata = &service["metadata"];
                eprintln!(
                    "--- Service {name}: {} {} {} {}",
                    metadata["annotations"],
                    metadata["finalizers"],
                    service["spec"],
                    service["status"]
                );
            }
        }
        result
    }

    /// The Service's UID.
    pub(crate) fn uid(&self, service: &str) -> Result<String> {
        text(&self.objects().service(service)?["metadata"]["uid"])
    }

    /// What Herald made for a Service that exists.
    pub(crate) fn made(&self, service: &str) -> Result<Made> {
        self.aws.made_for(&self.uid(service)?)
    }

    /// Makes the controller look at a Service at once, rather than after the time it takes AWS to get on.
    pub(crate) fn poke(&self, service: &str) -> Result<()> {
        let n = self.pokes.fetch_add(1, Ordering::Relaxed);
        self.objects().annotate(service, &format!("{POKE}={n}"))
    }

    /// Waits until the Service's load balancer is as wanted, and gives the hostname in its status.
    pub(crate) fn wait_until_provisioned(&self, service: &str, hurry: bool) -> Result<String> {
        wait_for(&format!("{service} to be provisioned"), DEADLINE, || {
            let object = self.objects().service(service)?;
            let generation = &object["metadata"]["generation"];
            let provisioned = condition(&object, PROVISIONED);
            let done = provisioned["status"] == "True"
                && (provisioned["observedGeneration"] == *generation || generation.is_null());
            let hostname = hostname(&object);
            if !done || hostname.is_none() {
                if hurry {
                    self.poke(service)?;
                }
                bail!("it is {}", object["status"]);
            }
            Ok(hostname)
        })
    }

    /// Waits until nothing that was made for a Service is left, and the Service is gone.
    pub(crate) fn wait_until_gone(&self, service: &str, uid: &str) -> Result<()> {
        wait_for(&format!("{service} to be gone"), DEADLINE, || {
            let found = self.objects().read(&format!("services/{service}"))?;
            ensure!(found["metadata"]["uid"] != uid, "it is {}", found["status"]);
            Ok(Some(()))
        })?;
        let left = self.aws.made_for(uid)?;
        ensure!(left.counts() == [0, 0, 0], "left of {service}: {left:?}");
        Ok(())
    }

    /// Waits until what was made for a Service is as it should be; `is` says by an error what is not.
    pub(crate) fn until(
        &self,
        what: &str,
        uid: &str,
        is: impl Fn(&Made) -> Result<bool>,
    ) -> Result<Made> {
        wait_for(what, DEADLINE, || {
            let made = self.aws.made_for(uid)?;
            Ok(is(&made)?.then_some(made))
        })
    }

    /// Waits until a target group has these targets, as `id:port state`, sorted.
    pub(crate) fn wait_for_targets(&self, group: &str, expected: &[String]) -> Result<()> {
        wait_for(
            &format!("targets {expected:?} of {group}"),
            DEADLINE,
            || {
                let found = self.aws.targets(group)?;
                ensure!(found == expected, "{found:?}");
                Ok(Some(()))
            },
        )
    }

    /// Waits until the status has these ports, as `80/TCP`, none with an error.
    pub(crate) fn wait_until_published(&self, service: &str, ports: &[&str]) -> Result<()> {
        wait_for(&format!("ports {ports:?} of {service}"), DEADLINE, || {
            let object = self.objects().service(service)?;
            let found = object["status"]["loadBalancer"]["ingress"][0]["ports"].as_array();
            let found = found.into_iter().flatten().map(|port| {
                let error = port["error"].as_str().map(|error| format!(" {error}"));
                format!(
                    "{}/{}{}",
                    port["port"],
                    port["protocol"].as_str().unwrap_or_default(),
                    error.unwrap_or_default()
                )
            });
            let found: Vec<String> = found.collect();
            ensure!(found == ports, "{found:?} {}", object["status"]);
            Ok(Some(()))
        })
    }

    /// Waits for a call of the controllers after `mark`.
    pub(crate) fn wait_for_call(
        &self,
        what: &str,
        mark: u64,
        is: impl Fn(&Call) -> bool,
    ) -> Result<Call> {
        wait_for(what, DEADLINE, || {
            Ok(calls::since(&self.moto, mark)?.into_iter().find(&is))
        })
    }

    /// The finalizer was on the Service before the first call that changed anything for it.
    pub(crate) fn finalizer_came_first(&self, service: &str) -> Result<()> {
        let ours = format!("hld-default-{}-", short(service));
        let all = calls::since(&self.moto, 0)?;
        let first = all
            .iter()
            .find(|call| call.changing && calls::names(call, &ours));
        let first = first.with_context(|| format!("no changing call for {service}"))?;
        let writes = self.audit.writes(service)?;
        let set = writes.iter().find(|write| {
            !write.status && write.code == 200 && write.patch.to_string().contains(FINALIZER)
        });
        let set = set.with_context(|| format!("no finalizer was set: {writes:?}"))?;
        ensure!(
            set.time < first.time,
            "{service}: finalizer at {}, {} at {}",
            set.time,
            first.action,
            first.time
        );
        Ok(())
    }
}

/// The part of a Service's name that is in the names of what is made for it.
pub(crate) fn short(service: &str) -> String {
    let letters = service.chars().filter(char::is_ascii_alphanumeric);
    letters.take(8).collect()
}

/// The hostname in a Service's status.
pub(crate) fn hostname(service: &Value) -> Option<String> {
    let ingress = &service["status"]["loadBalancer"]["ingress"];
    ingress[0]["hostname"].as_str().map(str::to_owned)
}
