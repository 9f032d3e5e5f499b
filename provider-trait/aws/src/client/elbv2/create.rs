//! Creations: what exists by then under the same name is taken for the result, if it is ours.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types as sdk;
use herald_provider::{ErrorKind, Gate, ProviderError};

use super::change::{Check, Result, arn, certificates, ids};
use super::{Elbv2, convert, send};
use crate::call::{Answer, Change};
use crate::client::caller::{Caller, Operation};
use crate::client::failure::Failure;
use crate::model::{
    AddressType, GroupSpec, Listener, ListenerSpec, LoadBalancer, Ref, Tags, TargetGroup,
};
use crate::{names, tags};

impl Elbv2 {
    pub(super) async fn create_target_group(
        &self,
        caller: &Caller,
        spec: &GroupSpec,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        let operation = Operation::change("CreateTargetGroup", &spec.name, gate);
        let check = Check::new(&spec.health_check);
        let family = match spec.family {
            herald_core::IpFamily::V4 => sdk::TargetGroupIpAddressTypeEnum::Ipv4,
            herald_core::IpFamily::V6 => sdk::TargetGroupIpAddressTypeEnum::Ipv6,
        };
        let sent = send!(caller, operation, {
            self.client
                .create_target_group()
                .name(&spec.name)
                .protocol(sdk::ProtocolEnum::from(spec.protocol.as_str()))
                .port(spec.port.into())
                .vpc_id(&spec.vpc)
                .target_type(sdk::TargetTypeEnum::from(spec.target_type.as_str()))
                .ip_address_type(family.clone())
                .health_check_enabled(true)
                .health_check_protocol(check.protocol.clone())
                .health_check_port(&check.port)
                .set_health_check_path(check.path.clone())
                .set_matcher(check.matcher.clone())
                .health_check_interval_seconds(check.interval)
                .health_check_timeout_seconds(check.timeout)
                .healthy_threshold_count(check.healthy)
                .unhealthy_threshold_count(check.unhealthy)
                .set_tags(Some(convert::to_tags(&spec.tags)))
        });
        let found = match sent {
            Ok(answer) => answer
                .target_groups()
                .iter()
                .find_map(convert::target_group),
            Err(error) if error.is("DuplicateTargetGroupName") => {
                let names = BTreeSet::from([spec.name.clone()]);
                let found = self.target_groups_named(caller, &names).await?;
                let ghost = found.is_empty();
                let found = found
                    .into_iter()
                    .find(|group| same_owner(&group.spec.tags, &spec.tags));
                let Some(found) = found else {
                    return Err(taken(error.into_provider_error(operation), ghost));
                };
                // It was made by a call whose answer was lost; its targets and attributes are to be read.
                return Ok(Answer::TargetGroup(found));
            }
            Err(error) => return Err(error.into_provider_error(operation)),
        };
        let mut found: TargetGroup = found.ok_or_else(|| unreadable(operation))?;
        found.spec.tags.clone_from(&spec.tags);
        found.targets = Some(BTreeMap::new());
        Ok(Answer::TargetGroup(found))
    }

