//! A request's head, read strictly before hyper sees it.
//!
//! hyper lets a `Transfer-Encoding` win over a `Content-Length` and drops the loser without a trace; a proxy must
//! refuse such a request instead (RFC 9112 §6.3). So the head is parsed here first, once, into what the proxy needs:
//! where it goes, how its body is delimited, whether it waits for a 100. hyper gets a head that is written anew, with
//! nothing in it that it would refuse or read otherwise. Pure; never panics on any bytes.

mod fields;
mod line;

pub(super) use line::empty_lines;

use super::framing::Framing;
use bytes::{BufMut, Bytes, BytesMut};
use fields::Fields;
use fluidity_wire::{Port, Target, TargetError};
use http::uri::PathAndQuery;
use line::Line;

/// What the proxy does with a request, decided by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where it goes.
    pub(super) form: Form,
    /// How its body is delimited.
    pub(super) framing: Framing,
    /// The client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// HTTP/1.1, whose clients understand 1xx answers.
    pub(super) modern: bool,
}

/// The forms of a request's target (RFC 9112 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `CONNECT host:port`.
    Connect(Target),
    /// `GET http://host/path`: forwarded.
    Http(Origin),
    /// The same with an upgrade to WebSocket.
    WebSocket(Origin),
    /// `GET /path`: meant for the proxy itself, which serves nothing.
    Proxy,
}

impl Form {
    /// What will be dialled.
    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Self::Connect(target) => Some(target),
            Self::Http(origin) | Self::WebSocket(origin) => Some(&origin.target),
            Self::Proxy => None,
        }
    }
}

/// Where a plain request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Host and port to dial.
    pub(super) target: Target,
    /// What `Host` must say.
    pub(super) authority: String,
    /// What the request line must say.
    pub(super) path: PathAndQuery,
}

/// Why a head is refused. The texts are meant for the person behind the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    #[error("this is not an HTTP/1.1 request: {0}")]
    Malformed(&'static str),
    #[error("the target was not understood: {0}")]
    Target(#[from] TargetError),
    #[error("the URL was not understood: {0}")]
    Url(&'static str),
    #[error("the URL is longer than {0} bytes")]
    UrlTooLong(usize),
    #[error("the proxy does not speak this scheme for plain requests")]
    Scheme,
    #[error("https and wss go through CONNECT, not through a plain request")]
    NeedsConnect,
    #[error("the body's length is ambiguous: {0}")]
    Ambiguous(&'static str),
    #[error("a transfer coding other than chunked is not supported")]
    Coding,
    #[error("a CONNECT request has no body")]
    ConnectBody,
    #[error("the request's head has more than {0} fields")]
    TooManyFields(usize),
    #[error("the request's head is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request's head did not arrive in time")]
    Timeout,
    #[error("the proxy has as many clients as it may have")]
    TooManyClients,
}

/// What a head may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes.
    pub(super) size: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// A whole head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Of the head, in bytes.
    pub(super) length: usize,
    /// What it says.
    pub(super) head: Head,
    /// The head as hyper reads it.
    pub(super) for_hyper: Bytes,
}

/// Parses the head at the start of `bytes`, or `None` while it is not whole.
pub(super) fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<Parsed>, HeadError> {
    let unfinished = || {
        if bytes.len() < limits.size {
            Ok(None)
        } else {
            Err(HeadError::TooLarge(limits.size))
        }
    };
    let Some(line) = line::read(bytes)? else {
        return unfinished();
    };
    let rest = bytes.get(line.length..).unwrap_or_default();
    let mut room = vec![httparse::EMPTY_HEADER; limits.fields];
    let (length, listed) = match httparse::parse_headers(rest, &mut room) {
        Ok(httparse::Status::Complete((length, listed))) => (line.length + length, listed),
        Ok(httparse::Status::Partial) => return unfinished(),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields(limits.fields)),
        Err(error) => return Err(HeadError::Malformed(reason(error))),
    };
    if length > limits.size {
        return Err(HeadError::TooLarge(limits.size));
    }
    let fields = Fields::read(listed, line.modern)?;
    let form = match line.method {
        "CONNECT" if fields.framing != Framing::None => return Err(HeadError::ConnectBody),
        "CONNECT" => Form::Connect(Target::parse(&String::from_utf8_lossy(line.target))?),
        method => match plain(line.target, method)? {
            Form::Http(origin) if fields.upgrades_to_websocket(method, line.modern) => {
                Form::WebSocket(origin)
            }
            form => form,
        },
    };
    let head = Head {
        form,
        framing: fields.framing,
        expects_continue: line.modern && fields.expects_continue && fields.framing != Framing::None,
        modern: line.modern,
    };
    let rest = bytes.get(line.length..length).unwrap_or_default();
    // Not passed on, and hyper would keep the socket for another protocol than HTTP.
    let upgrades = matches!(head.form, Form::WebSocket(_));
    let kept = Kept {
        length: fields.length,
        upgrades,
    };
    let for_hyper = rewritten(&line, kept, listed, rest);
    Ok(Some(Parsed {
        length,
        head,
        for_hyper,
    }))
}

/// What of a head's fields hyper gets in its own way.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The one length.
    length: Option<u64>,
    /// `Upgrade` as it is.
    upgrades: bool,
}

