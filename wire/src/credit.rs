//! Per-session credit: how far a sender may run ahead of a receiver that does not take its bytes.
//!
//! QUIC's stream window is one static number, large enough for a fast path with a long delay. Alone it would let a
//! hundred stalled readers hold a hundred such windows, or, with a small connection window, let a few of them starve
//! everyone else. So the receiver of each session grants credit on the control stream instead: a small window at
//! first, doubled while the reader keeps up, out of a bounded pool per connection (docs/adr/0007). A peer that sends past
//! what it was granted is found out as its bytes are taken out of QUIC.
//!
//! Invariants: a limit never falls; what a window was granted beyond its first size is reserved in the pool; no clock and no
//! I/O in here.

use crate::pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The window of a session that has moved nothing yet.
pub(crate) const BASE_WINDOW: u64 = 256 * 1024;
/// The window of a session where very many share a connection.
pub(crate) const FLOOR_WINDOW: u64 = 16 * 1024;
/// The widest window of one session; also QUIC's own stream window.
pub(crate) const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// What an agent may send before the `Reply`, the `Open` left out.
pub(crate) const EARLY_WINDOW: u64 = 64 * 1024;

/// The sending side: how many bytes the peer lets through, and who waits for more.
#[derive(Debug, Default)]
pub(crate) struct SendCredit {
    limit: AtomicU64,
    waiting: WakerSlot,
}

impl SendCredit {
    /// Takes a limit from the peer; a lower one than before has no effect.
    pub(crate) fn raise(&self, limit: u64) {
        if self.limit.fetch_max(limit, Ordering::AcqRel) < limit {
            self.waiting.wake();
        }
    }

    /// How many bytes may follow the first `sent`.
    pub(crate) fn available(&self, sent: u64) -> u64 {
        self.limit.load(Ordering::Acquire).saturating_sub(sent)
    }

    /// As [`available`](Self::available), but pending while it is 0.
    pub(crate) fn poll_available(&self, sent: u64, context: &Context<'_>) -> Poll<u64> {
        match self.available(sent) {
            0 => {
                self.waiting.register(context.waker());
                match self.available(sent) {
                    0 => Poll::Pending,
                    credit => Poll::Ready(credit),
                }
            }
            credit => Poll::Ready(credit),
        }
    }
}

/// The receiving side of one session: what was granted, what came, what the reader took, how wide the window is.
#[derive(Debug)]
pub(crate) struct Window {
    pool: Arc<Pool>,
    base: u64,
    borrowed: u64,
    /// What is reserved in the pool: the above, and what was given back and is still granted.
    reserved: u64,
    granted: u64,
    /// The limit that the peer must keep to: what it was told, or what it may send untold.
    limit: u64,
    /// Bytes that were taken out of QUIC so far.
    taken: u64,
    delivered: u64,
    /// When, and behind how many bytes, the window's size was looked at last.
    looked: (Instant, u64),
}

/// What became of bytes that were taken out of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They may wait for their reader.
    Fits,
    /// There is no memory for bytes that wait.
    Exhausted,
    /// The peer was not granted so many.
    Overrun,
}

impl Window {
    /// A window for a new session, whose first limit, [`granted`](Self::granted), is told to the peer at once.
    pub(crate) fn new(pool: Arc<Pool>, now: Instant) -> Self {
        let base = pool.enter();
        Self {
            pool,
            base,
            borrowed: 0,
            reserved: 0,
            granted: base,
            limit: base,
            taken: 0,
            delivered: 0,
            looked: (now, 0),
        }
    }

    /// A window whose first limit the peer learns later; until then it may send early bytes.
    pub(crate) fn early(pool: Arc<Pool>, now: Instant) -> Self {
        let mut window = Self::new(pool, now);
        window.limit = EARLY_WINDOW;
        window
    }

    /// The limit that the peer has been given.
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// The peer is told its first limit now.
    pub(crate) fn tell(&mut self) {
        self.limit = self.limit.max(self.granted);
    }

    /// Bytes that the reader took so far.
    #[cfg(test)]
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Notes in how many pieces bytes came out of QUIC.
    pub(crate) fn took_pieces(&self, count: usize) {
        self.pool.took_pieces(count);
    }

    /// Notes that `bytes` were taken out of QUIC.
    pub(crate) fn took(&mut self, bytes: u64) -> Taken {
        self.taken += bytes;
        let fits = self.pool.took(bytes);
        if self.taken > self.limit {
            Taken::Overrun
        } else if fits {
            Taken::Fits
        } else {
            Taken::Exhausted
        }
    }

    /// What was taken out of QUIC is thrown away: the peer gets no more for it.
    pub(crate) fn drop_taken(&mut self) {
        self.pool.freed(self.taken - self.delivered);
        self.delivered = self.taken;
    }

