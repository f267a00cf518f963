//! How much a connection keeps of what was written to it, unsent or not acknowledged yet.
//!
//! One static number large enough for a long path lets a short one queue megabytes in front of the wire: they are cold in
//! the caches when their turn comes, they take memory, and what is written after them waits behind them. So the limit
//! follows the congestion window, with room for what a lost packet keeps from being let go.
//!
//! Invariant: never less than the congestion window, so that the path alone limits what is sent.

use quinn::Connection;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limit of one connection.
#[derive(Debug)]
pub(crate) struct Backlog {
    connection: Connection,
    written: AtomicU64,
    limit: AtomicU64,
}

impl Backlog {
    /// That of a connection whose transport starts with [`LEAST`].
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            written: AtomicU64::new(0),
            limit: AtomicU64::new(LEAST),
        }
    }

    /// Notes that `bytes` were written, and now and then looks how large the path is.
    pub(crate) fn wrote(&self, bytes: u64) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / LOOK == (before + bytes) / LOOK {
            return;
        }
        let limit = limit(self.connection.stats().path.cwnd);
        let known = self.limit.load(Ordering::Relaxed);
        // The connection has to wake up for each change.
        if limit > known || limit < known / 2 {
            self.limit.store(limit, Ordering::Relaxed);
            self.connection.set_send_window(limit);
        }
    }
}

fn limit(window: u64) -> u64 {
    window.saturating_mul(WINDOWS).saturating_add(LEAST).min(MOST)
}

/// What a connection starts with, and never has less of.
pub(crate) const LEAST: u64 = 1024 * 1024;
/// What it never has more of.
const MOST: u64 = 16 * 1024 * 1024;
/// Congestion windows beyond that: one is in flight, and what arrived behind a lost packet is kept for about two more
/// round trips, until the packet was missed, sent again and acknowledged.
const WINDOWS: u64 = 3;
/// Bytes between two looks. In between the congestion window grows by no more than was acknowledged.
const LOOK: u64 = 256 * 1024;
