//! An answer's head, read strictly before hyper sees it.
//!
//! hyper lets a `Transfer-Encoding` win over a `Content-Length` and keeps both, gives up a head for one odd byte, and
//! does not say which. A proxy must decide where a body ends, and must tell the same to its client (RFC 9112 §6.3): so
//! each head, 1xx too, is parsed here first and written anew. What RFC 9112 says how to mend is mended, what cannot be
//! misread passes, anything else is a 502 that names the fault. [`reader`] does it on a session's bytes, [`chunks`]
//! follows a chunked body. Pure; never panics on any bytes.

mod chunks;
mod fields;
mod reader;
mod trailers;
mod turn;

pub(super) use reader::AnswerReader;
pub(super) use turn::Turn;

use bytes::{BufMut, Bytes, BytesMut};
use fields::Field;

/// A whole head, as hyper gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AnswerHead {
    text: Bytes,
    content: Content,
    /// It said two things of its length. The rule between them is clear, yet nothing more is asked of such an origin
    /// on this session.
    doubtful: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Another head: this one is a 1xx.
    AnotherHead,
    /// Another protocol.
    Upgrade,
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
    /// Everything up to the end of the session.
    UntilClose,
}

/// Why an answer is not passed on. No text holds anything of the origin's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("it does not begin with HTTP/")]
    NotHttp,
    #[error("its version is not HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("its status line has no status of three digits")]
    Status,
    #[error("its head is larger than {0} bytes")]
    TooLarge(usize),
    #[error("its head has more than {0} fields")]
    TooManyFields(usize),
    #[error("{0}")]
    Field(&'static str),
    #[error("{0}")]
    Length(&'static str),
    #[error("{0}")]
    Coding(&'static str),
    #[error("the origin closed the connection in the middle of the head")]
    Cut,
    #[error("it has status 407, which only a proxy may send")]
    ProxyLogin,
    #[error("the chunks of its body are malformed: {0}")]
    Chunks(&'static str),
    #[error("its trailer section is larger than {0} bytes")]
    Trailers(usize),
}

/// The first line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StatusLine<'a> {
    /// HTTP/1.1 or a later 1.x.
    modern: bool,
    /// From 100 to 999.
    status: u16,
    reason: &'a [u8],
}

impl AnswerHead {
    /// Judges the first line as soon as it can be: another protocol's words may have no empty line. False where it is
    /// not whole yet.
    fn begins(bytes: &[u8]) -> Result<bool, AnswerError> {
        let start = bytes.get(..NAME.len()).unwrap_or(bytes);
        if !NAME.starts_with(start) {
            return Err(AnswerError::NotHttp);
        }
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => StatusLine::parse(bytes.get(..end).unwrap_or_default()).map(|_| true),
            None => Ok(false),
        }
    }

    /// Parses a head that is whole, its empty line with it. `to_head`: the request was a HEAD.
    fn parse(head: &[u8], to_head: bool, most_fields: usize) -> Result<Self, AnswerError> {
        let end = head.iter().position(|byte| *byte == b'\n');
        let (line, rest) = head.split_at(end.map_or(head.len(), |end| end + 1));
        let line = StatusLine::parse(line)?;
        let fields = fields::read(rest, most_fields)?;
        if line.status == 407 {
            // It would make a client ask for, or send, the credentials for its proxy.
            return Err(AnswerError::ProxyLogin);
        }
        let framing = Framing::read(&fields, line, to_head)?;
        Ok(Self {
            text: write(line, &fields, framing, head.len()),
            content: framing.content,
            doubtful: framing.doubtful,
        })
    }
}

impl<'a> StatusLine<'a> {
    /// RFC 9112 §4; words may be further apart, and the reason with the space before it may be missing.
    fn parse(line: &'a [u8]) -> Result<Self, AnswerError> {
        let rest = line.strip_prefix(NAME).ok_or(AnswerError::NotHttp)?;
        let (minor, rest) = match rest {
            [b'1', b'.', minor @ b'0'..=b'9', rest @ ..] => (*minor, rest),
            _ => return Err(AnswerError::Version),
        };
        let code = rest.trim_ascii_start();
        let (digits, reason) = code.split_at_checked(3).ok_or(AnswerError::Status)?;
        let apart = rest.first().is_some_and(u8::is_ascii_whitespace)
            && reason.first().is_none_or(u8::is_ascii_whitespace);
        let status = std::str::from_utf8(digits)
            .ok()
            .filter(|_| apart && digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| digits.parse().ok())
            .filter(|status| *status >= 100)
            .ok_or(AnswerError::Status)?;
        Ok(Self {
            // RFC 9110 §2.5: a minor version that is not known is like the highest that is.
            modern: minor != b'0',
            status,
            reason: reason.trim_ascii(),
        })
    }
}

/// What a head says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Framing {
    content: Content,
    /// What `Content-Length` is to say.
    length: Option<u64>,
    doubtful: bool,
}

