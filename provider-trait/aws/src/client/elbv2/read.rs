use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::operation::describe_tags::DescribeTagsOutput;
use herald_provider::ProviderError;

use super::{Elbv2, convert};
use crate::call::{Answer, Query};
use crate::client::caller::{Caller, Operation, found};
use crate::client::failure::Failure;
use crate::model::{Attributes, Listener, LoadBalancer, Ref, Tags, TargetGroup, Wire};
use crate::names;

/// How many resources one DescribeTags takes.
const TAGGED: usize = 20;

type Result<T> = std::result::Result<T, ProviderError>;

/// Pages of `$method`, put through `$convert`, as `Option<Vec<_>>`: `None` when AWS says there is no such thing.
macro_rules! pages {
    ($self:ident, $caller:ident, $name:literal, $object:expr, $method:ident, $set:expr, $items:ident) => {{
        let operation = Operation::read($name, $object);
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let request = || {
                let call = $set($self.client.$method()).set_marker(marker.clone());
                async move { call.send().await.map_err(Failure::from) }
            };
            match found(operation, $caller.attempt(operation, request).await)? {
                None => break None,
                Some(page) => {
                    all.extend(page.$items().iter().cloned());
                    marker = page.next_marker().map(str::to_owned);
                }
            }
            if marker.is_none() {
                break Some(all);
            }
        }
    }};
}

impl Elbv2 {
    /// All load balancers of the region; those of the VPC that are Network Load Balancers with their tags.
    pub(in crate::client) async fn all_load_balancers(
        &self,
        caller: &Caller,
        vpc: &str,
    ) -> Result<Vec<LoadBalancer>> {
        let found = pages!(
            self,
            caller,
            "DescribeLoadBalancers",
            "all",
            describe_load_balancers,
            |call| call,
            load_balancers
        );
        let network = |lb: &aws_sdk_elasticloadbalancingv2::types::LoadBalancer| {
            use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum::Network;
            lb.r#type() == Some(&Network) && lb.vpc_id() == Some(vpc)
        };
        let found = found.unwrap_or_default();
        let arns = found
            .iter()
            .filter(|lb| network(lb))
            .filter_map(|lb| lb.load_balancer_arn());
        let mut tags = self.tags(caller, arns.map(str::to_owned).collect()).await?;
        let mut all: Vec<LoadBalancer> = found.iter().filter_map(convert::load_balancer).collect();
        for lb in &mut all {
            lb.tags = tags.remove(&lb.arn).unwrap_or_default();
        }
        Ok(all)
    }

    /// The target groups of the region that may be Herald's, with tags.
    pub(in crate::client) async fn all_target_groups(
        &self,
        caller: &Caller,
    ) -> Result<Vec<TargetGroup>> {
        let found = pages!(
            self,
            caller,
            "DescribeTargetGroups",
            "all",
            describe_target_groups,
            |call| call,
            target_groups
        );
        let found = found.unwrap_or_default();
        let all = found.iter().filter_map(convert::target_group);
        let own = all
            // No other group's tags have to be read.
            .filter(|group| group.spec.name.starts_with(names::PREFIX))
            .collect();
        self.with_tags(caller, own).await
    }

    async fn with_tags(
        &self,
        caller: &Caller,
        mut groups: Vec<TargetGroup>,
    ) -> Result<Vec<TargetGroup>> {
        let arns = groups.iter().map(|group| group.arn.clone()).collect();
        let mut tags = self.tags(caller, arns).await?;
        for group in &mut groups {
            group.spec.tags = tags.remove(&group.arn).unwrap_or_default();
        }
        Ok(groups)
    }

    /// Load balancers by name, with tags. One call each: AWS fails a call for several if one does not exist.
    pub(in crate::client) async fn load_balancers_named(
        &self,
        caller: &Caller,
        names: &BTreeSet<String>,
    ) -> Result<Vec<LoadBalancer>> {
        let mut all = Vec::new();
        for name in names {
            let found = pages!(
                self,
                caller,
                "DescribeLoadBalancers",
                name,
                describe_load_balancers,
                |call: aws_sdk_elasticloadbalancingv2::operation::describe_load_balancers::builders::DescribeLoadBalancersFluentBuilder| call.names(name),
                load_balancers
            );
            all.extend(found.iter().flatten().filter_map(convert::load_balancer));
        }
        let arns = all.iter().map(|lb| lb.arn.clone()).collect();
        let mut tags = self.tags(caller, arns).await?;
        for lb in &mut all {
            lb.tags = tags.remove(&lb.arn).unwrap_or_default();
        }
        Ok(all)
    }

