//! What the engine keeps of one session's bytes, until the peer has acknowledged them.
//!
//! Each piece that goes to the engine tells when the engine lets it go. So a session knows what it holds, waits when that is
//! its share (`backlog`), and wakes by its own acknowledgements. A small piece costs some hundred bytes more than it has: a
//! session that has many of them out gathers more bytes before it takes another.

use crate::backlog::Backlog;
use crate::credit::WakerSlot;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// The queue of one session.
#[derive(Debug)]
pub(super) struct Queue {
    state: Arc<State>,
    /// Bytes since the queue was empty.
    burst: u64,
}

#[derive(Debug)]
struct State {
    backlog: Arc<Backlog>,
    /// Memory, in bytes.
    held: AtomicU64,
    small: AtomicUsize,
    waiting: WakerSlot,
}

impl Queue {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        let state = State {
            backlog,
            held: AtomicU64::new(0),
            small: AtomicUsize::new(0),
            waiting: WakerSlot::default(),
        };
        Self {
            state: Arc::new(state),
            burst: 0,
        }
    }

    /// The same bytes, counted until the engine lets them go, as the `memory` that they keep.
    pub(super) fn hold(&mut self, bytes: Bytes, memory: u64) -> Bytes {
        let size = memory.max(length(&bytes));
        let before = self.state.held.fetch_add(size, Ordering::Relaxed);
        let burst = if before == 0 { 0 } else { self.burst };
        self.burst = burst + length(&bytes);
        self.state.backlog.hold(size, before == 0);
        if bytes.len() < SMALL {
            self.state.small.fetch_add(1, Ordering::Relaxed);
        }
        Bytes::from_owner(Piece {
            bytes,
            memory: size,
            state: self.state.clone(),
        })
    }

    /// Whether as many small pieces are out as may be.
    pub(super) fn is_scattered(&self) -> bool {
        self.state.small.load(Ordering::Relaxed) >= MOST_SMALL
    }

    /// How many bytes may go to the engine now.
    pub(super) fn room(&self) -> u64 {
        self.state.room()
    }

    /// As [`room`](Self::room), but pending while it is 0.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<u64> {
        match self.state.room() {
            0 => {
                self.state.waiting.register(context.waker());
                match self.state.room() {
                    0 => Poll::Pending,
                    room => Poll::Ready(room),
                }
            }
            room => Poll::Ready(room),
        }
    }

    /// The stream's priority: a session whose bytes are all through goes first, one that never comes to an end last.
    pub(super) fn priority(&self) -> i32 {
        match self.burst {
            ..LARGE_BURST => 0,
            LARGE_BURST..ENDLESS_BURST => -1,
            ENDLESS_BURST.. => -2,
        }
    }
}

impl State {
    fn room(&self) -> u64 {
        let limit = self.backlog.limit();
        let held = self.held.load(Ordering::Relaxed);
        match limit.saturating_sub(held) {
            // Worth a read and a piece.
            room if room >= (limit / 8).min(WORTH) => room.max(1),
            _ if held == 0 => LEAST_PIECE,
            _ => 0,
        }
    }
}

/// Bytes that the engine has.
struct Piece {
    bytes: Bytes,
    memory: u64,
    state: Arc<State>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let before = self.state.held.fetch_sub(self.memory, Ordering::Relaxed);
        self.state.backlog.let_go(self.memory, before == self.memory);
        if self.bytes.len() < SMALL {
            self.state.small.fetch_sub(1, Ordering::Relaxed);
        }
        if self.state.room() > 0 {
            self.state.waiting.wake();
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What is larger costs little more than its bytes.
const SMALL: usize = 1024;
/// Small pieces that may be out: at a round trip of 150 ms still some hundred in a second.
const MOST_SMALL: usize = 64;
/// What a session that holds nothing may always write.
const LEAST_PIECE: u64 = 2048;
/// So much room is used at once, and of less an eighth of the limit is awaited.
const WORTH: u64 = 64 * 1024;
/// Bytes without an end from which a session's next bytes wait for those of others.
const LARGE_BURST: u64 = 64 * 1024;
const ENDLESS_BURST: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Arc::new(Backlog::new(None)))
    }

    #[test]
    fn small_pieces_count_until_they_are_let_go() {
        let mut queue = queue();
        let mut out: Vec<_> = (0..MOST_SMALL)
            .map(|_| queue.hold(Bytes::from_static(b"x"), 0))
            .collect();
        assert_eq!(out.first().map(|piece| &piece[..]), Some(&b"x"[..]));
        assert!(queue.is_scattered());
        let part = out.pop();
        assert!(queue.is_scattered());
        drop(part);
        assert!(!queue.is_scattered());
        out.extend((0..MOST_SMALL).map(|_| queue.hold(vec![0; SMALL].into(), 0)));
        assert!(!queue.is_scattered(), "large ones do not count");
    }

    #[test]
    fn a_session_that_holds_its_share_waits_until_its_own_bytes_are_let_go() {
        let mut queue = queue();
        let mut held = Vec::new();
        while queue.room() > 0 {
            held.push(queue.hold(vec![0; 4096].into(), 0));
        }
        assert!(held.len() >= 12);
        let part = held.pop().map(|piece| piece.slice(..100));
        assert_eq!(queue.room(), 0, "a part keeps its whole piece");
        drop(part);
        held.truncate(held.len() / 2);
        assert!(queue.room() >= 4096);
        drop(held);
        assert_eq!(queue.state.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_count_as_the_memory_that_they_keep() {
        let mut queue = queue();
        let mut held = Vec::new();
        while queue.room() > 0 {
            held.push(queue.hold(vec![0; 2048].into(), 4096));
        }
        assert!((12..24).contains(&held.len()), "{}", held.len());
        drop(held);
        assert_eq!(queue.state.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_session_beside_greedy_ones_always_has_room() {
        let backlog = Arc::new(Backlog::new(None));
        let mut greedy: Vec<_> = (0..50).map(|_| Queue::new(backlog.clone())).collect();
        let mut held = Vec::new();
        for queue in &mut greedy {
            while queue.room() > 0 {
                held.push(queue.hold(vec![0; 4096].into(), 0));
            }
        }
        assert!(Queue::new(backlog).room() >= 1024);
    }

    #[test]
    fn priority_falls_with_bytes_and_comes_back_when_all_are_through() {
        let mut queue = queue();
        assert_eq!(queue.priority(), 0);
        let first = queue.hold(vec![0; 70_000].into(), 0);
        assert_eq!(queue.priority(), -1);
        let second = queue.hold(vec![0; 1_000_000].into(), 0);
        assert_eq!(queue.priority(), -2);
        drop((first, second));
        let _third = queue.hold(Bytes::from_static(b"next"), 0);
        assert_eq!(queue.priority(), 0);
    }
}
