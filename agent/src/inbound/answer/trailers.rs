//! The trailer section of an answer's chunked body (RFC 9110 §6.5), written anew. Pure.

use super::fields;
use bytes::{BufMut, Bytes, BytesMut};

/// Trailers that may pass (RFC 9110 §6.5.1). All of them may be dropped, and are where they make no sense.
pub(super) fn passing(section: &[u8]) -> Bytes {
    let fields = fields::read(section, MOST_TRAILERS).unwrap_or_default();
    let mut text = BytesMut::new();
    for field in &fields {
        if !NO_TRAILERS.iter().any(|name| field.is(name)) {
            fields::write(&mut text, field.name, &field.value);
        }
    }
    if text.len() > TRAILER_SIZE {
        text.clear();
    }
    text.put_slice(b"\r\n");
    text.freeze()
}

/// Trailers of a body.
const MOST_TRAILERS: usize = 128;
/// Bytes of them that pass; hyper takes 16 KiB.
const TRAILER_SIZE: usize = 8 * 1024;
/// Fields that frame, route, log in or change what was already used of the message.
const NO_TRAILERS: [&str; 36] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
];
