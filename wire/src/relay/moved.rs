//! What a relay moved, counted while it moves; nothing moving for too long is an idle session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Bytes moved by one session or by all of them.
#[derive(Debug, Default)]
pub struct RelayCounters {
    /// From the TCP socket into the tunnel.
    pub outward: AtomicU64,
    /// From the tunnel to the TCP socket.
    pub inward: AtomicU64,
}

/// What one session moved.
pub(super) struct Moved<'a> {
    pub(super) total: &'a RelayCounters,
    pub(super) own: RelayCounters,
}

impl Moved<'_> {
    pub(super) fn outward(&self, bytes: u64) {
        self.total.outward.fetch_add(bytes, Ordering::Relaxed);
        self.own.outward.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn inward(&self, bytes: u64) {
        self.total.inward.fetch_add(bytes, Ordering::Relaxed);
        self.own.inward.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.own.outward.load(Ordering::Relaxed) + self.own.inward.load(Ordering::Relaxed)
    }
}

/// Completes when no byte moved for `limit`. Looks at counters now and then: nothing on the hot path.
pub(super) async fn idle(moved: &Moved<'_>, limit: Duration) {
    let mut seen = moved.sum();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        sleep_until((since + limit).min(Instant::now() + limit / 4)).await;
        let sum = moved.sum();
        if sum != seen {
            seen = sum;
            since = Instant::now();
        }
    }
}
