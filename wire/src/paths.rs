//! What QUIC knows of a program's connections: round trips, congestion windows, packets sent and lost.
//!
//! QUIC counts it anyway. It is read when somebody asks, and added up over the connections that have ended: nothing is
//! added to a byte's way.

use quinn::Connection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The connections of one program, those that have ended among them.
#[derive(Debug, Default)]
pub struct Paths(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    live: BTreeMap<u64, Connection>,
    ended: Packets,
}

/// Packets of one connection or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// UDP packets that were sent.
    pub sent: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// How often the congestion window was made smaller.
    pub congestion_events: u64,
}

impl Packets {
    /// Of one connection until now.
    pub fn of(connection: &Connection) -> Self {
        let path = connection.stats().path;
        Self {
            sent: path.sent_packets,
            lost: path.lost_packets,
            congestion_events: path.congestion_events,
        }
    }

    fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.lost = self.lost.saturating_add(other.lost);
        self.congestion_events = self.congestion_events.saturating_add(other.congestion_events);
    }
}

/// One connection at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The round trip, as QUIC estimates it.
    pub rtt: Duration,
    /// The congestion window in bytes.
    pub window: u64,
}

impl Path {
    /// Of one connection.
    pub fn of(connection: &Connection) -> Self {
        let path = connection.stats().path;
        Self {
            rtt: path.rtt,
            window: path.cwnd,
        }
    }
}

impl Paths {
    /// Counts a connection in, until the guard is dropped: its packets stay in the sums.
    pub fn enter(self: &Arc<Self>, connection: &Connection) -> PathGuard {
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.live.insert(id, connection.clone());
        PathGuard {
            id,
            paths: self.clone(),
        }
    }

    /// The packets of all connections there ever were.
    pub fn packets(&self) -> Packets {
        let state = self.lock();
        let mut all = state.ended;
        for connection in state.live.values() {
            all.add(Packets::of(connection));
        }
        all
    }

    /// The connections that are open now.
    pub fn open(&self) -> Vec<Path> {
        let state = self.lock();
        let open = state.live.values();
        let open = open.filter(|connection| connection.close_reason().is_none());
        open.map(Path::of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the paths.
#[derive(Debug)]
pub struct PathGuard {
    id: u64,
    paths: Arc<Paths>,
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        let mut state = self.paths.lock();
        let ended = state.live.remove(&self.id);
        if let Some(connection) = &ended {
            state.ended.add(Packets::of(connection));
        }
        drop(state);
        // Perhaps the last handle, whose end closes it: not under the lock.
        drop(ended);
    }
}
