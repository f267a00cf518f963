//! Structured logs on standard error, as text (in the journal with priorities, `journal`) or JSON. No value can forge a line or act on a terminal (`line`).

pub(crate) mod journal;
mod line;

use line::{Fields, JsonStderr};
use serde::{Deserialize, Serialize};
use std::env::var_os;
use std::fmt;
use std::io::{IsTerminal, stderr};
use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt as lines};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// The `log` section of a daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// A level or filter.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
}

/// A level or filter that the log understands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel(pub String);

impl TryFrom<String> for LogLevel {
    type Error = LogError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check(&text).map(|()| Self(text))
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level or filter is none.
    #[error(
        "`{directives}` is not a log level or filter; use error, warn, info, debug or trace, or MODULE=LEVEL,…"
    )]
    Filter {
        /// What was given.
        directives: String,
        /// Why, where the filter's own parser says.
        source: Option<ParseError>,
    },
    /// Logging is set up already.
    #[error("logging is already set up")]
    Installed(#[from] TryInitError),
}

/// Checks a level or filter such as `info` or `info,fluidity_server=debug`.
fn check(directives: &str) -> Result<(), LogError> {
    filter(directives).map(drop)
}

/// Sends this process's events to standard error; colours only for a terminal, and not where `NO_COLOR` is set.
///
/// A second call changes nothing and says so.
pub fn init(directives: &str, format: LogFormat) -> Result<(), LogError> {
    let colours = stderr().is_terminal() && var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = match format {
        LogFormat::Text if journal::is_stderr() => lines::layer()
            .event_format(journal::Prioritized(lines::format().without_time()))
            .fmt_fields(Fields)
            .with_writer(stderr)
            .with_ansi(false)
            .boxed(),
        LogFormat::Text => lines::layer()
            .fmt_fields(Fields)
            .with_writer(stderr)
            .with_ansi(colours)
            .boxed(),
        LogFormat::Json => lines::layer()
            .json()
            .flatten_event(true)
            .with_writer(JsonStderr::default)
            .with_ansi(false)
            .boxed(),
    };
    let registry = Registry::default().with(lines.with_filter(filter(directives)?));
    Ok(registry.try_init()?)
}

fn filter(directives: &str) -> Result<Targets, LogError> {
    let error = |source| LogError::Filter {
        directives: directives.into(),
        source,
    };
    let parts: Vec<_> = directives.split(',').map(str::trim).collect();
    // To the parser, a misspelt level (`inof`) is the name of a module, all of whose events are to be shown.
    let misspelt = |part: &&str| {
        part.is_empty()
            || part.contains(['[', ']'])
            || !part.contains('=') && LevelFilter::from_str(part).is_err()
    };
    if parts.iter().any(misspelt) {
        return Err(error(None));
    }
    // Not `EnvFilter`: what it can do beyond this is nowhere promised, and brings a regex engine into every image.
    let filter: Targets = parts.join(",").parse().map_err(|source| error(Some(source)))?;
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_misspelt_ones() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,fluidity_server=debug",
            "info, fluidity_wire::link=trace",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "inof",
            "",
            "info,",
            "verbose",
            "info,fluidity_server",
            "fluidity_server=loud",
            "warn,[session]=debug",
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!(
                    "`{bad}` is not a log level or filter; use error, warn, "
                )),
                "{error}"
            );
        }
    }

    #[test]
    fn logging_is_set_up_once_and_a_second_time_is_no_panic() {
        // Another test of this process may have been first: then both calls say so.
        let _ = init("info", LogFormat::Text);
        assert!(matches!(
            init("info", LogFormat::Json),
            Err(LogError::Installed(_))
        ));
    }

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = serde_json::to_string(&format).unwrap();
            assert_eq!(written, format!("\"{format}\""));
            assert_eq!(serde_json::from_str::<LogFormat>(&written).unwrap(), format);
        }
    }
}
