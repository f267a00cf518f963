//! The messages of `fluidity/1`, as values. `codec` gives them their bytes, `docs/protocol.md` their meaning.

use crate::code::{ReplyCode, ResetCode};
use crate::target::Target;
use crate::tls::AgentId;
use std::time::Duration;

/// What a session carries: it drives policy, deadlines and metrics, never the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An HTTP CONNECT: opaque bytes.
    Connect,
    /// Plain HTTP/1.1 requests that the agent makes.
    Http,
    /// A WebSocket after its upgrade.
    WebSocket,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Connect, Self::Http, Self::WebSocket];

    /// The stable name, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// Where a session's trace goes on (W3C Trace Context): trace id, parent id and flags, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext(pub [u8; 25]);

/// The agent asks for a session; the first message on a bidirectional stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What the session carries.
    pub kind: Kind,
    /// Where it goes.
    pub target: Target,
    /// How many bytes the server may send before the agent grants more; [`Link::open`](crate::link::Link::open) fills it in.
    pub window: u64,
    /// Which span it belongs to, where the agent traces.
    pub trace: Option<TraceContext>,
}

impl Open {
    /// A session of `kind` to `target`.
    pub fn new(kind: Kind, target: Target) -> Self {
        Self {
            kind,
            target,
            window: 0,
            trace: None,
        }
    }
}

/// The server's answer, once the target was dialled or will not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The outcome.
    pub code: ReplyCode,
    /// A sentence for people; at most [`MAX_DETAIL`](crate::codec::MAX_DETAIL) bytes, nothing secret.
    pub detail: String,
    /// How many bytes, early ones included, the agent may send before the server grants more.
    pub window: u64,
}

impl Reply {
    /// A refusal with its reason in a sentence.
    pub fn refusal(code: ReplyCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            window: 0,
        }
    }
}

/// What a daemon says of itself; the first message on its control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Drawn at random when the process starts: another number is another process, which knows no old session.
    pub instance: u64,
    /// Name and version of the software, for people.
    pub software: String,
    /// How many concurrent sessions the sender takes on this connection.
    pub max_sessions: u32,
    /// How long the sender's process has run, in whole seconds; 0 where it does not say.
    pub uptime: Duration,
}

/// Who else is connected to a server; it tells each agent when that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many other agents: each process counts once, however many connections it has, and the receiver not at all.
    pub count: u32,
    /// Their names, as far as they fit.
    pub names: Vec<AgentId>,
    /// How many of them use the receiver's own name: other processes with a copy of its certificate.
    pub same_name: u32,
}

/// A message of a control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Always first, once.
    Hello(Hello),
    /// No new sessions, please; the ones that run have this long to end.
    Drain {
        /// Counted from the arrival of the message, in whole milliseconds on the wire.
        deadline: Duration,
    },
    /// The sender is about to close the connection on purpose.
    Goodbye,
    /// Who else is connected; from a server to an agent.
    Others(Others),
    /// The receiver of a session's bytes lets the sender go on.
    Credit {
        /// The session's QUIC stream id.
        stream: u64,
        /// Bytes since the session's start that may be sent: absolute, never falling.
        limit: u64,
    },
    /// The sender's source was cut: deliver up to `offset`, then reset the far socket.
    Abort {
        /// The session's QUIC stream id.
        stream: u64,
        /// Bytes since the session's start that were sent and are worth delivering.
        offset: u64,
        /// Why.
        code: ResetCode,
    },
    /// A message of a later version, to be ignored.
    Unknown,
}
