//! How a QUIC connection ended, in words of our own.
//!
//! quinn's texts carry the peer's reason as it came, and before the handshake is over a peer is anybody who can send a
//! packet. Here the code speaks; a reason is shown only behind it, in quotes, escaped and cut.

use crate::code::CloseCode;
use crate::plain::plain;
use quinn::{ConnectionError, TransportErrorCode};
use std::fmt;

/// A connection's end for logs and people.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a>(pub &'a ConnectionError);

impl Ending<'_> {
    /// The peer let go of a connection, or of the attempt at one, without a word: an attempt of several that was no
    /// longer needed.
    pub fn is_abandoned(self) -> bool {
        match self.0 {
            ConnectionError::ConnectionClosed(close) => {
                close.error_code == TransportErrorCode::APPLICATION_ERROR
            }
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner() == 0,
            _ => false,
        }
    }

    /// The end without any word of the peer.
    pub fn name(self) -> String {
        let fixed = match self.0 {
            _ if self.is_abandoned() => "abandoned by the peer",
            ConnectionError::TransportError(error) => {
                return format!("broken off: {}", code_name(error.code));
            }
            ConnectionError::ConnectionClosed(close) => {
                return format!("closed by the peer: {}", code_name(close.error_code));
            }
            ConnectionError::ApplicationClosed(close) => {
                let number = close.error_code.into_inner();
                return match CloseCode::from_number(number) {
                    Some(code) => format!("closed by the peer: {code}"),
                    None => format!("closed by the peer: unknown code {number:#x}"),
                };
            }
            ConnectionError::VersionMismatch => "the peer speaks no version of QUIC that is known here",
            ConnectionError::Reset => "the peer no longer knows the connection",
            ConnectionError::TimedOut => "nothing more was heard from the peer",
            ConnectionError::LocallyClosed => "closed here",
            ConnectionError::CidsExhausted => "no connection ids are left",
        };
        fixed.to_owned()
    }

    /// What the TLS of the peer has against this end's certificate or offer, where that is why it closed.
    pub fn tls_alert(self) -> Option<&'static str> {
        match self.0 {
            ConnectionError::ConnectionClosed(close) => alert(close.error_code.into()),
            _ => None,
        }
    }
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self.0 {
            ConnectionError::TransportError(error) => reason(f, error.reason.as_bytes()),
            ConnectionError::ConnectionClosed(close) => reason(f, &close.reason),
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner());
                match code.is_some_and(|code| close.reason == code.name()) {
                    true => Ok(()),
                    false => reason(f, &close.reason),
                }
            }
            _ => Ok(()),
        }
    }
}

/// The peer's reason behind the code's name.
fn reason(f: &mut fmt::Formatter<'_>, reason: &[u8]) -> fmt::Result {
    if reason.is_empty() {
        return Ok(());
    }
    let more = if reason.len() > MOST_BYTES { "…" } else { "" };
    let shown = reason.get(..MOST_BYTES).unwrap_or(reason);
    let shown = plain(&String::from_utf8_lossy(shown), MOST_BYTES).replace('"', "'");
    write!(f, " (\"{shown}{more}\")")
}

fn code_name(code: TransportErrorCode) -> String {
    match code {
        TransportErrorCode::CONNECTION_REFUSED => "connection refused".into(),
        TransportErrorCode::INTERNAL_ERROR => "internal error".into(),
        TransportErrorCode::INVALID_TOKEN => "the proof of the address is too old".into(),
        code => alert(code.into()).map_or_else(|| format!("{code:?}"), str::to_owned),
    }
}

/// RFC 9001 §4.8: TLS alerts are the codes from 0x100 to 0x1ff. RFC 8446 §6 has their names.
fn alert(code: u64) -> Option<&'static str> {
    let words = match code.checked_sub(0x100)? {
        10 => "unexpected TLS message",
        20 => "TLS record that does not authenticate",
        40 => "no common TLS parameters",
        42 => "bad certificate",
        43 => "certificate of the wrong kind",
        44 => "certificate revoked",
        45 => "certificate expired or not yet valid",
        46 => "certificate not acceptable",
        47 => "TLS parameter out of range",
        48 => "certificate of an unknown CA",
        49 => "access denied",
        50 => "TLS message that cannot be decoded",
        51 => "TLS signature that does not verify",
        70 => "TLS version not supported",
        80 => "internal TLS error",
        109 => "TLS extension missing",
        110 => "TLS extension not supported",
        112 => "unknown server name",
        116 => "certificate required",
        120 => "no common protocol (ALPN)",
        0..=255 => "TLS alert",
        _ => return None,
    };
    Some(words)
}

/// Bytes of a reason that are shown.
const MOST_BYTES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ApplicationClose, ConnectionClose, VarInt};

    fn by_application(code: u32, reason: &str) -> String {
        let error = ConnectionError::ApplicationClosed(ApplicationClose {
            error_code: VarInt::from_u32(code),
            reason: reason.to_owned().into(),
        });
        Ending(&error).to_string()
    }

    fn by_transport(code: TransportErrorCode, reason: &str) -> String {
        let error = ConnectionError::ConnectionClosed(ConnectionClose {
            error_code: code,
            frame_type: None,
            reason: reason.to_owned().into(),
        });
        Ending(&error).to_string()
    }

    #[test]
    fn a_code_is_told_in_words() {
        assert_eq!(
            by_application(0x21, "shutting-down"),
            "closed by the peer: shutting-down"
        );
        assert_eq!(by_application(0x24, ""), "closed by the peer: refused");
        assert_eq!(
            by_application(0x22, "no hello"),
            "closed by the peer: protocol (\"no hello\")"
        );
        assert_eq!(
            by_application(0x999, ""),
            "closed by the peer: unknown code 0x999"
        );
        assert_eq!(by_application(0, ""), "abandoned by the peer");
        assert_eq!(
            by_transport(TransportErrorCode::APPLICATION_ERROR, ""),
            "abandoned by the peer"
        );
        assert_eq!(
            by_transport(TransportErrorCode::crypto(48), "x"),
            "closed by the peer: certificate of an unknown CA (\"x\")"
        );
        assert_eq!(
            by_transport(TransportErrorCode::PROTOCOL_VIOLATION, ""),
            "closed by the peer: PROTOCOL_VIOLATION"
        );
    }

    #[test]
    fn a_reason_is_one_line_in_quotes_and_short() {
        let evil = "bye\n2026-11-28 INFO forged\u{1b}[2J\u{202e}\") agent=good ";
        for text in [
            by_application(0x20, evil),
            by_transport(TransportErrorCode::crypto(42), evil),
            by_transport(TransportErrorCode::NO_ERROR, &evil.repeat(1000)),
        ] {
            assert!(!text.contains(crate::plain::is_dangerous), "{text:?}");
            assert_eq!(text.matches('"').count(), 2, "{text}");
            assert!(text.ends_with("\")") && text.chars().count() < 200, "{text}");
        }
        assert!(by_application(0, &"x".repeat(1 << 16)).len() < 200);
    }
}
