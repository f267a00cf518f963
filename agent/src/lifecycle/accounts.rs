//! The task that keeps the ledger: every half minute it counts what the server was awake for and what it sent.

use super::ledger::{Cost, Ledger, Prices};
use crate::tunnel::{Phase, State};
use fluidity_wire::relay::RelayCounters;
use std::env::var_os;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The ledger, and where what is counted comes from.
#[derive(Debug)]
pub struct Accounts {
    ledger: Mutex<Ledger>,
    phase: watch::Receiver<Phase>,
    moved: Arc<RelayCounters>,
}

impl Accounts {
    /// Opens the ledger in `file`, or in the user's state directory.
    pub fn open(
        prices: Prices,
        file: Option<PathBuf>,
        phase: watch::Receiver<Phase>,
        moved: Arc<RelayCounters>,
    ) -> Self {
        Self {
            ledger: Mutex::new(Ledger::open(prices, file.or_else(default_file))),
            phase,
            moved,
        }
    }

    /// The month so far.
    pub fn cost(&self) -> Cost {
        self.lock().cost(SystemTime::now())
    }

    /// Counts until `stop`, and once more then.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counted = 0;
        let mut warned = false;
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            let moved = self.moved.inward.load(Ordering::Relaxed);
            let changed = self.count(moved - counted);
            counted = moved;
            // A file system may be slow: not on a thread that carries bytes.
            if changed {
                let accounts = self.clone();
                let saved = tokio::task::spawn_blocking(move || accounts.lock().save()).await;
                if let Ok(Err(error)) = saved
                    && !std::mem::replace(&mut warned, true)
                {
                    warn!(%error, "the month's account cannot be written (state-file)");
                }
            }
            if stopped {
                return;
            }
        }
    }

    /// Returns whether there was anything to count.
    fn count(&self, bytes: u64) -> bool {
        let awake_since = {
            let phase = self.phase.borrow();
            phase.awake_since.filter(|_| phase.state == State::Connected)
        };
        let now = SystemTime::now();
        match awake_since {
            Some(since) => self.lock().count(since, now, bytes),
            None if bytes > 0 => self.lock().count(now, now, bytes),
            None => return false,
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a user's programs keep their state; nothing where no such place is known.
fn default_file() -> Option<PathBuf> {
    let directory = var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .or_else(|| var_os("LOCALAPPDATA").map(PathBuf::from))?;
    Some(directory.join("fluidity").join("agent.json"))
}

const PERIOD: Duration = Duration::from_secs(30);
