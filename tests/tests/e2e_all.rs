//! Herald as the only service proxy: no kube-proxy anywhere, CoreDNS behind Herald's cluster IPs.

mod e2e;

use std::process::ExitCode;

use e2e::scenarios::{cluster_ips, endpoints, failover, traffic};
use herald_tests::ServiceProxy;

fn main() -> ExitCode {
    e2e::run(
        ServiceProxy::All,
        &[
            ("cluster_ips", cluster_ips::cluster_ips),
            ("names", cluster_ips::names),
            ("hairpin", cluster_ips::hairpin),
            ("load_balancer", traffic::load_balancer),
            ("policy_local", traffic::policy_local),
            ("node_ports", traffic::node_ports),
            ("no_endpoints", traffic::no_endpoints),
            ("endpoints_follow", endpoints::follow),
            ("download_survives", failover::download_survives),
        ],
    )
}
