//! ELBv2 by its SDK.

mod change;
mod convert;
mod read;

use aws_sdk_elasticloadbalancingv2 as sdk;

/// The SDK's client.
#[derive(Clone, Debug)]
pub(super) struct Elbv2 {
    client: sdk::Client,
}

impl Elbv2 {
    pub(super) fn new(config: &aws_config::SdkConfig) -> Self {
        Self {
            client: sdk::Client::new(config),
        }
    }
}
