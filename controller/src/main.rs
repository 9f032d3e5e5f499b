//! The controller's program: TLS provider, arguments, run.

use clap::Parser as _;
use herald_controller::{Args, run};

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // One provider for every TLS connection of the process; rustls does not choose by itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    run(Args::parse()).await
}