    /// Target groups by name, with tags.
    pub(in crate::client) async fn target_groups_named(
        &self,
        caller: &Caller,
        names: &BTreeSet<String>,
    ) -> Result<Vec<TargetGroup>> {
        let mut all = Vec::new();
        for name in names {
            let found = pages!(
                self,
                caller,
                "DescribeTargetGroups",
                name,
                describe_target_groups,
                |call: aws_sdk_elasticloadbalancingv2::operation::describe_target_groups::builders::DescribeTargetGroupsFluentBuilder| call.names(name),
                target_groups
            );
            all.extend(found.iter().flatten().filter_map(convert::target_group));
        }
        self.with_tags(caller, all).await
    }

    /// Tags by ARN, twenty resources a call. What is gone by now is left out.
    async fn tags(&self, caller: &Caller, arns: Vec<String>) -> Result<BTreeMap<String, Tags>> {
        let mut all = BTreeMap::new();
        for chunk in arns.chunks(TAGGED) {
            for (arn, tags) in self.tags_of(caller, chunk).await? {
                all.insert(arn, tags);
            }
        }
        Ok(all)
    }

    async fn tags_of(&self, caller: &Caller, arns: &[String]) -> Result<Vec<(String, Tags)>> {
        let operation = Operation::read("DescribeTags", "resources");
        let request = |arns: Vec<String>| {
            move || {
                let call = self
                    .client
                    .describe_tags()
                    .set_resource_arns(Some(arns.clone()));
                async move { call.send().await.map_err(Failure::from) }
            }
        };
        let answer = found(
            operation,
            caller.attempt(operation, request(arns.to_vec())).await,
        )?;
        let mut answers = Vec::new();
        if let Some(answer) = answer {
            answers.push(answer);
        } else {
            // One of them is gone; the others are asked for alone.
            for arn in arns {
                let one = caller.attempt(operation, request(vec![arn.clone()])).await;
                answers.extend(found(operation, one)?);
            }
        }
        let all = answers
            .iter()
            .flat_map(DescribeTagsOutput::tag_descriptions);
        let one = |found: &aws_sdk_elasticloadbalancingv2::types::TagDescription| {
            Some((
                found.resource_arn()?.to_owned(),
                convert::tags(found.tags()),
            ))
        };
        Ok(all.filter_map(one).collect())
    }

    /// Everything that is asked per object.
    pub(in crate::client) async fn ask(&self, caller: &Caller, query: &Query) -> Result<Answer> {
        match query {
            Query::Names { .. } | Query::Network(_) => Ok(Answer::Done),
            Query::States { arns, .. } => {
                let mut states = Vec::new();
                for arn in arns {
                    let found = pages!(
                        self,
                        caller,
                        "DescribeLoadBalancers",
                        arn,
                        describe_load_balancers,
                        |call: aws_sdk_elasticloadbalancingv2::operation::describe_load_balancers::builders::DescribeLoadBalancersFluentBuilder| call.load_balancer_arns(arn),
                        load_balancers
                    );
                    states.extend(found.iter().flatten().filter_map(convert::load_balancer));
                }
                Ok(Answer::States(states))
            }
            Query::Listeners(lb) => Ok(Answer::Listeners(self.listeners(caller, lb).await?)),
            Query::ListenerAttributes { listener, .. } => Ok(Answer::Attributes(
                self.listener_attributes(caller, listener).await?,
            )),
            Query::Attributes(lb) => Ok(Answer::Attributes(
                self.load_balancer_attributes(caller, lb).await?,
            )),
            Query::GroupAttributes(group) => Ok(Answer::Attributes(
                self.group_attributes(caller, group).await?,
            )),
            Query::Targets(group) => {
                let operation = Operation::read("DescribeTargetHealth", &group.name);
                let request = || {
                    let call = self.client.describe_target_health();
                    let call = call.target_group_arn(group.id.clone().unwrap_or_default());
                    async move { call.send().await.map_err(Failure::from) }
                };
                let answer = found(operation, caller.attempt(operation, request).await)?;
                let targets = answer.map(|a| convert::targets(a.target_health_descriptions()));
                Ok(Answer::Targets(targets))
            }
        }
    }

