//! The connections of the moment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::{CONNECTION_FOR, CONNECTIONS_MAX, HEAD_WITHIN};

/// Bytes of a request's head; ours are far shorter. Also what hyper may buffer for a connection.
const BUFFER: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// The oldest first.
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    task: AbortHandle,
    /// A request of it is being answered.
    busy: Arc<AtomicBool>,
}

impl Connections {
    /// Serves one more connection; when there are too many, one that waits for its request is closed for it. Those that are
    /// being answered are not: when all are, the new one is closed.
    pub(crate) fn serve(&mut self, stream: TcpStream, router: Router) {
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= CONNECTIONS_MAX {
            let idle = |open: &Open| !open.busy.load(Ordering::Relaxed);
            let Some(oldest) = self.open.iter().position(idle) else {
                return;
            };
            if let Some(open) = self.open.remove(oldest) {
                open.task.abort();
            }
        }
        let busy = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(converse(stream, router, busy.clone()));
        let task = task.abort_handle();
        self.open.push_back(Open { task, busy });
    }
}

async fn converse(stream: TcpStream, router: Router, busy: Arc<AtomicBool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        busy.store(true, Ordering::Relaxed);
        let answer = router.call(request);
        let busy = busy.clone();
        async move {
            let answer = answer.await;
            busy.store(false, Ordering::Relaxed);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does with its connection is its own affair.
    let _ = tokio::time::timeout(CONNECTION_FOR, connection).await;
}
