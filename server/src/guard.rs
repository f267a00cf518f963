//! The last bound of memory: an agent that makes the process outgrow its limit is cut off.
//!
//! What agents may make the server hold is bounded by counts and by the budget for windows. Not all of it is in the hands of
//! this code: for a stream whose bytes arrive in pieces with gaps between them, QUIC keeps up to two thousand pieces, which
//! cost some hundred bytes each, whatever is in them. So the resident memory is looked at, and past the limit the agent
//! goes of which most such pieces are kept. An agent that sends what it should has next to none.
//!
//! It closes nobody where no agent stands out: what is large then is something else, and a person is told.

use crate::roster::Roster;
use fluidity_wire::CloseCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// Watches for ever; ends at once where the system does not tell. Cancel safe.
pub async fn watch(roster: Arc<Roster>, limit: u64) {
    let mut told: Option<Instant> = None;
    loop {
        sleep(PAUSE).await;
        let Some(resident) = resident() else { return };
        if resident <= limit {
            continue;
        }
        let heaviest = roster.most_pieces().filter(|heaviest| heaviest.pieces >= MANY);
        if let Some(heaviest) = heaviest {
            warn!(
                agent = %heaviest.agent,
                pieces = heaviest.pieces,
                resident,
                limit,
                "the agent takes too much memory: its connections are closed"
            );
            for link in heaviest.links {
                link.close(CloseCode::Protocol);
            }
        } else if told.is_none_or(|told| told.elapsed() >= AGAIN) {
            told = Some(Instant::now());
            warn!(
                resident,
                limit, "more memory is resident than limits.memory, and no agent stands out"
            );
        }
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

/// Resident memory in bytes.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// Between two looks: a line of a gigabit brings some ten MiB of pieces meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two words about the same.
const AGAIN: Duration = Duration::from_secs(60);
/// So many pieces take some ten MiB.
const MANY: u64 = 50_000;
/// `/proc` counts in pages; with larger ones, the process counts for less than it is.
const PAGE: u64 = 4096;

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
