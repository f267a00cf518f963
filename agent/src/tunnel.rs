//! Sessions to targets, whatever carries them: today one QUIC connection to the server.
//!
//! [`Tunnel::connect`] and [`Tunnel::open`] wait for the connection, ask the server to dial the target and hand out the
//! session. Nothing is tried twice once the server may have dialled. Second stop on the byte's way.

mod dialer;
mod doubled;
mod fault;
mod heard;
mod learned;
mod pace;
mod record;
mod renewal;
mod state;
mod summon;
mod supervisor;
mod trust;

pub use dialer::Dialer;
pub use fault::{At, DialError};
pub use learned::Promise;
pub use record::SessionRecord;
pub use state::{Phase, State};
pub use supervisor::{Supervisor, Watched};
pub use trust::CertificateFault;

use crate::config::{Answer, Config};
use crate::lifecycle::Demand;
use crate::metrics::Metrics;
use crate::notices::Notices;
use bytes::Bytes;
use fluidity_trace::Span;
use fluidity_wire::relay::RelaySession;
use fluidity_wire::{Link, Open, OpenStreamError, ReplyCode, SessionRecv, SessionSend, Target, TraceContext};
use learned::Learned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// Opens sessions.
#[derive(Debug)]
pub struct Tunnel {
    phase: watch::Receiver<Phase>,
    demand: Arc<Demand>,
    request_wait: Duration,
    /// How long a server that sleeps may take to wake up.
    wake_wait: Duration,
    open_timeout: Duration,
    answer: Answer,
    learned: Arc<Learned>,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
}

/// A session for raw bytes: its target was dialled, or was promised to be.
#[derive(Debug)]
pub struct Connected {
    /// For the relay.
    pub session: RelaySession,
    /// What of the client's first bytes was not sent yet.
    pub early: Bytes,
    /// Set where nobody knows yet whether the target can be reached.
    pub promise: Option<Promise>,
    /// What is told at its end.
    pub record: SessionRecord,
}

/// A session whose target was dialled.
#[derive(Debug)]
pub struct Session {
    /// Towards the target.
    pub send: SessionSend,
    /// From the target.
    pub recv: SessionRecv,
    /// What is told at its end.
    pub record: SessionRecord,
}

/// Why there is no session. The texts are meant for the person behind the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The tunnel did not come up in time.
    #[error("there is no connection to the server ({}){}", .state.name(), because(.last_error.as_deref()))]
    NotConnected {
        /// How the tunnel stood.
        state: State,
        /// What the last attempt ran into.
        last_error: Option<String>,
        /// Waiting does not mend it: a person has to.
        lasting: bool,
    },
    /// The server takes no more sessions on this connection.
    #[error("the server takes no more sessions")]
    TooManySessions,
    /// The server did not answer in time.
    #[error("the server did not reach the target in time")]
    Deadline,
    /// The tunnel was lost while the target was dialled.
    #[error("the tunnel was lost while the target was dialled")]
    Lost,
    /// The server's answer made no sense.
    #[error("the server's answer was not understood")]
    Protocol,
    /// The server will not or cannot reach the target.
    #[error("{}", said(*.code, .detail))]
    Refused {
        /// Why.
        code: ReplyCode,
        /// The server's own words; may be empty.
        detail: String,
    },
}

impl OpenError {
    /// The stable name, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotConnected { .. } => "not-connected",
            Self::TooManySessions => "no-stream",
            Self::Deadline => "deadline",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
            Self::Refused { code, .. } => code.name(),
        }
    }
}

impl Tunnel {
    /// Opens sessions over whatever connection is `watched`.
    pub fn new(watched: Watched, config: &Config, metrics: Arc<Metrics>) -> Self {
        let wake = config
            .control_plane
            .as_ref()
            .map(|plane| plane.connection_timeout);
        Self {
            phase: watched.phase,
            demand: watched.demand,
            request_wait: config.connect.request_wait,
            wake_wait: wake.unwrap_or_default().max(config.connect.request_wait),
            open_timeout: config.limits.open_timeout,
            answer: config.connect.answer,
            learned: Arc::default(),
            metrics,
            notices: Arc::default(),
        }
    }

