//! The chunks of an answer's body (RFC 9112 §7.1), followed so that its end is known, and written plainer in place: no
//! extensions, no spaces, no row of zeros, which hyper counts against a limit for the whole body. Data stay where they
//! are unless something before them was taken out. Pure.

use super::AnswerError;

/// Where in the chunks a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of the line that is being read.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a chunk's size.
    Size {
        size: u64,
        digits: bool,
    },
    /// Behind the size: spaces, or an extension.
    Extension {
        size: u64,
        named: bool,
    },
    /// Behind the line's CR.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Behind the data.
    DataEnd {
        returned: bool,
    },
    /// Behind the line of the last chunk.
    Last,
}

/// What became of a piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Bytes at the piece's start that pass.
    pub(super) kept: usize,
    /// Bytes that were chunks; those behind them are none.
    pub(super) taken: usize,
    /// Set when nothing behind them makes sense.
    pub(super) error: Option<AnswerError>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            at: At::start(),
            line: 0,
        }
    }
}

impl Chunks {
    /// Follows a piece up to its end, or the trailer section.
    pub(super) fn pass(&mut self, piece: &mut [u8]) -> Passed {
        let mut passed = Passed {
            kept: 0,
            taken: 0,
            error: None,
        };
        while self.at != At::Last && passed.taken < piece.len() {
            if let At::Data { left } = self.at {
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(piece.len() - passed.taken);
                if passed.kept < passed.taken {
                    piece.copy_within(passed.taken..passed.taken + here, passed.kept);
                }
                passed.kept += here;
                passed.taken += here;
                self.at = match left - u64::try_from(here).unwrap_or(left) {
                    0 => At::DataEnd { returned: false },
                    left => At::Data { left },
                };
                continue;
            }
            let Some(byte) = piece.get(passed.taken).copied() else {
                break;
            };
            match self.step(byte) {
                Ok(keep) => {
                    if keep && let Some(place) = piece.get_mut(passed.kept) {
                        *place = byte;
                        passed.kept += 1;
                    }
                    passed.taken += 1;
                }
                Err(reason) => {
                    passed.error = Some(AnswerError::Chunks(reason));
                    break;
                }
            }
        }
        passed
    }

    /// The last chunk is through: the trailer section follows.
    pub(super) fn is_last(&self) -> bool {
        self.at == At::Last
    }

    /// One byte outside of data; whether it passes.
    fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err("a line is too long");
        }
        let (next, keep) = match (self.at, byte) {
            (At::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let longer = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                let size_now = longer
                    .filter(|size| *size <= super::MOST_LENGTH)
                    .ok_or("a size is too large")?;
                let again = digits && size_now == 0;
                (
                    At::Size {
                        size: size_now,
                        digits: true,
                    },
                    !again,
                )
            }
            (At::Size { digits: false, .. }, _) => return Err("a size is missing"),
            (At::Size { size, .. } | At::Extension { size, .. }, b'\r') => (At::SizeEnd { size }, true),
            (At::Size { size, .. }, b' ' | b'\t') => (At::Extension { size, named: false }, false),
            (At::Extension { size, named: false }, b' ' | b'\t') => {
                (At::Extension { size, named: false }, false)
            }
            (At::Size { size, .. } | At::Extension { size, named: false }, b';') => {
                (At::Extension { size, named: true }, false)
            }
            (At::Extension { size, named: true }, byte) if byte != b'\n' => {
                (At::Extension { size, named: true }, false)
            }
            (At::Size { .. } | At::Extension { .. }, _) => return Err("a size is not a hexadecimal number"),
            (At::SizeEnd { size: 0 }, b'\n') => (At::Last, true),
            (At::SizeEnd { size }, b'\n') => (At::Data { left: size }, true),
            (At::SizeEnd { .. }, _) => return Err("a line does not end as lines do"),
            (At::DataEnd { returned: false }, b'\r') => (At::DataEnd { returned: true }, true),
            (At::DataEnd { returned: true }, b'\n') => {
                self.line = 0;
                (At::start(), true)
            }
            (At::DataEnd { .. } | At::Data { .. } | At::Last, _) => {
                return Err("a chunk is longer than its size says");
            }
        };
        if matches!(next, At::Data { .. }) {
            self.line = 0;
        }
        self.at = next;
        Ok(keep)
    }
}

