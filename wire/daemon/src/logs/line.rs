//! What stands in a log line: each value on the one line, bounded, and told from the next.
//!
//! A value that came from elsewhere can neither begin a line, nor act on a terminal, nor look like another field: what
//! is dangerous is escaped, what has a space, a quote or an equals sign stands in quotes, and what is long is cut.

use crate::escape::{Bounded, escaped, escaped_json, is_dangerous, quoted};
use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::io::{self, stderr};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the fields of an event or a span as text.
#[derive(Debug)]
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn put(&mut self, name: &str, value: &str) {
        if self.result.is_ok() {
            self.result = self.try_put(name, value);
        }
    }

    fn try_put(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.writer.write_char(' ')?;
        }
        if name == MESSAGE {
            return self.writer.write_str(value);
        }
        if self.writer.has_ansi_escapes() {
            write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}")
        } else {
            write!(self.writer, "{name}={value}")
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.put(MESSAGE, &escaped(value, MOST));
        } else {
            self.put(field.name(), &quoted(value, MOST));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = Bounded::write(MOST, format_args!("{value}"));
        let mut source = value.source();
        while let Some(error) = source.filter(|_| text.len() <= MOST) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {}", Bounded::write(MOST, format_args!("{error}")));
            source = error.source();
        }
        self.put(field.name(), &quoted(&text, MOST));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = Bounded::write(MOST, format_args!("{value:?}"));
        if field.name() == MESSAGE {
            self.put(MESSAGE, &escaped(&text, MOST));
        } else if stands_alone(&text) || is_quoted(&text) {
            self.put(field.name(), &escaped(&text, MOST));
        } else {
            self.put(field.name(), &quoted(&text, MOST));
        }
    }
}

/// Whether nothing in the text can be taken for its end.
fn stands_alone(text: &str) -> bool {
    let parts = |char: char| is_dangerous(char) || char.is_whitespace() || matches!(char, '"' | '=' | '\\');
    !text.is_empty() && !text.contains(parts)
}

/// Whether a text is one string as Rust writes it.
fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else { return false };
    let mut free = true;
    for char in inner.chars() {
        free = match (free, char) {
            (true, '"') => return false,
            (true, '\\') => false,
            _ => true,
        };
    }
    free
}

/// Standard error for JSON lines: what a terminal would act on is escaped as JSON does.
#[derive(Debug, Default)]
pub(super) struct JsonStderr;

impl io::Write for JsonStderr {
    /// Takes one whole line, as tracing hands it out.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let clean = escaped_json(&String::from_utf8_lossy(line));
        stderr().write_all(clean.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

const MESSAGE: &str = "message";
/// Characters of a value or message.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::subscriber::with_default;
    use tracing::{info, info_span};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(event: impl FnOnce()) -> String {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(Fields)
            .with_ansi(false)
            .without_time()
            .with_writer(kept.clone())
            .finish();
        with_default(subscriber, event);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str =
        "bye\n2026-11-28T09:09:09Z  INFO agent connected\u{1b}[2J\u{9b}0m\u{202e}\r\" agent=good";

    #[test]
    fn no_value_and_no_message_begins_a_line_or_acts_on_a_terminal() {
        let error = io::Error::other(EVIL);
        let cause: &(dyn Error + 'static) = &error;
        let log = logged(|| {
            let _span = info_span!("connection", id = 1, name = %EVIL, text = EVIL).entered();
            info!(%error, debug = ?EVIL, text = EVIL, display = %EVIL, list = ?[EVIL], "end");
            info!(error = cause, "again");
            info!("end of {}", EVIL.replace('"', ""));
        });
        assert_eq!(log.lines().count(), 3, "{log}");
        let bad = |char: char| is_dangerous(char) && char != '\n';
        assert!(!log.contains(bad), "{log:?}");
        // Outside of quotes there is no field that was not logged.
        assert!(!log.replace("\\\"", "").contains("\" agent="), "{log}");
    }

    #[test]
    fn values_that_stand_alone_are_bare_and_all_others_in_quotes() {
        let log = logged(|| {
            info!(
                up = 7,
                peer.addr = %"127.0.0.1:80",
                end = "finished",
                reason = %"closed by peer: normal",
                waited = ?std::time::Duration::from_millis(1500),
                text = ?"it \"is\" so",
                forged = %"\"a\" agent=\"b\"",
                "done: all"
            );
        });
        for part in [
            "done: all up=7 peer.addr=127.0.0.1:80 end=\"finished\" ",
            " reason=\"closed by peer: normal\" waited=1.5s text=\"it \\\"is\\\" so\" ",
            " forged=\"\\\"a\\\" agent=\\\"b\\\"\"\n",
        ] {
            assert!(log.contains(part), "no {part:?} in {log}");
        }
    }

    #[test]
    fn a_long_value_and_a_long_message_are_cut() {
        let long = "x".repeat(1 << 20);
        let log = logged(|| info!(text = long, display = %long, debug = ?long, "{long}"));
        assert!(log.len() < 5 * MOST, "{}", log.len());
    }
}
