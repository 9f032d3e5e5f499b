use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types as sdk;
use herald_provider::{ErrorKind, Gate, ProviderError};

use super::{Elbv2, convert, send};
use crate::call::{Answer, Change};
use crate::client::caller::{CallError, Caller, Operation};
use crate::client::failure::Failure;
use crate::model::{HealthCheck, ListenerSpec, Probe, Ref, Wire};

pub(super) type Result<T> = std::result::Result<T, ProviderError>;

/// The ARN of something that exists. The plan puts a step that needs one after the step that creates it.
pub(super) fn arn(reference: &Ref) -> Result<&str> {
    reference.id.as_deref().ok_or_else(|| {
        let message = "it has yet to be created";
        ProviderError::new(ErrorKind::Retryable, "plan", &reference.name, message)
    })
}

fn done<T>(operation: Operation<'_>, result: std::result::Result<T, CallError>) -> Result<Answer> {
    result
        .map(|_| Answer::Done)
        .map_err(|error| error.into_provider_error(operation))
}

/// The same for a removal: what is not there is removed.
fn gone<T>(operation: Operation<'_>, result: std::result::Result<T, CallError>) -> Result<Answer> {
    match result {
        Err(error) if error.not_found() => Ok(Answer::Done),
        result => done(operation, result),
    }
}

