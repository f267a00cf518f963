//! HTTP/1.1 over a session: hyper's client, and a byte stream that never ends cleanly in the middle of an exchange.
//!
//! hyper shuts its transport down also when the other side of a request went away; on this stream a shutdown finishes
//! only what is through, so that a cut upload reaches the origin as a reset.

use super::answer::{AnswerError, AnswerReader, Turn};
use super::body::Upload;
use super::head::HeadLimits;
use super::reply::OriginError;
use crate::tunnel::{Session, SessionRecord};
use bytes::Bytes;
use fluidity_wire::relay::RelayCounters;
use fluidity_wire::{SessionIo, SessionRecv, SessionSend, StreamCut};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A session that requests are sent over, one after the other. Dropped within an exchange, it is cut.
#[derive(Debug)]
pub(super) struct Upstream {
    sender: SendRequest<Upload>,
    meter: Arc<Meter>,
    cut: CancellationToken,
    bound: bool,
}

/// Why an exchange failed before its answer.
#[derive(Debug)]
pub(super) struct ExchangeError {
    pub(super) error: OriginError,
    /// Nothing of an answer came: on a tunnel that waited for reuse, the origin may have hung up before it read.
    pub(super) unanswered: bool,
    /// The request, where nothing of it was sent.
    pub(super) unsent: Option<Box<Request<Upload>>>,
}

/// Limits towards origins.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginLimits {
    /// Bytes of an answer's head.
    pub(super) head_size: usize,
    /// How long an exchange may be silent.
    pub(super) idle: Duration,
}

impl Upstream {
    /// Takes a session; its connection is driven by a task of `tasks` until it ends or `stop`.
    pub(super) async fn start(
        session: Session,
        limits: OriginLimits,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, OriginError> {
        let Session { send, recv, record } = session;
        let meter = Arc::new(Meter::new(record));
        let head_limits = HeadLimits {
            size: limits.head_size,
            fields: MOST_FIELDS,
        };
        let io = UpstreamIo {
            io: SessionIo::new(send, recv),
            answers: AnswerReader::new(head_limits, meter.turn.clone()),
            meter: meter.clone(),
            deaf: false,
            linger: None,
        };
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_headers(MOST_FIELDS)
            // Heads as they are written anew: a line may have got a byte longer.
            .max_buf_size(limits.head_size.max(LEAST_BUFFER) + MOST_FIELDS)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_| OriginError::Closed)?;
        let cut = stop.child_token();
        let cancelled = cut.clone();
        let stuck = {
            let meter = meter.clone();
            async move {
                // Whoever waits for an exchange has the shorter limit, and a better word for it.
                loop {
                    idle(&meter, limits.idle * 2).await;
                    if meter.turn.is_busy() {
                        break;
                    }
                }
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                // First, so that hyper does not end in order what was cut.
                biased;
                () = cancelled.cancelled() => {}
                () = stuck => {}
                // How it ended, the exchange under way learns by itself.
                _ = connection.with_upgrades() => {}
            }
        });
        Ok(Self {
            sender,
            meter,
            cut,
            bound: false,
        })
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
        limits: OriginLimits,
    ) -> Result<Response<Incoming>, ExchangeError> {
        let head = request.method() == Method::HEAD;
        self.meter.begin(request.body().uploaded(), head);
        let before = self.meter.down.load(Ordering::Relaxed);
        let answer = tokio::select! {
            answer = self.sender.try_send_request(request) => {
                answer.map_err(|mut error| (explain(error.error()), error.take_message().map(Box::new)))
            }
            () = idle(&self.meter, limits.idle) => Err((OriginError::Idle, None)),
        };
        answer.map_err(|(error, unsent)| ExchangeError {
            error,
            unanswered: error == OriginError::Closed && self.meter.down.load(Ordering::Relaxed) == before,
            unsent,
        })
    }

    /// Both bodies are through: the session can wait for another exchange.
    pub(super) fn rest(&self) {
        self.meter.turn.rest();
    }

    /// Whether another exchange can begin, at once or within `limit`: the last one is through in both directions then.
    pub(super) async fn is_usable(&mut self, limit: Duration) -> bool {
        let ready = tokio::time::timeout(limit, self.sender.ready()).await;
        matches!(ready, Ok(Ok(()))) && !self.meter.turn.is_unfit()
    }

    /// Whether the origin has hung up, or sent what nobody asked for.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.meter.turn.is_unfit()
    }

    /// From now on it belongs to one client connection.
    pub(super) fn bind(&mut self) {
        self.bound = true;
    }

    /// Whether it belongs to one client connection.
    pub(super) fn is_bound(&self) -> bool {
        self.bound
    }

    /// Whether the origin would still read another request.
    pub(super) fn is_fit(&self) -> bool {
        !self.meter.deaf.load(Ordering::Relaxed)
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if self.meter.turn.is_busy() {
            self.cut.cancel();
        }
    }
}

/// What a session moved, and whether an exchange is under way. Tells of the session's end when it is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    turn: Arc<Turn>,
    /// The origin reads no more.
    deaf: AtomicBool,
    /// No more of the origin's bytes are wanted.
    refused: AtomicBool,
    /// Whether the request of the exchange that was begun last is through.
    uploaded: Mutex<Arc<AtomicBool>>,
    cut: Mutex<Option<&'static str>>,
    totals: Arc<RelayCounters>,
    record: Mutex<Option<SessionRecord>>,
}

