//! What a session's requests and the reader of its answers tell one another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Whose turn it is on a session, and whether there may be another.
#[derive(Debug, Default)]
pub(in crate::inbound) struct Turn {
    /// Counts requests; the lowest bit is set for a HEAD.
    begun: AtomicU64,
    /// Set while an exchange is under way.
    busy: AtomicBool,
    unfit: AtomicBool,
    /// The reader, while it keeps the session's end back until the exchange is over.
    reader: Mutex<Option<Waker>>,
}

impl Turn {
    /// A request is about to be sent.
    pub(in crate::inbound) fn begin(&self, head: bool) {
        let next = (self.begun() >> 1) + 1;
        self.busy.store(true, Ordering::Relaxed);
        self.begun.store(next << 1 | u64::from(head), Ordering::Relaxed);
    }

    /// Request and answer are through.
    pub(in crate::inbound) fn rest(&self) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.busy.store(false, Ordering::Relaxed);
        if let Some(reader) = reader.take() {
            reader.wake();
        }
    }

    /// Completes when no exchange is under way. Wakes the last caller only.
    pub(super) fn poll_rest(&self, waker: &Waker) -> Poll<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_busy() {
            return Poll::Ready(());
        }
        *reader = Some(waker.clone());
        Poll::Pending
    }

    /// Whether an exchange is under way.
    pub(in crate::inbound) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Nothing more may be asked on this session.
    pub(in crate::inbound) fn spoil(&self) {
        self.unfit.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more may be asked on this session.
    pub(in crate::inbound) fn is_unfit(&self) -> bool {
        self.unfit.load(Ordering::Relaxed)
    }

    /// The number of the request that was begun last.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether the request of that number is a HEAD.
    pub(super) const fn asks_for_head(begun: u64) -> bool {
        begun & 1 == 1
    }
}
