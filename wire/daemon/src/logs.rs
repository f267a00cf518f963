//! Structured logs on standard error, as text or JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

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
        /// Why.
        source: ParseError,
    },
    /// Logging is set up already.
    #[error("logging is already set up")]
    Installed(#[from] TryInitError),
}

/// Checks a level or filter such as `info` or `info,fluidity_server=debug`.
pub fn check(directives: &str) -> Result<(), LogError> {
    filter(directives).map(drop)
}

/// Sends this process's events to standard error. Call once.
pub fn init(directives: &str, format: LogFormat) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(directives)?)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match format {
        LogFormat::Text => builder.finish().try_init()?,
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .finish()
            .try_init()?,
    }
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError::Filter {
            directives: directives.into(),
            source,
        })
}
