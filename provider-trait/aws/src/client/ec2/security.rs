use std::collections::BTreeSet;

use herald_provider::{ErrorKind, Gate, ProviderError};

use super::answer::{self, Created, Group, Permission};
use super::request::Form;
use super::{Ec2, is_v4};
use crate::call::{Answer, Change};
use crate::client::caller::{CallError, Caller, Operation};
use crate::model::{Ref, Rule, RuleProtocol, SecurityGroup, Source};
use crate::tags;

type Result<T> = std::result::Result<T, ProviderError>;

/// A group as described.
pub(super) fn group(found: &Group) -> SecurityGroup {
    SecurityGroup {
        id: found.id.clone(),
        name: found.name.clone(),
        tags: found.tags.tags(),
        ingress: found.ingress.iter().flat_map(rules).collect(),
    }
}

fn rules(found: &Permission) -> Vec<Rule> {
    let port = |port: Option<i32>, all| port.and_then(|p| u16::try_from(p).ok()).unwrap_or(all);
    let rule = |source: Source, description: &str| Rule {
        protocol: match found.protocol.as_str() {
            "tcp" | "6" => RuleProtocol::Tcp,
            "udp" | "17" => RuleProtocol::Udp,
            _ => RuleProtocol::Other,
        },
        first: port(found.first, 0),
        last: port(found.last, u16::MAX),
        source,
        description: description.to_owned(),
    };
    let net = |text: &str| text.parse().map_or(Source::Other, Source::Net);
    let groups = found.groups.iter().map(|from| {
        let group = Ref::to(&from.id, &from.id);
        rule(Source::Group(group), &from.description)
    });
    let v4 = found
        .v4
        .iter()
        .map(|from| rule(net(&from.net), &from.description));
    let v6 = found
        .v6
        .iter()
        .map(|from| rule(net(&from.net), &from.description));
    let lists = found
        .lists
        .iter()
        .map(|from| rule(Source::Other, &from.description));
    groups.chain(v4).chain(v6).chain(lists).collect()
}

/// The id of something that exists.
fn id(reference: &Ref) -> Result<&str> {
    reference.id.as_deref().ok_or_else(|| {
        let message = "it has yet to be created";
        ProviderError::new(ErrorKind::Retryable, "plan", &reference.name, message)
    })
}

/// The permissions of a request.
fn permissions<'a>(group: &str, rules: impl IntoIterator<Item = &'a Rule>) -> Result<Form> {
    let mut form = Form::default();
    form.set("GroupId", group);
    for (n, rule) in (1..).zip(rules) {
        let name = |field: &str| format!("IpPermissions.{n}.{field}");
        let protocol = match rule.protocol {
            RuleProtocol::Tcp => "tcp",
            RuleProtocol::Udp => "udp",
            RuleProtocol::Other => "-1",
        };
        form.set(&name("IpProtocol"), protocol);
        if rule.protocol != RuleProtocol::Other {
            form.set(&name("FromPort"), &rule.first.to_string());
            form.set(&name("ToPort"), &rule.last.to_string());
        }
        let (set, field, value) = match &rule.source {
            Source::Net(net) if is_v4(net) => ("IpRanges.1", "CidrIp", net.to_string()),
            Source::Net(net) => ("Ipv6Ranges.1", "CidrIpv6", net.to_string()),
            Source::Group(group) => ("Groups.1", "GroupId", id(group)?.to_owned()),
            Source::Other => {
                let message = "a rule of a kind that Herald does not make";
                let object = rule.to_string();
                return Err(ProviderError::new(
                    ErrorKind::Terminal,
                    "plan",
                    object,
                    message,
                ));
            }
        };
        form.set(&name(&format!("{set}.{field}")), &value);
        if !rule.description.is_empty() {
            form.set(&name(&format!("{set}.Description")), &rule.description);
        }
    }
    Ok(form)
}

