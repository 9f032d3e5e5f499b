//! AWS as a test sees it, through AWS's own client, with an access key of the test's own: what the controller calls is told
//! apart from what the test calls.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use herald_tests::moto::{self, Moto};
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_server::DEADLINE;

/// The region of all tests.
pub(crate) const REGION: &str = "us-east-1";
/// The test's own access key, and its secret.
pub(crate) const KEY: &str = "suite";

/// AWS's client, a process that ends with this handle.
#[derive(Debug)]
pub(crate) struct Aws {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Aws {
    /// A client of `moto`, which trusts `certificate` if it is served over TLS.
    pub(crate) fn of(moto: &Moto, certificate: Option<&Path>) -> Result<Self> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api_aws/boto.py");
        let mut command = Command::new(moto::ensure()?);
        command
            .args(["-B", program])
            .env("HERALD_MOTO_ENDPOINT", moto.endpoint())
            .env("HERALD_MOTO_REGION", REGION)
            .env("HERALD_MOTO_KEY", KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        if let Some(certificate) = certificate {
            command.env("HERALD_MOTO_CA", certificate);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start AWS's client")?;
        let stdin = child.stdin.take().context("its input")?;
        let stdout = child.stdout.take().context("its output")?;
        let pipes = Mutex::new((stdin, BufReader::new(stdout)));
        Ok(Self { child, pipes })
    }

    fn call(&self, service: &str, call: &str, with: &Value) -> Result<Value> {
        let mut line = String::new();
        {
            let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
            let (stdin, stdout) = &mut *pipes;
            writeln!(
                stdin,
                "{}",
                json!({ "service": service, "call": call, "with": with })
            )?;
            stdout.read_line(&mut line)?;
        }
        let mut said: Value = serde_json::from_str(&line)
            .with_context(|| format!("{call}: AWS's client said {line:?}"))?;
        if let Some(error) = said["error"].as_str() {
            bail!("{service} {call} {with}: {error}");
        }
        Ok(said["answer"].take())
    }

    /// A call to EC2.
    pub(crate) fn ec2(&self, call: &str, with: &Value) -> Result<Value> {
        self.call("ec2", call, with)
    }

    /// A call to Elastic Load Balancing.
    pub(crate) fn elb(&self, call: &str, with: &Value) -> Result<Value> {
        self.call("elbv2", call, with)
    }

    /// The ARN of a new certificate.
    pub(crate) fn certificate(&self, domain: &str) -> Result<String> {
        let made = self.call(
            "acm",
            "request_certificate",
            &json!({ "DomainName": domain }),
        )?;
        text(&made["CertificateArn"])
    }

    /// Everything Herald made for the Service with this UID.
    pub(crate) fn made_for(&self, uid: &str) -> Result<Made> {
        let mut made = self.all()?;
        let of = |one: &Tagged| one.tag("heraldlb.io/load-balancer") == Some(uid);
        made.load_balancers.retain(of);
        made.target_groups.retain(of);
        made.security_groups.retain(of);
        Ok(made)
    }

    /// Everything there is, with tags.
    pub(crate) fn all(&self) -> Result<Made> {
        wait_for("lists while nothing goes", DEADLINE, || {
            match self.listed() {
                // It was there when the list was made, and gone when its tags were read.
                Err(error) if error.to_string().contains("NotFound") => Ok(None),
                listed => Ok(Some(listed)),
            }
        })?
    }

    fn listed(&self) -> Result<Made> {
        let listed = |call: &str, items: &str, arn: &str| -> Result<Vec<Tagged>> {
            let found = list(self.elb(call, &json!({}))?, items)?;
            self.with_tags(found, arn)
        };
        let groups = self.ec2("describe_security_groups", &json!({}))?;
        let groups = list(groups, "SecurityGroups")?.into_iter();
        let groups = groups.map(|group| {
            let tags = group["Tags"].clone();
            Tagged::new(text(&group["GroupId"])?, group, &tags)
        });
        Ok(Made {
            load_balancers: listed(
                "describe_load_balancers",
                "LoadBalancers",
                "LoadBalancerArn",
            )?,
            target_groups: listed("describe_target_groups", "TargetGroups", "TargetGroupArn")?,
            security_groups: groups.collect::<Result<_>>()?,
        })
    }

    fn with_tags(&self, found: Vec<Value>, arn: &str) -> Result<Vec<Tagged>> {
        let arns: Vec<Value> = found.iter().map(|one| one[arn].clone()).collect();
        let mut tags = Vec::new();
        for some in arns.chunks(20) {
            let answer = self.elb("describe_tags", &json!({ "ResourceArns": some }))?;
            tags.extend(list(answer, "TagDescriptions")?);
        }
        ensure!(tags.len() == found.len(), "tags of {arns:?}: {tags:?}");
        let both = found.into_iter().zip(tags);
        both.map(|(one, tags)| Tagged::new(text(&one[arn])?, one, &tags["Tags"]))
            .collect()
    }

    /// The listeners of a load balancer, by port.
    pub(crate) fn listeners(&self, load_balancer: &str) -> Result<Vec<Value>> {
        let with = json!({ "LoadBalancerArn": load_balancer });
        let mut found = list(self.elb("describe_listeners", &with)?, "Listeners")?;
        found.sort_by_key(|listener| listener["Port"].as_u64());
        Ok(found)
    }

    /// The targets of a target group as `id:port state`, sorted.
    pub(crate) fn targets(&self, group: &str) -> Result<Vec<String>> {
        let with = json!({ "TargetGroupArn": group });
        let answer = self.elb("describe_target_health", &with)?;
        let mut all = list(answer, "TargetHealthDescriptions")?
            .iter()
            .map(|one| {
                let (target, state) = (&one["Target"], &one["TargetHealth"]["State"]);
                Ok(format!(
                    "{}:{} {}",
                    text(&target["Id"])?,
                    target["Port"],
                    text(state)?
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        all.sort();
        Ok(all)
    }

    /// An attribute of a load balancer, listener or target group.
    pub(crate) fn attribute(&self, arn: &str, key: &str) -> Result<String> {
        let (call, parameter) = if arn.contains(":targetgroup/") {
            ("describe_target_group_attributes", "TargetGroupArn")
        } else if arn.contains(":listener/") {
            ("describe_listener_attributes", "ListenerArn")
        } else {
            ("describe_load_balancer_attributes", "LoadBalancerArn")
        };
        let all = list(self.elb(call, &json!({ parameter: arn }))?, "Attributes")?;
        let found = all.iter().find(|attribute| attribute["Key"] == key);
        text(&found.with_context(|| format!("no attribute {key}: {all:?}"))?["Value"])
    }
}

/// What exists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    pub(crate) load_balancers: Vec<Tagged>,
    pub(crate) target_groups: Vec<Tagged>,
    pub(crate) security_groups: Vec<Tagged>,
}

impl Made {
    /// How many load balancers, target groups and security groups there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [
            self.load_balancers.len(),
            self.target_groups.len(),
            self.security_groups.len(),
        ]
    }

    /// The one load balancer.
    pub(crate) fn load_balancer(&self) -> Result<&Tagged> {
        let [one] = &self.load_balancers[..] else {
            bail!("{} load balancers: {self:?}", self.load_balancers.len());
        };
        Ok(one)
    }

    /// The one target group.
    pub(crate) fn target_group(&self) -> Result<&Tagged> {
        let [one] = &self.target_groups[..] else {
            bail!("{} target groups: {self:?}", self.target_groups.len());
        };
        Ok(one)
    }

    /// The one security group.
    pub(crate) fn security_group(&self) -> Result<&Tagged> {
        let [one] = &self.security_groups[..] else {
            bail!("{} security groups: {self:?}", self.security_groups.len());
        };
        Ok(one)
    }
}

/// Something with tags.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tagged {
    /// Its ARN or id.
    pub(crate) id: String,
    /// As AWS describes it.
    pub(crate) is: Value,
    tags: Vec<(String, String)>,
}

impl Tagged {
    fn new(id: String, is: Value, tags: &Value) -> Result<Self> {
        let tags = tags.as_array().into_iter().flatten();
        let pair = |tag: &Value| Ok((text(&tag["Key"])?, text(&tag["Value"])?));
        let mut tags: Vec<_> = tags.map(pair).collect::<Result<_>>()?;
        tags.sort();
        Ok(Self { id, is, tags })
    }

    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        let found = self.tags.iter().find(|(other, _)| other == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// A list in an answer.
pub(crate) fn list(mut answer: Value, name: &str) -> Result<Vec<Value>> {
    match answer[name].take() {
        Value::Array(all) => Ok(all),
        other => bail!("{name} is no list: {other}"),
    }
}

/// A text in an answer.
pub(crate) fn text(value: &Value) -> Result<String> {
    let found = value.as_str();
    Ok(found
        .with_context(|| format!("no text: {value}"))?
        .to_owned())
}
