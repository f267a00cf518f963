//! One stream: read what the agent wants, authorize it, dial it, answer, relay.
//!
//! Exactly one completion event, whatever becomes of the session: `SessionRecord` tells it when it is dropped. A
//! refusal travels in the `Reply`, never as a reset. Targets are told at DEBUG only.

use crate::dial::Dialer;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::policy::Policy;
use crate::roster::{Full, Guest};
use bytes::Bytes;
use fluidity_daemon::shutdown::Shutdown;
use fluidity_trace::{Span, TraceParent};
use fluidity_wire::relay::{NoTap, RelayOptions, linger_zero, relay};
use fluidity_wire::tls::AgentId;
use fluidity_wire::{Incoming, Kind, Open, ReadMessageError, Reply, ReplyCode, ResetCode, StreamCut};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// What every session needs.
#[derive(Debug)]
pub struct Services {
    /// Who may reach what.
    pub policy: Policy,
    /// Reaches it.
    pub dialer: Dialer,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told.
    pub notices: Arc<Notices>,
    /// The time for an agent to say what it wants.
    pub open_timeout: Duration,
    /// How long a session may be silent.
    pub session_idle: Duration,
    /// Whether the server stops.
    pub shutdown: Shutdown,
}

/// Serves one session to its end; `cut` ends it early. Dropped, it resets the stream and the target's socket.
pub async fn serve(
    mut incoming: Incoming,
    guest: Arc<Guest>,
    services: Arc<Services>,
    cut: CancellationToken,
) {
    let place = guest.session();
    let mut session = Session {
        record: SessionRecord::new(incoming.id(), guest.clone(), &services),
        guest,
        services,
    };
    let stopping = || Refusal::new(ReplyCode::Draining, "the server is stopping");
    let abandoned = incoming.abandoned();
    let asked = tokio::select! {
        asked = session.ask(&mut incoming, place.as_ref().err()) => asked,
        _ = abandoned => Err(Refusal::Silent("abandoned")),
        () = cut.cancelled() => Err(stopping()),
    };
    let opened = match asked {
        Ok(asked) => tokio::select! {
            opened = session.open(asked) => opened,
            // Not cancel safe, and need not be: the session is over. A dial under way is given up.
            cut = incoming.cut() => Err(match cut {
                StreamCut::Exhausted => Refusal::new(ReplyCode::TooManySessions, "no memory for more bytes that wait"),
                _ => Refusal::Silent("abandoned"),
            }),
            () = cut.cancelled() => Err(stopping()),
        },
        Err(refusal) => Err(refusal),
    };
    match opened {
        Ok(upstream) => session.relay(upstream, incoming, cut).await,
        Err(Refusal::Silent(end)) => session.record.end = end,
        Err(Refusal::Reply(reply)) => {
            session.record.end = reply.code.name();
            incoming.refuse(reply, GRACE).await;
        }
    }
    // Told before its place is free: whoever counts no session has read of each.
    drop(session);
    drop(place);
}

/// Why there is no session.
enum Refusal {
    /// The agent is told.
    Reply(Reply),
    /// There is nobody to tell, or nothing was asked.
    Silent(&'static str),
}

impl Refusal {
    fn new(code: ReplyCode, detail: impl Into<String>) -> Self {
        Self::Reply(Reply::refusal(code, detail))
    }
}

struct Session {
    record: SessionRecord,
    guest: Arc<Guest>,
    services: Arc<Services>,
}

impl Session {
    /// What the agent wants; `full` is why there is no place.
    async fn ask(&mut self, incoming: &mut Incoming, full: Option<&Full>) -> Result<Open, Refusal> {
        let services = &self.services;
        if services.shutdown.draining.is_cancelled() {
            return Err(Refusal::new(ReplyCode::Draining, "the server is stopping"));
        }
        // Refused before it is read: what has no place waits for nothing.
        if let Some(full) = full {
            let detail = format!("no more sessions: {full}");
            return Err(Refusal::new(ReplyCode::TooManySessions, detail));
        }
        let asked = read_open(incoming, services.open_timeout).await?;
        let agent = self.guest.agent();
        self.record.asked(&asked, agent);
        debug!(%agent, kind = asked.kind.name(), target = %asked.target, "asked for");
        if services.shutdown.draining.is_cancelled() {
            return Err(Refusal::new(ReplyCode::Draining, "the server is stopping"));
        }
        Ok(asked)
    }

