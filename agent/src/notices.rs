//! What is told of sessions at INFO, at a bounded rate: a client cannot fill the log.

use fluidity_daemon::quota::{Quota, Rate};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

/// What may be told.
#[derive(Debug)]
pub struct Notices(Mutex<Quota<()>>);

impl Default for Notices {
    fn default() -> Self {
        Self(Mutex::new(Quota::new(SESSIONS, 1)))
    }
}

impl Notices {
    /// Whether a session may have a line of its own.
    pub fn session(&self) -> bool {
        self.lock().allows(&(), Instant::now())
    }

    /// Tells how many lines were left out since the last time.
    pub fn summarize(&self) {
        let left_out = self.lock().take_left_out();
        for left_out in left_out {
            info!(count = left_out.count, "more sessions ended, not told one by one");
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

    fn lock(&self) -> MutexGuard<'_, Quota<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SESSIONS: Rate = Rate {
    burst: 2000,
    every: Duration::from_millis(50),
};
const SUMMARY: Duration = Duration::from_secs(60);
