//! The two halves of a session's stream, guarded so that a cut never looks complete.
//!
//! Invariants: dropping quinn's `SendStream` would finish it, so [`SessionSend`] resets unless it was finished on
//! purpose: a panic, a `?` or an aborted task reaches the peer as a reset. Bytes leave only inside the peer's credit.
//! A [`SessionRecv`] ends with `None` only on the peer's own end. Used by `relay` and, as [`SessionIo`], by hyper.

mod ahead;
mod session_io;

pub use session_io::SessionIo;

use ahead::Ahead;

use crate::backlog::Backlog;
use crate::code::ResetCode;
use crate::credit::{SendCredit, WakerSlot, Window};
use crate::link::Outbox;
use crate::message::Control;
use bytes::Bytes;
use quinn::{ReadError, RecvStream, ResetError, SendStream, StoppedError, VarInt, WriteError};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::ReusableBoxFuture;

/// Why a session's stream ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamCut {
    /// The peer reset or stopped the stream; `None` is a code of a later version.
    #[error("the peer cut the session ({})", name(*.0))]
    Peer(Option<ResetCode>),
    /// The tunnel's connection was lost or closed.
    #[error("the tunnel's connection was lost")]
    ConnectionLost,
    /// This half was used after its end.
    #[error("the stream is already closed")]
    Closed,
}

impl From<StreamCut> for io::Error {
    fn from(cut: StreamCut) -> Self {
        Self::new(io::ErrorKind::ConnectionReset, cut)
    }
}

/// What both halves of a session share with their link.
#[derive(Debug)]
pub(crate) struct SessionState {
    id: u64,
    outbox: Arc<Outbox>,
    credit: SendCredit,
    abort: OnceLock<(u64, ResetCode)>,
    reader: WakerSlot,
}

impl SessionState {
    pub(crate) fn new(id: u64, credit: u64, outbox: Arc<Outbox>) -> Arc<Self> {
        let state = Self {
            id,
            outbox,
            credit: SendCredit::default(),
            abort: OnceLock::new(),
            reader: WakerSlot::default(),
        };
        state.credit.raise(credit);
        Arc::new(state)
    }

    pub(crate) fn raise_credit(&self, limit: u64) {
        self.credit.raise(limit);
    }

    pub(crate) fn abort_at(&self, offset: u64, code: ResetCode) {
        let _ = self.abort.set((offset, code));
        self.reader.wake();
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        self.outbox.forget(self.id);
    }
}

/// The sending half. Dropped without [`finish`](Self::finish), it resets the stream.
#[derive(Debug)]
pub struct SessionSend {
    stream: SendStream,
    state: Arc<SessionState>,
    backlog: Arc<Backlog>,
    sent: u64,
    ended: bool,
    /// Tells of the peer's stop; made when a write has to wait.
    stop: Option<ReusableBoxFuture<'static, StreamCut>>,
}

impl SessionSend {
    pub(crate) fn new(stream: SendStream, state: Arc<SessionState>, backlog: Arc<Backlog>) -> Self {
        Self {
            stream,
            state,
            backlog,
            sent: 0,
            ended: false,
            stop: None,
        }
    }

    /// The session's QUIC stream id.
    pub fn id(&self) -> u64 {
        self.state.id
    }

    /// Bytes written so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many bytes may be written now without waiting for the peer.
    pub fn available(&self) -> u64 {
        self.state.credit.available(self.sent)
    }

    /// Waits until bytes may be written; returns how many. Cancel safe.
    pub async fn credit(&self) -> u64 {
        poll_fn(|context| self.state.credit.poll_available(self.sent, context)).await
    }

    /// Writes all of `chunk` without copying it, waiting for credit where it does not suffice.
    ///
    /// Not cancel safe: a part may have been written. The stream can then only be reset.
    pub async fn write_chunk(&mut self, mut chunk: Bytes) -> Result<(), StreamCut> {
        while !chunk.is_empty() {
            let credit = poll_fn(|context| self.poll_credit(context)).await?;
            let size = usize::try_from(credit).unwrap_or(usize::MAX).min(chunk.len());
            let part = chunk.split_to(size);
            self.write_raw(part).await?;
            self.wrote(size);
        }
        Ok(())
    }