    /// What is told of its sessions.
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// Where the supervisor is told whether the tunnel is wanted.
    pub fn demand(&self) -> &Arc<Demand> {
        &self.demand
    }

    /// Whether a session could be opened without waiting.
    pub fn is_connected(&self) -> bool {
        self.phase.borrow().link().is_some()
    }

    /// Opens a session to a target that answers over it; timed as a part of `cause`.
    ///
    /// Waits for the connection where there is none. Cancelled, it leaves nothing behind.
    pub async fn open(&self, open: Open, cause: &Span) -> Result<Session, OpenError> {
        let halves = self.on_a_link(&open, cause, |link, open| async move {
            link.open(open, Bytes::new(), self.open_timeout).await
        });
        let (send, recv) = halves.await?;
        let record = self.opened(send.id(), &open);
        Ok(Session { send, recv, record })
    }

    /// Opens a session for raw bytes, of which `early` are the client's first; timed as a part of `cause`.
    ///
    /// Where the target was reached a short time ago, or `connect.answer` says so, it does not wait for it to be reached
    /// again. Waits for the connection where there is none. Cancelled, it leaves nothing behind.
    pub async fn connect(&self, open: Open, early: Bytes, cause: &Span) -> Result<Connected, OpenError> {
        let asked = self.on_a_link(&open, cause, |link, open| {
            let early = early.clone();
            async move {
                let (connection, target) = (link.connection().stable_id(), open.target.clone());
                let opening = link.begin(open, self.open_timeout).await?;
                let id = opening.id();
                if self.promises(connection, &target) && has_place(&link) {
                    let promise = Promise::new(self.learned.clone(), target);
                    return Ok((id, RelaySession::from(opening), early, Some(promise)));
                }
                let session = opening.confirmed(early).await?;
                self.learned.learn(connection, target, Instant::now());
                Ok((id, session.into(), Bytes::new(), None))
            }
        });
        let (id, session, early, promise) = asked.await?;
        Ok(Connected {
            session,
            early,
            promise,
            record: self.opened(id, &open),
        })
    }

    fn promises(&self, connection: usize, target: &Target) -> bool {
        match self.answer {
            Answer::Confirmed => false,
            Answer::Learned => self.learned.knows(connection, target, Instant::now()),
            Answer::Always => true,
        }
    }

    fn opened(&self, id: u64, open: &Open) -> SessionRecord {
        debug!(session = id, target = %open.target, "session opened");
        SessionRecord::new(id, open.kind, self.metrics.clone(), self.notices.clone())
    }

    /// Asks over the connection that there is, or will be soon.
    async fn on_a_link<T, F>(
        &self,
        open: &Open,
        cause: &Span,
        ask: impl Fn(Arc<Link>, Open) -> F,
    ) -> Result<T, OpenError>
    where
        F: Future<Output = Result<T, OpenStreamError>>,
    {
        let mut span = cause.client("open");
        let trace = span.parent().map(|parent| TraceContext(parent.to_bytes()));
        let open = Open {
            trace,
            ..open.clone()
        };
        let opened = self.on_two_links(&open, &span, ask).await;
        if let Err(error) = &opened {
            span.fail(error.name());
            debug!(kind = open.kind.name(), target = %open.target, reason = error.name(), "no session");
            self.metrics.not_opened(error.name());
        }
        opened
    }

    /// Only what surely reached no target is tried again, on another connection, and once.
    async fn on_two_links<T, F>(
        &self,
        open: &Open,
        span: &Span,
        ask: impl Fn(Arc<Link>, Open) -> F,
    ) -> Result<T, OpenError>
    where
        F: Future<Output = Result<T, OpenStreamError>>,
    {
        let began = Instant::now();
        let mut spent: Option<Arc<Link>> = None;
        loop {
            let link = self.link(began, spent.as_ref(), span).await?;
            self.demand.touch();
            let error = match ask(link.clone(), open.clone()).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            let unsent = match &error {
                OpenStreamError::NeverSent(_) => true,
                OpenStreamError::Refused(reply) => reply.code == ReplyCode::Draining,
                _ => false,
            };
            if !unsent || spent.is_some() {
                return Err(error.into());
            }
            spent = Some(link);
        }
    }

