//! The conformance suite, run over the wire against moto as strict as AWS: the SDK, the thin EC2 client, signatures, errors.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod emulated;
mod memory;

use std::future::Future;

use emulated::Region;
use emulated::harness::Cluster;

fn run<T>(future: impl Future<Output = T>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

async fn make() -> Cluster {
    Cluster::new(Region::take()).await
}

herald_provider::conformance!(run, make);
