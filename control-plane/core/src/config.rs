//! What the functions are told by their environment. Read once, checked whole: what is wrong is named with its variable,
//! its value and what it should be.

#[cfg(test)]
mod tests;

use crate::decision::Thresholds;
use std::fmt;
use std::time::Duration;

/// The checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The ECS cluster: `ECS_CLUSTER_NAME`.
    pub cluster: Name,
    /// The ECS service: `ECS_SERVICE_NAME`.
    pub service: Name,
    /// The port that agents dial: `SERVER_PORT`.
    pub server_port: u16,
    /// The host that agents dial, where it is not the task's own address: `SERVER_HOST`.
    pub server_host: Option<String>,
    /// `IDLE_THRESHOLD_MINS`, `LOOKBACK_PERIOD_MINS`, `MAX_UNKNOWN_MINS`, `START_TIMEOUT_MINS`, `METRIC_PERIOD_SECS`.
    pub thresholds: Thresholds,
    /// `LOG_LEVEL`.
    pub log_level: LogLevel,
}

/// A name of a cluster or service, never an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// From which level on the project's own lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what made a call fail.
    Error,
    /// And what a person should look at.
    Warn,
    /// And one line for each call.
    Info,
    /// And each step.
    Debug,
    /// And everything.
    Trace,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It has to be there.
    #[error("{variable} is not set: {wanted}")]
    Missing {
        /// Which.
        variable: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// It is there, and wrong.
    #[error("{variable} is {value:?}: {wanted}")]
    Invalid {
        /// Which.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        wanted: String,
    },
}

impl Config {
    /// From the process's environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(&|variable| std::env::var(variable).ok())
    }

    /// From any environment. A variable that is empty counts as not set.
    pub fn read(environment: &dyn Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let settings = Settings { environment };
        let idle = settings.minutes("IDLE_THRESHOLD_MINS", DEFAULT_IDLE)?;
        let thresholds = Thresholds {
            idle,
            lookback: settings.minutes("LOOKBACK_PERIOD_MINS", DEFAULT_LOOKBACK)?,
            max_unknown: settings.minutes("MAX_UNKNOWN_MINS", DEFAULT_MAX_UNKNOWN.max(idle))?,
            start_timeout: settings.start_timeout()?,
            period: settings.period()?,
        };
        settings.check(&thresholds)?;
        Ok(Self {
            cluster: settings.name("ECS_CLUSTER_NAME")?,
            service: settings.name("ECS_SERVICE_NAME")?,
            server_port: settings.port()?,
            server_host: settings.host()?,
            thresholds,
            log_level: settings.log_level()?,
        })
    }
}

struct Settings<'e> {
    environment: &'e dyn Fn(&'static str) -> Option<String>,
}

