//! Herald announcing only; then changed to carry traffic; then taken away.

mod e2e;

use std::process::ExitCode;

use e2e::scenarios::installation;
use herald_tests::ServiceProxy;

fn main() -> ExitCode {
    e2e::run(
        ServiceProxy::Off,
        // In this order: each needs what the one before it leaves.
        &[
            ("announce_only", installation::announce_only),
            ("change_mode", installation::change_mode),
            ("uninstall", installation::uninstall),
        ],
    )
}
