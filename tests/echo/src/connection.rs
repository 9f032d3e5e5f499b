//! Accepting connections, each on its own thread, with a bound on how many there are.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// More connections than this at a time are closed as they come.
const MAX_CONNECTIONS: usize = 2048;

/// A place among the open connections; given back on drop.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(open.clone());
        // The slot counts before it is compared, and drop takes it back either way.
        (open.fetch_add(1, Ordering::Relaxed) < MAX_CONNECTIONS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `serve` for every connection until the process ends. An error ends that connection only.
pub(crate) fn accept(
    listener: &TcpListener,
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    let serve = Arc::new(serve);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of file descriptors, most likely: wait for some to close.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let Some(slot) = Slot::take(&open) else {
            continue;
        };
        let serve = serve.clone();
        // A thread that cannot start drops the connection with its closure.
        let _ = thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || {
                let _slot = slot;
                // The peer is gone or broke the protocol: nobody is left to tell.
                let _ = serve(stream);
            });
    }
}