impl Meter {
    fn new(record: SessionRecord) -> Self {
        Self {
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            turn: Arc::default(),
            deaf: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            uploaded: Mutex::default(),
            cut: Mutex::new(None),
            totals: record.totals().clone(),
            record: Mutex::new(Some(record)),
        }
    }

    fn begin(&self, uploaded: Arc<AtomicBool>, head: bool) {
        self.turn.begin(head);
        *self.uploaded.lock().unwrap_or_else(PoisonError::into_inner) = uploaded;
    }

    /// Whether an end of the session now would look like the end of a request that is not through.
    fn is_uploading(&self) -> bool {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn.is_busy() && !uploaded.load(Ordering::Relaxed)
    }

    /// Reads no more of what the origin sends: it sends without end.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Takes the session's account over.
    pub(super) fn take_record(&self) -> Option<SessionRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Bytes moved so far: towards the origin, and from it.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }

    fn read(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        self.down.fetch_add(bytes, Ordering::Relaxed);
        self.totals.inward.fetch_add(bytes, Ordering::Relaxed);
    }

    fn wrote(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        self.up.fetch_add(bytes, Ordering::Relaxed);
        self.totals.outward.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note(&self, error: &io::Error) {
        let cut = match cut_in(error) {
            None if answer_error_in(error).is_some() => "malformed-answer",
            Some(StreamCut::Peer(Some(code))) => code.name(),
            Some(StreamCut::Peer(None) | StreamCut::Closed) | None => "peer-reset",
            Some(StreamCut::ConnectionLost) => "connection-lost",
            Some(StreamCut::Exhausted) => "exhausted",
        };
        self.cut
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(cut);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(record) = self.take_record() {
            let cut = *self.cut.lock().unwrap_or_else(PoisonError::into_inner);
            let unfinished = self.turn.is_busy().then_some("cancelled");
            let (up, down) = self.moved();
            record.end(up, down, cut.or(unfinished).unwrap_or("finished"));
        }
    }
}

/// Completes when no byte moved for `limit`.
pub(super) async fn idle(meter: &Meter, limit: Duration) {
    let mut seen = meter.moved();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        sleep_until((since + limit).min(Instant::now() + limit / 4)).await;
        let moved = meter.moved();
        if moved != seen {
            seen = moved;
            since = Instant::now();
        }
    }
}

/// A session's bytes for hyper.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    io: SessionIo,
    answers: AnswerReader,
    meter: Arc<Meter>,
    /// The origin reads no more; its answer may still come.
    deaf: bool,
    linger: Option<Pin<Box<Sleep>>>,
}

impl UpstreamIo {
    /// The session, after an upgrade, and what was read of it but not by hyper.
    pub(super) fn into_parts(self) -> (SessionSend, SessionRecv, Bytes) {
        let (send, recv) = self.io.into_parts();
        (send, recv, self.answers.into_rest())
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.refused.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let read = this.answers.poll_read(&mut this.io, context, out);
        this.meter.read(this.answers.take_moved());
        if let Poll::Ready(Err(error)) = &read {
            this.meter.note(error);
        }
        read
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.answers.await_answer(&mut this.io, context)?;
        if !this.deaf {
            match ready!(Pin::new(&mut this.io).poll_write(context, bytes)) {
                Ok(written) => {
                    this.meter.wrote(written);
                    return Poll::Ready(Ok(written));
                }
                Err(error) if matches!(cut_in(&error), Some(StreamCut::Peer(_))) => {
                    this.deaf = true;
                    this.meter.deaf.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    this.meter.note(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
        // An origin may answer without reading the whole request, and close (RFC 9112 §9.6). hyper would give the
        // answer up with the first failed write; what is left of the request goes nowhere instead.
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.deaf || this.meter.is_uploading() {
            return Poll::Ready(Ok(()));
        }
        let linger = match &mut this.linger {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
                this.linger.insert(Box::pin(sleep(LINGER)))
            }
        };
        // The origin hangs up in turn; leaving before that would reset it.
        let mut scrap = [0; 256];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.io).poll_read(context, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.as_mut().poll(context).map(Ok),
            }
        }
    }
}

/// What an exchange that failed means.
fn explain(error: &hyper::Error) -> OriginError {
    if error.is_user() {
        return OriginError::Upload;
    }
    if error.is_parse() {
        return OriginError::Protocol;
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>().and_then(answer_error_in) {
            return OriginError::Answer(error);
        }
        if let Some(StreamCut::ConnectionLost) = error.downcast_ref::<io::Error>().and_then(cut_in) {
            return OriginError::TunnelLost;
        }
        source = error.source();
    }
    OriginError::Closed
}

fn cut_in(error: &io::Error) -> Option<&StreamCut> {
    error.get_ref()?.downcast_ref()
}

fn answer_error_in(error: &io::Error) -> Option<AnswerError> {
    error.get_ref()?.downcast_ref().copied()
}

/// Fields of an answer.
const MOST_FIELDS: usize = 4096;
/// hyper's own least.
const LEAST_BUFFER: usize = 64 * 1024;
/// For an origin to hang up in turn.
const LINGER: Duration = Duration::from_secs(3);
