//! How the tunnel stands, for requests that wait for it and for people.

use fluidity_wire::{Hello, Link};
use std::sync::Arc;
use tokio::time::Instant;

/// How the tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A connection is being made.
    Connecting,
    /// It takes sessions.
    Connected,
    /// Nothing was heard for a while: another connection is being made, new sessions wait.
    Suspect,
    /// The last round of attempts failed; the next one follows after a pause.
    Disconnected,
}

impl State {
    /// The stable name, for pages and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Suspect => "suspect",
            Self::Disconnected => "disconnected",
        }
    }
}

/// The tunnel's state with its circumstances.
#[derive(Clone, Debug)]
pub struct Phase {
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// The server that it is, or was last, connected to.
    pub server: Option<Hello>,
    /// What went wrong last; none once it is connected.
    pub last_error: Option<String>,
    /// How often it was connected again.
    pub reconnects: u64,
    pub(super) link: Option<Arc<Link>>,
}

impl Default for Phase {
    fn default() -> Self {
        Self {
            state: State::Connecting,
            since: Instant::now(),
            server: None,
            last_error: None,
            reconnects: 0,
            link: None,
        }
    }
}

impl Phase {
    /// The connection that takes new sessions, if there is one now.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        self.link
            .as_ref()
            .filter(|link| self.state == State::Connected && link.connection().close_reason().is_none())
    }
}
