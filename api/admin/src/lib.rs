//! The admin server of both programs: probes, metrics and a look inside, over HTTP.
//!
//! It is a side service. A port that is taken is waited for, and the program works on meanwhile. It has a thread and a runtime
//! of its own, so that an answer waits for no work. What clients can cost is bounded: connections by [`CONNECTIONS_MAX`], and
//! each by the time in which its request must come.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bind;
mod connections;
mod watchdog;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use connections::Connections;

pub use watchdog::watchdog;

/// Most connections at a time. When one more comes, the oldest that is not being answered is closed.
pub const CONNECTIONS_MAX: usize = 64;
/// In this time the head of a request must be complete, the next one of a kept connection too.
pub const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// No connection is kept for longer.
pub const CONNECTION_FOR: Duration = Duration::from_secs(120);
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(1);
/// After an error of accept: too many open files, usually.
const BREATH: Duration = Duration::from_millis(100);

/// Starts the server's thread. The receiver says why it does not listen, `None` once it does; it ends with the process.
///
/// # Errors
/// If the thread cannot be started.
pub fn spawn(
    address: SocketAddr,
    router: Router,
) -> std::io::Result<watch::Receiver<Option<String>>> {
    let (state, seen) = watch::channel(Some("not listening yet".to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || runtime.block_on(run(address, router, state)))?;
    Ok(seen)
}

async fn run(address: SocketAddr, router: Router, state: watch::Sender<Option<String>>) {
    loop {
        match bind::bind(address) {
            Ok(listener) => {
                if state.send_replace(None).is_some() {
                    tracing::info!(%address, "probes and metrics are served");
                }
                accept(&listener, &router).await;
            }
            Err(error) => {
                let why = format!(
                    "cannot listen on {address}: {error}; free the port or choose another with --admin-address"
                );
                let known = state.borrow().as_deref() == Some(why.as_str());
                if !known {
                    tracing::warn!("{why}. Everything else goes on; trying again");
                    state.send_replace(Some(why));
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn accept(listener: &TcpListener, router: &Router) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.serve(stream, router.clone()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for probes and metrics");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