impl Framing {
    /// RFC 9112 §6.3.
    fn read(fields: &[Field<'_>], line: StatusLine<'_>, to_head: bool) -> Result<Self, AnswerError> {
        let only = |content| Self {
            content,
            length: None,
            doubtful: false,
        };
        match line.status {
            101 => return Ok(only(Content::Upgrade)),
            100..=199 => return Ok(only(Content::AnotherHead)),
            // RFC 9110 §8.6: a length is not said here.
            204 => return Ok(only(Content::None)),
            _ => {}
        }
        let length = length(fields);
        if to_head || line.status == 304 {
            // What the length would be: nothing hangs on it, so one that makes no sense is left out.
            return Ok(Self {
                length: length.unwrap_or_default(),
                ..only(Content::None)
            });
        }
        let coded = fields.iter().any(|field| field.is(TRANSFER_ENCODING));
        let sized = fields.iter().any(|field| field.is(CONTENT_LENGTH));
        if coded {
            let content = coding(fields, line.modern, sized)?;
            return Ok(Self {
                doubtful: sized,
                ..only(content)
            });
        }
        let length = length?;
        let content = match length {
            Some(0) => Content::None,
            Some(length) => Content::Length(length),
            None => Content::UntilClose,
        };
        Ok(Self {
            length,
            ..only(content)
        })
    }
}

/// The transfer codings come down to one `chunked`, or there is none.
fn coding(fields: &[Field<'_>], modern: bool, sized: bool) -> Result<Content, AnswerError> {
    if !modern {
        // RFC 9112 §6.1.
        return Err(AnswerError::Coding("HTTP/1.0 has no Transfer-Encoding"));
    }
    let mut only = None;
    for field in fields.iter().filter(|field| field.is(TRANSFER_ENCODING)) {
        if field.mended {
            return Err(AnswerError::Coding("Transfer-Encoding has control characters"));
        }
        for coding in field.value.split(|byte| *byte == b',') {
            let coding = coding.trim_ascii();
            if !coding.is_empty() && only.replace(coding).is_some() {
                return Err(AnswerError::Coding("it has more than one transfer coding"));
            }
        }
    }
    match only {
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Content::Chunked),
        // RFC 2616 §3.6: no coding at all. It went out of use before RFC 7230, not everywhere.
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") && !sized => Ok(Content::UntilClose),
        _ => Err(AnswerError::Coding("its transfer coding is not chunked")),
    }
}

/// The one number that all `Content-Length` come down to.
fn length(fields: &[Field<'_>]) -> Result<Option<u64>, AnswerError> {
    let mut length = None;
    for field in fields.iter().filter(|field| field.is(CONTENT_LENGTH)) {
        for number in field.value.split(|byte| *byte == b',') {
            let number = number.trim_ascii();
            let digits = !field.mended && !number.is_empty() && number.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(number)
                .ok()
                .filter(|_| digits)
                .ok_or(AnswerError::Length("Content-Length is not a number"))?
                .parse()
                .ok()
                .filter(|number| *number <= MOST_LENGTH)
                .ok_or(AnswerError::Length("Content-Length is too large a number"))?;
            // RFC 9110 §8.6: the same number, repeated, is one.
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(AnswerError::Length("there are two different Content-Length"));
            }
        }
    }
    Ok(length)
}

/// The head anew: nothing in it is left to judge.
fn write(line: StatusLine<'_>, fields: &[Field<'_>], framing: Framing, size: usize) -> Bytes {
    let mut text = BytesMut::with_capacity(size + fields.len() + 32);
    text.put_slice(if line.modern { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    text.put_slice(line.status.to_string().as_bytes());
    text.put_u8(b' ');
    text.extend(line.reason.iter().map(|byte| fields::visible(*byte)));
    text.put_slice(b"\r\n");
    let mut length = framing.length;
    let mut chunked = framing.content == Content::Chunked;
    for field in fields {
        if field.is(CONTENT_LENGTH) {
            if let Some(length) = length.take() {
                fields::write(&mut text, field.name, length.to_string().as_bytes());
            }
        } else if field.is(TRANSFER_ENCODING) {
            if std::mem::take(&mut chunked) {
                fields::write(&mut text, field.name, b"chunked");
            }
        } else {
            fields::write(&mut text, field.name, &field.value);
        }
    }
    text.put_slice(b"\r\n");
    text.freeze()
}

/// How every answer begins.
const NAME: &[u8] = b"HTTP/";
const CONTENT_LENGTH: &str = "content-length";
const TRANSFER_ENCODING: &str = "transfer-encoding";
/// Longer bodies than this do not exist.
const MOST_LENGTH: u64 = 1 << 62;

#[cfg(test)]
mod tests;
