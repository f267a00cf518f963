//! What is told of peers at INFO and WARN, at a bounded rate: a peer cannot fill the log.
//!
//! A line that is over its rate is written at DEBUG instead, and counted; [`Notices::summarize`] tells the counts.
//! Ordinary use stays far below.

use fluidity_daemon::quota::{LeftOut, Quota, Rate};
use fluidity_wire::tls::AgentId;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

/// What may be told of whom.
#[derive(Debug)]
pub struct Notices {
    strangers: Mutex<Quota<(&'static str, IpAddr)>>,
    connections: Mutex<Quota<AgentId>>,
    sessions: Mutex<Quota<AgentId>>,
    cuts: Mutex<Quota<AgentId>>,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            strangers: Mutex::new(Quota::new(STRANGER, MOST_STRANGERS)),
            connections: Mutex::new(Quota::new(CONNECTIONS, MOST_AGENTS)),
            sessions: Mutex::new(Quota::new(SESSIONS, MOST_AGENTS)),
            cuts: Mutex::new(Quota::new(CUTS, MOST_AGENTS)),
        }
    }
}

impl Notices {
    /// Whether a line of this kind may be about somebody who was not let in.
    pub fn stranger(&self, kind: &'static str, source: IpAddr) -> bool {
        lock(&self.strangers).allows(&(kind, source), Instant::now())
    }

    /// Whether a connection of this agent may be told of: its beginning and its end.
    pub fn connection(&self, agent: &AgentId) -> bool {
        lock(&self.connections).allows(agent, Instant::now())
    }

    /// Whether a session of this agent may have a line of its own.
    pub fn session(&self, agent: &AgentId) -> bool {
        lock(&self.sessions).allows(agent, Instant::now())
    }

    /// Whether it may be told that this agent was cut off.
    pub fn cut_off(&self, agent: &AgentId) -> bool {
        lock(&self.cuts).allows(agent, Instant::now())
    }

    /// Tells what was left out since the last time.
    pub fn summarize(&self) {
        let strangers = lock(&self.strangers).take_left_out();
        for LeftOut { key, count } in strangers {
            let (kind, source) = key.unzip();
            let source = source.map(|source: IpAddr| source.to_string());
            info!(kind, source, count, "more of the kind, not told one by one");
        }
        let connections = lock(&self.connections).take_left_out();
        for LeftOut { key, count } in connections {
            let agent = key.as_ref().map(AgentId::as_str);
            info!(
                agent,
                count, "more connections came and went, not told one by one"
            );
        }
        let sessions = lock(&self.sessions).take_left_out();
        for LeftOut { key, count } in sessions {
            let agent = key.as_ref().map(AgentId::as_str);
            info!(agent, count, "more sessions ended, not told one by one");
        }
        let cuts = lock(&self.cuts).take_left_out();
        for LeftOut { key, count } in cuts {
            let agent = key.as_ref().map(AgentId::as_str);
            info!(agent, count, "cut off again for memory, not told one by one");
        }
    }

    /// Summarizes again and again, until it is dropped.
    pub async fn keep_summarizing(&self) {
        let mut tick = interval(SUMMARY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.summarize();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Failed handshakes and the like, of one kind and source.
const STRANGER: Rate = Rate {
    burst: 1,
    every: Duration::from_secs(60),
};
const CONNECTIONS: Rate = Rate {
    burst: 60,
    every: Duration::from_secs(5),
};
const SESSIONS: Rate = Rate {
    burst: 2000,
    every: Duration::from_millis(50),
};
const CUTS: Rate = Rate {
    burst: 1,
    every: Duration::from_secs(60),
};
/// Kinds and sources that have a rate of their own.
const MOST_STRANGERS: usize = 32;
/// Agents that have a rate of their own.
const MOST_AGENTS: usize = 256;
const SUMMARY: Duration = Duration::from_secs(60);
