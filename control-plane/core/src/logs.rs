//! Structured logs: one JSON object a line on standard output, where Lambda picks it up.

use crate::config::LogLevel;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// From here on. The level is that of the project's own lines; the SDK's are shown from WARN on only, because below that
/// they print requests.
pub fn start(level: LogLevel) {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(OURS.map(|target| (target, ours)));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_filter(filter);
    // A second start in one process (a failed one before it) changes nothing.
    let _ = Registry::default().with(lines).try_init();
}

const OURS: [&str; 4] = [
    "fluidity_control_plane",
    "fluidity_wake",
    "fluidity_sleep",
    "fluidity_kill",
];