/// The head for hyper: a target that says nothing, since [`Head`] says it all, and one length at the most.
fn rewritten(line: &Line<'_>, kept: Kept, listed: &[httparse::Header<'_>], rest: &[u8]) -> Bytes {
    let mut head = BytesMut::with_capacity(line.method.len() + STAND_IN_ROOM + rest.len());
    let (target, version) = (
        if line.method == "CONNECT" { "target:1" } else { "/" },
        if line.modern { "HTTP/1.1" } else { "HTTP/1.0" },
    );
    for part in [line.method, " ", target, " ", version, "\r\n"] {
        head.put_slice(part.as_bytes());
    }
    let is_length = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-length");
    let is_dropped =
        |field: &httparse::Header<'_>| !kept.upgrades && field.name.eq_ignore_ascii_case("upgrade");
    let odd = |field: &httparse::Header<'_>| field.value.contains(&b',');
    let mut lengths = listed.iter().filter(is_length);
    let one = lengths.next().is_none_or(|field| !odd(field)) && lengths.next().is_none();
    if one && !listed.iter().any(is_dropped) {
        head.put_slice(rest);
        return head.freeze();
    }
    let mut length = kept.length;
    for field in listed {
        if is_dropped(field) {
            continue;
        }
        if is_length(&field) {
            // The first one stands for all of them.
            if let Some(length) = length.take() {
                head.put_slice(format!("{}: {length}\r\n", field.name).as_bytes());
            }
            continue;
        }
        for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// The target of anything but a CONNECT.
fn plain(target: &[u8], method: &str) -> Result<Form, HeadError> {
    if target.starts_with(b"/") || target == b"*" {
        return Ok(Form::Proxy);
    }
    let (scheme, rest) = split_once(target, b"://").ok_or(HeadError::Url("write it as http://host/path"))?;
    match scheme.to_ascii_lowercase().as_slice() {
        b"http" | b"ws" => {}
        b"https" | b"wss" => return Err(HeadError::NeedsConnect),
        _ => return Err(HeadError::Scheme),
    }
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest
        .split_at_checked(end.unwrap_or(rest.len()))
        .unwrap_or((rest, b""));
    let authority = String::from_utf8_lossy(authority);
    if authority.contains('@') {
        // RFC 9110 §4.2.4.
        return Err(HeadError::Url("a user name or password does not belong into it"));
    }
    let target = Target::parse_or(&authority, Port::HTTP)?;
    let path = match line::path(path) {
        // RFC 9112 §3.2.4: the last proxy turns an OPTIONS without a path into `*`.
        path if path.is_empty() && method == "OPTIONS" => "*".to_owned(),
        path if path.starts_with('/') => path,
        path => format!("/{path}"),
    };
    if path.len() > LONGEST_PATH {
        return Err(HeadError::UrlTooLong(LONGEST_PATH));
    }
    let path = PathAndQuery::try_from(path)
        .map_err(|_| HeadError::Url("it has a character that URLs do not have"))?;
    // An empty port is the scheme's default (RFC 3986 §3.2.3), and not every origin knows that.
    let authority = authority.strip_suffix(':').unwrap_or(&authority).to_owned();
    Ok(Form::Http(Origin {
        target,
        authority,
        path,
    }))
}

fn split_once<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(by.len()).position(|window| window == by)?;
    Some((bytes.get(..at)?, bytes.get(at + by.len()..)?))
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name is malformed",
        httparse::Error::HeaderValue => "a field's value is malformed",
        httparse::Error::NewLine => "a line does not end as lines do",
        httparse::Error::Token
        | httparse::Error::Status
        | httparse::Error::Version
        | httparse::Error::TooManyHeaders => "its fields are malformed",
    }
}

/// What a URI of the `http` crate can hold.
const LONGEST_PATH: usize = 65_534;
/// For a request line without its method.
const STAND_IN_ROOM: usize = 32;

#[cfg(test)]
mod tests;
