//! How a relay ended, and the stable names of it.

use crate::code::{ReplyCode, ResetCode};
use std::fmt;

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// Both directions came to their own end.
    Finished,
    /// The TCP socket was reset or failed.
    TcpReset,
    /// The peer cut the session; `None` is a code of a later version.
    PeerReset(Option<ResetCode>),
    /// The tunnel's connection was lost.
    ConnectionLost,
    /// No byte moved for too long.
    IdleTimeout,
    /// The socket does not take the session's bytes, and the memory for bytes that wait is used up.
    Exhausted,
    /// The session was cancelled from this side.
    Cancelled,
    /// The target was not reached after all; `None` is an answer that did not come or was not understood.
    Refused(Option<ReplyCode>),
}

impl RelayEnd {
    /// The stable name, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::TcpReset => "tcp-reset",
            Self::PeerReset(Some(code)) => code.name(),
            Self::PeerReset(None) => "peer-reset",
            Self::ConnectionLost => "connection-lost",
            Self::IdleTimeout => "idle-timeout",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Refused(Some(code)) => code.name(),
            Self::Refused(None) => "no-answer",
        }
    }
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
