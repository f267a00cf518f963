//! Bytes by agent. Each agent's sessions count into a pair of counters of its own, and the total is their sum: a byte costs
//! what it cost without names.

use fluidity_wire::relay::RelayCounters;
use fluidity_wire::tls::AgentId;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What sessions moved since the server's start, by their agents' names.
#[derive(Debug, Default)]
pub struct Traffic {
    /// At most [`NAMES`], which stay: a counter must not fall.
    agents: Mutex<BTreeMap<AgentId, Arc<RelayCounters>>>,
    /// Of all agents that came after those.
    others: Arc<RelayCounters>,
}

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Towards targets.
    pub up: u64,
    /// From targets.
    pub down: u64,
}

impl Moved {
    /// Seen from the server, the tunnel is where bytes for a target come from.
    fn of(counters: &RelayCounters) -> Self {
        Self {
            up: counters.inward.load(Ordering::Relaxed),
            down: counters.outward.load(Ordering::Relaxed),
        }
    }
}

impl Traffic {
    /// Where the sessions of this agent count.
    pub fn of(&self, agent: &AgentId) -> Arc<RelayCounters> {
        let mut agents = self.lock();
        if let Some(known) = agents.get(agent) {
            return known.clone();
        }
        if agents.len() >= NAMES {
            return self.others.clone();
        }
        agents.entry(agent.clone()).or_default().clone()
    }

    /// By name, and those that came too late for one as [`OTHERS`].
    pub fn by_agent(&self) -> Vec<(String, Moved)> {
        let agents = self.lock();
        let named = agents
            .iter()
            .map(|(agent, counters)| (agent.to_string(), Moved::of(counters)));
        let others = (agents.len() >= NAMES).then(|| (OTHERS.to_owned(), Moved::of(&self.others)));
        named.chain(others).collect()
    }

    /// Of all agents.
    pub fn total(&self) -> Moved {
        let mut total = Moved::of(&self.others);
        for counters in self.lock().values() {
            let moved = Moved::of(counters);
            total.up += moved.up;
            total.down += moved.down;
        }
        total
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Arc<RelayCounters>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Agents that are told apart: each costs a scrape two lines for ever.
pub const NAMES: usize = 100;
/// No agent can have this name.
pub const OTHERS: &str = "(other)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_agents_have_their_names_the_rest_share_one_and_the_total_is_of_all() {
        let traffic = Traffic::default();
        for number in 0..NAMES + 3 {
            let agent = AgentId::parse(&format!("agent-{number}")).unwrap();
            traffic.of(&agent).inward.fetch_add(1, Ordering::Relaxed);
            traffic.of(&agent).outward.fetch_add(2, Ordering::Relaxed);
        }
        let by_agent = traffic.by_agent();
        assert_eq!(by_agent.len(), NAMES + 1);
        assert!(by_agent.contains(&("agent-0".into(), Moved { up: 1, down: 2 })));
        assert!(by_agent.contains(&(OTHERS.into(), Moved { up: 3, down: 6 })));
        assert_eq!(traffic.total(), Moved { up: 103, down: 206 });
        assert!(AgentId::parse(OTHERS).is_err());
    }
}