impl At {
    const fn start() -> Self {
        Self::Size {
            size: 0,
            digits: false,
        }
    }
}

/// Bytes of a line that tells of a chunk. Extensions of any use are far shorter.
const LONGEST_LINE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(body: &[u8], step: usize) -> (Vec<u8>, usize, Option<AnswerError>, bool) {
        let mut chunks = Chunks::default();
        let (mut out, mut taken) = (Vec::new(), 0);
        for piece in body.chunks(step) {
            let mut piece = piece.to_vec();
            let passed = chunks.pass(&mut piece);
            out.extend_from_slice(&piece[..passed.kept]);
            taken += passed.taken;
            if passed.error.is_some() || passed.taken < piece.len() {
                return (out, taken, passed.error, chunks.is_last());
            }
        }
        (out, taken, None, chunks.is_last())
    }

    #[test]
    fn chunks_pass_plain_however_they_are_cut() {
        let zeros = [b"0".repeat(100), b"5\r\nhello\r\n0\r\n".to_vec()].concat();
        let extension = [
            b"5;a=".to_vec(),
            b"x".repeat(4000),
            b"\r\nhello\r\n0\r\n".to_vec(),
        ]
        .concat();
        for (body, plain) in [
            (&b"0\r\n"[..], &b"0\r\n"[..]),
            (b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n"),
            (b"5;a=\"b;c\"\r\nhello\r\n000;z\r\n", b"5\r\nhello\r\n0\r\n"),
            (b"5 \t;a\r\nhello\r\n0 \r\n", b"5\r\nhello\r\n0\r\n"),
            (
                b"0a\r\n0123456789\r\n0F\r\n012345678901234\r\n0\r\n",
                b"0a\r\n0123456789\r\n0F\r\n012345678901234\r\n0\r\n",
            ),
            (&zeros, b"05\r\nhello\r\n0\r\n"),
            (&extension, b"5\r\nhello\r\n0\r\n"),
        ] {
            let mut stream = body.to_vec();
            stream.extend_from_slice(b"\r\nHTTP/1.1 200");
            for step in [1, 2, 3, 7, stream.len()] {
                let (out, taken, error, last) = pass(&stream, step);
                assert_eq!(
                    (out.as_slice(), taken, error, last),
                    (plain, body.len(), None, true),
                    "steps of {step}"
                );
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_what_came_before_passes() {
        let long = [b"5;".to_vec(), b"x".repeat(9000)].concat();
        for (body, plain) in [
            (&b"xyz\r\n"[..], &b""[..]),
            (b"\r\n", b""),
            (b"-1\r\n", b""),
            (b"+5\r\nhello", b""),
            (b"0x5\r\nhello", b"0"),
            (b"5 5\r\n", b"5"),
            (b"5\nhello", b"5"),
            (b"5\rhello", b"5\r"),
            (b"5;a\nhello", b"5"),
            (b"5\r\nhelloworld\r\n", b"5\r\nhello"),
            (b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello"),
            (b"5\r\nhello\r0", b"5\r\nhello\r"),
            (b"fffffffffffffffff\r\n", b"fffffffffffffff"),
            (b"10000000000000000\r\n", b"100000000000000"),
            (&long, b"5"),
        ] {
            for step in [1, 2, 5, body.len()] {
                let (out, _, error, last) = pass(body, step);
                assert!(
                    matches!(error, Some(AnswerError::Chunks(_))),
                    "{body:?}: {error:?}"
                );
                assert!(!last);
                assert!(
                    out.starts_with(plain) && out.len() <= plain.len() + 1,
                    "{body:?}: {out:?}"
                );
            }
        }
    }
}
