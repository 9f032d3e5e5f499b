//! The client of the API server; of several addresses it stays with one until that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::{Client, Config};

/// A server that does not even accept a connection is given up after this time.
const CONNECT: Duration = Duration::from_secs(3);
/// A server that does not begin its answer is given up after this time. A watch begins at once.
const ANSWER: Duration = Duration::from_secs(15);

/// A client from the kubeconfig or the pod's environment; `servers` replace the address found there.
///
/// # Errors
/// If there is no configuration or an address is no URL.
pub(crate) async fn connect(servers: &[String]) -> Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no API server: run in a pod with a ServiceAccount, or set KUBECONFIG")?;
    config.connect_timeout = Some(CONNECT);
    let urls: Vec<String> = if servers.is_empty() {
        vec![config.cluster_url.to_string()]
    } else {
        servers.to_vec()
    };
    let mut clients = Vec::new();
    for url in urls {
        let mut config = config.clone();
        config.cluster_url = url.parse().with_context(|| {
            format!("--apiserver: \"{url}\" is not a URL (https://192.0.2.1:6443)")
        })?;
        if !servers.is_empty() {
            // The certificate must name the address that is used.
            config.tls_server_name = None;
        }
        clients.push(Client::try_from(config).with_context(|| format!("make a client for {url}"))?);
    }
    Ok(in_turn(clients))
}

/// One client over several: a request that fails, or that its caller gave up, moves the next ones to the next server.
fn in_turn(clients: Vec<Client>) -> Client {
    let count = clients.len();
    let current = Arc::new(AtomicUsize::new(0));
    let clients: Arc<[Client]> = clients.into();
    let service = tower::service_fn(move |request| {
        let (clients, current) = (clients.clone(), current.clone());
        async move {
            let used = current.load(Ordering::Relaxed);
            let mut turn = Turn {
                current: &current,
                used,
                count,
                answered: false,
            };
            let client = &clients[used % count];
            let answer = tokio::time::timeout(ANSWER, client.send(request)).await;
            turn.answered = matches!(&answer, Ok(Ok(_)));
            match answer {
                Ok(answer) => answer.map_err(tower::BoxError::from),
                Err(_) => Err("the API server does not answer".into()),
            }
        }
    });
    Client::new(service, "default")
}

struct Turn<'a> {
    current: &'a AtomicUsize,
    used: usize,
    count: usize,
    answered: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.answered && self.count > 1 {
            // Of several requests that failed together only the first moves on.
            let next = self.used.wrapping_add(1);
            let _ = self.current.compare_exchange(
                self.used,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that counts what it is asked, and answers or not.
    fn server(answers: bool) -> (Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                if answers {
                    let version = r#"{"major":"1","minor":"35"}"#.as_bytes().to_vec();
                    Ok(axum::http::Response::new(kube::client::Body::from(version)))
                } else {
                    Err(std::io::Error::other("connection refused"))
                }
            }
        });
        (Client::new(service, "default"), asked)
    }

    #[tokio::test]
    async fn stays_with_a_server_that_answers_and_leaves_one_that_does_not() {
        let ((dead, dead_asked), (live, live_asked)) = (server(false), server(true));
        let client = in_turn(vec![dead, live]);
        assert!(client.list_core_api_versions().await.is_err());
        for _ in 0..5 {
            let request = axum::http::Request::get("/version")
                .body(Vec::new())
                .unwrap();
            assert!(client.request_text(request).await.unwrap().contains("35"));
        }
        assert_eq!(dead_asked.load(Ordering::Relaxed), 1);
        assert_eq!(live_asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn a_single_server_is_asked_again() {
        let (dead, asked) = server(false);
        let client = in_turn(vec![dead]);
        for _ in 0..3 {
            assert!(client.list_core_api_versions().await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