impl Elbv2 {
    /// Makes a changing call.
    #[allow(clippy::too_many_lines, reason = "one arm for each call")]
    pub(in crate::client) async fn change(
        &self,
        caller: &Caller,
        change: &Change,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        let elb = &self.client;
        match change {
            Change::CreateTargetGroup(spec) => self.create_target_group(caller, spec, gate).await,
            Change::ModifyTargetGroup {
                group,
                health_check,
            } => {
                let arn = arn(group)?;
                let operation = Operation::change("ModifyTargetGroup", &group.name, gate);
                let check = Check::new(health_check);
                let sent = send!(caller, operation, {
                    elb.modify_target_group()
                        .target_group_arn(arn)
                        .health_check_protocol(check.protocol.clone())
                        .health_check_port(&check.port)
                        .set_health_check_path(check.path.clone())
                        .set_matcher(check.matcher.clone())
                        .health_check_interval_seconds(check.interval)
                        .health_check_timeout_seconds(check.timeout)
                        .healthy_threshold_count(check.healthy)
                        .unhealthy_threshold_count(check.unhealthy)
                });
                done(operation, sent)
            }
            Change::SetGroupAttributes { group, attributes } => {
                let arn = arn(group)?;
                let operation = Operation::change("ModifyTargetGroupAttributes", &group.name, gate);
                let sent = send!(caller, operation, {
                    let one = |(k, v): (&String, &String)| {
                        sdk::TargetGroupAttribute::builder().key(k).value(v).build()
                    };
                    elb.modify_target_group_attributes()
                        .target_group_arn(arn)
                        .set_attributes(Some(attributes.iter().map(one).collect()))
                });
                done(operation, sent)
            }
            Change::DeleteTargetGroup { group } => {
                let arn = arn(group)?;
                let operation = Operation::change("DeleteTargetGroup", &group.name, gate);
                gone(
                    operation,
                    send!(
                        caller,
                        operation,
                        elb.delete_target_group().target_group_arn(arn)
                    ),
                )
            }
            Change::RegisterTargets { group, targets } => {
                self.register_targets(caller, group, targets, gate).await
            }
            Change::DeregisterTargets { group, targets } => {
                let arn = arn(group)?;
                let operation = Operation::targets("DeregisterTargets", &group.name, gate);
                let targets = convert::to_targets(targets);
                let sent = send!(caller, operation, {
                    elb.deregister_targets()
                        .target_group_arn(arn)
                        .set_targets(Some(targets.clone()))
                });
                match sent {
                    // One of them is gone already: read the group again and take the others out.
                    Err(error) if error.is("InvalidTarget") => {
                        let mut error = error.into_provider_error(operation);
                        error.kind = ErrorKind::Retryable;
                        Err(error)
                    }
                    sent => done(operation, sent),
                }
            }
            Change::CreateLoadBalancer { .. } => {
                self.create_load_balancer(caller, change, gate).await
            }
            Change::SetSubnets {
                load_balancer,
                mappings,
                address_type,
            } => {
                let arn = arn(load_balancer)?;
                let operation = Operation::change("SetSubnets", &load_balancer.name, gate);
                let mappings = convert::to_mappings(mappings);
                let sent = send!(caller, operation, {
                    elb.set_subnets()
                        .load_balancer_arn(arn)
                        .set_subnet_mappings(Some(mappings.clone()))
                        .ip_address_type(sdk::IpAddressType::from(address_type.as_str()))
                });
                done(operation, sent)
            }
            Change::SetSecurityGroups {
                load_balancer,
                security_groups,
            } => {
                let lb = arn(load_balancer)?;
                let ids = ids(security_groups)?;
                let operation = Operation::change("SetSecurityGroups", &load_balancer.name, gate);
                let sent = send!(caller, operation, {
                    elb.set_security_groups()
                        .load_balancer_arn(lb)
                        .set_security_groups(Some(ids.clone()))
                });
                done(operation, sent)
            }
            Change::SetAddressType {
                load_balancer,
                address_type,
            } => {
                let arn = arn(load_balancer)?;
                let operation = Operation::change("SetIpAddressType", &load_balancer.name, gate);
                let sent = send!(caller, operation, {
                    elb.set_ip_address_type()
                        .load_balancer_arn(arn)
                        .ip_address_type(sdk::IpAddressType::from(address_type.as_str()))
                });
                done(operation, sent)
            }
            Change::SetAttributes {
                load_balancer,
                attributes,
            } => {
                let arn = arn(load_balancer)?;
                let name = "ModifyLoadBalancerAttributes";
                let operation = Operation::change(name, &load_balancer.name, gate);
                let sent = send!(caller, operation, {
                    let one = |(k, v): (&String, &String)| {
                        sdk::LoadBalancerAttribute::builder()
                            .key(k)
                            .value(v)
                            .build()
                    };
                    elb.modify_load_balancer_attributes()
                        .load_balancer_arn(arn)
                        .set_attributes(Some(attributes.iter().map(one).collect()))
                });
                done(operation, sent)
            }
            Change::DeleteLoadBalancer { load_balancer } => {
                let arn = arn(load_balancer)?;
                let operation = Operation::change("DeleteLoadBalancer", &load_balancer.name, gate);
                gone(
                    operation,
                    send!(
                        caller,
                        operation,
                        elb.delete_load_balancer().load_balancer_arn(arn)
                    ),
                )
            }
            Change::CreateListener {
                load_balancer,
                spec,
                tags,
            } => {
                self.create_listener(caller, load_balancer, spec, tags, gate)
                    .await
            }
            Change::ModifyListener {
                listener,
                spec,
                load_balancer,
            } => {
                let (listener, group) = (arn(listener)?, arn(&spec.target_group)?);
                let operation = Operation::change("ModifyListener", &load_balancer.name, gate);
                let sent = send!(caller, operation, {
                    elb.modify_listener()
                        .listener_arn(listener)
                        .port(spec.port.into())
                        .protocol(sdk::ProtocolEnum::from(spec.protocol.as_str()))
                        .set_certificates(certificates(spec))
                        .set_ssl_policy(spec.tls_policy.clone())
                        .set_alpn_policy(spec.alpn.clone().map(|policy| vec![policy]))
                        .default_actions(convert::to_action(group))
                });
                done(operation, sent)
            }
            Change::DeleteListener {
                load_balancer,
                listener,
                ..
            } => {
                let arn = arn(listener)?;
                let operation = Operation::change("DeleteListener", &load_balancer.name, gate);
                gone(
                    operation,
                    send!(caller, operation, elb.delete_listener().listener_arn(arn)),
                )
            }
            Change::SetListenerAttributes {
                load_balancer,
                listener,
                attributes,
                ..
            } => {
                let arn = arn(listener)?;
                let name = "ModifyListenerAttributes";
                let operation = Operation::change(name, &load_balancer.name, gate);
                let sent = send!(caller, operation, {
                    let one = |(k, v): (&String, &String)| {
                        sdk::ListenerAttribute::builder().key(k).value(v).build()
                    };
                    elb.modify_listener_attributes()
                        .listener_arn(arn)
                        .set_attributes(Some(attributes.iter().map(one).collect()))
                });
                done(operation, sent)
            }
            Change::AddCertificates {
                load_balancer,
                listener,
                certificates,
                ..
            } => {
                let arn = arn(listener)?;
                let operation =
                    Operation::change("AddListenerCertificates", &load_balancer.name, gate);
                let certificates = convert::to_certificates(certificates);
                let sent = send!(caller, operation, {
                    elb.add_listener_certificates()
                        .listener_arn(arn)
                        .set_certificates(Some(certificates.clone()))
                });
                done(operation, sent)
            }
            Change::RemoveCertificates {
                load_balancer,
                listener,
                certificates,
                ..
            } => {
                let arn = arn(listener)?;
                let name = "RemoveListenerCertificates";
                let operation = Operation::change(name, &load_balancer.name, gate);
                let certificates = convert::to_certificates(certificates);
                let sent = send!(caller, operation, {
                    elb.remove_listener_certificates()
                        .listener_arn(arn)
                        .set_certificates(Some(certificates.clone()))
                });
                done(operation, sent)
            }
            Change::AddTags { resource, tags } => {
                let arn = arn(resource)?;
                let operation = Operation::change("AddTags", &resource.name, gate);
                let sent = send!(caller, operation, {
                    elb.add_tags()
                        .resource_arns(arn)
                        .set_tags(Some(convert::to_tags(tags)))
                });
                done(operation, sent)
            }
            Change::RemoveTags { resource, keys } => {
                let arn = arn(resource)?;
                let operation = Operation::change("RemoveTags", &resource.name, gate);
                let sent = send!(caller, operation, {
                    elb.remove_tags()
                        .resource_arns(arn)
                        .set_tag_keys(Some(keys.clone()))
                });
                done(operation, sent)
            }
            Change::CreateSecurityGroup { .. }
            | Change::AuthorizeIngress { .. }
            | Change::RevokeIngress { .. }
            | Change::DeleteSecurityGroup { .. } => {
                let message = "not a call of ELBv2";
                Err(ProviderError::new(
                    ErrorKind::Terminal,
                    "plan",
                    change.to_string(),
                    message,
                ))
            }
        }
    }
}

