//! Per-session credit: how far a sender may run ahead of a receiver that does not take its bytes.
//!
//! QUIC's stream window is one static number, large enough for a fast path with a long delay. Alone it would let a
//! hundred stalled readers hold a hundred such windows, or, with a small connection window, let a few of them starve
//! everyone else. So the receiver of each session grants credit on the control stream instead: a small window at
//! first, doubled while the reader keeps up, out of a bounded pool per connection (docs/adr/0007).
//!
//! Invariants: a limit never falls; the sum of what was borrowed never passes the pool; no clock and no I/O in here.

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

/// What all sessions of a connection may borrow beyond their first window.
#[derive(Debug)]
pub(crate) struct Pool {
    size: u64,
    state: Mutex<PoolState>,
}

#[derive(Debug)]
struct PoolState {
    free: u64,
    sessions: u64,
}

impl Pool {
    /// A pool of `size` bytes.
    pub(crate) fn new(size: u64) -> Arc<Self> {
        Arc::new(Self {
            size,
            state: Mutex::new(PoolState {
                free: size,
                sessions: 0,
            }),
        })
    }

    /// The most that sessions of one connection can be granted and not have taken, `sessions` of them at most.
    ///
    /// First windows shrink as sessions come (`size / n`), so theirs sum up to a logarithm's multiple of the size.
    pub(crate) fn bound(size: u64, sessions: u32) -> u64 {
        let doublings = u64::from((u64::from(sessions) * BASE_WINDOW / size.max(1)).max(1).ilog2());
        size.saturating_mul(2 + doublings)
            .saturating_add(u64::from(sessions) * FLOOR_WINDOW)
    }

    fn enter(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions += 1;
        (self.size / state.sessions).clamp(FLOOR_WINDOW, BASE_WINDOW)
    }

    /// Borrows up to `wanted`, never more than a quarter of what is left, so that nobody takes it all.
    fn borrow(&self, wanted: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = wanted.min(state.free / 4);
        state.free -= taken;
        taken
    }

    fn give_back(&self, bytes: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).free += bytes;
    }

    fn leave(&self, borrowed: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions = state.sessions.saturating_sub(1);
        state.free += borrowed;
    }
}

/// The receiving side of one session: what was granted, what the reader took, how wide the window is.
#[derive(Debug)]
pub(crate) struct Window {
    pool: Arc<Pool>,
    base: u64,
    borrowed: u64,
    granted: u64,
    delivered: u64,
    /// When, and behind how many bytes, the window's size was looked at last.
    looked: (Instant, u64),
}

impl Window {
    /// A window for a new session; its first limit is [`granted`](Self::granted).
    pub(crate) fn new(pool: Arc<Pool>, now: Instant) -> Self {
        let base = pool.enter();
        Self {
            pool,
            base,
            borrowed: 0,
            granted: base,
            delivered: 0,
            looked: (now, 0),
        }
    }

    /// The limit that the peer has been given.
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Bytes that the reader took so far.
    #[cfg(test)]
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Notes that the reader took `bytes`; returns a new limit where it is time to grant one.
    ///
    /// Half a window taken in less than four round trips doubles the window: the path can carry more than the
    /// window lets through. Half a window that took seconds gives half of what was borrowed back. A limit goes out for
    /// an eighth of a wide window: where packets are lost, the reader is two round trips behind the sender, and more of
    /// the window held back would stop it.
    pub(crate) fn deliver(&mut self, bytes: u64, now: Instant, rtt: Duration) -> Option<u64> {
        self.delivered += bytes;
        let size = self.base + self.borrowed;
        let (since, behind) = self.looked;
        if self.delivered - behind >= size / 2 {
            let taken_in = now.saturating_duration_since(since);
            if taken_in < (rtt * 4).max(QUICK) {
                self.borrowed += self.pool.borrow(size.min(MAX_WINDOW.saturating_sub(size)));
            } else if taken_in > SLOW && self.borrowed > 0 {
                let back = self.borrowed.div_ceil(2);
                self.borrowed -= back;
                self.pool.give_back(back);
            }
            self.looked = (now, self.delivered);
        }
        let limit = self.delivered + self.base + self.borrowed;
        let due = (size / 8).max(LEAST_GRANT).min(size / 2);
        (limit >= self.granted + due).then(|| {
            self.granted = limit;
            limit
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.pool.leave(self.borrowed);
    }
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
/// Half a window in less than this always counts as quick: on a path of microseconds, grants cost more than memory.
const QUICK: Duration = Duration::from_millis(5);
/// Half a window in more than this means that the reader does not need so much.
const SLOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn a_reader_that_keeps_up_gets_the_widest_window_and_a_slow_one_gives_it_back() {
        let pool = Pool::new(64 * MIB);
        let mut now = Instant::now();
        let mut window = Window::new(pool.clone(), now);
        for _ in 0..20 {
            now += RTT;
            let open = window.granted() - window.delivered();
            window.deliver(open, now, RTT);
        }
        assert_eq!(window.granted() - window.delivered(), MAX_WINDOW);
        for _ in 0..60 {
            now += SLOW * 2;
            let open = window.granted() - window.delivered();
            window.deliver(open, now, RTT);
        }
        assert_eq!(window.granted() - window.delivered(), BASE_WINDOW);
        drop(window);
        assert_eq!(pool.state.lock().unwrap().free, 64 * MIB);
    }

    #[test]
    fn a_hundred_greedy_sessions_never_pass_the_bound_and_the_last_still_gets_a_window() {
        let pool = Pool::new(64 * MIB);
        let mut now = Instant::now();
        let mut windows: Vec<_> = (0..100).map(|_| Window::new(pool.clone(), now)).collect();
        for _ in 0..20 {
            now += Duration::from_millis(1);
            for window in &mut windows {
                let open = window.granted() - window.delivered();
                window.deliver(open, now, RTT);
            }
        }
        let outstanding: u64 = windows.iter().map(|w| w.granted() - w.delivered()).sum();
        assert!(outstanding <= Pool::bound(64 * MIB, 100), "{outstanding}");
        assert!(windows.iter().all(|w| w.granted() - w.delivered() >= BASE_WINDOW));
        let last = Window::new(pool, now);
        assert_eq!(last.granted(), BASE_WINDOW);
    }

    #[test]
    fn first_windows_shrink_where_very_many_sessions_share_a_connection() {
        let pool = Pool::new(16 * MIB);
        let windows: Vec<_> = (0..4096)
            .map(|_| Window::new(pool.clone(), Instant::now()))
            .collect();
        let granted: u64 = windows.iter().map(Window::granted).sum();
        assert!(granted <= Pool::bound(16 * MIB, 4096), "{granted}");
        assert_eq!(windows.last().map(Window::granted), Some(FLOOR_WINDOW));
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
