//! Flags and environment.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use herald_core::parse_duration;
use herald_speaker_core::{ForwardConfig, MASQUERADE_MARK, ServiceProxy};
use ipnet::IpNet;

/// Failed requests are logged where they are handled; the client would log each a second time.
const LOG: &str = "info,kube_client::client::builder=off";

/// Shorter, and a restart would not stay inside it; longer, and stale rules would stay in the way.
const STEP_ASIDE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_hours(1);

/// Herald's speaker: announces load-balancer addresses by ARP and NDP, and forwards Services on its node.
#[derive(Clone, Debug, Parser)]
#[command(name = "herald-speaker", version)]
pub struct Args {
    /// The Node this speaker runs on.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,

    /// The speaker's pod, for its Speaker object.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pub pod_name: String,

    /// Which Service addresses this node's data path carries.
    #[arg(
        long,
        env = "HERALD_SERVICE_PROXY",
        value_enum,
        default_value = "external"
    )]
    pub service_proxy: Mode,

    /// Addresses of the API servers, separated by commas, used instead of the cluster IP (https://192.0.2.1:6443). They are
    /// tried in turn. Token and CA stay those of the pod. Needed with --service-proxy all.
    #[arg(long, env = "HERALD_APISERVER", value_delimiter = ',', value_parser = parse_url)]
    pub apiserver: Vec<String>,

    /// Credentials for a speaker outside a pod.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Prefixes of this node's addresses that answer node ports; absent means the Node's first InternalIP of each family.
    #[arg(long, env = "HERALD_NODEPORT_ADDRESSES", value_delimiter = ',', value_parser = parse_prefix)]
    pub nodeport_addresses: Vec<IpNet>,

    /// Prefixes that count as this node's pods; absent means Node.spec.podCIDRs.
    #[arg(long, env = "HERALD_CLUSTER_CIDR", value_delimiter = ',', value_parser = parse_prefix)]
    pub cluster_cidr: Vec<IpNet>,

    /// The packet mark bit for connections to masquerade (0x1000). It must not be used by anything else on the node.
    #[arg(long, env = "HERALD_MASQUERADE_MARK", default_value_t = MASQUERADE_MARK, value_parser = parse_mark)]
    pub masquerade_mark: u32,

    /// How long after the speaker's last sign of life its rules step aside for kube-proxy's, with --service-proxy external: it is
    /// gone for good then (5s to 1h). The sign is renewed three times as often.
    #[arg(long, env = "HERALD_STEP_ASIDE_AFTER", default_value = "60s", value_parser = parse_step_aside)]
    pub step_aside_after: Duration,

    /// Do not own the nf_tables tables, so that other programs may change them.
    #[arg(long, env = "HERALD_NO_TABLE_OWNER")]
    pub no_table_owner: bool,

    /// Every watch lists everything anew about this often, each at its own time (10s to 24h): after a restore of etcd from a backup
    /// a watch alone would never tell what is gone.
    #[arg(long, env = "HERALD_RELIST_INTERVAL", default_value = "10m", value_parser = herald_kube::interval)]
    pub relist_interval: Duration,

    /// Where /healthz, /livez, /readyz and /metrics are served. [::] serves IPv4 too.
    #[arg(long, env = "HERALD_ADMIN_ADDRESS", default_value_t = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9741))]
    pub admin_address: SocketAddr,

    /// Form of the log.
    #[arg(long, env = "HERALD_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: a level (info, debug) or filters by module (herald_speaker=debug,kube=warn).
    #[arg(long, env = "HERALD_LOG", default_value = LOG)]
    pub log: String,

    /// Remove everything the speaker ever made in this node's kernel, and exit.
    #[arg(long)]
    pub cleanup: bool,
}

/// Value of `--service-proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Load-balancer addresses, external IPs and node ports; kube-proxy does cluster IPs.
    External,
    /// Cluster IPs too: there is no kube-proxy.
    All,
    /// Nothing: kube-proxy carries everything and Herald only announces.
    Off,
}

/// Value of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Mode {
    /// As written in flags and in `Speaker.status.serviceProxy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::All => "all",
            Self::Off => "off",
        }
    }
}

impl From<Mode> for ServiceProxy {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::External => Self::External,
            Mode::All => Self::All,
            Mode::Off => Self::Off,
        }
    }
}

