//! Credentials, region, endpoints, TLS and proxies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_types::retry::RetryConfig;
use herald_provider::Backoff;

use super::AwsClient;
use super::caller::Caller;
use super::ec2::Ec2;
use super::elbv2::Elbv2;
use super::limit::Limits;

const CONNECT: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(30);

/// How to reach AWS. Everything that is not said comes from the environment, as with AWS's own tools.
#[derive(Clone, Debug)]
pub struct Options {
    /// The region; else from environment, profile, or the instance.
    pub region: Option<String>,
    /// The VPC; else the one of the instance this runs on.
    pub vpc: Option<String>,
    /// One endpoint for all services, for emulators and private endpoints.
    pub endpoint: Option<String>,
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The rates of calls.
    pub limits: Limits,
    /// The delays between the tries of one call.
    pub backoff: Backoff,
    /// Credentials; else environment, profile, web identity, container, or instance, in this order.
    pub credentials: Option<SharedCredentialsProvider>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: None,
            vpc: None,
            endpoint: None,
            ca_bundle: None,
            limits: Limits::default(),
            // Short, because the plan waits longer between passes.
            backoff: Backoff {
                base: Duration::from_millis(300),
                cap: Duration::from_secs(5),
            },
            credentials: None,
        }
    }
}

/// Credentials that never change, for tests.
pub fn static_credentials(key: &str, secret: &str) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(key, secret, None, None, "given"))
}

/// Why AWS cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No region.
    #[error(
        "no AWS region: set --aws-region or AWS_REGION, or run on EC2 with instance metadata reachable"
    )]
    NoRegion,
    /// No VPC.
    #[error("no VPC: set --aws-vpc-id, or run on EC2 with instance metadata reachable: {0}")]
    NoVpc(String),
    /// No credentials provider at all.
    #[error(
        "no AWS credentials: give the controller's ServiceAccount a role (IRSA or Pod Identity)"
    )]
    NoCredentials,
    /// The bundle of certificate authorities cannot be used.
    #[error("certificate bundle {path}: {message}", path = path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl AwsClient {
    /// Connects: finds region, VPC and credentials. Makes no call to AWS but to the instance's metadata.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let connector = connector(&options)?;
        let http = {
            let connector = connector.clone();
            http_client_fn(move |_, _| connector.clone())
        };
        let config = config(&options, http.clone()).await;
        let region = config.region().ok_or(ConnectError::NoRegion)?.to_string();
        let credentials = config
            .credentials_provider()
            .ok_or(ConnectError::NoCredentials)?;
        let vpc = match options.vpc {
            Some(vpc) => vpc,
            None => own_vpc(http).await?,
        };
        let endpoint = options
            .endpoint
            .clone()
            .or_else(|| config.endpoint_url().map(Into::into));
        Ok(Self {
            elbv2: Elbv2::new(&config),
            ec2: Ec2::new(connector, credentials, region, endpoint),
            caller: Arc::new(Caller::new(options.limits, options.backoff)),
            vpc,
        })
    }
}

async fn config(options: &Options, http: SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        // Retries are ours: one policy and one limiter for both clients.
        .retry_config(RetryConfig::disabled());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &options.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(credentials) = &options.credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    loader.load().await
}

/// One pool of connections for everything, on rustls with ring, through the proxy of the environment if there is one.
fn connector(options: &Options) -> Result<SharedHttpConnector, ConnectError> {
    let mut tls = TlsContext::builder();
    if let Some(path) = &options.ca_bundle {
        let wrong = |message: String| ConnectError::CaBundle {
            path: path.clone(),
            message,
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if !pem.windows(10).any(|w| w == b"-----BEGIN") {
            return Err(wrong("it holds no PEM certificate".into()));
        }
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls.build().map_err(|error| ConnectError::CaBundle {
        path: options.ca_bundle.clone().unwrap_or_default(),
        message: error.to_string(),
    })?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .build();
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .proxy_config(ProxyConfig::from_env())
        .build();
    Ok(SharedHttpConnector::new(connector))
}

/// The VPC of the instance this runs on, from its metadata.
async fn own_vpc(http: SharedHttpClient) -> Result<String, ConnectError> {
    // Without a client of ours it has none, and panics.
    let config = ProviderConfig::default().with_http_client(http);
    let imds = aws_config::imds::Client::builder()
        .configure(&config)
        .build();
    let get = async |path: String| -> Result<String, ConnectError> {
        let answer = imds.get(path).await;
        let text = answer.map_err(|error| ConnectError::NoVpc(error.to_string()))?;
        Ok(text.as_ref().trim().to_owned())
    };
    let mac = get("/latest/meta-data/mac".into()).await?;
    get(format!(
        "/latest/meta-data/network/interfaces/macs/{mac}/vpc-id"
    ))
    .await
}