impl Ec2 {
    /// Makes a changing call.
    pub(in crate::client) async fn change(
        &self,
        caller: &Caller,
        change: &Change,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        match change {
            Change::CreateSecurityGroup { .. } => self.create(caller, change, gate).await,
            Change::AuthorizeIngress { group, rules } => {
                let operation =
                    Operation::change("AuthorizeSecurityGroupIngress", &group.name, gate);
                self.rules(
                    caller,
                    operation,
                    group,
                    rules,
                    "InvalidPermission.Duplicate",
                )
                .await
            }
            Change::RevokeIngress { group, rules } => {
                let operation = Operation::change("RevokeSecurityGroupIngress", &group.name, gate);
                self.rules(
                    caller,
                    operation,
                    group,
                    rules,
                    "InvalidPermission.NotFound",
                )
                .await
            }
            Change::DeleteSecurityGroup { group } => {
                let operation = Operation::change("DeleteSecurityGroup", &group.name, gate);
                let mut form = Form::default();
                form.set("GroupId", id(group)?);
                match self.send(caller, operation, &form).await {
                    Ok(_) => Ok(Answer::Done),
                    Err(error) if error.not_found() => Ok(Answer::Done),
                    Err(error) => Err(error.into_provider_error(operation)),
                }
            }
            other => {
                let message = "not a call of EC2";
                Err(ProviderError::new(
                    ErrorKind::Terminal,
                    "plan",
                    other.to_string(),
                    message,
                ))
            }
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        operation: Operation<'_>,
        form: &Form,
    ) -> std::result::Result<String, CallError> {
        caller
            .attempt(operation, || self.connection.send(operation.name, form))
            .await
    }

    async fn create(&self, caller: &Caller, change: &Change, gate: &dyn Gate) -> Result<Answer> {
        let Change::CreateSecurityGroup {
            name,
            description,
            vpc,
            tags,
        } = change
        else {
            return Ok(Answer::Done);
        };
        let operation = Operation::change("CreateSecurityGroup", name, gate);
        let mut form = Form::default();
        form.set("GroupName", name);
        form.set("GroupDescription", description);
        form.set("VpcId", vpc);
        form.set("TagSpecification.1.ResourceType", "security-group");
        for (n, (key, value)) in (1..).zip(tags) {
            form.set(&format!("TagSpecification.1.Tag.{n}.Key"), key);
            form.set(&format!("TagSpecification.1.Tag.{n}.Value"), value);
        }
        match self.send(caller, operation, &form).await {
            Ok(text) => {
                let created: Created = answer::parse(&text)
                    .map_err(|failure| CallError::Failed(failure).into_provider_error(operation))?;
                Ok(Answer::SecurityGroup(created.id))
            }
            Err(error) if error.is("InvalidGroup.Duplicate") => {
                // Made by a call whose answer was lost, if the tags are ours; then the next pass finds it.
                let names = BTreeSet::from([name.clone()]);
                let found = self.security_groups(caller, vpc, Some(&names)).await?;
                let ours = |group: &&SecurityGroup| {
                    [tags::CLUSTER, tags::CLUSTER_UID, tags::LOAD_BALANCER]
                        .iter()
                        .all(|key| group.tags.get(*key) == tags.get(*key))
                };
                let mut error = error.into_provider_error(operation);
                if found.iter().any(|group| ours(&group)) {
                    error.kind = ErrorKind::Retryable;
                }
                Err(error)
            }
            Err(error) => Err(error.into_provider_error(operation)),
        }
    }

    /// Adds or removes rules. If some are there (or gone) already, the others are sent one by one.
    async fn rules(
        &self,
        caller: &Caller,
        operation: Operation<'_>,
        group: &Ref,
        rules: &BTreeSet<Rule>,
        already: &str,
    ) -> Result<Answer> {
        let group = id(group)?;
        let all = self
            .send(caller, operation, &permissions(group, rules)?)
            .await;
        match all {
            Ok(_) => return Ok(Answer::Done),
            Err(error) if error.is(already) => {}
            Err(error) => return Err(error.into_provider_error(operation)),
        }
        if rules.len() > 1 {
            for rule in rules {
                let one = self
                    .send(caller, operation, &permissions(group, [rule])?)
                    .await;
                match one {
                    Err(error) if !error.is(already) => {
                        return Err(error.into_provider_error(operation));
                    }
                    _ => {}
                }
            }
        }
        Ok(Answer::Done)
    }
}
