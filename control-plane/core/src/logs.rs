//! Structured logs: one JSON object a line on standard output, where Lambda picks it up.

use crate::config::LogLevel;
use tracing_subscriber::EnvFilter;

/// From here on. The level is that of the project's own lines; the SDK's are shown from WARN on only, because below that
/// they print requests.
pub fn start(level: LogLevel) {
    let ours = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = OURS.iter().fold(EnvFilter::new("warn"), |filter, target| {
        match format!("{target}={ours}").parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        }
    });
    // A second start in one process (a failed one before it) changes nothing.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
}

const OURS: [&str; 4] = [
    "fluidity_control_plane",
    "fluidity_wake",
    "fluidity_sleep",
    "fluidity_kill",
];
