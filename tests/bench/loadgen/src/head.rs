//! Just enough HTTP/1.1 to read an answer: the head, its status and its Content-Length.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads to the end of a head; (the head's length, bytes in the buffer).
pub async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    let (mut have, mut scanned) = (0, 0_usize);
    loop {
        let from = scanned.saturating_sub(3);
        if let Some(found) = buffer[from..have].windows(4).position(|end| end == b"\r\n\r\n") {
            return Ok((from + found + 4, have));
        }
        scanned = have;
        if have == buffer.len() {
            return Err(io::Error::other("the head is too long"));
        }
        let read = stream.read(&mut buffer[have..]).await?;
        if read == 0 {
            return Err(io::Error::other("it ended in the head"));
        }
        have += read;
    }
}

/// The status of an answer, 0 where there is none.
pub fn status(head: &[u8]) -> u16 {
    let digits = head.get(9..12).unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// The length of the body; an answer without one, or with another status than 200, is an error.
pub fn body_length(head: &[u8]) -> io::Result<u64> {
    let status = status(head);
    if status != 200 {
        return Err(io::Error::other(format!("status {status}")));
    }
    for line in head.split(|byte| *byte == b'\n') {
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            let value = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.trim().parse().ok());
            return value.ok_or_else(|| io::Error::other("a bad Content-Length"));
        }
    }
    Err(io::Error::other("no Content-Length"))
}

/// One request on an open pipe, and the whole of its small answer.
pub async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    let (end, mut have) = read(stream, buffer).await?;
    let body = usize::try_from(body_length(&buffer[..end])?).map_err(io::Error::other)?;
    while have < end + body {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Err(io::Error::other("it ended in the body"));
        }
        have += read;
    }
    if have > end + body {
        return Err(io::Error::other("more bytes than the body has"));
    }
    Ok(())
}

const NAME: &[u8] = b"content-length:";
