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
use std::time::Duration;
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
    /// How many connections each process has that has introduced itself, by its name.
    instances: BTreeMap<AgentId, BTreeMap<u64, u32>>,
    /// The names that several processes use at once, and since when.
    doubled: BTreeMap<AgentId, Instant>,
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
    /// Which process it is, once it has said so.
    instance: OnceLock<u64>,
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
    /// Which process of that name, once it has said so.
    pub instance: Option<u64>,
    /// From where.
    pub peer: SocketAddr,
    /// Since when.
    pub since: Instant,
    /// How many sessions it has.
    pub sessions: u32,
}

/// What is kept for one agent and bounded by counts alone.
#[derive(Debug)]
pub struct Heavy {
    /// Who.
    pub agent: AgentId,
    /// Pieces of sessions' bytes behind gaps.
    pub pieces: u64,
    /// Sessions, those among them that are not answered yet.
    pub sessions: usize,
    /// Its connections.
    pub links: Vec<Arc<Link>>,
}

impl Heavy {
    /// About what that takes, in bytes.
    pub fn cost(&self) -> u64 {
        let sessions = u64::try_from(self.sessions).unwrap_or(u64::MAX);
        let sessions = sessions.saturating_mul(SESSION);
        self.pieces.saturating_mul(PIECE).saturating_add(sessions)
    }
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
            instance: OnceLock::new(),
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
            instance: entry.instance.get().copied(),
            peer: entry.peer,
            since: entry.since,
            sessions: entry.sessions.load(Ordering::Relaxed),
        });
        connected.collect()
    }

    /// The agent that costs most.
    pub fn heaviest(&self) -> Option<Heavy> {
        let mut agents: BTreeMap<AgentId, Heavy> = BTreeMap::new();
        for entry in self.lock().connections.values() {
            let Some(link) = entry.link.get().and_then(Weak::upgrade) else {
                continue;
            };
            let agent = agents.entry(entry.agent.clone()).or_insert_with(|| Heavy {
                agent: entry.agent.clone(),
                pieces: 0,
                sessions: 0,
                links: Vec::new(),
            });
            agent.pieces += link.pieces_kept();
            agent.sessions += link.sessions();
            agent.links.push(link);
        }
        agents.into_values().max_by_key(Heavy::cost)
    }

    /// Changes when an agent comes or goes.
    pub fn agents(&self) -> watch::Receiver<u64> {
        self.agents.subscribe()
    }

    /// Which agents are here besides the one that this connection belongs to. An agent is a process: several
    /// connections of one instance are one agent, and one name used by two processes is two.
    pub fn others(&self, guest: &Guest) -> Others {
        let state = self.lock();
        let own = &guest.entry.agent;
        let mut names: Vec<AgentId> = Vec::new();
        for name in state.agents.keys() {
            let introduced = state.instances.get(name).map_or(0, BTreeMap::len);
            let agents = if name == own {
                introduced.saturating_sub(usize::from(guest.entry.instance.get().is_some()))
            } else {
                // Connected, even if it has not introduced itself yet.
                introduced.max(1)
            };
            names.extend(std::iter::repeat_n(name.clone(), agents));
        }
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Others {
            count: count(names.len()),
            same_name: count(names.iter().filter(|name| *name == own).count()),
            names,
        }
    }

    /// The names that several processes have used at once for longer than `overlap`, and when the next one will have.
    pub fn doubled(&self, overlap: Duration) -> (Vec<AgentId>, Option<Instant>) {
        let (state, now) = (self.lock(), Instant::now());
        let due = |since: &Instant| *since + overlap;
        let overdue = state.doubled.iter().filter(|(_, since)| due(since) <= now);
        let overdue = overdue.map(|(name, _)| name.clone()).collect();
        let next = state.doubled.values().map(due).filter(|due| *due > now).min();
        (overdue, next)
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

    /// The peer has said which process it is.
    pub fn introduce(&self, instance: u64) {
        let mut state = self.roster.lock();
        if self.entry.instance.set(instance).is_err() {
            return;
        }
        let name = &self.entry.agent;
        let connections = state
            .instances
            .entry(name.clone())
            .or_default()
            .entry(instance)
            .or_default();
        *connections += 1;
        if *connections == 1 {
            state.review(name);
            self.roster.agents.send_modify(|times| *times += 1);
        }
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
        let name = &self.entry.agent;
        let last_of_name = self.agent.connections.load(Ordering::Relaxed) == 0;
        if last_of_name {
            state.agents.remove(name);
        }
        let last_of_instance = match self.entry.instance.get() {
            Some(instance) => state.leave(name, *instance),
            None => false,
        };
        if last_of_name || last_of_instance {
            self.roster.agents.send_modify(|times| *times += 1);
        }
    }
}

impl State {
    /// A connection of this process has ended. Returns whether it was the last.
    fn leave(&mut self, name: &AgentId, instance: u64) -> bool {
        let Some(instances) = self.instances.get_mut(name) else {
            return false;
        };
        if let Some(connections) = instances.get_mut(&instance) {
            *connections -= 1;
            if *connections > 0 {
                return false;
            }
        }
        instances.remove(&instance);
        if instances.is_empty() {
            self.instances.remove(name);
        }
        self.review(name);
        true
    }

    /// Notes whether several processes use this name.
    fn review(&mut self, name: &AgentId) {
        if self
            .instances
            .get(name)
            .is_some_and(|instances| instances.len() > 1)
        {
            self.doubled.entry(name.clone()).or_insert_with(Instant::now);
        } else {
            self.doubled.remove(name);
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

/// What QUIC keeps of a piece beside its bytes.
const PIECE: u64 = 200;
/// A session's state, task and fragments, as docs/security.md counts them.
const SESSION: u64 = 44 * 1024;

#[cfg(test)]
mod tests;
