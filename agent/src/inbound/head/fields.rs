//! What a request's fields say of its framing, and of what the client waits for. Pure.

use super::HeadError;
use crate::inbound::framing::Framing;

/// What the fields say of framing and upgrade.
pub(super) struct Fields {
    pub(super) framing: Framing,
    /// As `Content-Length` says it.
    pub(super) length: Option<u64>,
    pub(super) expects_continue: bool,
    websocket: bool,
    connection_upgrade: bool,
}

impl Fields {
    /// RFC 9112 §6.3, without its leniencies: a proxy that guesses is a proxy that smuggles.
    pub(super) fn read(fields: &[httparse::Header<'_>], modern: bool) -> Result<Self, HeadError> {
        let mut length = None;
        let mut coding = None;
        let mut hosts = 0;
        let mut read = Self {
            framing: Framing::None,
            length: None,
            expects_continue: false,
            websocket: false,
            connection_upgrade: false,
        };
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                content_length(field.value, &mut length)?;
            } else if is("transfer-encoding") {
                if coding.replace(field.value).is_some() {
                    return Err(HeadError::Ambiguous("Transfer-Encoding is there more than once"));
                }
            } else if is("host") {
                hosts += 1;
            } else if is("expect") {
                read.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("upgrade") {
                read.websocket |= has_token(field.value, "websocket");
            } else if is("connection") {
                read.connection_upgrade |= has_token(field.value, "upgrade");
            }
        }
        if hosts > 1 {
            return Err(HeadError::Malformed("Host is there more than once"));
        }
        read.length = length;
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

    pub(super) fn upgrades_to_websocket(&self, method: &str, modern: bool) -> bool {
        modern
            && method == "GET"
            && self.websocket
            && self.connection_upgrade
            && self.framing == Framing::None
    }
}

/// RFC 9110 §8.6: a length that is there several times, by fields or in a list, is one where all are equal.
fn content_length(value: &[u8], known: &mut Option<u64>) -> Result<(), HeadError> {
    for part in value.split(|byte| *byte == b',') {
        let part = part.trim_ascii();
        let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(part)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok())
            .ok_or(HeadError::Ambiguous("Content-Length is not a number"))?;
        if known.is_some_and(|known| known != length) {
            return Err(HeadError::Ambiguous(
                "Content-Length is there with different values",
            ));
        }
        *known = Some(length);
    }
    Ok(())
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
