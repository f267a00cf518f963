//! How long a connection has been silent, by the datagrams that came.

use fluidity_wire::Link;
use std::time::Duration;
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
