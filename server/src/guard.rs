//! The last bound of memory: an agent that makes the process outgrow its limit is cut off.
//!
//! What agents may make the server hold is bounded by counts and by the budget for windows. Not all of it is in the hands of
//! this code: for a stream whose bytes arrive in pieces with gaps between them, QUIC keeps up to two thousand pieces, which
//! cost some hundred bytes each, whatever is in them. So the resident memory is looked at. Past the limit, what is free
//! goes back to the system first; where that is not enough, the agent goes that costs most by its pieces and its sessions.
//!
//! It closes nobody where no agent stands out: what is large then is something else, and a person is told. Whom it closed
//! is told at a bounded rate, since whoever is closed may come again.

use crate::notices::Notices;
use crate::roster::Roster;
use fluidity_daemon::memory::{give_back_now, resident};
use fluidity_wire::CloseCode;
use fluidity_wire::tls::AgentId;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

/// The limit, and what was done for it.
#[derive(Debug)]
pub struct Guard {
    limit: u64,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    cut_off: u64,
    last: Option<(AgentId, Instant)>,
}

impl Guard {
    /// Guards this many bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            done: Mutex::default(),
        }
    }

    /// How often an agent was cut off.
    pub fn cut_off(&self) -> u64 {
        self.lock().cut_off
    }

    /// What a person sees of it.
    pub fn status(&self) -> Value {
        let done = self.lock();
        let last = done.last.as_ref().map(|(agent, at)| {
            let ago = at.elapsed().as_secs();
            json!({ "agent": agent.as_str(), "seconds_ago": ago })
        });
        json!({
            "resident": resident(),
            "limit": self.limit,
            "agents_cut_off": done.cut_off,
            "last_cut_off": last,
        })
    }

    /// Watches for ever; ends at once where the system does not tell. Cancel safe.
    pub async fn watch(&self, roster: &Roster, notices: &Notices) {
        let mut told: Option<Instant> = None;
        let mut freed: Option<Instant> = None;
        let mut pause = PAUSE;
        loop {
            sleep(pause).await;
            let Some(resident) = self.resident(&mut freed).await else {
                return;
            };
            let limit = self.limit;
            pause = if resident > limit / 2 { SOON } else { PAUSE };
            if resident <= limit {
                continue;
            }
            match roster
                .heaviest()
                .filter(|heaviest| heaviest.cost() >= stands_out(limit))
            {
                Some(heaviest) => {
                    let (agent, pieces, sessions) = (&heaviest.agent, heaviest.pieces, heaviest.sessions);
                    {
                        let mut done = self.lock();
                        done.cut_off += 1;
                        done.last = Some((agent.clone(), Instant::now()));
                    }
                    let said = "the agent takes too much memory: its connections are closed";
                    match notices.cut_off(agent) {
                        true => warn!(%agent, pieces, sessions, resident, limit, "{said}"),
                        false => debug!(%agent, pieces, sessions, resident, limit, "{said}"),
                    }
                    for link in &heaviest.links {
                        link.close(CloseCode::Protocol);
                    }
                    // What it held is let go of before another one is judged.
                    (pause, freed) = (LETTING_GO, None);
                }
                None if told.is_none_or(|told| told.elapsed() >= AGAIN) => {
                    told = Some(Instant::now());
                    warn!(
                        resident,
                        limit, "more memory is resident than limits.memory, and no agent stands out"
                    );
                }
                None => {}
            }
        }
    }

    /// Resident memory, where it is too much without what the allocator keeps for nobody.
    async fn resident(&self, freed: &mut Option<Instant>) -> Option<u64> {
        let before = resident()?;
        if before <= self.limit || freed.is_some_and(|freed| freed.elapsed() < FREED) {
            return Some(before);
        }
        *freed = Some(Instant::now());
        give_back_now().await;
        resident()
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an agent costs at the least that is cut off.
const fn stands_out(limit: u64) -> u64 {
    match limit / 8 {
        less if less < LEAST => LEAST,
        more if more > MOST => MOST,
        part => part,
    }
}

/// What the process may use where nothing is set: three quarters of what the container or the machine has.
pub fn default_limit() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path| read(path).and_then(|text| text.trim().parse::<u64>().ok());
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    let all = [
        number("/sys/fs/cgroup/memory.max"),
        number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        machine,
    ];
    let least = all.into_iter().flatten().min().unwrap_or(u64::MAX);
    least - least / 4
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// The same where more than half of the limit is resident: pieces may come at a hundred MiB a second.
const SOON: Duration = Duration::from_millis(25);
/// The same after an agent was cut off.
const LETTING_GO: Duration = Duration::from_millis(100);
/// Between two words about the same.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two times that free memory goes back.
const FREED: Duration = Duration::from_secs(1);
const LEAST: u64 = 10 * 1024 * 1024;
const MOST: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_within_what_there_is_and_more_than_this_process_needs() {
        let resident = resident().expect("the system tells");
        assert!(resident > 0 && default_limit() > resident, "{resident}");
        assert!(default_limit() < u64::MAX / 2, "{}", default_limit());
    }
}