    /// Notes that the reader took `bytes`; returns a new limit where it is time to grant one.
    ///
    /// The window grows to what the reader took in four round trips, twice as wide at the most in one step. Half a window
    /// that took seconds gives half of what was borrowed back. A limit goes out for
    /// an eighth of a wide window: where packets are lost, the reader is two round trips behind the sender, and more of
    /// the window held back would stop it.
    pub(crate) fn deliver(&mut self, bytes: u64, now: Instant, rtt: Duration) -> Option<u64> {
        // A reader that counts wrongly must not free what is not there.
        let bytes = bytes.min(self.taken - self.delivered);
        self.delivered += bytes;
        self.pool.freed(bytes);
        let size = self.base + self.borrowed;
        let (since, behind) = self.looked;
        if self.delivered - behind >= size / 2 {
            let taken_in = now.saturating_duration_since(since);
            let wanted = wanted(size / 2, taken_in, rtt);
            if wanted > size {
                self.widen((wanted - size).min(size).min(MAX_WINDOW.saturating_sub(size)));
            } else if taken_in > SLOW {
                self.borrowed -= self.borrowed.div_ceil(2);
            }
            self.looked = (now, self.delivered);
        }
        let limit = self.delivered + self.base + self.borrowed;
        let due = (size / 8).max(LEAST_GRANT).min(size / 2);
        let grant = (limit >= self.granted + due).then(|| {
            self.granted = limit;
            self.limit = self.limit.max(limit);
            limit
        });
        self.narrow();
        grant
    }

    fn widen(&mut self, wanted: u64) {
        // What was given back and is still granted need not be borrowed again.
        let kept = wanted.min(self.reserved - self.borrowed);
        let lent = match wanted - kept {
            0 => 0,
            more => self.pool.borrow(more),
        };
        self.borrowed += kept + lent;
        self.reserved += lent;
    }

    /// Gives back what the window no longer needs: not before the peer has used up what it was granted of it.
    fn narrow(&mut self) {
        let open = self.granted.saturating_sub(self.delivered);
        let needed = self.borrowed.max(open.saturating_sub(self.base));
        if needed < self.reserved {
            self.pool.give_back(self.reserved - needed);
            self.reserved = needed;
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.drop_taken();
        self.pool.leave(self.base, self.reserved);
    }
}

/// The window for a reader that took `bytes` in this time: what is in flight, what was missed is sent again for a round trip,
/// and its room to grow.
fn wanted(bytes: u64, taken_in: Duration, rtt: Duration) -> u64 {
    let window = u128::from(bytes) * (rtt * 4).max(QUICK).as_nanos() / taken_in.as_nanos().max(1);
    u64::try_from(window).unwrap_or(u64::MAX)
}

/// One task's place to wait.
#[derive(Debug, Default)]
pub(crate) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    /// Remembers whom to wake, in place of who was there.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(known) => known.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    /// Wakes who waits, if anyone does.
    pub(crate) fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Less is not worth a message, but to a window that is not much more.
const LEAST_GRANT: u64 = 128 * 1024;
/// Four round trips are never taken for less: on a path of microseconds, grants cost more than memory.
const QUICK: Duration = Duration::from_millis(10);
/// Half a window in more than this means that the reader does not need so much.
const SLOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;
    const RTT: Duration = Duration::from_millis(100);

    /// The reader takes all that the peer may send.
    fn take_all(window: &mut Window, now: Instant) {
        let open = window.granted() - window.delivered();
        assert_eq!(window.took(open), Taken::Fits);
        window.deliver(open, now, RTT);
    }

    #[test]
    fn a_reader_that_keeps_up_gets_the_widest_window_and_a_slow_one_gives_it_back() {
        let budget = Budget::for_one_peer(64 * MIB);
        let pool = Pool::new(budget.share(), None);
        let mut now = Instant::now();
        let mut window = Window::new(pool.clone(), now);
        for _ in 0..20 {
            now += RTT;
            take_all(&mut window, now);
        }
        assert_eq!(window.granted() - window.delivered(), MAX_WINDOW);
        for _ in 0..60 {
            now += SLOW * 2;
            take_all(&mut window, now);
        }
        assert_eq!(window.granted() - window.delivered(), BASE_WINDOW);
        drop(window);
        assert_eq!(budget.free(), 64 * MIB);
    }

    #[test]
    fn the_only_agents_first_session_gets_the_widest_window_and_the_next_one_a_wide_one() {
        let budget = Budget::for_peers(96 * MIB);
        let pool = Pool::new(budget.share(), None);
        let mut now = Instant::now();
        for least in [MAX_WINDOW, 4 * MIB] {
            let mut window = Window::new(pool.clone(), now);
            for _ in 0..20 {
                now += RTT;
                take_all(&mut window, now);
            }
            let open = window.granted() - window.delivered();
            assert!(open >= least, "{open}");
            // It lives on, as wide as it is.
            std::mem::forget(window);
        }
    }