    /// How many bytes may be written, or why none will be any more.
    fn poll_credit(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, StreamCut>> {
        match self.state.credit.poll_available(self.sent, context) {
            Poll::Ready(credit) => Poll::Ready(Ok(credit)),
            Poll::Pending => self.poll_stopped(context).map(Err),
        }
    }

    /// What a write came to; one that waits is over as well when the peer stops the stream.
    ///
    /// quinn tells a writer of a stop only while the connection has room, and room that comes later wakes no stream that
    /// has used up its own window, which a peer that has stopped it never widens.
    fn or_stopped<T>(
        &mut self,
        written: Poll<Result<T, WriteError>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, StreamCut>> {
        match written {
            Poll::Ready(written) => Poll::Ready(written.map_err(cut_of_write)),
            Poll::Pending => self.poll_stopped(context).map(Err),
        }
    }

    fn poll_stopped(&mut self, context: &mut Context<'_>) -> Poll<StreamCut> {
        let watch = || ReusableBoxFuture::new(stopped(&self.stream));
        let cut = ready!(self.stop.get_or_insert_with(watch).poll(context));
        self.stop = None;
        Poll::Ready(cut)
    }

    fn wrote(&mut self, size: usize) {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.sent += size;
        self.backlog.wrote(size);
    }

    pub(crate) fn raise_credit(&self, limit: u64) {
        self.state.raise_credit(limit);
    }

    /// Writes bytes that no credit counts: the messages before a session's own bytes.
    pub(crate) async fn write_raw(&mut self, chunk: Bytes) -> Result<(), StreamCut> {
        let mut rest = [chunk];
        while rest.iter().any(|chunk| !chunk.is_empty()) {
            poll_fn(|context| {
                // It keeps nothing between two polls.
                let written = pin!(self.stream.write_chunks(&mut rest)).poll(context);
                self.or_stopped(written, context)
            })
            .await?;
        }
        Ok(())
    }

    /// Ends the stream on purpose: what was written is all there is.
    pub fn finish(&mut self) {
        if !self.ended {
            self.ended = true;
            // Refused only where the peer stopped the stream or it was reset: then there is nothing to finish.
            let _ = self.stream.finish();
        }
    }

    /// Cuts the stream: the peer may lose bytes that are under way.
    pub fn reset(&mut self, code: ResetCode) {
        if !self.ended {
            self.ended = true;
            // Refused only where it already ended.
            let _ = self.stream.reset(code.into());
        }
    }

    /// Cuts the stream after its bytes: the peer delivers what was written, then resets its socket.
    ///
    /// Waits up to `grace` for the peer to have done so, then resets. Stop the other half only after that: a peer that
    /// is told to stop cuts the session. Cancelled, it delivers no more and leaves the reset to the caller.
    pub async fn abort(&mut self, code: ResetCode, grace: Duration) {
        if self.ended {
            return;
        }
        self.state.outbox.push(Control::Abort {
            stream: self.state.id,
            offset: self.sent,
            code,
        });
        let _ = timeout(grace, stopped(&self.stream)).await;
        self.reset(code);
    }

    /// Completes when the peer will take no more, with why. Borrows nothing, cancel safe.
    pub fn stopped(&self) -> impl Future<Output = StreamCut> + Send + Sync + use<> {
        stopped(&self.stream)
    }

    /// After [`finish`](Self::finish): waits until the peer's QUIC has every byte, `grace` at the most.
    pub async fn acknowledged(&self, grace: Duration) -> bool {
        matches!(timeout(grace, self.stream.stopped()).await, Ok(Ok(None)))
    }
}

impl Drop for SessionSend {
    fn drop(&mut self) {
        self.reset(ResetCode::Abandoned);
    }
}

/// The receiving half. Dropped before its end, it stops the stream.
#[derive(Debug)]
pub struct SessionRecv {
    stream: RecvStream,
    /// What was taken out of the stream and not read yet.
    ahead: Ahead,
    state: Arc<SessionState>,
    window: Window,
    received: u64,
    rtt: Duration,
    connection: quinn::Connection,
    ended: bool,
}

impl SessionRecv {
    pub(crate) fn new(
        stream: RecvStream,
        state: Arc<SessionState>,
        window: Window,
        connection: quinn::Connection,
    ) -> Self {
        let rtt = connection.rtt();
        Self {
            stream,
            ahead: Ahead::default(),
            state,
            window,
            received: 0,
            rtt,
            connection,
            ended: false,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut RecvStream {
        &mut self.stream
    }

    /// How far the other half of the session may write.
    pub(crate) fn raise_credit(&self, limit: u64) {
        self.state.raise_credit(limit);
    }

    /// The limit that the peer starts with.
    pub(crate) fn granted(&self) -> u64 {
        self.window.granted()
    }

    /// Bytes read so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Reads the next chunks into `chunks`, without copying. `None` is the peer's own end, never a cut. Cancel safe.
    ///
    /// Tell [`delivered`](Self::delivered) when they are written on: without it the peer runs out of credit.
    pub async fn read(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, StreamCut> {
        poll_fn(|context| self.poll_read(chunks, context)).await
    }

    fn poll_read(
        &mut self,
        chunks: &mut [Bytes],
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, StreamCut>> {
        if let Poll::Ready(code) = poll_abort(&self.state, self.received, context) {
            return Poll::Ready(Err(StreamCut::Peer(Some(code))));
        }
        let mut count = self.ahead.take(chunks);
        if count == 0 {
            match ready!(self.poll_stream(chunks, context))? {
                Some(read) => count = read,
                None => return Poll::Ready(Ok(None)),
            }
        }
        let size: usize = chunks.iter().take(count).map(Bytes::len).sum();
        self.received += u64::try_from(size).unwrap_or(u64::MAX);
        Poll::Ready(Ok(Some(count)))
    }

    /// Reads past what waits in `ahead`.
    fn poll_stream(
        &mut self,
        chunks: &mut [Bytes],
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, StreamCut>> {
        if self.ahead.finished {
            return Poll::Ready(Ok(None));
        }
        // It keeps nothing between two polls.
        let read = ready!(pin!(self.stream.read_chunks(chunks)).poll(context)).map_err(cut_of_read)?;
        if read.is_none() {
            self.ahead.finished = true;
            self.ended = true;
        }
        Poll::Ready(Ok(read))
    }

    /// Notes that `bytes` of what was read are out of this process's memory, so that the peer may send more.
    pub fn delivered(&mut self, bytes: u64) {
        let now = Instant::now();
        if let Some(limit) = self.window.deliver(bytes, now, self.rtt) {
            self.rtt = self.connection.rtt();
            self.state.outbox.credit(self.state.id, limit);
        }
    }

    /// Completes when the stream is cut, while nobody reads it; never after its end. Cancel safe.
    ///
    /// Meanwhile what arrives is taken out of QUIC, for [`read`](Self::read): as much as the peer was granted.
    pub async fn cut(&mut self) -> StreamCut {
        poll_fn(|context| self.poll_cut(context)).await
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<StreamCut> {
        let granted = self.window.granted().saturating_sub(self.received);
        while !self.ended && self.ahead.has_room(granted) {
            let mut chunks = [const { Bytes::new() }; AT_ONCE];
            match ready!(self.poll_stream(&mut chunks, context)) {
                Ok(Some(count)) => self.ahead.put(chunks.get_mut(..count).unwrap_or_default()),
                Ok(None) => {}
                Err(cut) => return Poll::Ready(cut),
            }
        }
        if self.ended {
            return Poll::Pending;
        }
        match ready!(pin!(self.stream.received_reset()).poll(context)) {
            Ok(Some(code)) => Poll::Ready(peer(code)),
            Ok(None) => Poll::Pending,
            Err(ResetError::ConnectionLost(_)) => Poll::Ready(StreamCut::ConnectionLost),
            Err(ResetError::ZeroRttRejected) => Poll::Ready(StreamCut::Closed),
        }
    }

    /// Reads until the peer cuts the stream, and keeps nothing; pending for ever where it ends instead. Cancel safe.
    pub(crate) async fn discard(&mut self) -> StreamCut {
        let mut chunks = [const { Bytes::new() }; 8];
        loop {
            match self.read(&mut chunks).await {
                Ok(Some(_)) => {}
                Ok(None) => std::future::pending().await,
                Err(cut) => return cut,
            }
        }
    }

    /// Tells the peer to send no more, and why.
    pub fn stop(&mut self, code: ResetCode) {
        if !self.ended {
            self.ended = true;
            // Refused only where it already ended.
            let _ = self.stream.stop(code.into());
        }
    }
}

impl Drop for SessionRecv {
    fn drop(&mut self) {
        self.stop(ResetCode::Cancelled);
    }
}

/// Ready once the peer's `Abort` is known and every byte before it was read.
fn poll_abort(state: &SessionState, received: u64, context: &Context<'_>) -> Poll<ResetCode> {
    let reached = || {
        state
            .abort
            .get()
            .filter(|(offset, _)| received >= *offset)
            .map(|(_, code)| *code)
    };
    if let Some(code) = reached() {
        return Poll::Ready(code);
    }
    state.reader.register(context.waker());
    reached().map_or(Poll::Pending, Poll::Ready)
}

fn stopped(stream: &SendStream) -> impl Future<Output = StreamCut> + Send + Sync + use<> {
    let stopped = stream.stopped();
    async move {
        match stopped.await {
            Ok(Some(code)) => StreamCut::Peer(ResetCode::from_number(code.into_inner())),
            Ok(None) => StreamCut::Closed,
            Err(StoppedError::ConnectionLost(_)) => StreamCut::ConnectionLost,
            Err(StoppedError::ZeroRttRejected) => StreamCut::Closed,
        }
    }
}

fn cut_of_write(error: WriteError) -> StreamCut {
    match error {
        WriteError::Stopped(code) => peer(code),
        WriteError::ConnectionLost(_) => StreamCut::ConnectionLost,
        WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamCut::Closed,
    }
}

impl From<ReadError> for StreamCut {
    fn from(error: ReadError) -> Self {
        cut_of_read(error)
    }
}

fn cut_of_read(error: ReadError) -> StreamCut {
    match error {
        ReadError::Reset(code) => peer(code),
        ReadError::ConnectionLost(_) => StreamCut::ConnectionLost,
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            StreamCut::Closed
        }
    }
}

fn peer(code: VarInt) -> StreamCut {
    StreamCut::Peer(ResetCode::from_number(code.into_inner()))
}

fn name(code: Option<ResetCode>) -> &'static str {
    code.map_or("unknown code", ResetCode::name)
}

/// Chunks that are taken ahead of their reader at once.
const AT_ONCE: usize = 32;
