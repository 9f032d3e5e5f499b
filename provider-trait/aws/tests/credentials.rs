//! Where credentials, region and VPC come from, through the connector that is used in earnest (rustls with ring).
//!
//! All of them come from the environment, so each case is this program again with an environment of its own, beside
//! a server that is at once the source of credentials and AWS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

#[cfg(feature = "client")]
mod replay;
#[cfg(feature = "client")]
mod sources;

#[cfg(feature = "client")]
fn main() -> std::process::ExitCode {
    if std::env::var_os(sources::CHILD).is_some() {
        sources::child();
        return std::process::ExitCode::SUCCESS;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, sources::trials()).exit_code()
}

/// There is no client to test.
#[cfg(not(feature = "client"))]
fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, Vec::new()).exit();
}
