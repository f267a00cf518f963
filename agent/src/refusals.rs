//! The requests that the agent refused, for the person behind the client: clients of https show no body.
//!
//! A line in the log for each, without its target, and in memory the last few with their hosts, for `fluidity status`.
//! Nothing of it is written anywhere. Both are bounded, whatever clients do.

use fluidity_daemon::quota::{Quota, Rate};
use fluidity_wire::Host;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// The last refusals.
#[derive(Debug)]
pub struct Refusals(Mutex<State>);

#[derive(Debug)]
struct State {
    last: VecDeque<(Instant, Refused)>,
    lines: Quota<()>,
}

/// One request that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What it asked for: `connect`, `http`, `websocket`, or what the client took the proxy for.
    pub kind: &'static str,
    /// Where it was to go, where that was understood.
    pub host: Option<Host>,
    /// The HTTP status, where it was answered in HTTP.
    pub status: Option<u16>,
    /// The stable name of the reason.
    pub reason: &'static str,
    /// The sentence and the advice that the client got; may name the target. Where there was no answer in HTTP, what to do, and no
    /// target.
    pub said: String,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(State {
            last: VecDeque::with_capacity(MAX_KEPT),
            lines: Quota::new(LINES, 1),
        }))
    }
}

impl Refusals {
    /// Keeps and logs a refusal.
    pub fn note(&self, mut refused: Refused) {
        let now = Instant::now();
        if refused.said.len() > MAX_SAID {
            refused.said = refused.said.chars().take(MAX_SAID / 4).collect();
        }
        let mut state = self.lock();
        let suppressed = state.take_line(now);
        let (kind, status, reason) = (refused.kind, refused.status, refused.reason);
        let said = status.is_none().then(|| refused.said.clone());
        let aimed = refused.host.is_some();
        if state.last.len() >= MAX_KEPT {
            state.last.pop_front();
        }
        state.last.push_back((now, refused));
        drop(state);
        // Never the target, nor the sentence, which may name it.
        let Some(suppressed) = suppressed else { return };
        let suppressed = (suppressed > 0).then_some(suppressed);
        if aimed {
            info!(
                kind,
                status, reason, suppressed, "request refused: `fluidity status` tells which host and why"
            );
        } else {
            info!(kind, status, reason, said, suppressed, "request refused");
        }
    }

    /// The newest first, as JSON.
    pub fn render(&self) -> Value {
        let state = self.lock();
        let last = state.last.iter().rev().map(|(at, refused)| {
            json!({
                "seconds_ago": at.elapsed().as_secs(),
                "kind": refused.kind,
                "host": refused.host.as_ref().map(ToString::to_string),
                "status": refused.status,
                "reason": refused.reason,
                "said": refused.said,
            })
        });
        last.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Leave to log a line, with how many were left out before it; `None` where there are too many.
    fn take_line(&mut self, now: Instant) -> Option<u64> {
        let allowed = self.lines.allows(&(), now);
        allowed.then(|| {
            self.lines
                .take_left_out()
                .iter()
                .map(|left_out| left_out.count)
                .sum()
        })
    }
}

/// Refusals that are kept.
const MAX_KEPT: usize = 20;
/// Bytes of a kept sentence.
const MAX_SAID: usize = 1024;
const LINES: Rate = Rate {
    burst: 20,
    every: Duration::from_secs(3),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(number: u16) -> Refused {
        Refused {
            kind: "connect",
            host: Some(Host::parse(&format!("host{number}.example")).unwrap()),
            status: Some(502),
            reason: "name-not-found",
            said: "s".repeat(2 * MAX_SAID),
        }
    }

    #[test]
    fn the_last_twenty_are_kept_and_the_newest_comes_first() {
        let refusals = Refusals::default();
        for number in 0..100 {
            refusals.note(refused(number));
        }
        let page = refusals.render();
        let page = page.as_array().unwrap();
        assert_eq!(page.len(), MAX_KEPT);
        assert_eq!(page[0]["host"], "host99.example");
        assert_eq!(page[19]["host"], "host80.example");
        assert!(page[0]["said"].as_str().unwrap().len() <= MAX_SAID);
    }

    #[test]
    fn a_client_that_asks_again_and_again_does_not_fill_the_log() {
        let refusals = Refusals::default();
        let mut state = refusals.lock();
        let now = Instant::now();
        let lines = (0..1000).filter_map(|_| state.take_line(now)).count();
        assert_eq!(lines, 20);
        assert_eq!(state.take_line(now + LINES.every), Some(980));
        assert_eq!(state.take_line(now + LINES.every), None);
    }
}
