//! ELBv2 by its SDK.

mod change;
mod convert;
mod create;
mod read;
mod targets;

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

/// A request built by `$call`, sent for `$operation`.
macro_rules! send {
    ($caller:ident, $operation:expr, $call:expr) => {{
        let operation = $operation;
        let request = || {
            let call = $call;
            async move { call.send().await.map_err(Failure::from) }
        };
        $caller.attempt(operation, request).await
    }};
}

use send;