    /// Everything from there to a connected target.
    async fn open(&mut self, asked: Open) -> Result<TcpStream, Refusal> {
        let services = &self.services;
        let agent = self.guest.agent();
        let Open { kind, target, .. } = asked;
        let authorized = services.policy.authorize(agent, &target);
        let permit = authorized.map_err(|denied| Refusal::new(denied.reply_code(), denied.to_string()))?;
        let began = Instant::now();
        let dialled = services.dialer.dial(&permit, &self.record.span).await;
        let upstream = dialled.map_err(|error| Refusal::new(error.reply_code(), error.to_string()))?;
        // Whatever becomes of the session before its own end, the target sees a reset; the relay's clean end takes this back.
        linger_zero(&upstream, true);
        self.record.started(kind, began.elapsed());
        Ok(upstream)
    }

    async fn relay(&mut self, upstream: TcpStream, incoming: Incoming, cut: CancellationToken) {
        // Not accepted, the agent went away meanwhile, or does not take the answer.
        let Ok(Ok(halves)) = timeout(GRACE, incoming.accept()).await else {
            return;
        };
        self.record.answered();
        let options = RelayOptions {
            idle_timeout: self.services.session_idle,
            cancel: cut,
            counters: self.services.metrics.traffic().of(self.guest.agent()),
            tap: NoTap,
            reset: ResetCode::UpstreamReset,
            discard: MOST_DISCARDED,
        };
        let summary = relay(upstream, Bytes::new(), halves, options).await;
        // Seen from here, the tunnel is where bytes for the target come from.
        self.record.moved = (summary.inward, summary.outward);
        self.record.end = summary.end.name();
    }
}

async fn read_open(incoming: &mut Incoming, deadline: Duration) -> Result<Open, Refusal> {
    let read = incoming.read_open(deadline).await;
    read.map_err(|error| match error {
        ReadMessageError::Stream(_) => Refusal::Silent("no-open"),
        ReadMessageError::Decode(error) => Refusal::new(ReplyCode::MalformedOpen, error.to_string()),
        error => Refusal::new(ReplyCode::MalformedOpen, error.to_string()),
    })
}

/// The account of a session: told once, when it is dropped.
struct SessionRecord {
    id: u64,
    kind: Option<Kind>,
    began: Instant,
    dialled: Option<Duration>,
    moved: (u64, u64),
    end: &'static str,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
    guest: Arc<Guest>,
    /// From what is asked for to the answer. Not to the end: a tunnel may live for days, and its trace is wanted now.
    span: Span,
}

impl SessionRecord {
    fn new(id: u64, guest: Arc<Guest>, services: &Services) -> Self {
        Self {
            id,
            kind: None,
            began: Instant::now(),
            dialled: None,
            moved: (0, 0),
            // What stands where its task went away.
            end: "abandoned",
            metrics: services.metrics.clone(),
            notices: services.notices.clone(),
            guest,
            span: Span::default(),
        }
    }

    fn asked(&mut self, asked: &Open, agent: &AgentId) {
        self.kind = Some(asked.kind);
        let parent = || asked.trace.and_then(|trace| TraceParent::from_bytes(trace.0));
        self.span = Span::server("session", parent);
        self.span.set("fluidity.session.kind", || asked.kind.name());
        self.span.set("fluidity.agent.name", || agent.to_string());
        self.span.set("server.address", || asked.target.host.to_string());
        self.span
            .set("server.port", || i64::from(asked.target.port.get()));
    }

    fn answered(&mut self) {
        self.span = Span::default();
    }

    fn started(&mut self, kind: Kind, took: Duration) {
        self.dialled = Some(took);
        self.metrics.session_started(kind, took);
    }
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        match (self.kind, self.dialled) {
            (Some(kind), Some(_)) => self.metrics.session_ended(kind, self.end),
            _ => {
                self.metrics.session_refused(self.end);
                self.span.fail(self.end);
            }
        }
        macro_rules! tell {
            ($level:ident) => {
                $level!(
                    session = self.id,
                    kind = self.kind.map_or("unknown", Kind::name),
                    up = self.moved.0,
                    down = self.moved.1,
                    dial_millis = self.dialled.map_or(0, millis),
                    millis = millis(self.began.elapsed()),
                    end = self.end,
                    "session ended"
                )
            };
        }
        // What is left out here is counted, and told as a number.
        match self.notices.session(self.guest.agent()) {
            true => tell!(info),
            false => tell!(debug),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long an answer may take to go out, and a refusal to arrive.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a target that are read for nothing when its client has gone.
const MOST_DISCARDED: u64 = 1024 * 1024;
