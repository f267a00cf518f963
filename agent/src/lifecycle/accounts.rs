//! The task that keeps the ledger: every half minute it counts what the server was awake for and what it sent.

use super::ledger::{Cost, Ledger, Prices};
use crate::tunnel::{Phase, State};
use fluidity_wire::relay::RelayCounters;
use std::env::var_os;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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
    file: Option<PathBuf>,
    /// It was told that the file cannot be written.
    warned: AtomicBool,
    phase: watch::Receiver<Phase>,
    moved: Arc<RelayCounters>,
}

impl Accounts {
    /// Opens the ledger in `file`, or in the state directory of the service or the user. Says where it cannot be kept.
    pub fn open(
        prices: Prices,
        file: Option<PathBuf>,
        phase: watch::Receiver<Phase>,
        moved: Arc<RelayCounters>,
    ) -> Self {
        let file = file.or_else(|| default_file(|name| var_os(name)));
        if file.is_none() {
            warn!("{NO_PLACE}");
        }
        let ledger = Ledger::open(prices, file.clone());
        // Now, while somebody looks on, and not at the first change.
        let written = ledger.save().map_err(|error| refused(file.as_deref(), &error));
        Self {
            ledger: Mutex::new(ledger),
            file,
            warned: AtomicBool::new(written.is_err()),
            phase,
            moved,
        }
    }

    /// What keeps the ledger from being written in `file`, or where it is otherwise, in words for people. Leaves nothing
    /// behind.
    pub fn trouble(file: Option<PathBuf>) -> Option<String> {
        let Some(file) = file.or_else(|| default_file(|name| var_os(name))) else {
            return Some(NO_PLACE.into());
        };
        // Directories on the way are made when they are needed.
        let existing = file.ancestors().skip(1).find(|directory| directory.exists());
        let existing = existing.filter(|directory| !directory.as_os_str().is_empty());
        let trial = existing
            .unwrap_or(Path::new("."))
            .join(format!(".fluidity-{}.tmp", std::process::id()));
        let tried = match file.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => File::create_new(&trial).and_then(|_| std::fs::remove_file(&trial)),
        };
        let error = tried.err()?;
        Some(format!(
            "state-file: {} ({}): {error}",
            NOT_WRITTEN,
            file.display()
        ))
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
                    && !self.warned.swap(true, Ordering::Relaxed)
                {
                    refused(self.file.as_deref(), &error);
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

fn refused(file: Option<&Path>, error: &io::Error) {
    let file = file.unwrap_or(Path::new("")).display();
    warn!(%file, %error, "{NOT_WRITTEN}");
}

/// Where a service or a user's programs keep their state; nothing where no such place is known.
fn default_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    // systemd makes it for the service (`StateDirectory=`), and names several one after the other.
    if let Some(directories) = set("STATE_DIRECTORY") {
        let first = std::env::split_paths(&directories).next()?;
        return Some(first.join("agent.json"));
    }
    let directory = set("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .or_else(|| set("LOCALAPPDATA").map(PathBuf::from))?;
    Some(directory.join("fluidity").join("agent.json"))
}

const NO_PLACE: &str = "the month's account is not kept: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME says where; set state-file";
const NOT_WRITTEN: &str =
    "the month's account cannot be written; make its directory writable or set state-file";
const PERIOD: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_services_then_the_users_then_none() {
        let place = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name);
            default_file(|name| find(name).map(|(_, value)| value.into()))
        };
        let path = |text: &str| Some(PathBuf::from(text));
        let (service, home) = (
            ("STATE_DIRECTORY", "/var/lib/fluidity:/var/lib/b"),
            ("HOME", "/home/ann"),
        );
        assert_eq!(place(&[service, home]), path("/var/lib/fluidity/agent.json"));
        assert_eq!(place(&[home]), path("/home/ann/.local/state/fluidity/agent.json"));
        assert_eq!(
            place(&[("XDG_STATE_HOME", "/state"), home]),
            path("/state/fluidity/agent.json")
        );
        assert_eq!(place(&[("HOME", ""), ("STATE_DIRECTORY", "")]), None);
        assert_eq!(place(&[]), None);
    }
}