    /// Waits for a connection that takes sessions, and is not `spent`. A dormant tunnel is asked for.
    async fn link(
        &self,
        began: Instant,
        spent: Option<&Arc<Link>>,
        cause: &Span,
    ) -> Result<Arc<Link>, OpenError> {
        let mut phase = self.phase.clone();
        let failed_before = phase.borrow().failed_wakes;
        let mut waiting = None;
        loop {
            let wait = {
                let phase = phase.borrow_and_update();
                if let Some(link) = phase.link()
                    && spent.is_none_or(|spent| !Arc::ptr_eq(spent, link))
                {
                    return Ok(link.clone());
                }
                // The wake that this request asked for, or found under way, came to nothing.
                if phase.failed_wakes != failed_before {
                    return Err(not_connected(&phase));
                }
                // The attempts go on, but nothing gets better by waiting for them.
                if phase.lasting && matches!(phase.state, State::Connecting | State::Disconnected) {
                    return Err(not_connected(&phase));
                }
                let (waiting, _) = waiting.get_or_insert_with(|| {
                    let held = self.metrics.request_held();
                    (cause.part("wait for the tunnel"), held)
                });
                match phase.state {
                    State::Dormant => {
                        self.demand.raise(waiting.parent());
                        self.wake_wait
                    }
                    State::Waking => self.wake_wait,
                    State::Connecting | State::Connected | State::Suspect | State::Disconnected => {
                        self.request_wait
                    }
                }
            };
            if !matches!(timeout_at(began + wait, phase.changed()).await, Ok(Ok(()))) {
                return Err(not_connected(&self.phase.borrow()));
            }
        }
    }
}

/// Whether the server, by its own word, takes as many sessions as there are now.
fn has_place(link: &Link) -> bool {
    let hello = link
        .peer()
        .borrow()
        .hello
        .as_ref()
        .map(|hello| hello.max_sessions);
    hello.is_none_or(|most| link.sessions() <= usize::try_from(most).unwrap_or(usize::MAX))
}

fn not_connected(phase: &Phase) -> OpenError {
    OpenError::NotConnected {
        state: phase.state,
        last_error: phase.last_error.clone(),
        lasting: phase.lasting,
    }
}

impl From<OpenStreamError> for OpenError {
    fn from(error: OpenStreamError) -> Self {
        match error {
            OpenStreamError::NeverSent(_) | OpenStreamError::Lost(_) => Self::Lost,
            OpenStreamError::NoStream => Self::TooManySessions,
            OpenStreamError::Deadline => Self::Deadline,
            OpenStreamError::Protocol(_) => Self::Protocol,
            OpenStreamError::Refused(reply) => Self::Refused {
                code: reply.code,
                detail: reply.detail,
            },
        }
    }
}

fn because(last_error: Option<&str>) -> String {
    last_error.map_or_else(String::new, |error| format!(": {error}"))
}

/// The server's words, or some for its code.
fn said(code: ReplyCode, detail: &str) -> String {
    if !detail.is_empty() {
        return detail.to_owned();
    }
    let words = match code {
        ReplyCode::Ok | ReplyCode::Internal => "the server failed",
        ReplyCode::MalformedOpen => "the server did not understand the request",
        ReplyCode::DeniedByRule => "a rule of the server denies this target",
        ReplyCode::DeniedAddress => "the target is a private or local address",
        ReplyCode::NameNotFound => "the host name does not exist",
        ReplyCode::ResolveFailed => "the host name could not be resolved",
        ReplyCode::ConnectRefused => "the target refused the connection",
        ReplyCode::ConnectTimeout => "the target did not answer in time",
        ReplyCode::Unreachable => "there is no route to the target",
        ReplyCode::BreakerOpen => "the target failed too often of late",
        ReplyCode::TooManySessions => "this agent has as many sessions as it may have",
        ReplyCode::Draining => "the server is stopping",
        ReplyCode::UnsupportedKind => "the server does not serve this kind of session",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests;
