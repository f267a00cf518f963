//! A TCP port for load balancers that can probe nothing else: it takes connections while the server takes agents.
//!
//! Whoever connects learns that one bit and is let go; nothing is read and nothing is said.

use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Takes connections until `draining`; then the port is closed.
pub async fn answer(listener: TcpListener, draining: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if accepted.is_err() {
            // Out of file descriptors, say.
            sleep(PAUSE).await;
        }
    }
}

const PAUSE: Duration = Duration::from_millis(100);