pub(super) fn ids(groups: &BTreeSet<Ref>) -> Result<Vec<String>> {
    groups
        .iter()
        .map(|group| arn(group).map(str::to_owned))
        .collect()
}

pub(super) fn certificates(spec: &ListenerSpec) -> Option<Vec<sdk::Certificate>> {
    let tls = spec.protocol == Wire::Tls;
    tls.then(|| convert::to_certificates(&spec.certificate))
}

/// A health check in the SDK's types.
pub(super) struct Check {
    pub(super) protocol: sdk::ProtocolEnum,
    pub(super) port: String,
    pub(super) path: Option<String>,
    pub(super) matcher: Option<sdk::Matcher>,
    pub(super) interval: i32,
    pub(super) timeout: i32,
    pub(super) healthy: i32,
    pub(super) unhealthy: i32,
}

impl Check {
    pub(super) fn new(check: &HealthCheck) -> Self {
        let codes = check.codes.clone().filter(|_| check.protocol != Probe::Tcp);
        Self {
            protocol: sdk::ProtocolEnum::from(check.protocol.as_str()),
            port: check
                .port
                .map_or_else(|| "traffic-port".to_owned(), |port| port.to_string()),
            path: check.path.clone(),
            matcher: codes.map(|codes| sdk::Matcher::builder().http_code(codes).build()),
            interval: convert::to_i32(check.interval),
            timeout: convert::to_i32(check.timeout),
            healthy: convert::to_i32(check.healthy),
            unhealthy: convert::to_i32(check.unhealthy),
        }
    }
}
