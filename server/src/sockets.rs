//! How many sockets the server may have for targets, and each agent's part of them.
//!
//! The process has so many descriptors and no more. Whatever one agent asks for, others are served, the admin pages answer,
//! and a new identity can be read: some are kept back for that, and of the others no agent may hold more than are left free.
//! One agent alone has half of them, two have a third each; the next to come finds some.

use fluidity_daemon::descriptors::RESERVED;
use fluidity_wire::tls::AgentId;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What fits into the descriptors that the process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sessions, with a socket each.
    pub sessions: u32,
    /// Dials under way, each with some more: for the names that it looks up, and for addresses that it tries at once.
    pub dials: u32,
}

impl Room {
    /// For so many descriptors; nothing is no limit.
    pub fn in_descriptors(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(MOST).min(MOST);
        let dials = (limit / 32).max(2);
        let kept = RESERVED + dials * MORE_FOR_A_DIAL;
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            sessions: count(limit.saturating_sub(kept).max(2)),
            dials: count(dials),
        }
    }
}

/// Places that agents share.
#[derive(Debug)]
pub struct Places {
    most: u32,
    held: Mutex<HashMap<AgentId, u32>>,
    freed: Notify,
}

impl Places {
    /// All of them are free.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A place, as soon as the agent may have one. Cancel safe.
    pub async fn take(self: &Arc<Self>, agent: &AgentId) -> Place {
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before it is looked at: a place that becomes free meanwhile is not missed.
            freed.as_mut().enable();
            if let Some(place) = self.try_take(agent) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, agent: &AgentId) -> Option<Place> {
        let mut held = self.lock();
        let all: u32 = held.values().sum();
        let own = held.get(agent).copied().unwrap_or_default();
        if own >= self.most.saturating_sub(all) {
            return None;
        }
        held.insert(agent.clone(), own + 1);
        Some(Place {
            places: self.clone(),
            agent: agent.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    agent: AgentId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(own) = held.get_mut(&self.agent) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.agent);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
    }
}

/// More than this is never needed, and less than a system without a limit says.
const MOST: u64 = 1 << 20;
/// Eight addresses at once, where none of them answers, of which one counts as its session's.
const MORE_FOR_A_DIAL: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn agent(name: &str) -> AgentId {
        AgentId::parse(name).unwrap()
    }

    #[test]
    fn everything_together_fits_into_the_descriptors() {
        for limit in [256, 512, 1024, 4096, 65_536, 1 << 20] {
            let room = Room::in_descriptors(Some(limit));
            let all = u64::from(room.sessions) + MORE_FOR_A_DIAL * u64::from(room.dials);
            assert!(all + RESERVED <= limit, "{limit}: {room:?}");
            assert!(u64::from(room.sessions) * 3 > limit, "{limit}: {room:?}");
        }
        let tiny = Room::in_descriptors(Some(0));
        assert!(tiny.sessions > 0 && tiny.dials > 0, "{tiny:?}");
        assert!(Room::in_descriptors(None).sessions > 500_000);
    }

    #[test]
    fn no_agent_holds_more_than_is_left_free() {
        let places = Places::new(9);
        let take = |name| {
            let agent = agent(name);
            std::iter::from_fn(|| places.try_take(&agent)).collect::<Vec<_>>()
        };
        let ann = take("ann");
        assert_eq!(ann.len(), 5);
        let bob = take("bob");
        assert_eq!(bob.len(), 2);
        assert_eq!(take("cid").len(), 1);
        drop(ann);
        assert_eq!(take("cid").len(), 4);
        drop(bob);
        assert!(places.lock().is_empty(), "{places:?}");
    }

    #[tokio::test]
    async fn who_has_too_many_waits_until_one_is_free() {
        let places = Places::new(2);
        let first = places.take(&agent("ann")).await;
        let brief = Duration::from_millis(50);
        assert!(timeout(brief, places.take(&agent("ann"))).await.is_err());
        let _other = places.take(&agent("bob")).await;
        let waiting = places.clone();
        let waiting = tokio::spawn(async move { waiting.take(&agent("cid")).await });
        drop(first);
        timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    }
}
