//! Standard output and standard error of a command, either of which its reader may close early: `… | head -1`.
//!
//! That the reader has left is no error, and no reason to stop half-way through what was asked for: the rest is said to
//! nobody, and the command ends with its own exit code.

use crate::logs::journal;
use std::io::{self, ErrorKind, Write};

/// Prints to standard output, for as long as somebody reads it.
///
/// # Errors
/// The output takes no more for another reason, a full disk say.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = Patient(io::stdout().lock());
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Standard output, for as long as somebody reads it.
pub fn stdout() -> impl Write {
    Patient(io::stdout().lock())
}

/// Says something on standard error; where nobody hears it, there is nowhere else to say it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says on standard error why a command failed; the journal is told that it is an error.
pub fn failed(text: &str) {
    let text = format!("error: {text}");
    match journal::is_stderr() {
        true => note(&journal::error(&text)),
        false => note(&text),
    }
}

/// Takes everything, also when its reader has left.
struct Patient<W>(W);

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_left_is_no_error_and_a_full_disk_is_one() {
        let mut left = Patient(Broken(ErrorKind::BrokenPipe));
        assert!(left.write_all(b"text").and_then(|()| left.flush()).is_ok());
        let mut full = Patient(Broken(ErrorKind::StorageFull));
        assert!(full.write_all(b"text").is_err() && full.flush().is_err());
    }
}
