//! The AWS provider: from flags to a connection and the settings that herald-provider-aws works with.

use std::sync::Arc;

use futures::FutureExt as _;
use herald_kube::Read;
use herald_provider::{ErrorKind, Identity, Mode, ProviderError};
use herald_provider_aws::AwsProvider;
use herald_provider_aws::client::{AwsClient, ConnectError, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};

use crate::args::AwsArgs;
use crate::provision::{Connect, Connected, Pace};

/// The provider that the flags ask for.
pub(crate) type Aws = AwsProvider<AwsClient>;

/// Who the provider is: known before it is reached.
pub(crate) fn identity(args: &AwsArgs) -> Identity {
    Identity {
        name: herald_api::names::PROVIDER_AWS_NLB,
        class: herald_api::names::CLASS_AWS_NLB.into(),
        finalizer: herald_api::names::AWS_NLB_FINALIZER.into(),
        takes_classless: args.aws_claim_classless,
    }
}

/// How often and how much at once.
pub(crate) fn pace(args: &AwsArgs) -> Pace {
    Pace {
        parallel: args.aws_parallel,
        audit: args.aws_audit_interval,
        resync: args.aws_resync_interval,
        mode: if args.aws_dry_run {
            Mode::DryRun
        } else {
            Mode::Live
        },
    }
}

/// Reaches AWS: region, VPC and credentials, and the cluster's own identity.
pub(crate) fn connect(args: AwsArgs, kube: Client) -> Connect<Aws> {
    let args = Arc::new(args);
    Arc::new(move || connect_once(args.clone(), kube.clone()).boxed())
}

async fn connect_once(args: Arc<AwsArgs>, kube: Client) -> Result<Connected<Aws>, ProviderError> {
    let uid = cluster_uid(kube).await?;
    let trimmed = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let options = Options {
        region: trimmed(&args.aws_region),
        vpc: trimmed(&args.aws_vpc_id),
        endpoint: trimmed(&args.aws_endpoint),
        ca_bundle: args
            .aws_ca_bundle
            .clone()
            .filter(|path| !path.as_os_str().is_empty()),
        limits: args.limits(),
        ..Options::default()
    };
    let client = AwsClient::connect(options)
        .await
        .map_err(|error| unconnected(&error))?;
    let config = args
        .config(&uid, client.vpc())
        .map_err(|error| refused(&error))?;
    let counted = client.clone();
    let calls = move || {
        let counts = counted.metrics().counts().into_iter();
        counts
            .map(|one| (one.operation, one.result, one.count))
            .collect()
    };
    Ok(Connected {
        provider: Arc::new(AwsProvider::new(client, config)),
        calls: Arc::new(Box::new(calls)),
    })
}

/// The UID of the namespace kube-system: it tells two clusters of one name apart.
async fn cluster_uid(kube: Client) -> Result<String, ProviderError> {
    let failed = |message: String| {
        let kind = ErrorKind::Retryable;
        ProviderError::new(kind, "get namespace", "kube-system", message)
            .with_code("ClusterUnknown")
    };
    let namespaces: Api<Read<Namespace>> = Api::all(kube);
    let namespace = namespaces
        .get("kube-system")
        .await
        .map_err(|error| failed(format!("{error}; the cluster's identity is its UID")))?;
    let uid = namespace.uid().filter(|uid| !uid.is_empty());
    uid.ok_or_else(|| failed("it has no UID".into()))
}

fn refused(error: &anyhow::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Permission, "read", "flags", error.to_string())
}

fn unconnected(error: &ConnectError) -> ProviderError {
    let (kind, code) = match error {
        // The instance's metadata may be out of reach for a moment only.
        ConnectError::NoRegion => (ErrorKind::Retryable, "NoRegion"),
        ConnectError::NoVpc(_) => (ErrorKind::Retryable, "NoVpc"),
        ConnectError::NoCredentials => (ErrorKind::Permission, "NoCredentials"),
        ConnectError::CaBundle { .. } => (ErrorKind::Permission, "CaBundleUnusable"),
    };
    ProviderError::new(kind, "connect to", "AWS", error.to_string()).with_code(code)
}
