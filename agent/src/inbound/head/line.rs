//! A request's first line and its URL, read as clients really write them. Pure.
//!
//! Clients send bytes in URLs that no URL has: `"`, `<`, `>`, `` ` ``, bytes beyond ASCII. None of them can be read in
//! two ways, so they pass: as they came where that can be sent, else percent-encoded. A `%` is never encoded again, and
//! what has a meaning to somebody on the way (a space, a control byte) is refused.

use super::HeadError;
use std::fmt::Write;

/// The first line of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) method: &'a str,
    /// Visible ASCII, and bytes beyond it.
    pub(super) target: &'a [u8],
    /// HTTP/1.1, or a minor version after it (RFC 9110 §2.5).
    pub(super) modern: bool,
    /// Up to and with its end, empty lines before it among them.
    pub(super) length: usize,
}

/// Reads the line at the start of `bytes`; `None` while it is not whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Line<'_>>, HeadError> {
    let skipped = empty_lines(bytes);
    let rest = bytes.get(skipped..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n');
    let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    // RFC 9112 §2.2: a line may end in a single LF, and a CR before it is part of the end.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    if !method.iter().all(|byte| is_token(*byte)) {
        return Err(HeadError::Malformed("the request line is malformed"));
    }
    let Some(end) = end else { return Ok(None) };
    let (Some(target), Some(version)) = (words.next(), words.next()) else {
        return Err(HeadError::Malformed("the request line is malformed"));
    };
    if words.next().is_some() || target.contains(&b'\t') {
        return Err(HeadError::Malformed(
            "the request line has a space too many; in a URL it is written %20",
        ));
    }
    if method.is_empty() || target.is_empty() || target.iter().any(u8::is_ascii_control) {
        return Err(HeadError::Malformed("the request line is malformed"));
    }
    let modern = match version.strip_prefix(b"HTTP/1.") {
        Some(b"0") => false,
        Some([minor]) if minor.is_ascii_digit() => true,
        _ => {
            return Err(HeadError::Malformed(
                "the version is neither HTTP/1.1 nor HTTP/1.0",
            ));
        }
    };
    let method = std::str::from_utf8(method).unwrap_or_default();
    Ok(Some(Line {
        method,
        target,
        modern,
        length: skipped + end + 1,
    }))
}

/// The length of the empty lines at the start: clients put one behind a body (RFC 9112 §2.2).
pub(in crate::inbound) fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// A path and query as they can be sent, without the fragment, which is the client's own (RFC 9110 §7.1).
pub(super) fn path(bytes: &[u8]) -> String {
    let whole = bytes.split(|byte| *byte == b'#').next().unwrap_or_default();
    let is_text = std::str::from_utf8(whole).is_ok();
    let mut path = Vec::with_capacity(whole.len());
    let mut in_query = false;
    for byte in whole {
        in_query |= *byte == b'?';
        let passes = match byte {
            b'<' | b'>' => false,
            b'`' => in_query,
            b'"' => !in_query,
            byte => byte.is_ascii() || is_text,
        };
        if passes {
            path.push(*byte);
        } else {
            path.extend_from_slice(encoded(*byte).as_bytes());
        }
    }
    String::from_utf8(path).unwrap_or_default()
}

fn encoded(byte: u8) -> String {
    let mut text = String::with_capacity(3);
    // Writing to a text never fails.
    let _ = write!(text, "%{byte:02X}");
    text
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    #[test]
    fn every_byte_that_is_passed_on_can_be_sent_and_means_the_same() {
        for byte in (0x21..=0xff).filter(|byte| !matches!(byte, b'#' | b'?' | 0x7f)) {
            for text in [&b"/a_"[..], b"/a?b_"] {
                let sent: Vec<u8> = text.iter().map(|b| if *b == b'_' { byte } else { *b }).collect();
                let path = path(&sent);
                assert!(PathAndQuery::try_from(path.as_str()).is_ok(), "{path}");
                let kept = path.as_bytes() == sent;
                let decoded = path.ends_with(&format!("%{byte:02X}"));
                assert!(kept || decoded, "{byte:#x}: {path}");
            }
        }
    }

    #[test]
    fn what_can_be_sent_stays_byte_for_byte() {
        for text in [
            "/%zz%25%2525",
            "/caf\u{e9}?q=\u{1f600}",
            "/a|b^c\\d{e}[f]\"",
            "/?a=`{|}^\\",
        ] {
            assert_eq!(path(text.as_bytes()), text);
        }
        assert_eq!(path(b"/a?b#c?d#e"), "/a?b");
        assert_eq!(path(b"/caf\xe9/%e9"), "/caf%E9/%e9");
        assert_eq!(path(b"/<a>`?\"<"), "/%3Ca%3E%60?%22%3C");
    }

    #[test]
    fn a_line_is_three_words_and_whole_at_its_end() {
        for text in [
            "\r\n\n\r\nGET / HTTP/1.1\r\n",
            "get / HTTP/1.1\n",
            "M-SEARCH * HTTP/1.7\r\n",
        ] {
            let line = read(text.as_bytes()).unwrap().unwrap();
            assert_eq!((line.length, line.modern), (text.len(), true), "{text:?}");
        }
        assert!(!read(b"GET / HTTP/1.0\r\n").unwrap().unwrap().modern);
        for text in ["", "\r", "GET", "GET / HTTP/1.1\r"] {
            assert_eq!(read(text.as_bytes()), Ok(None), "{text:?}");
        }
        for text in [
            "GET /\r\n",
            "GET\r\n",
            " GET / HTTP/1.1\r\n",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET /a\tb HTTP/1.1\r\n",
            "GET /a\rb HTTP/1.1\r\n",
            "GET /a\0b HTTP/1.1\r\n",
            "GET /a\u{7f}b HTTP/1.1\r\n",
            "GET / http/1.1\r\n",
            "GET / HTTP/2.0\r\n",
            "GET / HTTP/1.10\r\n",
            "G\u{e9}T / HTTP/1.1\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert!(
                matches!(read(text.as_bytes()), Err(HeadError::Malformed(_))),
                "{text:?}"
            );
        }
    }
}
