//! What one connection has reserved of its peer's share, and how much QUIC may hold for it at the moment.
//!
//! Three things are reserved: something for first windows, what windows grew by, and room for bytes that were taken out of
//! QUIC and are not delivered. Who has one peer reserves every first window, for a session that nobody polls leaves its
//! bytes in QUIC. Who has many reserves a few: its sessions take their bytes out at once, and one for which there is no room
//! then is cut. QUIC's own window for the connection is what is reserved less what was taken out, so that
//! bytes past every credit are bounded by the same number, and a peer that keeps to its credit never meets that window.
//! A connection always has [`GUARANTEED`], whatever its peer holds.
//!
//! quinn's window can be raised at once, while a smaller one only withholds later MAX_DATA, as much as bytes are read. So
//! QUIC is told of each larger window by [`STEP`], and of each smaller one as soon as it is another by an eighth. And quinn
//! sends MAX_DATA once an eighth of the window was read, so that a seventh is on top.
//!
//! Invariants: what QUIC may hold and what was taken out are together never more than what is reserved and a quarter;
//! no lock for a packet, one for each change of a window.

use crate::budget::Share;
use crate::credit::{BASE_WINDOW, FLOOR_WINDOW};
use quinn::{Connection, VarInt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a connection may always hold; QUIC's window for it at first.
pub(crate) const GUARANTEED: u64 = 512 * 1024;

/// The memory of one connection.
#[derive(Debug)]
pub(crate) struct Pool {
    share: Arc<Share>,
    /// Whose window follows; a pool without one is for tests.
    connection: Option<Connection>,
    state: Mutex<PoolState>,
    /// As in the state, [`GUARANTEED`] included.
    reserved: AtomicU64,
    /// Bytes that were taken out of QUIC and are not delivered.
    taken: AtomicU64,
    /// QUIC's window as it was told last.
    told: AtomicU64,
    /// Pieces of sessions' bytes that were taken out of QUIC so far.
    pieces: AtomicU64,
}

#[derive(Debug, Default)]
struct PoolState {
    sessions: u64,
    /// First windows as they were handed out.
    bases: u64,
    /// What is reserved for them.
    first: u64,
    /// What windows grew by.
    grown: u64,
    /// For bytes that were taken out beyond that.
    extra: u64,
}

impl PoolState {
    /// All that is reserved.
    fn reserved(&self) -> u64 {
        GUARANTEED + self.first + self.grown + self.extra
    }
}

impl Pool {
    /// A pool out of a peer's share, and the connection whose window follows it.
    pub(crate) fn new(share: Arc<Share>, connection: Option<Connection>) -> Arc<Self> {
        Arc::new(Self {
            share,
            connection,
            state: Mutex::default(),
            reserved: AtomicU64::new(GUARANTEED),
            taken: AtomicU64::new(0),
            told: AtomicU64::new(GUARANTEED),
            pieces: AtomicU64::new(0),
        })
    }

    /// Counts a session, and says how wide its first window is: narrower where many share the connection.
    pub(crate) fn enter(&self) -> u64 {
        let mut state = self.lock();
        state.sessions += 1;
        let ceiling = self.share.ceiling(self.own(&state));
        let part = match self.share.is_one_of_many() {
            true => ceiling / 8,
            false => ceiling / 2,
        };
        let window = (part / state.sessions).clamp(FLOOR_WINDOW, BASE_WINDOW);
        state.bases += window;
        let wanted = self.first_of(state.bases);
        if state.first < wanted {
            let more = wanted - state.first;
            state.first += match self.share.is_one_of_many() {
                true => self.share.take(more, self.own(&state)),
                false => more,
            };
        }
        self.changed(&state);
        window
    }

    /// Borrows up to `wanted`, never more than a quarter of what is left, so that no session takes it all.
    pub(crate) fn borrow(&self, wanted: u64) -> u64 {
        let mut state = self.lock();
        let own = self.own(&state);
        let ceiling = self.share.ceiling(own);
        // Where first windows are not on top of the share, half of it is left for them: sessions may come that fill them.
        let left = match self.share.is_one_of_many() {
            true => (ceiling / 2).saturating_sub(state.first + state.grown),
            false => ceiling.saturating_sub(own),
        };
        let taken = self.share.take(wanted.min(left / 4), own);
        state.grown += taken;
        self.changed(&state);
        taken
    }

    /// Takes back what a window grew by.
    pub(crate) fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.grown -= bytes;
        self.share.give_back(bytes);
        self.changed(&state);
    }

    /// A session is over, whose first window and growth were so much.
    pub(crate) fn leave(&self, base: u64, grown: u64) {
        let mut state = self.lock();
        state.sessions = state.sessions.saturating_sub(1);
        state.bases -= base;
        state.grown -= grown;
        let first = state.first.min(self.first_of(state.bases));
        let back = match self.share.is_one_of_many() {
            true => state.first - first + grown,
            false => grown,
        };
        state.first = first;
        self.share.give_back(back);
        self.changed(&state);
    }

    /// What is reserved of first windows.
    fn first_of(&self, bases: u64) -> u64 {
        match self.share.is_one_of_many() {
            true => bases.min(MOST_FIRST),
            false => bases,
        }
    }

    /// What of the share is this connection's.
    fn own(&self, state: &PoolState) -> u64 {
        match self.share.is_one_of_many() {
            true => state.first + state.grown + state.extra,
            false => state.grown + state.extra,
        }
    }

    /// Notes in how many pieces bytes came out of QUIC.
    pub(crate) fn took_pieces(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.pieces.fetch_add(count, Ordering::Relaxed);
    }

    /// Pieces that came out of QUIC so far.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Notes bytes that were taken out of QUIC; false where there is no memory for them to wait.
    pub(crate) fn took(&self, bytes: u64) -> bool {
        let taken = self.taken.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let backed = taken <= self.reserved.load(Ordering::Acquire) || self.extend();
        self.follow();
        backed
    }

    /// Notes that bytes which were taken out are delivered or dropped.
    pub(crate) fn freed(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
        self.follow();
    }

    /// Reserves room for what was taken out.
    fn extend(&self) -> bool {
        let mut state = self.lock();
        let missing = self.missing();
        if missing > 0 {
            state.extra += self.share.take(missing.max(STEP), self.own(&state));
            self.changed(&state);
        }
        self.missing() == 0
    }

    fn missing(&self) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        taken.saturating_sub(self.reserved.load(Ordering::Acquire))
    }

    /// What QUIC may hold now.
    fn window(&self) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        let open = self.reserved.load(Ordering::Acquire).saturating_sub(taken);
        // quinn grants more once an eighth of the window was read: what is left beside bytes that nobody reads is that much.
        (open + (open - GUARANTEED.min(open)) / 7).max(LEAST_WINDOW)
    }

    /// Tells QUIC where the window is another by more than a step.
    fn follow(&self) {
        let told = self.told.load(Ordering::Relaxed);
        if differ(self.window(), told) {
            let mut state = self.lock();
            // What is no longer needed goes back first.
            let taken = self.taken.load(Ordering::Acquire);
            let needed = taken.saturating_sub(state.reserved() - state.extra);
            let back = state.extra.saturating_sub(needed);
            if back >= STEP || needed == 0 {
                state.extra -= back;
                self.share.give_back(back);
            }
            self.changed(&state);
        }
    }

    fn changed(&self, state: &PoolState) {
        self.reserved.store(state.reserved(), Ordering::Release);
        let (window, told) = (self.window(), self.told.load(Ordering::Relaxed));
        if differ(window, told) {
            self.told.store(window, Ordering::Relaxed);
            if let Some(connection) = &self.connection {
                connection.set_receive_window(VarInt::from_u64(window).unwrap_or(VarInt::MAX));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let own = self.own(&self.lock());
        self.share.give_back(own);
    }
}

/// Whether QUIC has to be told: soon of a wider window, which a peer that keeps to its credit may need, and of a narrower one
/// for an eighth.
fn differ(window: u64, told: u64) -> bool {
    window >= told + STEP || window + STEP.max(told / 8) <= told
}

/// The least that QUIC may hold, so that control messages and new sessions always pass.
const LEAST_WINDOW: u64 = 256 * 1024;
/// What is reserved for first windows at the most: of many sessions few send at once.
const MOST_FIRST: u64 = 4 * 1024 * 1024;
const STEP: u64 = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;

    fn told(pool: &Pool) -> u64 {
        pool.told.load(Ordering::Relaxed)
    }

    #[test]
    fn quics_window_follows_what_is_reserved_and_what_was_taken_out() {
        let budget = Budget::for_peers(64 * MIB);
        let pool = Pool::new(budget.share(), None);
        assert_eq!(told(&pool), GUARANTEED);
        let base = pool.enter();
        let first = BASE_WINDOW + BASE_WINDOW / 7;
        assert_eq!((base, told(&pool)), (BASE_WINDOW, GUARANTEED + first));
        let grown = pool.borrow(2 * MIB);
        let all = GUARANTEED + (BASE_WINDOW + grown) * 8 / 7;
        assert_eq!((grown, told(&pool)), (2 * MIB, all));
        assert!(pool.took(2 * MIB));
        assert_eq!(told(&pool), GUARANTEED + first);
        pool.freed(2 * MIB);
        assert_eq!(told(&pool), all);
        pool.leave(base, grown);
        assert_eq!((told(&pool), budget.free()), (GUARANTEED, 64 * MIB));
    }

    #[test]
    fn bytes_that_wait_beyond_what_is_reserved_take_more_until_there_is_none() {
        let budget = Budget::for_peers(8 * MIB);
        let pool = Pool::new(budget.share(), None);
        pool.enter();
        let mut taken = 0;
        while pool.took(64 * 1024) {
            taken += 64 * 1024;
        }
        // Three quarters of half the budget.
        assert_eq!(taken, GUARANTEED + 3 * MIB);
        assert!(told(&pool) < LEAST_WINDOW + STEP, "{}", told(&pool));
        assert!(budget.share().take(MIB, 0) == MIB, "another peer finds room");
        pool.freed(taken + 64 * 1024);
        assert_eq!(told(&pool), GUARANTEED + BASE_WINDOW + BASE_WINDOW / 7);
        assert_eq!(budget.free(), 8 * MIB - BASE_WINDOW);
    }

    #[test]
    fn who_has_one_peer_leaves_room_in_quic_for_every_first_window() {
        let budget = Budget::for_one_peer(64 * MIB);
        let pool = Pool::new(budget.share(), None);
        let bases: Vec<_> = (0..1000).map(|_| pool.enter()).collect();
        let (all, window) = (bases.iter().sum::<u64>(), told(&pool));
        assert!(
            all > 64 * MIB && window + STEP > GUARANTEED + all * 8 / 7,
            "{window} of {all}"
        );
        assert_eq!(budget.free(), 64 * MIB);
        bases.into_iter().for_each(|base| pool.leave(base, 0));
        assert!(told(&pool) < GUARANTEED + STEP);
    }

    proptest! {
        /// Windows that grow and shrink, bytes that come and go, in any order.
        #[test]
        fn what_quic_may_hold_and_what_waits_never_pass_what_is_reserved(
            steps in prop::collection::vec((0..5_u8, 0..3 * MIB), 1..300)
        ) {
            let total = 32 * MIB;
            let budget = Budget::for_peers(total);
            let pool = Pool::new(budget.share(), None);
            let (mut windows, mut waiting) = (Vec::new(), 0_u64);
            for (step_kind, bytes) in steps {
                match step_kind {
                    0 => windows.push((pool.enter(), 0_u64)),
                    1 => if let Some((_, grown)) = windows.last_mut() { *grown += pool.borrow(bytes); },
                    2 => if let Some((base, grown)) = windows.pop() { pool.leave(base, grown); },
                    3 => if pool.took(bytes) { waiting += bytes } else { pool.freed(bytes) },
                    _ => { let back = bytes.min(waiting); pool.freed(back); waiting -= back; }
                }
                let reserved = pool.reserved.load(Ordering::Relaxed);
                let open = reserved - waiting.min(reserved);
                let most = (open + (open - GUARANTEED.min(open)) / 7).max(LEAST_WINDOW);
                let told = told(&pool);
                prop_assert!(told < most + STEP.max(told / 8), "{told} of {most}");
                prop_assert!(told + STEP > most, "{told} of {most}");
                prop_assert_eq!(budget.free() + reserved - GUARANTEED, total);
                prop_assert!(reserved - GUARANTEED <= total / 2, "{reserved}");
            }
            drop(pool);
            prop_assert_eq!(budget.free(), total);
        }
    }
}
