//! The calls to AWS: ELBv2 by its SDK, EC2 by a thin signed client, both behind one limiter, one retry policy, one
//! gate and one set of counters.

mod caller;
mod connect;
mod ec2;
mod elbv2;
mod failure;
mod limit;
mod metrics;

use std::sync::Arc;

use herald_provider::{Gate, ProviderError};

pub use connect::{ConnectError, Options, static_credentials};
pub use limit::{Bucket, Limits, Rate};
pub use metrics::{CallCount, Metrics};

use crate::api::Api;
use crate::call::{Answer, Change, Listing, Query};
use caller::Caller;

/// A connection to AWS for one account, region and VPC.
#[derive(Clone, Debug)]
pub struct AwsClient {
    elbv2: elbv2::Elbv2,
    ec2: ec2::Ec2,
    caller: Arc<Caller>,
    vpc: String,
}

impl AwsClient {
    /// The VPC.
    pub fn vpc(&self) -> &str {
        &self.vpc
    }

    /// The counts of calls made.
    pub fn metrics(&self) -> &Metrics {
        self.caller.metrics()
    }
}

impl Api for AwsClient {
    async fn list(&self) -> Result<Listing, ProviderError> {
        let caller = &self.caller;
        let vpc = &self.vpc;
        Ok(Listing {
            load_balancers: self.elbv2.all_load_balancers(caller, vpc).await?,
            target_groups: self.elbv2.all_target_groups(caller).await?,
            security_groups: self.ec2.security_groups(caller, vpc, None).await?,
            subnets: self.ec2.subnets(caller, vpc).await?,
            vpc: self.ec2.vpc(caller, vpc).await?,
        })
    }

    async fn ask(&self, query: &Query) -> Result<Answer, ProviderError> {
        let caller = &self.caller;
        match query {
            Query::Names {
                load_balancers,
                target_groups,
                security_groups,
                ..
            } => Ok(Answer::Names {
                load_balancers: self
                    .elbv2
                    .load_balancers_named(caller, load_balancers)
                    .await?,
                target_groups: self
                    .elbv2
                    .target_groups_named(caller, target_groups)
                    .await?,
                security_groups: self
                    .ec2
                    .security_groups(caller, &self.vpc, Some(security_groups))
                    .await?,
            }),
            Query::Network(_) => Ok(Answer::Network {
                security_groups: self.ec2.security_groups(caller, &self.vpc, None).await?,
                subnets: self.ec2.subnets(caller, &self.vpc).await?,
                vpc: self.ec2.vpc(caller, &self.vpc).await?,
            }),
            other => self.elbv2.ask(caller, other).await,
        }
    }

    async fn change(&self, change: &Change, gate: &dyn Gate) -> Result<Answer, ProviderError> {
        match change {
            Change::CreateSecurityGroup { .. }
            | Change::AuthorizeIngress { .. }
            | Change::RevokeIngress { .. }
            | Change::DeleteSecurityGroup { .. } => {
                self.ec2.change(&self.caller, change, gate).await
            }
            other => self.elbv2.change(&self.caller, other, gate).await,
        }
    }
}
