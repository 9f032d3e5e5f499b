//! Network Load Balancers: Herald as shipped, a real cluster, and AWS beside it (moto, and a load balancer that carries
//! traffic).

mod e2e;

use std::process::ExitCode;

use e2e::scenarios::aws::{change, delete, rollout, serve};
use herald_tests::aws;

fn main() -> ExitCode {
    e2e::run_with_aws(
        aws::Options::default(),
        &[
            ("aws_instance_targets", serve::instance_targets),
            ("aws_ip_targets", serve::ip_targets),
            ("aws_tls", serve::tls),
            ("aws_policy_local", serve::policy_local),
            ("aws_change_in_place", change::in_place),
            ("aws_replacement", change::replacement),
            ("aws_rolling_update", rollout::rolling_update),
            ("aws_delete", delete::delete),
            // Last: nodes do not come back.
            ("aws_node_removal", rollout::node_removal),
        ],
    )
}
