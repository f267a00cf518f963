//! Clients that take the proxy port for something else: a proxy that speaks TLS (`https://`) or SOCKS.
//!
//! Their first byte says so, as no HTTP request begins with it. Each is refused in its own protocol, so that its own
//! message is not about garbage.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client speaks instead of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A TLS `ClientHello` (RFC 8446 §5.1).
    Tls,
    /// A request of SOCKS4 or SOCKS4a.
    Socks4,
    /// A greeting of SOCKS5 (RFC 1928 §3).
    Socks5,
}

impl Foreign {
    const fn from_first_byte(byte: u8) -> Option<Self> {
        match byte {
            0x16 => Some(Self::Tls),
            0x04 => Some(Self::Socks4),
            0x05 => Some(Self::Socks5),
            _ => None,
        }
    }

    /// The stable name, for logs, pages and metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Socks4 => "socks4",
            Self::Socks5 => "socks5",
        }
    }

    /// What is wrong with it, and what to do, where the proxy is at `proxy`.
    pub(super) fn advice(self, proxy: &str) -> String {
        match self {
            Self::Tls => format!(
                "the client speaks TLS to the proxy, as to one of https://, and this one speaks HTTP; set its proxy to \
                 {proxy}, for https sites too"
            ),
            Self::Socks4 | Self::Socks5 => {
                let name = self.name().to_ascii_uppercase();
                format!(
                    "the client speaks {name} to the proxy, and this one speaks HTTP; set its proxy to {proxy}"
                )
            }
        }
    }

    const fn refusal(self) -> &'static [u8] {
        match self {
            // A fatal alert: handshake_failure (RFC 8446 §6.2), under the version that every client reads.
            Self::Tls => &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28],
            // Request rejected or failed.
            Self::Socks4 => &[0x00, 0x5b, 0, 0, 0, 0, 0, 0],
            // No acceptable method.
            Self::Socks5 => &[0x05, 0xff],
        }
    }
}

/// Waits for a client's first byte, which stays to be read. Cancel safe.
pub(super) async fn listen(tcp: &TcpStream) -> Option<Foreign> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) => first.first().copied().and_then(Foreign::from_first_byte),
        // An end, or an error: whoever reads next sees it, too.
        _ => None,
    }
}

/// Refuses the client and waits a moment for it to close: a close with bytes unread would destroy the answer.
pub(super) async fn refuse(mut tcp: TcpStream, foreign: Foreign) {
    let refused = async {
        tcp.write_all(foreign.refusal()).await?;
        tcp.shutdown().await?;
        let mut scrap = [0; 1024];
        let mut left = MAX_DISCARDED;
        while left > 0 {
            match tcp.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // A client that went away is not an error.
    let _ = timeout(LINGER, refused).await;
}

const LINGER: Duration = Duration::from_secs(2);
/// Bytes that a client may send after it was refused.
const MAX_DISCARDED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_http_request_is_taken_for_another_protocol() {
        for byte in (b'A'..=b'Z').chain(b'a'..=b'z').chain(*b"\r\n !#$%&'*+-.^_`|~") {
            assert_eq!(Foreign::from_first_byte(byte), None, "{byte}");
        }
        assert_eq!(Foreign::from_first_byte(0x16), Some(Foreign::Tls));
    }
}
