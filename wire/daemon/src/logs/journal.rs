//! Standard error that is the journal of systemd: lines say their priority, and leave the time to the journal.
//!
//! systemd tells which stream is the journal by `JOURNAL_STREAM` (systemd.exec(5)). A program inherits the variable, and may
//! write elsewhere all the same: only where it names this very stream does it count.

use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error is the journal.
pub(crate) fn is_stderr() -> bool {
    let told = std::env::var("JOURNAL_STREAM").ok();
    told.is_some_and(|told| {
        stderr_stream().is_some_and(|(device, inode)| told == format!("{device}:{inode}"))
    })
}

#[cfg(unix)]
fn stderr_stream() -> Option<(u64, u64)> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
    let stream = std::fs::File::from(stderr).metadata().ok()?;
    Some((stream.dev(), stream.ino()))
}

#[cfg(not(unix))]
const fn stderr_stream() -> Option<(u64, u64)> {
    None
}

/// Writes a line's priority before it (sd-daemon(3)).
#[derive(Debug)]
pub(super) struct Prioritized<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// A level as syslog numbers it.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// A text whose lines begin with the priority of an error.
pub(crate) fn error(text: &str) -> String {
    let priority = priority(Level::ERROR);
    format!("<{priority}>{}", text.replace('\n', &format!("\n<{priority}>")))
}
