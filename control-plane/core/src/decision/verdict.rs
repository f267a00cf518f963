//! What was decided, and why: as a value, as JSON and as a sentence.

use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// What to do with the service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Decision {
    /// It is at zero.
    Nothing,
    /// Leave it running.
    Keep(Keep),
    /// Set it to zero.
    Stop(Stop),
}

/// Why it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Keep {
    /// It does not run yet, and still has time.
    Starting {
        /// For how long.
        #[serde(rename = "waitedSeconds", serialize_with = "seconds")]
        waited: Duration,
        /// How long it may.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// Someone is connected.
    Active {
        /// The most in one fresh period.
        connections: f64,
    },
    /// A clock is wrong.
    Future {
        /// Which.
        clock: Clock,
        /// How far it is ahead of ours.
        #[serde(rename = "aheadSeconds", serialize_with = "seconds")]
        ahead: Duration,
    },
    /// It was woken not long ago.
    RecentWake {
        /// How long ago.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// How long that counts.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// Its task began to run not long ago.
    RecentStart {
        /// How long ago.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// How long that counts.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// It was used not long ago.
    RecentActivity {
        /// How long ago.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// How long that counts.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// CloudWatch could not be read.
    Unreadable,
    /// Its metrics do not prove that it is idle: they are missing, stale or too few.
    Unknown {
        /// For how long.
        #[serde(rename = "unknownSeconds", serialize_with = "seconds")]
        unknown: Duration,
        /// How long it may be.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// It was to be stopped, and someone woke, stopped or changed it before that was done.
    Overtaken,
}

/// Why it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Stop {
    /// Nobody is connected, and nobody has used it for longer than the threshold.
    Idle {
        /// For how long.
        #[serde(rename = "idleSeconds", serialize_with = "seconds")]
        idle: Duration,
        /// The threshold.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// Nothing has been known about it for too long.
    Unknown {
        /// For how long.
        #[serde(rename = "unknownSeconds", serialize_with = "seconds")]
        unknown: Duration,
        /// How long it may be.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// It never got to run; ECS would try, and bill, for ever.
    NeverRan {
        /// For how long it was waited for.
        #[serde(rename = "waitedSeconds", serialize_with = "seconds")]
        waited: Duration,
        /// How long it may take.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
}

/// A clock that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The wake stamp's.
    Wake,
    /// ECS's, of the task's start.
    Start,
    /// The server's, in its last activity.
    Activity,
    /// The server's, on its metrics.
    Metric,
}

/// What a person should look at. The word in the log that an alarm goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A start that came to nothing.
    NeverRan,
    /// A server that was stopped because nothing was known about it.
    UnknownTooLong,
    /// A clock that is wrong.
    FutureTimestamp,
    /// CloudWatch could not be read.
    MetricsUnreadable,
}

impl Decision {
    /// Whether a person should look, and at what.
    pub const fn alarm(&self) -> Option<Alarm> {
        match self {
            Self::Stop(Stop::NeverRan { .. }) => Some(Alarm::NeverRan),
            Self::Stop(Stop::Unknown { .. }) => Some(Alarm::UnknownTooLong),
            Self::Keep(Keep::Future { .. }) => Some(Alarm::FutureTimestamp),
            Self::Keep(Keep::Unreadable) => Some(Alarm::MetricsUnreadable),
            _ => None,
        }
    }
}

impl Alarm {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NeverRan => "never-ran",
            Self::UnknownTooLong => "unknown-too-long",
            Self::FutureTimestamp => "future-timestamp",
            Self::MetricsUnreadable => "metrics-unreadable",
        }
    }
}

impl Serialize for Alarm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("at zero already"),
            Self::Keep(keep) => write!(f, "kept: {keep}"),
            Self::Stop(stop) => write!(f, "stopped: {stop}"),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Starting { waited, limit } => {
                write!(f, "starting for {}, may take {}", Said(waited), Said(limit))
            }
            Self::Active { connections } => write!(f, "{connections} sessions at once lately"),
            Self::Future { clock, ahead } => {
                write!(f, "{clock} lies {} in the future; is a clock wrong?", Said(ahead))
            }
            Self::RecentWake { ago, limit } => {
                write!(f, "woken {} ago, that counts for {}", Said(ago), Said(limit))
            }
            Self::RecentStart { ago, limit } => {
                write!(f, "running for {}, that counts for {}", Said(ago), Said(limit))
            }
            Self::RecentActivity { ago, limit } => {
                write!(f, "used {} ago, that counts for {}", Said(ago), Said(limit))
            }
            Self::Unreadable => f.write_str("CloudWatch could not be read"),
            Self::Unknown { unknown, limit } => write!(
                f,
                "not known to be idle for {}, may be so for {}",
                Said(unknown),
                Said(limit)
            ),
            Self::Overtaken => f.write_str("someone woke or changed it in the meantime"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Idle { idle, limit } => write!(f, "idle for {}, more than {}", Said(idle), Said(limit)),
            Self::Unknown { unknown, limit } => write!(
                f,
                "nothing known about it for {}, more than {}: does the server publish its metrics?",
                Said(unknown),
                Said(limit)
            ),
            Self::NeverRan { waited, limit } => write!(
                f,
                "not running after {}, more than {}: see the service's events in ECS",
                Said(waited),
                Said(limit)
            ),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wake => "the last wake",
            Self::Start => "the start",
            Self::Activity => "the server's last activity",
            Self::Metric => "a metric",
        })
    }
}

/// A duration as a person says it: `2h 5m`, `14m 59s`, `7s`.
struct Said(Duration);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let (hours, minutes, secs) = (all / 3600, all / 60 % 60, all % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{secs}s"),
            (0, _) => write!(f, "{minutes}m {secs}s"),
            _ => write!(f, "{hours}h {minutes}m"),
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}
