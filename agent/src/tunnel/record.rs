//! What is counted and told of one session: exactly one completion event, whatever becomes of it.

use crate::metrics::Metrics;
use crate::notices::Notices;
use fluidity_wire::Kind;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{Span, debug, info};

/// The account of a session, closed by [`end`](Self::end) or, where its task went away, by being dropped.
#[derive(Debug)]
pub struct SessionRecord {
    id: u64,
    kind: Kind,
    started: Instant,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
    moved: (u64, u64),
    end: Option<&'static str>,
    /// Of the client that the session was opened for: another task may close the account.
    client: Span,
}

impl SessionRecord {
    pub(super) fn new(id: u64, kind: Kind, metrics: Arc<Metrics>, notices: Arc<Notices>) -> Self {
        metrics.session_started(kind);
        Self {
            id,
            kind,
            started: Instant::now(),
            metrics,
            notices,
            moved: (0, 0),
            end: None,
            client: Span::current(),
        }
    }

    /// The bytes that all sessions moved.
    pub fn totals(&self) -> &Arc<fluidity_wire::relay::RelayCounters> {
        self.metrics.moved()
    }

    /// Closes the account: bytes towards the target, bytes from it, and how it ended.
    pub fn end(mut self, up: u64, down: u64, end: &'static str) {
        self.moved = (up, down);
        self.end = Some(end);
    }
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        let end = self.end.unwrap_or("abandoned");
        self.metrics.session_ended(self.kind, end);
        macro_rules! tell {
            ($level:ident) => {
                $level!(
                    parent: &self.client,
                    session = self.id,
                    kind = self.kind.name(),
                    up = self.moved.0,
                    down = self.moved.1,
                    millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    end,
                    "session ended"
                )
            };
        }
        // What is left out here is counted, and told as a number.
        match self.notices.session() {
            true => tell!(info),
            false => tell!(debug),
        }
    }
}
