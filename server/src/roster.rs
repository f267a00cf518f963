//! Who is here: the agents' connections and their sessions, counted against their limits.
//!
//! A place is a guard: dropped, it is free again, whatever became of the task that held it.

use crate::config::Limits;
use fluidity_wire::tls::AgentId;
use fluidity_wire::{Budget, Link, Others, Share};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::watch;
use tokio::time::Instant;

/// Everybody who is connected.
#[derive(Debug)]
pub struct Roster {
    limits: Limits,
    /// Sessions that there are descriptors for.
    room: u32,
    /// For what agents send and targets have not taken.
    windows: Arc<Budget>,
    sessions: Arc<AtomicU32>,
    state: Mutex<State>,
    /// Counts the times that an agent came or went.
    agents: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    connections: BTreeMap<u64, Arc<Entry>>,
    agents: BTreeMap<AgentId, Arc<Agent>>,
}

/// What the connections of one agent share.
#[derive(Debug)]
struct Agent {
    connections: AtomicU32,
    sessions: AtomicU32,
    windows: Arc<Share>,
}

impl Agent {
    fn new(windows: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            connections: AtomicU32::new(0),
            sessions: AtomicU32::new(0),
            windows: windows.share(),
        })
    }
}

#[derive(Debug)]
struct Entry {
    agent: AgentId,
    peer: SocketAddr,
    since: Instant,
    sessions: AtomicU32,
    link: OnceLock<Weak<Link>>,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of the server.
    #[error("the server has as many as it may have")]
    Server,
    /// Of one agent.
    #[error("this agent has as many as it may have")]
    Agent,
}

/// One connection, for people.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Counted from 1 since the server's start.
    pub id: u64,
    /// Who.
    pub agent: AgentId,
    /// From where.
    pub peer: SocketAddr,
    /// Since when.
    pub since: Instant,
    /// How many sessions it has.
    pub sessions: u32,
}

/// What QUIC keeps for one agent.
#[derive(Debug)]
pub struct Pieces {
    /// Who.
    pub agent: AgentId,
    /// Pieces of sessions' bytes behind gaps.
    pub pieces: u64,
    /// Its connections.
    pub links: Vec<Arc<Link>>,
}