impl Settings<'_> {
    fn text(&self, variable: &'static str) -> Option<String> {
        (self.environment)(variable).filter(|value| !value.is_empty())
    }

    fn name(&self, variable: &'static str) -> Result<Name, ConfigError> {
        let wanted = "the name of the ECS cluster or service (1 to 255 of A-Z a-z 0-9 - _), not its ARN";
        let value = self
            .text(variable)
            .ok_or(ConfigError::Missing { variable, wanted })?;
        Name::parse(&value).ok_or_else(|| invalid(variable, value, wanted))
    }

    fn port(&self) -> Result<u16, ConfigError> {
        let Some(value) = self.text("SERVER_PORT") else {
            return Ok(DEFAULT_PORT);
        };
        match value.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(invalid("SERVER_PORT", value, "a port from 1 to 65535")),
        }
    }

    fn host(&self) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text("SERVER_HOST") else {
            return Ok(None);
        };
        let plain = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
        if plain && value.len() <= MAX_HOST {
            Ok(Some(value))
        } else {
            let wanted = "a host name or an address, without a scheme, port or path";
            Err(invalid("SERVER_HOST", value, wanted))
        }
    }

    /// Minutes, with decimals for demonstrations and tests.
    fn minutes(&self, variable: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        let Some(value) = self.text(variable) else {
            return Ok(default);
        };
        let parsed = value
            .parse::<f64>()
            .ok()
            .and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok())
            .map(|exact| Duration::from_secs(exact.as_secs()))
            .filter(|duration| (MIN_DURATION..=MAX_DURATION).contains(duration));
        parsed.ok_or_else(|| invalid(variable, value, "minutes from 0.05 to 1440"))
    }

    fn start_timeout(&self) -> Result<Duration, ConfigError> {
        let variable = "START_TIMEOUT_MINS";
        let timeout = self.minutes(variable, DEFAULT_START_TIMEOUT)?;
        if timeout > MAX_START_TIMEOUT {
            let value = self.text(variable).unwrap_or_default();
            let wanted = "at most 45 minutes: ECS forgets failed tasks after an hour";
            return Err(invalid(variable, value, wanted));
        }
        Ok(timeout)
    }

    fn period(&self) -> Result<Duration, ConfigError> {
        let Some(value) = self.text("METRIC_PERIOD_SECS") else {
            return Ok(DEFAULT_PERIOD);
        };
        let allowed = |secs: &u64| matches!(secs, 1 | 5 | 10 | 30 | 60 | 120 | 180 | 240 | 300);
        let secs = value.parse::<u64>().ok().filter(allowed);
        secs.map(Duration::from_secs).ok_or_else(|| {
            let wanted =
                "a CloudWatch period: 60 (or 120, 180, 240, 300; 1, 5, 10, 30 for high resolution metrics)";
            invalid("METRIC_PERIOD_SECS", value, wanted)
        })
    }

    /// What no single variable says.
    fn check(&self, thresholds: &Thresholds) -> Result<(), ConfigError> {
        let shown = |variable| self.text(variable).unwrap_or_else(|| "the default".to_owned());
        if thresholds.lookback < thresholds.period * LOOKBACK_PERIODS {
            let variable = "LOOKBACK_PERIOD_MINS";
            let wanted =
                "at least three metric periods: two that agree, and the newest, which does not count";
            return Err(invalid(variable, shown(variable), wanted));
        }
        if thresholds.max_unknown < thresholds.idle {
            let variable = "MAX_UNKNOWN_MINS";
            return Err(invalid(variable, shown(variable), "at least IDLE_THRESHOLD_MINS"));
        }
        Ok(())
    }

    fn log_level(&self) -> Result<LogLevel, ConfigError> {
        let Some(value) = self.text("LOG_LEVEL") else {
            return Ok(LogLevel::Info);
        };
        LogLevel::parse(&value)
            .ok_or_else(|| invalid("LOG_LEVEL", value, "error, warn, info, debug or trace"))
    }
}

fn invalid(variable: &'static str, value: String, wanted: &str) -> ConfigError {
    ConfigError::Invalid {
        variable,
        value,
        wanted: wanted.to_owned(),
    }
}

impl Name {
    /// `None` for what ECS would not take as a name.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        (plain && (1..=MAX_NAME).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogLevel {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            "trace" => Some(Self::Trace),
            _ => None,
        }
    }
}

const DEFAULT_IDLE: Duration = Duration::from_secs(15 * 60);
const DEFAULT_LOOKBACK: Duration = Duration::from_secs(5 * 60);
const DEFAULT_MAX_UNKNOWN: Duration = Duration::from_secs(20 * 60);
const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const DEFAULT_PERIOD: Duration = Duration::from_secs(60);
const DEFAULT_PORT: u16 = 443;
const MIN_DURATION: Duration = Duration::from_secs(3);
const MAX_START_TIMEOUT: Duration = Duration::from_secs(45 * 60);
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
const LOOKBACK_PERIODS: u32 = 3;
const MAX_NAME: usize = 255;
const MAX_HOST: usize = 253;
