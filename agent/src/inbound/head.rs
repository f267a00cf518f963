//! A request's head, read strictly before hyper sees it.
//!
//! hyper lets a `Transfer-Encoding` win over a `Content-Length` and drops the loser without a trace; a proxy must
//! refuse such a request instead (RFC 9112 §6.3). So the head is parsed here first, once, into what the proxy needs:
//! where it goes, how its body is delimited, whether it waits for a 100. Pure; never panics on any bytes.

use super::framing::Framing;
use fluidity_wire::{Port, Target, TargetError};
use http::uri::PathAndQuery;

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

/// Parses the head at the start of `bytes`: its length and meaning, or `None` while it is not whole.
pub(super) fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<(usize, Head)>, HeadError> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= limits.size => length,
        Ok(httparse::Status::Partial) if bytes.len() < limits.size => return Ok(None),
        Ok(_) => return Err(HeadError::TooLarge(limits.size)),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields(limits.fields)),
        Err(error) => return Err(HeadError::Malformed(reason(error))),
    };
    let method = request.method.unwrap_or_default();
    let modern = request.version == Some(1);
    let fields = Fields::read(request.headers, modern)?;
    let form = match method {
        "CONNECT" if fields.framing != Framing::None => return Err(HeadError::ConnectBody),
        "CONNECT" => Form::Connect(Target::parse(request.path.unwrap_or_default())?),
        method => {
            let form = plain(request.path.unwrap_or_default(), method)?;
            match form {
                Form::Http(origin) if fields.upgrades_to_websocket(method, modern) => Form::WebSocket(origin),
                form => form,
            }
        }
    };
    let head = Head {
        form,
        framing: fields.framing,
        expects_continue: modern && fields.expects_continue && fields.framing != Framing::None,
        modern,
    };
    Ok(Some((length, head)))
}

/// The target of anything but a CONNECT.
fn plain(target: &str, method: &str) -> Result<Form, HeadError> {
    if target.starts_with('/') || target == "*" {
        return Ok(Form::Proxy);
    }
    let (scheme, rest) = target
        .split_once("://")
        .ok_or(HeadError::Url("write it as http://host/path"))?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => {}
        "https" | "wss" => return Err(HeadError::NeedsConnect),
        _ => return Err(HeadError::Scheme),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        // RFC 9110 §4.2.4.
        return Err(HeadError::Url("a user name or password does not belong into it"));
    }
    if path.contains('#') {
        return Err(HeadError::Url("a fragment is not sent to a server"));
    }
    let target = Target::parse_or(authority, Port::HTTP)?;
    let path = match path {
        // RFC 9112 §3.2.4: the last proxy turns an OPTIONS without a path into `*`.
        "" if method == "OPTIONS" => "*".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let path = PathAndQuery::try_from(path)
        .map_err(|_| HeadError::Url("it has a character that URLs do not have"))?;
    Ok(Form::Http(Origin {
        target,
        authority: authority.to_owned(),
        path,
    }))
}

/// What the fields say of framing and upgrade.
struct Fields {
    framing: Framing,
    expects_continue: bool,
    websocket: bool,
    connection_upgrade: bool,
}

impl Fields {
    /// RFC 9112 §6.3, without its leniencies: a proxy that guesses is a proxy that smuggles.
    fn read(fields: &[httparse::Header<'_>], modern: bool) -> Result<Self, HeadError> {
        let mut length = None;
        let mut coding = None;
        let mut hosts = 0;
        let mut read = Self {
            framing: Framing::None,
            expects_continue: false,
            websocket: false,
            connection_upgrade: false,
        };
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                if length.replace(content_length(field.value)?).is_some() {
                    return Err(HeadError::Ambiguous("Content-Length is there more than once"));
                }
            } else if is("transfer-encoding") {
                if coding.replace(field.value).is_some() {
                    return Err(HeadError::Ambiguous("Transfer-Encoding is there more than once"));
                }
            } else if is("host") {
                hosts += 1;
            } else if is("expect") {
                read.expects_continue = field.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("upgrade") {
                read.websocket = has_token(field.value, "websocket");
            } else if is("connection") {
                read.connection_upgrade |= has_token(field.value, "upgrade");
            }
        }
        if hosts > 1 {
            return Err(HeadError::Malformed("Host is there more than once"));
        }
        read.framing = match (length, coding) {
            (None | Some(0), None) => Framing::None,
            (Some(length), None) => Framing::Length(length),
            (Some(_), Some(_)) => {
                return Err(HeadError::Ambiguous(
                    "both Content-Length and Transfer-Encoding are there",
                ));
            }
            (None, Some(_)) if !modern => {
                return Err(HeadError::Ambiguous("HTTP/1.0 has no Transfer-Encoding"));
            }
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Framing::chunked(),
            (None, Some(coding)) if last_is_chunked(coding) => return Err(HeadError::Coding),
            (None, Some(_)) => {
                return Err(HeadError::Ambiguous("chunked is not the last transfer coding"));
            }
        };
        Ok(read)
    }

    fn upgrades_to_websocket(&self, method: &str, modern: bool) -> bool {
        modern
            && method == "GET"
            && self.websocket
            && self.connection_upgrade
            && self.framing == Framing::None
    }
}

fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or(HeadError::Ambiguous("Content-Length is not one number"))
}

fn has_token(value: &[u8], token: &str) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn last_is_chunked(value: &[u8]) -> bool {
    let last = value.rsplit(|byte| *byte == b',').next();
    last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name is malformed",
        httparse::Error::HeaderValue => "a field's value is malformed",
        httparse::Error::NewLine => "a line does not end as lines do",
        httparse::Error::Token | httparse::Error::Status => "the request line is malformed",
        httparse::Error::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
        httparse::Error::TooManyHeaders => "there are too many fields",
    }
}

#[cfg(test)]
mod tests;