    pub(super) async fn create_load_balancer(
        &self,
        caller: &Caller,
        change: &Change,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        let Change::CreateLoadBalancer {
            name,
            scheme,
            address_type,
            mappings,
            security_groups,
            tags,
        } = change
        else {
            return Ok(Answer::Done);
        };
        let operation = Operation::change("CreateLoadBalancer", name, gate);
        let ids = ids(security_groups)?;
        let family = match address_type {
            AddressType::Ipv4 => sdk::IpAddressType::Ipv4,
            AddressType::Dualstack => sdk::IpAddressType::Dualstack,
        };
        let sent = send!(caller, operation, {
            self.client
                .create_load_balancer()
                .name(name)
                .r#type(sdk::LoadBalancerTypeEnum::Network)
                .scheme(sdk::LoadBalancerSchemeEnum::from(scheme.as_str()))
                .ip_address_type(family.clone())
                .set_subnet_mappings(Some(convert::to_mappings(mappings)))
                .set_security_groups((!ids.is_empty()).then(|| ids.clone()))
                .set_tags(Some(convert::to_tags(tags)))
        });
        let found = match sent {
            Ok(answer) => answer
                .load_balancers()
                .iter()
                .find_map(convert::load_balancer),
            Err(error) if error.is("DuplicateLoadBalancerName") => {
                let names = BTreeSet::from([name.clone()]);
                let found = self.load_balancers_named(caller, &names).await?;
                let ghost = found.is_empty();
                let found = found.into_iter().find(|lb| same_owner(&lb.tags, tags));
                let Some(found) = found else {
                    return Err(taken(error.into_provider_error(operation), ghost));
                };
                return Ok(Answer::LoadBalancer(found));
            }
            Err(error) => return Err(error.into_provider_error(operation)),
        };
        let mut found: LoadBalancer = found.ok_or_else(|| unreadable(operation))?;
        if !name.starts_with(names::PREFIX) {
            // AWS answers with what exists if it has the same settings; a name that a user chose may be anybody's.
            let names = BTreeSet::from([name.clone()]);
            let holders = self.load_balancers_named(caller, &names).await?;
            let theirs = holders.iter().any(|lb| !same_owner(&lb.tags, tags));
            if theirs {
                // The next pass looks again: then it is known whose it is.
                let message =
                    "a load balancer of this name exists and does not carry this cluster's tags";
                let error = ProviderError::new(ErrorKind::Retryable, operation.name, name, message);
                return Err(error.with_code("NameTaken"));
            }
        }
        found.tags.clone_from(tags);
        // AWS may not echo what was given.
        found.mappings.clone_from(mappings);
        // AWS answers a repeated creation with what exists: its listeners are to be read.
        Ok(Answer::LoadBalancer(found))
    }

    pub(super) async fn create_listener(
        &self,
        caller: &Caller,
        load_balancer: &Ref,
        spec: &ListenerSpec,
        tags: &Tags,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        let (lb, group) = (arn(load_balancer)?, arn(&spec.target_group)?);
        let operation = Operation::change("CreateListener", &load_balancer.name, gate);
        let sent = send!(caller, operation, {
            self.client
                .create_listener()
                .load_balancer_arn(lb)
                .port(spec.port.into())
                .protocol(sdk::ProtocolEnum::from(spec.protocol.as_str()))
                .set_certificates(certificates(spec))
                .set_ssl_policy(spec.tls_policy.clone())
                .set_alpn_policy(spec.alpn.clone().map(|policy| vec![policy]))
                .default_actions(convert::to_action(group))
                .set_tags(Some(convert::to_tags(tags)))
        });
        match sent {
            Ok(answer) => {
                let found = answer.listeners().iter().find_map(convert::listener);
                let mut found: Listener = found.ok_or_else(|| unreadable(operation))?;
                found.tags.clone_from(tags);
                Ok(Answer::Listener(found))
            }
            Err(error) if error.is("DuplicateListener") => {
                // It is there already: the next pass reads it and brings it in line.
                let mut error = error.into_provider_error(operation);
                error.kind = ErrorKind::Retryable;
                Err(error)
            }
            Err(error) => Err(error.into_provider_error(operation)),
        }
    }
}

/// Whether what exists under a name is what an earlier creation of ours made.
fn same_owner(found: &Tags, wanted: &Tags) -> bool {
    [tags::CLUSTER, tags::CLUSTER_UID, tags::LOAD_BALANCER]
        .iter()
        .all(|key| wanted.get(*key).is_some() && found.get(*key) == wanted.get(*key))
}

/// The error for a name that somebody has. One that nobody has any more was just given up, and is free soon.
fn taken(mut error: ProviderError, ghost: bool) -> ProviderError {
    if ghost {
        error.kind = ErrorKind::Retryable;
    }
    error
}

fn unreadable(operation: Operation<'_>) -> ProviderError {
    let message = "AWS's answer does not describe what was created";
    ProviderError::new(
        ErrorKind::Retryable,
        operation.name,
        operation.object,
        message,
    )
}
