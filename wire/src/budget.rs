//! Memory for what peers send and no reader has taken yet: one budget for the process, split by peer.
//!
//! A peer takes from its [`Share`], through whichever of its connections. Where there are several peers, none may hold
//! more than it leaves to all others together, so that a newcomer finds half of what was free before it. No connection may
//! hold more than three quarters of what its peer may, so that the peer's next connection, after a change of network, finds
//! room as well. Taking and giving back need a lock, once for each change of a window and never for a packet.
//!
//! Invariants: the sum of all shares never passes the total; no clock and no I/O in here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes that all peers together can make this process hold.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<State>,
    peers: Peers,
}

#[derive(Debug)]
struct State {
    free: u64,
}

/// How many peers there may be.
#[derive(Clone, Copy, Debug)]
enum Peers {
    One,
    Many,
}

impl Budget {
    /// A budget that any number of peers share.
    pub fn for_peers(total: u64) -> Arc<Self> {
        Self::new(total, Peers::Many)
    }

    /// A budget that one peer may use up, over any number of connections. The first windows of its sessions come on top:
    /// such a process has chosen its peer and opens the sessions itself.
    pub fn for_one_peer(total: u64) -> Arc<Self> {
        Self::new(total, Peers::One)
    }

    fn new(total: u64, peers: Peers) -> Arc<Self> {
        let state = Mutex::new(State { free: total });
        Arc::new(Self { state, peers })
    }

    /// The bytes that no peer holds.
    pub fn free(&self) -> u64 {
        self.lock().free
    }

    /// A new peer's share.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share {
            budget: self.clone(),
            held: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of one peer. Gives back what is left of it when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    /// Changes only while the budget is locked.
    held: AtomicU64,
}

impl Share {
    /// Whether the peer is one of many.
    pub(crate) fn is_one_of_many(&self) -> bool {
        matches!(self.budget.peers, Peers::Many)
    }

    /// The most that a connection of this peer may hold now, which holds `own`.
    pub(crate) fn ceiling(&self, own: u64) -> u64 {
        let state = self.budget.lock();
        own + self.room(&state, self.held(), own)
    }

    /// Takes up to `wanted` for a connection that holds `own`, and returns how much.
    pub(crate) fn take(&self, wanted: u64, own: u64) -> u64 {
        let mut state = self.budget.lock();
        let held = self.held();
        let taken = wanted.min(self.room(&state, held, own));
        state.free -= taken;
        self.hold(held + taken);
        taken
    }

    /// Gives back a part of what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        let mut state = self.budget.lock();
        let held = self.held();
        let back = bytes.min(held);
        state.free += back;
        self.hold(held - back);
    }

    fn room(&self, state: &State, held: u64, own: u64) -> u64 {
        let more = match self.budget.peers {
            Peers::One => state.free,
            Peers::Many => state.free.saturating_sub(held) / 2,
        };
        let ceiling = held + more;
        let of_a_connection = ceiling - ceiling / 4;
        more.min(of_a_connection.saturating_sub(own))
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn hold(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_peer_leaves_as_much_as_it_holds_whatever_it_asks_for_and_a_newcomer_finds_half_of_that() {
        let budget = Budget::for_peers(64 * MIB);
        let greedy = budget.share();
        // Two connections: one alone gets no more than three quarters.
        assert_eq!(greedy.take(u64::MAX, 0), 24 * MIB);
        assert_eq!(greedy.take(u64::MAX, 24 * MIB), 0);
        assert_eq!(greedy.take(u64::MAX, 0), 8 * MIB);
        assert_eq!((greedy.take(u64::MAX, 0), budget.free()), (0, 32 * MIB));
        let newcomer = budget.share();
        assert_eq!(newcomer.ceiling(0), 12 * MIB);
        assert_eq!(newcomer.take(MIB, 0), MIB);
        drop(greedy);
        assert_eq!(budget.free(), 63 * MIB);
    }

    #[test]
    fn the_only_peer_may_hold_everything_over_two_connections() {
        let budget = Budget::for_one_peer(64 * MIB);
        let share = budget.share();
        assert_eq!(share.take(u64::MAX, 0), 48 * MIB);
        assert_eq!(share.take(u64::MAX, 0), 16 * MIB);
        share.give_back(10 * MIB);
        assert_eq!(budget.free(), 10 * MIB);
    }

    proptest! {
        /// Peers that take and give back as they like, each over three connections.
        #[test]
        fn shares_never_pass_the_total_and_no_peer_takes_more_than_it_leaves(
            steps in prop::collection::vec((0..4_usize, 0..3_usize, any::<bool>(), 0..80 * MIB), 1..200)
        ) {
            let total = 64 * MIB;
            let budget = Budget::for_peers(total);
            let shares: Vec<_> = (0..4).map(|_| budget.share()).collect();
            let mut own = [[0_u64; 3]; 4];
            for (peer, connection, take, bytes) in steps {
                let holds = own[peer][connection];
                if take {
                    let taken = shares[peer].take(bytes, holds);
                    own[peer][connection] += taken;
                    let held: u64 = own[peer].iter().sum();
                    prop_assert!(taken == 0 || held <= budget.free(), "{held} of {}", budget.free());
                } else {
                    let back = bytes.min(holds);
                    shares[peer].give_back(back);
                    own[peer][connection] -= back;
                }
                let held: u64 = own.iter().flatten().sum();
                prop_assert_eq!(held + budget.free(), total);
            }
            drop(shares);
            prop_assert_eq!(budget.free(), total);
        }
    }
}
