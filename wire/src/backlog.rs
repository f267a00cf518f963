//! How much the engine keeps of what a connection's sessions wrote: unsent, or not acknowledged yet.
//!
//! The engine has one limit for a connection, and wakes all who wait for it at once, the last one first. One bulk sender
//! takes what there is, and a request beside it waits for seconds. So the engine's limit is out of reach, and each session
//! has a limit of its own here: a multiple of what is *free*. One session alone may hold two thirds of the room, two may
//! hold two fifths each, and a newcomer always finds some. Each waits for its own bytes only, and wakes when they are
//! acknowledged.
//!
//! The room follows the congestion window: that much is in flight, and what arrived behind a lost packet is kept for two
//! round trips more. Whatever is more than that would only be old when it leaves.
//!
//! Invariants: a session that holds nothing may always write; all sessions together hold at most [`MOST_ROOM`], a piece for each
//! that uses the last of it, and [`SMALL_SHARES`] six times (the shares shrink as sessions come); no lock that sessions share.

use crate::credit::MAX_WINDOW;
use quinn::Connection;
use std::sync::atomic::{AtomicU64, Ordering};

/// The room of one connection.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// `None` in tests: the room stays as it is.
    connection: Option<Connection>,
    room: AtomicU64,
    held: AtomicU64,
    /// Sessions that hold something.
    holders: AtomicU64,
    written: AtomicU64,
}

impl Backlog {
    /// That of a new connection.
    pub(crate) fn new(connection: Option<Connection>) -> Self {
        Self {
            connection,
            room: AtomicU64::new(room(0)),
            held: AtomicU64::new(0),
            holders: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Bytes that one session may hold now.
    pub(crate) fn limit(&self) -> u64 {
        let free = self
            .room
            .load(Ordering::Relaxed)
            .saturating_sub(self.held.load(Ordering::Relaxed));
        let holders = self.holders.load(Ordering::Relaxed).max(1);
        (free * TIMES_FREE).max((SMALL_SHARES / holders).min(SMALL_SHARE))
    }

    /// A session has `bytes` more in the engine; it held nothing before where it is `new`.
    pub(crate) fn hold(&self, bytes: u64, new: bool) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if new {
            self.holders.fetch_add(1, Ordering::Relaxed);
        }
        self.follow(bytes);
    }

    /// The engine let `bytes` of a session go, and that was all of them where it is `last`.
    pub(crate) fn let_go(&self, bytes: u64, last: bool) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if last {
            self.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Now and then looks how large the path is.
    fn follow(&self, bytes: u64) {
        let known = self.room.load(Ordering::Relaxed);
        let often = (known / LOOKS).min(MOST_BETWEEN_LOOKS);
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / often != (before + bytes) / often
            && let Some(connection) = &self.connection
        {
            self.room
                .store(room(connection.stats().path.cwnd), Ordering::Relaxed);
        }
    }
}

/// So much that one session alone may hold [`WINDOWS`] and [`MORE`].
fn room(window: u64) -> u64 {
    let alone = window.saturating_mul(WINDOWS).saturating_add(MORE);
    (alone + alone / TIMES_FREE).min(MOST_ROOM)
}

/// A session may hold so many times what is free.
const TIMES_FREE: u64 = 2;
/// Congestion windows: one is in flight, and what arrived behind a lost packet is kept for about two more round trips, until
/// the packet was missed, sent again and acknowledged.
const WINDOWS: u64 = 3;
/// Beyond that: the next bytes are there when an acknowledgement comes.
const MORE: u64 = 64 * 1024;
/// So much that one session alone may hold its widest window.
const MOST_ROOM: u64 = MAX_WINDOW + MAX_WINDOW / TIMES_FREE;
/// What each session may hold at least, as long as they do not come to more than [`SMALL_SHARES`] together; where very many
/// hold something, less.
const SMALL_SHARE: u64 = 16 * 1024;
const SMALL_SHARES: u64 = 1024 * 1024;
/// How often the room is looked at while it is filled once.
const LOOKS: u64 = 8;
const MOST_BETWEEN_LOOKS: u64 = 256 * 1024;
/// The engine's own limit, which nothing comes to.
pub(crate) const OUT_OF_REACH: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_gets_two_thirds_and_each_newcomer_finds_some() {
        let backlog = Backlog::new(None);
        let all = room(0);
        let mut held = Vec::new();
        for others in 1_u64..=20 {
            let limit = backlog.limit();
            assert!(
                limit >= SMALL_SHARE.min(all / (others * TIMES_FREE)),
                "{others}: {limit}"
            );
            backlog.hold(limit, true);
            held.push(limit);
        }
        assert_eq!(
            held.first(),
            Some(&(all * TIMES_FREE)),
            "it is limited by what it holds itself"
        );
    }

    #[test]
    fn sessions_that_fill_whatever_they_may_stay_within_the_room_and_the_small_shares() {
        let backlog = Backlog::new(None);
        let mut held = vec![0_u64; 4096];
        for _ in 0..4 {
            for own in &mut held {
                while *own < backlog.limit() {
                    let more = (backlog.limit() - *own).min(4096);
                    backlog.hold(more, *own == 0);
                    *own += more;
                }
            }
        }
        let all: u64 = held.iter().sum();
        // A share shrinks as sessions come: the sum of 1/n.
        assert!(all <= room(0) + SMALL_SHARES * 6, "{all}");
        assert!(held.iter().all(|own| *own > 0));
    }
}
