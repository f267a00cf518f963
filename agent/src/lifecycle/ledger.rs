//! What the server's waking hours cost this month, as far as this agent saw them: an estimate.
//!
//! Counted while the agent is connected, from when the server says that it woke; what the agent did not see (another
//! agent's evening, say) is not in it. Kept in a file, so that a restart forgets nothing; a file that cannot be read or
//! written costs the estimate and nothing else.

use fluidity_daemon::ports;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tracing::warn;

/// Prices, in some currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// One hour of a server that is awake, its address included.
    pub hour: f64,
    /// One gigabyte (10^9 bytes) that leaves the cloud.
    pub gigabyte: f64,
    /// The currency's code.
    pub currency: String,
}

/// The account of one month.
#[derive(Debug)]
pub struct Ledger {
    prices: Prices,
    file: Option<PathBuf>,
    page: Page,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    /// Such as `2026-11`.
    month: String,
    /// The last second (Unix time) up to which waking time was counted.
    counted_to: u64,
    awake_seconds: u64,
    bytes_down: u64,
}

/// The month so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Such as `2026-11`.
    pub month: String,
    /// How long the server was awake.
    pub awake_seconds: u64,
    /// What it sent to this agent.
    pub bytes_down: u64,
    /// What that costs, by the configured prices.
    pub estimate: f64,
    /// In this currency.
    pub currency: String,
}

impl Ledger {
    /// Goes on with what the file holds. Says where that is not understood: it is put aside, as it may be another file.
    pub fn open(prices: Prices, file: Option<PathBuf>) -> Self {
        let page = file.as_deref().map(read).unwrap_or_default();
        Self { prices, file, page }
    }

    /// The server was awake from `since` until `now`, and sent `bytes` more to this agent. Time that was counted
    /// before is not counted again, whichever connection or process counted it.
    pub fn count(&mut self, since: SystemTime, now: SystemTime, bytes: u64) {
        let (since, now) = (seconds(since), seconds(now));
        self.turn(now);
        let from = since.max(self.page.counted_to).max(month_start(now));
        // Two clocks are in play: what seems to be ahead of now is not counted yet.
        if from < now {
            self.page.awake_seconds += now - from;
            self.page.counted_to = now;
        }
        self.page.bytes_down += bytes;
    }

    /// The month so far.
    pub fn cost(&self, now: SystemTime) -> Cost {
        let month = month(seconds(now));
        let page = match month == self.page.month {
            true => self.page.clone(),
            false => Page {
                month,
                ..Page::default()
            },
        };
        let hours = Duration::from_secs(page.awake_seconds).as_secs_f64() / 3600.0;
        // Exact up to 2^53 bytes, which are 9 petabytes.
        #[expect(clippy::as_conversions, reason = "an estimate")]
        let gigabytes = page.bytes_down as f64 / 1e9;
        Cost {
            month: page.month,
            awake_seconds: page.awake_seconds,
            bytes_down: page.bytes_down,
            estimate: hours * self.prices.hour + gigabytes * self.prices.gigabyte,
            currency: self.prices.currency.clone(),
        }
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        ports::write(file, &self.page)
    }

    fn turn(&mut self, now: u64) {
        let month = month(now);
        if self.page.month != month {
            self.page = Page {
                month,
                counted_to: self.page.counted_to,
                ..Page::default()
            };
        }
    }
}

fn read(file: &Path) -> Page {
    // What cannot be read cannot be written either, which is told.
    let Ok(bytes) = std::fs::read(file) else {
        return Page::default();
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let mut aside = file.as_os_str().to_owned();
        aside.push(".old");
        // Where it cannot be moved, nothing can be written in its place either.
        let kept = std::fs::rename(file, &aside).is_ok();
        warn!(
            file = %file.display(),
            kept_as = kept.then(|| Path::new(&aside).display().to_string()),
            "the month's account is not understood, and begins anew; is it the file that state-file should name?"
        );
        Page::default()
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn date(seconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn month(seconds: u64) -> String {
    let date = date(seconds);
    format!("{:04}-{:02}", date.year(), u8::from(date.month()))
}

fn month_start(now: u64) -> u64 {
    let date = date(now);
    let into = u64::from(date.day() - 1) * 86_400
        + u64::from(date.hour()) * 3600
        + u64::from(date.minute()) * 60
        + u64::from(date.second());
    now.saturating_sub(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(file: Option<PathBuf>) -> Ledger {
        let prices = Prices {
            hour: 0.5,
            gigabyte: 0.25,
            currency: "USD".into(),
        };
        Ledger::open(prices, file)
    }

    fn at(text: &str) -> SystemTime {
        let format = &time::format_description::well_known::Rfc3339;
        OffsetDateTime::parse(text, format).unwrap().into()
    }

    #[test]
    fn an_hour_is_counted_once_however_often_it_is_told() {
        let mut ledger = ledger(None);
        let woke = at("2026-11-25T10:00:00Z");
        for now in [
            "2026-11-25T10:20:00Z",
            "2026-11-25T10:20:00Z",
            "2026-11-25T11:00:00Z",
        ] {
            ledger.count(woke, at(now), 1_000_000_000);
        }
        let cost = ledger.cost(at("2026-11-25T12:00:00Z"));
        assert_eq!((cost.awake_seconds, cost.bytes_down), (3600, 3_000_000_000));
        assert!((cost.estimate - 1.25).abs() < 1e-9, "{cost:?}");
    }

    #[test]
    fn a_month_begins_with_nothing_and_with_its_own_hours_only() {
        let mut ledger = ledger(None);
        let woke = at("2026-11-30T23:00:00Z");
        ledger.count(woke, at("2026-11-30T23:30:00Z"), 5);
        ledger.count(woke, at("2026-12-01T00:10:00Z"), 7);
        let cost = ledger.cost(at("2026-12-01T00:10:00Z"));
        assert_eq!(
            (cost.month.as_str(), cost.awake_seconds, cost.bytes_down),
            ("2026-12", 600, 7)
        );
        assert_eq!(ledger.cost(at("2027-01-01T00:00:00Z")).awake_seconds, 0);
    }

    #[test]
    fn a_restart_forgets_nothing_and_a_broken_file_costs_the_past_alone() {
        let directory = std::env::temp_dir().join(format!("fluidity-ledger-{}", std::process::id()));
        let file = directory.join("below/agent.json");
        let (woke, now) = (at("2026-11-25T10:00:00Z"), at("2026-11-25T10:01:00Z"));
        let mut first = ledger(Some(file.clone()));
        first.count(woke, now, 10);
        first.save().unwrap();
        let mut second = ledger(Some(file.clone()));
        second.count(woke, now, 1);
        let cost = second.cost(now);
        assert_eq!((cost.awake_seconds, cost.bytes_down), (60, 11));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(ledger(Some(file)).cost(now).awake_seconds, 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_server_whose_clock_is_ahead_costs_nothing_yet() {
        let mut ledger = ledger(None);
        ledger.count(at("2026-11-25T12:00:00Z"), at("2026-11-25T11:59:00Z"), 0);
        assert_eq!(ledger.cost(at("2026-11-25T12:00:00Z")).awake_seconds, 0);
    }
}
