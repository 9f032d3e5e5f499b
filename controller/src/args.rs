//! Flags and environment. What is not here is a custom resource.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

#[cfg(feature = "aws")]
mod aws;

#[cfg(feature = "aws")]
pub use aws::AwsArgs;

/// Gives Services of type LoadBalancer their addresses from pools, and load balancers from clouds.
#[derive(Clone, Debug, Parser)]
#[command(name = "herald-controller", version)]
pub struct Args {
    /// Give addresses to Services without spec.loadBalancerClass too. Turn it off where a cloud's own controller serves those.
    #[arg(
        long,
        env = "HERALD_CLAIM_CLASSLESS",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub claim_classless: bool,

    /// Addresses of the API server, tried in turn, instead of the one in the pod's environment or the kubeconfig
    /// (https://192.0.2.1:6443,https://192.0.2.2:6443).
    #[arg(long, env = "HERALD_APISERVER", value_delimiter = ',')]
    pub apiserver: Vec<String>,

    /// Who this replica is in the lease. Never the same for two running processes.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,

    /// Namespace of the lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = herald_api::names::NAMESPACE)]
    pub lease_namespace: String,

    /// Every watch lists everything anew about this often, each at its own time (10s to 24h): after a restore of etcd from a backup
    /// a watch alone would never tell what is gone.
    #[arg(long, env = "HERALD_RELIST_INTERVAL", default_value = "10m", value_parser = herald_kube::interval)]
    pub relist_interval: Duration,

    /// Where /healthz, /readyz, /metrics and /debug/plan are served.
    #[arg(long, env = "HERALD_ADMIN_ADDRESS", default_value_t = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9740))]
    pub admin_address: SocketAddr,

    /// Form of the log.
    #[arg(long, env = "HERALD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: a level (info, debug) or filters by module (herald_controller=debug,kube=warn).
    #[arg(long, env = "HERALD_LOG", default_value = "info")]
    pub log: String,

    /// Network Load Balancers on AWS.
    #[cfg(feature = "aws")]
    #[command(flatten)]
    pub aws: AwsArgs,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Args {
    /// Our name in the lease: the pod's, else one that no other process has.
    pub(crate) fn identity(&self) -> String {
        let named = self
            .pod_name
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty());
        named.map_or_else(
            || {
                let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "herald-controller".into());
                format!("{host}-{}", std::process::id())
            },
            str::to_owned,
        )
    }

    /// The API servers given, without blanks.
    pub(crate) fn apiservers(&self) -> Vec<String> {
        let trimmed = self.apiserver.iter().map(|url| url.trim());
        trimmed
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Those of them that are addresses, not names.
    pub(crate) fn apiserver_addresses(&self) -> Vec<IpAddr> {
        let urls = self.apiservers();
        let hosts = urls.iter().filter_map(|url| {
            let uri: axum::http::Uri = url.parse().ok()?;
            uri.host()?.trim_matches(['[', ']']).parse().ok()
        });
        hosts.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_flag_and_its_variable_is_documented() {
        let docs = include_str!("../../docs/reference/controller-flags.md");
        for flag in Args::command().get_arguments() {
            let Some(long) = flag.get_long() else {
                continue;
            };
            assert!(docs.contains(&format!("`--{long}")), "--{long}");
            let variable = flag.get_env().map(|name| name.to_string_lossy());
            let variable = variable.unwrap_or_default();
            let implied = long
                .strip_prefix("aws-")
                .map(|words| format!("HERALD_AWS_{}", words.to_uppercase().replace('-', "_")));
            let said = implied.is_some_and(|implied| implied == variable)
                || docs.contains(&format!("`{variable}`"));
            assert!(said, "--{long}: {variable}");
        }
    }

    #[test]
    fn defaults_and_forms() {
        let parse = |args: &[&str]| {
            Args::try_parse_from([&["herald-controller"], args].concat()).map_err(|e| e.to_string())
        };
        let args = parse(&[]).unwrap();
        assert!(args.claim_classless && args.apiservers().is_empty());
        assert_eq!(args.admin_address.to_string(), "[::]:9740");
        assert!(!parse(&["--claim-classless=false"]).unwrap().claim_classless);
        assert!(parse(&["--claim-classless"]).unwrap().claim_classless);
        let two = parse(&[
            "--apiserver",
            "https://192.0.2.1:6443, https://[2001:db8::1]:6443,",
        ])
        .unwrap();
        assert_eq!(
            two.apiservers(),
            ["https://192.0.2.1:6443", "https://[2001:db8::1]:6443"]
        );
        assert!(parse(&["--log-format", "xml"]).is_err());
    }
}
