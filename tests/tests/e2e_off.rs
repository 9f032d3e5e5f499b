//! Herald announcing only; then changed to carry traffic; then taken away, from one node, by the book, and all at once.

mod e2e;

use std::process::ExitCode;

use e2e::scenarios::{installation, removal};
use herald_tests::ServiceProxy;

fn main() -> ExitCode {
    e2e::run(
        ServiceProxy::Off,
        // In this order: each needs what the one before it leaves.
        &[
            ("announce_only", installation::announce_only),
            ("change_mode", installation::change_mode),
            ("left_out", removal::left_out),
            ("uninstall", installation::uninstall),
            ("deleted_at_once", removal::deleted_at_once),
        ],
    )
}
