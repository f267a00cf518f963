//! Where a request's body ends, so that the next head on the connection is found and checked too. Pure.

/// How a request's body is delimited, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body, or none left.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked(Chunk),
    /// The chunks make no sense: everything is the body, and hyper, which reads it, ends the connection.
    Broken,
}

/// Where in the chunks a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In a chunk's size; how many digits were read.
    Size { size: u64, digits: u8 },
    /// After the size: an extension, up to the line's end.
    Extension { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// In the line end after the data.
    DataEnd,
    /// At the start of a trailer line, or of the empty one that ends the body.
    Trailer { empty: bool },
}

impl Framing {
    /// The start of a chunked body.
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunk::Size { size: 0, digits: 0 })
    }

    /// How many bytes at the start of `bytes` belong to the body, which they take forward.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::None => 0,
            Self::Broken => bytes.len(),
            Self::Length(left) => {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let taken = here.min(*left);
                *left -= taken;
                if *left == 0 {
                    *self = Self::None;
                }
                usize::try_from(taken).unwrap_or(bytes.len())
            }
            Self::Chunked(_) => self.take_chunks(bytes),
        }
    }

    fn take_chunks(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let (Self::Chunked(chunk), Some(rest)) =
            (*self, bytes.get(at..).filter(|rest| !rest.is_empty()))
        {
            if let Chunk::Data { left } = chunk {
                let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left);
                at += usize::try_from(here).unwrap_or(rest.len());
                *self = Self::Chunked(match left - here {
                    0 => Chunk::DataEnd,
                    left => Chunk::Data { left },
                });
                continue;
            }
            let Some(byte) = rest.first() else { break };
            at += 1;
            *self = chunk.step(*byte);
        }
        if *self == Self::Broken { bytes.len() } else { at }
    }
}

impl Chunk {
    /// One byte outside of data.
    fn step(self, byte: u8) -> Framing {
        let next = match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size {
                    size: (size << 4) | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return Framing::Broken,
            (Self::Size { size, .. } | Self::Extension { size }, b'\n') => match size {
                0 => Self::Trailer { empty: true },
                left => Self::Data { left },
            },
            (Self::Size { size, .. }, b'\r' | b';' | b' ' | b'\t') | (Self::Extension { size }, _) => {
                Self::Extension { size }
            }
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer { empty: true }, b'\n') => return Framing::None,
            (Self::Trailer { empty }, b'\r') => Self::Trailer { empty },
            (Self::Trailer { .. }, byte) => Self::Trailer { empty: byte == b'\n' },
            (Self::Size { .. } | Self::DataEnd | Self::Data { .. }, _) => return Framing::Broken,
        };
        Framing::Chunked(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_is_cut() {
        for (framing, body) in [
            (Framing::None, &b""[..]),
            (Framing::Length(5), b"hello"),
            (Framing::chunked(), b"0\r\n\r\n"),
            (Framing::chunked(), b"5\r\nhello\r\n0\r\n\r\n"),
            (
                Framing::chunked(),
                b"1;a=\"b\"\r\nx\r\nA\r\n0123\r\n6789\r\n0;z\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
            ),
            (Framing::chunked(), b"3\nabc\n0\n\n"),
        ] {
            let mut stream = body.to_vec();
            stream.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            for step in [1, 2, 3, 7, stream.len()] {
                let mut left = framing;
                let mut taken = 0;
                for part in stream.chunks(step) {
                    let here = left.take(part);
                    taken += here;
                    if here < part.len() {
                        break;
                    }
                }
                assert_eq!(taken, body.len(), "{framing:?} in steps of {step}");
                assert_eq!(left, Framing::None);
            }
        }
    }

    #[test]
    fn chunks_without_sense_take_everything() {
        for body in [
            &b"xyz\r\n"[..],
            b"\r\n",
            b"5\r\nhelloworld\r\n",
            b"11111111111111111\r\n",
            b"-1\r\n",
        ] {
            let mut framing = Framing::chunked();
            assert_eq!(framing.take(body), body.len(), "{body:?}");
            assert_eq!(framing, Framing::Broken);
        }
    }
}