    /// The listeners of a load balancer; `None` when it is not there.
    pub(super) async fn listeners(
        &self,
        caller: &Caller,
        lb: &Ref,
    ) -> Result<Option<BTreeMap<u16, Listener>>> {
        let arn = lb.id.clone().unwrap_or_default();
        let found = pages!(
            self,
            caller,
            "DescribeListeners",
            &lb.name,
            describe_listeners,
            |call: aws_sdk_elasticloadbalancingv2::operation::describe_listeners::builders::DescribeListenersFluentBuilder| call.load_balancer_arn(&arn),
            listeners
        );
        let Some(found) = found else { return Ok(None) };
        let mut all: Vec<Listener> = found.iter().filter_map(convert::listener).collect();
        let mut tags = self
            .tags(caller, all.iter().map(|l| l.arn.clone()).collect())
            .await?;
        for listener in &mut all {
            listener.tags = tags.remove(&listener.arn).unwrap_or_default();
            if listener.spec.protocol == Wire::Tls {
                let mut all = self.certificates(caller, &listener.arn).await?;
                all.retain(|arn| Some(arn) != listener.spec.certificate.as_ref());
                listener.certificates = all;
            }
        }
        Ok(Some(
            all.into_iter()
                .map(|listener| (listener.spec.port, listener))
                .collect(),
        ))
    }

    /// The certificates of a listener besides the default one.
    async fn certificates(&self, caller: &Caller, arn: &str) -> Result<BTreeSet<String>> {
        let found = pages!(
            self,
            caller,
            "DescribeListenerCertificates",
            arn,
            describe_listener_certificates,
            |call: aws_sdk_elasticloadbalancingv2::operation::describe_listener_certificates::builders::DescribeListenerCertificatesFluentBuilder| call.listener_arn(arn),
            certificates
        );
        let further = found
            .iter()
            .flatten()
            .filter(|c| c.is_default() != Some(true));
        Ok(further
            .filter_map(|c| c.certificate_arn())
            .map(str::to_owned)
            .collect())
    }

    async fn load_balancer_attributes(
        &self,
        caller: &Caller,
        lb: &Ref,
    ) -> Result<Option<Attributes>> {
        let operation = Operation::read("DescribeLoadBalancerAttributes", &lb.name);
        let request = || {
            let call = self.client.describe_load_balancer_attributes();
            let call = call.load_balancer_arn(lb.id.clone().unwrap_or_default());
            async move { call.send().await.map_err(Failure::from) }
        };
        let answer = found(operation, caller.attempt(operation, request).await)?;
        Ok(answer.map(|a| attributes(a.attributes().iter().map(|a| (a.key(), a.value())))))
    }

    async fn group_attributes(&self, caller: &Caller, group: &Ref) -> Result<Option<Attributes>> {
        let operation = Operation::read("DescribeTargetGroupAttributes", &group.name);
        let request = || {
            let call = self.client.describe_target_group_attributes();
            let call = call.target_group_arn(group.id.clone().unwrap_or_default());
            async move { call.send().await.map_err(Failure::from) }
        };
        let answer = found(operation, caller.attempt(operation, request).await)?;
        Ok(answer.map(|a| attributes(a.attributes().iter().map(|a| (a.key(), a.value())))))
    }

    async fn listener_attributes(
        &self,
        caller: &Caller,
        listener: &Ref,
    ) -> Result<Option<Attributes>> {
        let operation = Operation::read("DescribeListenerAttributes", &listener.name);
        let request = || {
            let call = self.client.describe_listener_attributes();
            let call = call.listener_arn(listener.id.clone().unwrap_or_default());
            async move { call.send().await.map_err(Failure::from) }
        };
        let answer = found(operation, caller.attempt(operation, request).await)?;
        Ok(answer.map(|a| attributes(a.attributes().iter().map(|a| (a.key(), a.value())))))
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Attributes {
    let one = |(key, value): (Option<&str>, Option<&str>)| {
        Some((key?.to_owned(), value.unwrap_or_default().to_owned()))
    };
    pairs.filter_map(one).collect()
}
