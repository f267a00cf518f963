//! Everything that both ends of a Fluidity tunnel must agree on: the protocol `fluidity/1`.
//!
//! From the outside in: [`target`] (where to), [`message`] and [`codec`] (what is said, as values and as bytes),
//! [`code`] (the registry of outcomes), [`tls`] (who speaks), [`quic`] (over what), [`link`] (one connection),
//! `stream` (one session's guarded halves) and [`relay`] (the copy). `docs/protocol.md` is the specification.

mod backlog;
pub mod budget;
mod buffer;
pub mod code;
pub mod codec;
mod congestion;
mod credit;
mod ending;
mod io;
pub mod link;
pub mod message;
pub mod paths;
mod plain;
mod pool;
pub mod quic;
pub mod relay;
mod socket;
mod stream;
pub mod target;
pub mod tls;
mod unproven;

pub use budget::{Budget, Share};
pub use code::{CloseCode, ReplyCode, ResetCode};
pub use ending::Ending;
pub use io::ReadMessageError;
pub use link::{Incoming, Link, LinkEnd, LinkOptions, OpenStreamError, Opening, PeerState};
pub use message::{Hello, Kind, Open, Others, Reply, TraceContext};
pub use paths::{Packets, Path, PathGuard, Paths};
pub use plain::{is_dangerous, plain};
pub use stream::{SessionIo, SessionRecv, SessionSend, StreamCut};
pub use target::{Host, Port, Target, TargetError};
pub use unproven::{Unproven, Watch};
