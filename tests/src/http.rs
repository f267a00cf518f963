//! Just enough HTTP/1 to look at what passes, byte by byte: heads as they are, bodies by their framing.

use crate::peer::{Ending, Peer};

/// A request's or response's head, as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request line or status line.
    pub line: String,
    /// The fields in order, names as sent.
    pub fields: Vec<(String, String)>,
}

/// How a body ended, by its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// The framing says that it is whole.
    Complete,
    /// It stopped before: by FIN or RST.
    Cut(Ending),
}

impl Head {
    /// Parses bytes that end with an empty line.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|field| {
                field
                    .split_once(':')
                    .unwrap_or_else(|| panic!("no field: {field:?}"))
            })
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { line, fields }
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.line))
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The only value of a field.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is repeated: {self:?}");
        all.first().copied()
    }

    /// Whether the body is chunked.
    pub fn chunked(&self) -> bool {
        self.one("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// The declared length.
    pub fn content_length(&self) -> Option<u64> {
        self.one("content-length")
            .map(|value| value.parse().expect("content-length is a number"))
    }
}

/// Reads the body that `head` announces (RFC 9112 §6.3) and hands each part to `sink`.
pub(crate) async fn read_body(peer: &mut Peer, head: &Head, mut sink: impl FnMut(&[u8])) -> BodyEnd {
    let bodiless = head.line.starts_with("HTTP/") && matches!(head.status(), 100..=199 | 204 | 304);
    if bodiless {
        return BodyEnd::Complete;
    }
    if head.chunked() {
        return match read_chunks(peer, &mut sink).await {
            Ok(_trailers) => BodyEnd::Complete,
            Err(end) => BodyEnd::Cut(end),
        };
    }
    if let Some(length) = head.content_length() {
        return read_length(peer, length, &mut sink)
            .await
            .map_or_else(BodyEnd::Cut, |()| BodyEnd::Complete);
    }
    if !head.line.starts_with("HTTP/") {
        return BodyEnd::Complete; // A request without framing has no body.
    }
    match peer.drain_with(sink).await.end {
        Ending::Eof => BodyEnd::Complete,
        Ending::Reset => BodyEnd::Cut(Ending::Reset),
    }
}

impl Peer {
    /// Reads the next request's head on a kept connection; `None` when the client is done.
    pub async fn next_request(&mut self) -> Option<Head> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.extend_from_slice(&take(self, 1).await.ok()?);
        }
        Some(Head::parse(&bytes))
    }

    /// Reads and drops the body that `head` announces.
    pub async fn skip_body(&mut self, head: &Head) {
        read_body(self, head, |_| ()).await;
    }

    /// Reads a chunked body and returns it with its trailer fields.
    pub async fn read_chunked(&mut self) -> (Vec<u8>, Vec<(String, String)>) {
        let mut body = Vec::new();
        let trailers = read_chunks(self, &mut |part: &[u8]| body.extend_from_slice(part)).await;
        (body, trailers.expect("the chunked body was cut"))
    }

    /// Reads one line without its CRLF; `Err` is how the connection ended before it did.
    async fn line(&mut self) -> Result<String, Ending> {
        let mut line = Vec::new();
        loop {
            let byte = take(self, 1).await?;
            line.extend_from_slice(&byte);
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
}

async fn read_chunks(peer: &mut Peer, sink: &mut impl FnMut(&[u8])) -> Result<Vec<(String, String)>, Ending> {
    loop {
        let line = peer.line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        if size == 0 {
            break;
        }
        read_length(peer, size, sink).await?;
        assert_eq!(peer.line().await?, "", "a chunk ends with CRLF");
    }
    let mut trailers = Vec::new();
    loop {
        let line = peer.line().await?;
        if line.is_empty() {
            return Ok(trailers);
        }
        let (name, value) = line.split_once(':').expect("a trailer field");
        trailers.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn read_length(peer: &mut Peer, length: u64, sink: &mut impl FnMut(&[u8])) -> Result<(), Ending> {
    let mut left = length;
    while left > 0 {
        let part = take(peer, left).await?;
        sink(&part);
        left -= part.len() as u64;
    }
    Ok(())
}

/// Takes between one and `most` bytes.
async fn take(peer: &mut Peer, most: u64) -> Result<bytes::BytesMut, Ending> {
    match peer.read_up_to(most).await {
        Ok(part) if part.is_empty() => Err(Ending::Eof),
        Ok(part) => Ok(part),
        Err(_) => Err(Ending::Reset),
    }
}