impl Args {
    /// What the forwarding planner is given.
    pub fn forward_config(&self) -> ForwardConfig {
        let some = |nets: &Vec<IpNet>| (!nets.is_empty()).then(|| nets.clone());
        ForwardConfig {
            mode: self.service_proxy.into(),
            nodeport_addresses: some(&self.nodeport_addresses),
            cluster_cidrs: some(&self.cluster_cidr),
            api_servers: self.apiserver.iter().filter_map(|url| host(url)).collect(),
            masquerade_mark: self.masquerade_mark,
            step_aside_after: self.step_aside_after,
        }
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let uri: axum::http::Uri = text
        .trim()
        .parse()
        .map_err(|error| format!("{error}; write https://host:port"))?;
    if uri.scheme_str() != Some("https") || uri.host().is_none() {
        return Err("not an https URL; write https://host:port".into());
    }
    Ok(text.trim().trim_end_matches('/').to_owned())
}

/// The address in a URL; none when it has a name.
fn host(url: &str) -> Option<IpAddr> {
    let uri: axum::http::Uri = url.parse().ok()?;
    uri.host()?.trim_matches(['[', ']']).parse().ok()
}

fn parse_prefix(text: &str) -> Result<IpNet, String> {
    text.trim()
        .parse()
        .map_err(|_| "not a prefix; write 192.0.2.0/24 or 2001:db8::/64".into())
}

fn parse_step_aside(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|time| STEP_ASIDE.contains(time))
        .ok_or_else(|| "not a time from 5s to 1h; write 60s or 5m".into())
}

fn parse_mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(0x4000) => Err("0x4000 is kube-proxy's; choose another bit".into()),
        Ok(mark) if mark.is_power_of_two() => Ok(mark),
        _ => Err("not exactly one bit of 32; write 0x1000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        let all = ["herald-speaker", "--node-name", "n1"].iter().chain(args);
        Args::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference_page() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.service_proxy, Mode::External);
        assert_eq!(args.masquerade_mark, 0x1000);
        assert_eq!(args.admin_address.to_string(), "[::]:9741");
        assert_eq!(args.forward_config(), ForwardConfig::default());
        assert_eq!(args.step_aside_after, Duration::from_mins(1));
        assert!(args.apiserver.is_empty());
    }

    #[test]
    fn every_flag_is_on_the_reference_page() {
        let page = include_str!("../../docs/reference/speaker-flags.md");
        let command = <Args as clap::CommandFactory>::command();
        let flags: Vec<_> = command.get_arguments().collect();
        assert!(flags.len() > 10);
        for flag in flags {
            let name = flag.get_long().unwrap();
            assert!(page.contains(&format!("| `--{name}` |")), "--{name}");
            if let Some(env) = flag.get_env() {
                let env = format!("| `{}` |", env.display());
                assert!(page.contains(&env), "{env}");
            }
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let args = parse(&[
            "--apiserver",
            "https://192.0.2.1:6443/,https://[2001:db8::1]:6443",
            "--cluster-cidr=10.244.0.0/16,fd00::/48",
            "--masquerade-mark=0x2000",
            "--step-aside-after=5m",
        ])
        .unwrap();
        assert_eq!(
            args.apiserver,
            ["https://192.0.2.1:6443", "https://[2001:db8::1]:6443"]
        );
        let servers = args.forward_config().api_servers;
        assert_eq!(servers.len(), 2, "{servers:?}");
        assert_eq!(args.forward_config().cluster_cidrs.unwrap().len(), 2);
        assert_eq!(args.masquerade_mark, 0x2000);
        assert_eq!(args.step_aside_after, Duration::from_mins(5));
    }

    #[test]
    fn bad_values_are_refused_with_the_remedy() {
        for (args, part) in [
            (["--apiserver", "192.0.2.1:6443"], "write https://host:port"),
            (["--masquerade-mark", "0x3000"], "exactly one bit"),
            (["--masquerade-mark", "0x4000"], "kube-proxy"),
            (["--nodeport-addresses", "192.0.2.1/40"], "not a prefix"),
            (["--step-aside-after", "4s"], "from 5s to 1h"),
            (["--step-aside-after", "2h"], "from 5s to 1h"),
            (["--step-aside-after", "60"], "write 60s or 5m"),
            (["--step-aside-after", "s"], "write 60s or 5m"),
            (["--service-proxy", "some"], "external, all, off"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
