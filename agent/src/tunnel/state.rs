//! How the tunnel stands, for requests that wait for it and for people.

use fluidity_wire::{Hello, Link, Others, Path};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// How the tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody wants the tunnel; the next request has the server woken.
    Dormant,
    /// The control plane was asked for the server, which is not there yet.
    Waking,
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
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Dormant,
        Self::Waking,
        Self::Connecting,
        Self::Connected,
        Self::Suspect,
        Self::Disconnected,
    ];

    /// The stable name, for pages and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dormant => "dormant",
            Self::Waking => "waking",
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
    /// It is nothing that passes by itself: certificates that do not fit, a server that does not exist.
    pub lasting: bool,
    /// How often it was connected again.
    pub reconnects: u64,
    /// Since when the server that it is connected to is awake, by its own account.
    pub awake_since: Option<SystemTime>,
    /// Who else is connected to it, where it has said so.
    pub others: Option<Others>,
    /// How many wakes came to nothing.
    pub failed_wakes: u64,
    pub(super) link: Option<Arc<Link>>,
}

impl Default for Phase {
    fn default() -> Self {
        Self {
            state: State::Connecting,
            since: Instant::now(),
            server: None,
            last_error: None,
            lasting: false,
            reconnects: 0,
            awake_since: None,
            others: None,
            failed_wakes: 0,
            link: None,
        }
    }
}

impl Phase {
    /// The way of the connection that is the tunnel, where there is one, suspect or not.
    pub(crate) fn path(&self) -> Option<Path> {
        let link = self.link.as_ref()?;
        let open = link.connection().close_reason().is_none();
        open.then(|| Path::of(link.connection()))
    }

    /// The connection that takes new sessions, if there is one now.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        self.link
            .as_ref()
            .filter(|link| self.state == State::Connected && link.connection().close_reason().is_none())
    }
}
