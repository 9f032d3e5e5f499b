//! Herald beside kube-proxy: load-balancer addresses and node ports are Herald's, cluster IPs are not.

mod e2e;

use std::process::ExitCode;

use e2e::scenarios::{
    addresses, endpoints, failover, kernel, not_ready, reserved, side_service, traffic,
};
use herald_tests::ServiceProxy;

fn main() -> ExitCode {
    e2e::run(
        ServiceProxy::External,
        &[
            ("load_balancer", traffic::load_balancer),
            ("policy_local", traffic::policy_local),
            ("node_ports", traffic::node_ports),
            ("no_endpoints", traffic::no_endpoints),
            ("endpoints_follow", endpoints::follow),
            ("rolling_update", endpoints::rolling_update),
            ("deleted_service", addresses::deleted_service),
            ("bad_input", addresses::bad_input),
            ("somebodys_external_ips", reserved::external_ips),
            ("somebodys_pool", reserved::of_nodes),
            ("stable_addresses", addresses::stable),
            ("download_survives", failover::download_survives),
            ("admin_port_taken", side_service::admin_port_taken),
            ("forwarding_off", kernel::forwarding_off),
            ("cni_gone_everywhere", not_ready::cni_gone_everywhere),
            ("one_answer", failover::one_answer),
            ("node_crash", failover::node_crash),
        ],
    )
}