    #[test]
    fn a_hundred_and_fifty_sessions_that_grow_as_they_come_and_then_stand_still_all_keep_their_bytes() {
        let budget = Budget::for_peers(96 * MIB);
        let pool = Pool::new(budget.share(), None);
        let mut now = Instant::now();
        let mut windows = Vec::new();
        for _ in 0..150 {
            let mut window = Window::early(pool.clone(), now);
            window.tell();
            windows.push(window);
            for window in &mut windows {
                now += Duration::from_micros(1);
                take_all(window, now);
            }
        }
        for window in &mut windows {
            let open = window.limit - window.delivered();
            assert_eq!(window.took(open), Taken::Fits);
        }
    }

    #[test]
    fn a_hundred_greedy_sessions_never_pass_the_share_and_the_last_still_gets_a_window() {
        let budget = Budget::for_one_peer(64 * MIB);
        let pool = Pool::new(budget.share(), None);
        let mut now = Instant::now();
        let mut windows: Vec<_> = (0..100).map(|_| Window::new(pool.clone(), now)).collect();
        for _ in 0..20 {
            now += Duration::from_millis(1);
            windows.iter_mut().for_each(|window| take_all(window, now));
        }
        let grown = |window: &Window| window.granted() - window.delivered() - window.base;
        let outstanding: u64 = windows.iter().map(grown).sum();
        assert!(outstanding <= 48 * MIB, "{outstanding}");
        assert!(windows.iter().all(|window| window.base >= BASE_WINDOW / 2));
        let last = Window::new(pool, now);
        assert!(last.granted() >= FLOOR_WINDOW);
    }

    #[test]
    fn first_windows_shrink_where_very_many_sessions_share_a_connection() {
        let budget = Budget::for_one_peer(16 * MIB);
        let pool = Pool::new(budget.share(), None);
        let windows: Vec<_> = (0..4096)
            .map(|_| Window::new(pool.clone(), Instant::now()))
            .collect();
        assert_eq!(windows.first().map(Window::granted), Some(BASE_WINDOW));
        assert_eq!(windows.last().map(Window::granted), Some(FLOOR_WINDOW));
        assert_eq!(
            budget.free(),
            16 * MIB,
            "sessions that are idle take nothing of what others grow by"
        );
    }

    #[test]
    fn a_byte_past_what_was_granted_is_an_overrun_and_none_before() {
        let budget = Budget::for_one_peer(64 * MIB);
        let pool = Pool::new(budget.share(), None);
        let now = Instant::now();
        let mut window = Window::early(pool.clone(), now);
        assert_eq!(window.took(EARLY_WINDOW), Taken::Fits);
        window.tell();
        assert_eq!(window.took(BASE_WINDOW - EARLY_WINDOW), Taken::Fits);
        assert_eq!(window.took(1), Taken::Overrun);
        let mut early = Window::early(pool.clone(), now);
        assert_eq!(early.took(EARLY_WINDOW + 1), Taken::Overrun);
        let mut window = Window::new(pool, now);
        assert_eq!(window.took(BASE_WINDOW), Taken::Fits);
        let limit = window.deliver(BASE_WINDOW / 2, now, RTT).unwrap();
        assert_eq!(window.took(limit - BASE_WINDOW), Taken::Fits);
        assert_eq!(window.took(1), Taken::Overrun);
    }

    proptest! {
        /// Readers that are quick, slow or asleep, in any order.
        #[test]
        fn what_is_granted_beyond_first_windows_is_always_reserved(
            steps in prop::collection::vec((0..6_usize, 0..9 * MIB, 0..5_000_u64), 1..300)
        ) {
            let budget = Budget::for_peers(64 * MIB);
            let pool = Pool::new(budget.share(), None);
            let mut now = Instant::now();
            let mut windows: Vec<_> = (0..6).map(|_| Window::new(pool.clone(), now)).collect();
            for (number, bytes, millis) in steps {
                now += Duration::from_millis(millis);
                let window = &mut windows[number];
                let bytes = bytes.min(window.granted() - window.delivered());
                prop_assert!(window.took(bytes) != Taken::Overrun);
                window.deliver(bytes, now, RTT);
                let open = window.granted() - window.delivered();
                prop_assert!(open <= window.base + window.reserved);
                prop_assert!(window.base + window.borrowed <= MAX_WINDOW);
                let reserved: u64 = windows.iter().map(|window| window.reserved).sum();
                prop_assert!(reserved <= 64 * MIB - budget.free(), "{reserved}");
            }
            drop((windows, pool));
            prop_assert_eq!(budget.free(), 64 * MIB);
        }
    }

    #[test]
    fn limits_never_fall() {
        let credit = SendCredit::default();
        credit.raise(100);
        credit.raise(50);
        assert_eq!(credit.available(30), 70);
        assert_eq!(credit.available(200), 0);
    }
}
