//! The connection to the API server.
//!
//! Several addresses may be given (`--apiserver`). Each request goes to the one that worked last; when that one cannot
//! be reached, the next request, after its caller's pause, goes to the next.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::http::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::args::Args;

/// An address that does not answer within this time is given up for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client as the flags ask for.
pub(crate) async fn connect(args: &Args) -> anyhow::Result<Client> {
    let config = match &args.kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::incluster()
            .context("reading the pod's credentials; outside a pod give --kubeconfig")?,
    };
    let urls = if args.apiserver.is_empty() {
        vec![config.cluster_url.to_string()]
    } else {
        args.apiserver.clone()
    };
    let namespace = config.default_namespace.clone();
    let mut clients = Vec::with_capacity(urls.len());
    for url in &urls {
        let mut config = config.clone();
        config.cluster_url = url.parse().with_context(|| format!("API server {url}"))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let client = Client::try_from(config).with_context(|| format!("API server {url}"))?;
        clients.push((url.clone(), client));
    }
    tracing::info!(apiservers = ?urls, "using these API servers");
    match <[_; 1]>::try_from(clients) {
        Ok([(_, client)]) => Ok(client),
        Err(clients) => Ok(in_turn(clients, namespace)),
    }
}

async fn from_file(path: &Path) -> anyhow::Result<Config> {
    let read = || format!("kubeconfig {}", path.display());
    let file = Kubeconfig::read_from(path).with_context(read)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(read)
}

fn in_turn(clients: Vec<(String, Client)>, namespace: String) -> Client {
    let clients: Arc<[(String, Client)]> = clients.into();
    let current = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn(move |request: Request<Body>| {
        let clients = clients.clone();
        let current = current.clone();
        async move {
            let at = current.load(Ordering::Relaxed);
            let Some((url, client)) = clients.get(at % clients.len()) else {
                return Err("no API server is configured".into());
            };
            let answer = client.send(request).await;
            // An answer of any status is an answer: only a server that gives none is left.
            if let Err(error) = &answer
                && current
                    .compare_exchange(
                        at,
                        (at + 1) % clients.len(),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                tracing::warn!(apiserver = url, %error, "cannot reach this API server; trying the next");
            }
            answer.map_err(Into::<tower::BoxError>::into)
        }
    });
    Client::new(service, namespace)
}
