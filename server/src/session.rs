//! One stream: read what the agent wants, authorize it, dial it, answer, relay.
//!
//! Exactly one completion event, whatever becomes of the session: `SessionRecord` tells it when it is dropped. A
//! refusal travels in the `Reply`, never as a reset. Targets are told at DEBUG only.

use crate::dial::Dialer;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::roster::{Full, Guest};
use bytes::Bytes;
use fluidity_daemon::shutdown::Shutdown;
use fluidity_wire::relay::{NoTap, RelayOptions, relay};
use fluidity_wire::{Incoming, Kind, Open, ReadMessageError, Reply, ReplyCode, ResetCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
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
    let mut record = SessionRecord::new(incoming.id(), services.metrics.clone());
    let place = guest.session();
    let abandoned = incoming.abandoned();
    let opened = tokio::select! {
        opened = open(&mut incoming, &guest, &services, &mut record, place.as_ref().err().copied()) => opened,
        // Not cancel safe, and need not be: the session is over. A dial under way is given up.
        _ = abandoned => return record.end("abandoned"),
        () = cut.cancelled() => Err(Refusal::new(ReplyCode::Draining, "the server is stopping")),
    };
    let upstream = match opened {
        Ok(upstream) => upstream,
        Err(Refusal::Silent) => return record.end("no-open"),
        Err(Refusal::Reply(reply)) => {
            record.refused(reply.code);
            return incoming.refuse(reply, GRACE).await;
        }
    };
    let Ok(halves) = incoming.accept().await else {
        return record.end("abandoned");
    };
    let options = RelayOptions {
        idle_timeout: services.session_idle,
        cancel: cut,
        counters: services.metrics.moved().clone(),
        tap: NoTap,
        reset: ResetCode::UpstreamReset,
    };
    let summary = relay(upstream, Bytes::new(), halves, options).await;
    // Seen from here, the tunnel is where bytes for the target come from.
    record.moved = (summary.inward, summary.outward);
    record.end(summary.end.name());
    drop(place);
}

/// Why there is no session.
enum Refusal {
    /// The agent is told.
    Reply(Reply),
    /// There is nobody to tell, or nothing was asked.
    Silent,
}

impl Refusal {
    fn new(code: ReplyCode, detail: impl Into<String>) -> Self {
        Self::Reply(Reply::refusal(code, detail))
    }
}

/// Everything up to a connected target.
async fn open(
    incoming: &mut Incoming,
    guest: &Guest,
    services: &Services,
    record: &mut SessionRecord,
    full: Option<Full>,
) -> Result<TcpStream, Refusal> {
    let open = read_open(incoming, services.open_timeout).await?;
    record.kind = Some(open.kind);
    debug!(session = record.id, agent = %guest.agent(), kind = open.kind.name(), target = %open.target, "asked for");
    if services.shutdown.draining.is_cancelled() {
        return Err(Refusal::new(ReplyCode::Draining, "the server is stopping"));
    }
    if let Some(full) = full {
        let detail = format!("no more sessions: {full}");
        return Err(Refusal::new(ReplyCode::TooManySessions, detail));
    }
    let permit = services
        .policy
        .authorize(guest.agent(), &open.target)
        .map_err(|denied| Refusal::new(denied.reply_code(), denied.to_string()))?;
    let began = Instant::now();
    let dialled = services.dialer.dial(&permit).await;
    let upstream = dialled.map_err(|error| Refusal::new(error.reply_code(), error.to_string()))?;
    record.started(open.kind, began.elapsed());
    Ok(upstream)
}

async fn read_open(incoming: &mut Incoming, deadline: Duration) -> Result<Open, Refusal> {
    incoming.read_open(deadline).await.map_err(|error| {
        debug!(%error, "no open");
        match error {
            ReadMessageError::Decode(error) => Refusal::new(ReplyCode::MalformedOpen, error.to_string()),
            ReadMessageError::Ended | ReadMessageError::Deadline(_) => {
                Refusal::new(ReplyCode::MalformedOpen, error.to_string())
            }
            ReadMessageError::Stream(_) => Refusal::Silent,
        }
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
}

impl SessionRecord {
    fn new(id: u64, metrics: Arc<Metrics>) -> Self {
        Self {
            id,
            kind: None,
            began: Instant::now(),
            dialled: None,
            moved: (0, 0),
            // What stands where its task went away.
            end: "abandoned",
            metrics,
        }
    }

    fn started(&mut self, kind: Kind, took: Duration) {
        self.dialled = Some(took);
        self.metrics.session_started(kind, took);
    }

    fn refused(&mut self, code: ReplyCode) {
        self.end = code.name();
    }

    fn end(mut self, end: &'static str) {
        self.end = end;
    }
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        match (self.kind, self.dialled) {
            (Some(kind), Some(_)) => self.metrics.session_ended(kind, self.end),
            _ => self.metrics.session_refused(self.end),
        }
        info!(
            session = self.id,
            kind = self.kind.map_or("unknown", Kind::name),
            up = self.moved.0,
            down = self.moved.1,
            dial_millis = self.dialled.map_or(0, millis),
            millis = millis(self.began.elapsed()),
            end = self.end,
            "session ended"
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long a refusal may take to arrive.
const GRACE: Duration = Duration::from_secs(5);
