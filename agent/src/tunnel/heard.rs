//! What is heard of the server: how long a connection has been silent, by the datagrams that came, and what its state is.

use fluidity_wire::{Link, Others, PeerState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// When a connection was last heard.
pub(super) struct Heard {
    datagrams: u64,
    at: Instant,
}

impl Heard {
    pub(super) fn new(link: &Link) -> Self {
        Self {
            datagrams: link.connection().stats().udp_rx.datagrams,
            at: Instant::now(),
        }
    }

    /// How long it has been silent.
    pub(super) fn look(&mut self, link: &Link) -> Duration {
        let datagrams = link.connection().stats().udp_rx.datagrams;
        if datagrams != self.datagrams {
            self.datagrams = datagrams;
            self.at = Instant::now();
        }
        self.at.elapsed()
    }
}

/// Completes when the server told who else is connected. Cancel safe.
pub(super) async fn changed_others(peer: &mut watch::Receiver<PeerState>) -> Others {
    loop {
        // The connection is over: its driver tells.
        if peer.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(others) = peer.borrow_and_update().others.clone() {
            return others;
        }
    }
}

/// Completes when the peer takes no more sessions, with the time that the running ones have. Cancel safe.
pub(super) async fn drained(peer: &mut watch::Receiver<PeerState>) -> Duration {
    let draining = peer.wait_for(|peer| peer.draining.is_some()).await;
    match draining.ok().and_then(|peer| peer.draining) {
        Some(deadline) => deadline,
        // The connection is over: its driver tells.
        None => std::future::pending().await,
    }
}
