//! Heads of HTTP/1.1 answers and requests, read as far as these programs need them.

use std::io::{self, BufRead, Read};

/// What is read of a head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Its first line.
    pub line: String,
    /// Of an answer; 0 where there is none.
    pub status: u16,
    /// The body's length.
    pub length: u64,
}

const MOST: u64 = 16 * 1024;

/// Reads a head.
pub fn read(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut limited = reader.take(MOST);
    let mut head = Head {
        line: String::new(),
        status: 0,
        length: 0,
    };
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line)? == 0 {
            let kind = if head.line.is_empty() {
                io::ErrorKind::ConnectionAborted
            } else {
                io::ErrorKind::UnexpectedEof
            };
            return Err(io::Error::new(kind, "ended before a head was there"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(head);
        }
        if head.line.is_empty() {
            head.status = line
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0);
            line.clone_into(&mut head.line);
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            head.length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Reads an answer to its end.
pub fn finish(reader: &mut impl BufRead) -> io::Result<()> {
    let length = read(reader)?.length;
    let got = io::copy(&mut reader.take(length), &mut io::sink())?;
    if got == length {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("ended after {got} of {length} bytes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_to_its_end_and_no_further() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP"[..];
        let head = read(&mut bytes).expect("a head");
        assert_eq!((head.status, head.length), (200, 3));
        assert_eq!(bytes, b"abcHTTP");
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        for cut in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
            b"HTTP/1.1 200",
            b"",
        ] {
            assert!(finish(&mut { cut }).is_err());
        }
        assert!(finish(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..]).is_ok());
    }
}