impl Roster {
    /// Nobody yet. There is `room` for so many sessions, whatever the limits say; no agent has more than it leaves free.
    pub fn new(limits: Limits, room: u32) -> Arc<Self> {
        Arc::new(Self {
            limits,
            room,
            windows: Budget::for_peers(limits.window_memory),
            sessions: Arc::default(),
            state: Mutex::default(),
            agents: watch::Sender::default(),
        })
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// The server, or the agent, has as many connections as it may have.
    pub fn admit(self: &Arc<Self>, agent: &AgentId, peer: SocketAddr) -> Result<Guest, Full> {
        let mut state = self.lock();
        if state.connections.len() >= usize::try_from(self.limits.connections).unwrap_or(usize::MAX) {
            return Err(Full::Server);
        }
        let shared = state.agents.entry(agent.clone());
        let shared = shared.or_insert_with(|| Agent::new(&self.windows)).clone();
        // A new agent's entry is under its limit, which is at least 1: none is left behind without a connection.
        if !enter(&shared.connections, self.limits.connections_per_agent) {
            return Err(Full::Agent);
        }
        if shared.connections.load(Ordering::Relaxed) == 1 {
            self.agents.send_modify(|times| *times += 1);
        }
        state.last_id += 1;
        let id = state.last_id;
        let entry = Arc::new(Entry {
            agent: agent.clone(),
            peer,
            since: Instant::now(),
            sessions: AtomicU32::new(0),
            link: OnceLock::new(),
        });
        state.connections.insert(id, entry.clone());
        Ok(Guest {
            id,
            entry,
            agent: shared,
            roster: self.clone(),
        })
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Every connection, the oldest first.
    pub fn connected(&self) -> Vec<Connected> {
        let state = self.lock();
        let connected = state.connections.iter().map(|(id, entry)| Connected {
            id: *id,
            agent: entry.agent.clone(),
            peer: entry.peer,
            since: entry.since,
            sessions: entry.sessions.load(Ordering::Relaxed),
        });
        connected.collect()
    }

    /// The agent of whose sessions QUIC keeps most pieces.
    pub fn most_pieces(&self) -> Option<Pieces> {
        let mut agents: BTreeMap<AgentId, Pieces> = BTreeMap::new();
        for entry in self.lock().connections.values() {
            let Some(link) = entry.link.get().and_then(Weak::upgrade) else {
                continue;
            };
            let agent = agents.entry(entry.agent.clone()).or_insert_with(|| Pieces {
                agent: entry.agent.clone(),
                pieces: 0,
                links: Vec::new(),
            });
            agent.pieces += link.pieces_kept();
            agent.links.push(link);
        }
        agents.into_values().max_by_key(|agent| agent.pieces)
    }

    /// Changes when an agent comes or goes.
    pub fn agents(&self) -> watch::Receiver<u64> {
        self.agents.subscribe()
    }

    /// Who is here besides an agent.
    pub fn others(&self, agent: &AgentId) -> Others {
        let state = self.lock();
        let names: Vec<_> = state
            .agents
            .keys()
            .filter(|other| *other != agent)
            .cloned()
            .collect();
        Others {
            count: u32::try_from(names.len()).unwrap_or(u32::MAX),
            names,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Guest {
    id: u64,
    entry: Arc<Entry>,
    agent: Arc<Agent>,
    roster: Arc<Roster>,
}

impl Guest {
    /// Counted from 1 since the server's start.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Who it is.
    pub fn agent(&self) -> &AgentId {
        &self.entry.agent
    }

    /// The connection has a link now.
    pub fn linked(&self, link: &Arc<Link>) {
        let _ = self.entry.link.set(Arc::downgrade(link));
    }

    /// What the agent's connections may hold together of bytes that targets have not taken.
    pub fn share(&self) -> &Arc<Share> {
        &self.agent.windows
    }

    /// A place for a session.
    ///
    /// # Errors
    /// The server, or the agent, has as many sessions as it may have.
    pub fn session(&self) -> Result<SessionPlace, Full> {
        let limits = &self.roster.limits;
        if !enter(&self.roster.sessions, limits.sessions) {
            return Err(Full::Server);
        }
        let free = self
            .roster
            .room
            .saturating_sub(self.roster.sessions().saturating_sub(1));
        if !enter(&self.agent.sessions, limits.sessions_per_agent.min(free)) {
            leave(&self.roster.sessions);
            return Err(Full::Agent);
        }
        self.entry.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(SessionPlace {
            server: self.roster.sessions.clone(),
            agent: self.agent.clone(),
            entry: self.entry.clone(),
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.roster.lock();
        state.connections.remove(&self.id);
        leave(&self.agent.connections);
        if self.agent.connections.load(Ordering::Relaxed) == 0 {
            state.agents.remove(&self.entry.agent);
            self.roster.agents.send_modify(|times| *times += 1);
        }
    }
}

/// A session's place.
#[derive(Debug)]
pub struct SessionPlace {
    server: Arc<AtomicU32>,
    agent: Arc<Agent>,
    entry: Arc<Entry>,
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        leave(&self.server);
        leave(&self.agent.sessions);
        leave(&self.entry.sessions);
    }
}

fn enter(count: &AtomicU32, limit: u32) -> bool {
    let one_more = |count: u32| (count < limit).then(|| count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        .is_ok()
}

fn leave(count: &AtomicU32) {
    count.fetch_sub(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits() -> Limits {
        Limits {
            connections: 3,
            connections_per_agent: 2,
            sessions: 3,
            sessions_per_agent: 2,
            open_timeout: Duration::from_secs(1),
            session_idle: Duration::from_secs(1),
            window_memory: 1 << 20,
            memory: 1 << 30,
        }
    }

    fn roster() -> Arc<Roster> {
        Roster::new(limits(), u32::MAX)
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 4433))
    }

    fn agent(name: &str) -> AgentId {
        AgentId::parse(name).unwrap()
    }

    #[test]
    fn connections_are_limited_for_each_agent_and_for_all() {
        let roster = roster();
        let (ann, bob) = (agent("ann"), agent("bob"));
        let first = roster.admit(&ann, peer()).unwrap();
        let _second = roster.admit(&ann, peer()).unwrap();
        assert_eq!(roster.admit(&ann, peer()).unwrap_err(), Full::Agent);
        let _third = roster.admit(&bob, peer()).unwrap();
        assert_eq!(roster.admit(&bob, peer()).unwrap_err(), Full::Server);
        drop(first);
        let fourth = roster.admit(&bob, peer()).unwrap();
        assert_eq!(fourth.id(), 4, "ids are not used again");
    }

    #[test]
    fn sessions_are_limited_across_the_connections_of_an_agent() {
        let roster = roster();
        let (one, two) = (
            roster.admit(&agent("ann"), peer()).unwrap(),
            roster.admit(&agent("ann"), peer()).unwrap(),
        );
        let bob = roster.admit(&agent("bob"), peer()).unwrap();
        let first = one.session().unwrap();
        let _second = two.session().unwrap();
        assert_eq!(one.session().unwrap_err(), Full::Agent);
        let _third = bob.session().unwrap();
        assert_eq!(bob.session().unwrap_err(), Full::Server);
        assert_eq!((roster.sessions(), roster.connected()[0].sessions), (3, 1));
        drop(first);
        assert_eq!((roster.sessions(), roster.connected()[0].sessions), (2, 0));
        two.session().unwrap();
    }

    #[test]
    fn where_descriptors_are_few_no_agent_has_more_sessions_than_it_leaves_free() {
        let limits = Limits {
            sessions: 100,
            sessions_per_agent: 100,
            ..limits()
        };
        let roster = Roster::new(limits, 9);
        let (ann, bob) = (agent("ann"), agent("bob"));
        let (ann, bob) = (
            roster.admit(&ann, peer()).unwrap(),
            roster.admit(&bob, peer()).unwrap(),
        );
        let all = |guest: &Guest| std::iter::from_fn(|| guest.session().ok()).collect::<Vec<_>>();
        let of_ann = all(&ann);
        assert_eq!(of_ann.len(), 5);
        assert_eq!(ann.session().unwrap_err(), Full::Agent);
        let of_bob = all(&bob);
        assert_eq!(of_bob.len(), 2);
        drop((of_ann, of_bob));
        assert_eq!(all(&bob).len(), 5);
    }

    #[test]
    fn each_agent_learns_of_the_others_once_each() {
        let roster = roster();
        let mut changes = roster.agents();
        let ann = roster.admit(&agent("ann"), peer()).unwrap();
        assert_eq!(roster.others(ann.agent()), Others::default());
        let again = roster.admit(&agent("ann"), peer()).unwrap();
        let bob = roster.admit(&agent("bob"), peer()).unwrap();
        assert_eq!(
            *changes.borrow_and_update(),
            2,
            "a second connection is no second agent"
        );
        let others = roster.others(ann.agent());
        assert_eq!((others.count, others.names), (1, vec![agent("bob")]));
        assert_eq!(roster.others(bob.agent()).count, 1);
        drop(ann);
        assert!(!changes.has_changed().unwrap(), "it is still here");
        drop(again);
        assert!(changes.has_changed().unwrap());
        assert_eq!(roster.others(bob.agent()).count, 0);
    }

    #[test]
    fn an_agent_that_left_leaves_nothing_behind() {
        let roster = roster();
        let guest = roster.admit(&agent("ann"), peer()).unwrap();
        let session = guest.session().unwrap();
        drop(guest);
        assert_eq!((roster.connections(), roster.lock().agents.len()), (0, 0));
        drop(session);
        assert_eq!(roster.sessions(), 0);
    }
}
