//! The speaker's program: sets up what a process has one of, and runs the library.

use clap::Parser;
use herald_speaker::args::Args;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider was installed before the speaker started");
    }
    herald_speaker::runtime::run(args).await
}
