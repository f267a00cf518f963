//! Notices that another program uses this agent's identity: a certificate that was copied to a second machine.

use fluidity_wire::Others;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// What the server says of agents with the own name. After a restart the server may still count the process before this
/// one, until that one's connection is lost: only a longer overlap is warned of.
#[derive(Debug)]
pub(super) struct Doubled {
    overlap: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    since: Option<Instant>,
    warned: Option<Instant>,
}

impl Doubled {
    /// A connection without a word is lost within `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self {
            overlap: idle_timeout + MARGIN,
            seen: Mutex::default(),
        }
    }

    /// Looks at what the server said last; warns once an hour.
    pub(super) fn look(&self, others: Option<&Others>) {
        let same_name = others.map_or(0, |others| others.same_name);
        if self.is_news(same_name, Instant::now()) {
            warn!(
                same_name,
                "another agent is connected with this agent's identity; issue each machine a certificate of its own with \
                 fluidity pki"
            );
        }
    }

    fn is_news(&self, same_name: u32, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if same_name == 0 {
            seen.since = None;
            return false;
        }
        let since = *seen.since.get_or_insert(now);
        let long = now.duration_since(since) >= self.overlap;
        let warned = seen
            .warned
            .is_some_and(|at| now.duration_since(at) < WARN_INTERVAL);
        if long && !warned {
            seen.warned = Some(now);
        }
        long && !warned
    }
}

/// Beyond the idle timeout, for the server to notice.
const MARGIN: Duration = Duration::from_secs(2);
const WARN_INTERVAL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_not_warned_of_and_a_second_machine_once() {
        let (doubled, began) = (Doubled::new(Duration::from_secs(10)), Instant::now());
        let news = |same_name, seconds| doubled.is_news(same_name, began + Duration::from_secs(seconds));
        assert!(!news(1, 0) && !news(1, 11));
        assert!(!news(0, 12), "its past is gone");
        assert!(!news(1, 13) && !news(1, 24));
        assert!(news(1, 25));
        assert!(!news(2, 26));
        assert!(!news(0, 30) && !news(1, 31) && !news(1, 60), "not again so soon");
        assert!(news(1, 25 + 3600));
    }
}
