//! A moment as AWS tags and metrics carry it: whole seconds since 1970. Differences saturate, so that a clock that is
//! wrong never becomes a panic or a huge number.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// From seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// In seconds.
    pub const fn secs(self) -> u64 {
        self.0
    }

    /// The system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From a metric's value. `None` for what no clock says: negative, infinite, not a number.
    pub fn from_metric(value: f64) -> Option<Self> {
        Duration::try_from_secs_f64(value)
            .ok()
            .map(|since| Self(since.as_secs()))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// How far `self` lies ahead of `now`; zero when it is past.
    pub const fn ahead_of(self, now: Self) -> Duration {
        self.since(now)
    }

    /// Earlier by `duration`, at the earliest 1970.
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// Later by `duration`.
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

impl From<SystemTime> for Epoch {
    fn from(time: SystemTime) -> Self {
        // Before 1970 there is no cloud: a clock that says so counts as 1970.
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number of seconds since 1970")]
pub struct NotAnEpoch;

impl FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        // `u64::from_str` takes a leading plus; nobody writes one here.
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(NotAnEpoch);
        }
        text.parse().map(Self).map_err(|_| NotAnEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_in_both_directions() {
        let (early, late) = (Epoch::from_secs(10), Epoch::from_secs(25));
        assert_eq!(late.since(early), Duration::from_secs(15));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.ahead_of(early), Duration::from_secs(15));
        assert_eq!(early.minus(Duration::from_secs(11)), Epoch::from_secs(0));
        assert_eq!(
            Epoch::from_secs(u64::MAX).plus(Duration::from_secs(1)).secs(),
            u64::MAX
        );
    }

    #[test]
    fn a_stamp_is_digits_only() {
        assert_eq!("1700000000".parse(), Ok(Epoch::from_secs(1_700_000_000)));
        for text in ["", "-1", "+1", " 1", "1.5", "1e9", "now", "99999999999999999999"] {
            assert_eq!(text.parse::<Epoch>(), Err(NotAnEpoch), "{text:?}");
        }
    }

    #[test]
    fn a_metric_that_is_no_time_is_none() {
        assert_eq!(Epoch::from_metric(1.7e9), Some(Epoch::from_secs(1_700_000_000)));
        for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Epoch::from_metric(value), None, "{value}");
        }
    }
}
