//! The sending half: bytes inside the peer's credit, an end on purpose, or a cut.

use super::queue::Queue;
use super::{SessionState, StreamCut, cut_of_write};
use crate::backlog::Backlog;
use crate::code::ResetCode;
use crate::message::Control;
use bytes::Bytes;
use quinn::{SendStream, StoppedError, WriteError};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::ReusableBoxFuture;

/// The sending half. Dropped without [`finish`](Self::finish), it resets the stream.
#[derive(Debug)]
pub struct SessionSend {
    stream: SendStream,
    state: Arc<SessionState>,
    sent: u64,
    ended: bool,
    /// What the peer has not acknowledged.
    queue: Queue,
    /// The stream's, as the engine knows it.
    priority: i32,
    /// Tells of the peer's stop; made when a write has to wait.
    stop: Option<ReusableBoxFuture<'static, StreamCut>>,
}

impl SessionSend {
    pub(crate) fn new(stream: SendStream, state: Arc<SessionState>, backlog: Arc<Backlog>) -> Self {
        Self {
            stream,
            state,
            sent: 0,
            ended: false,
            queue: Queue::new(backlog),
            priority: 0,
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

    /// Whether the peer has not acknowledged so many small pieces that the next ones should be gathered first.
    pub(crate) fn scattered(&self) -> bool {
        self.queue.is_scattered()
    }

    /// Waits until the peer lets bytes through; returns how many. Cancel safe.
    pub async fn credit(&self) -> u64 {
        poll_fn(|context| self.state.credit.poll_available(self.sent, context)).await
    }

    /// How many bytes may be written now without waiting for the peer's credit or for this session's place in memory.
    pub(crate) fn writable_now(&self) -> u64 {
        self.available().min(self.queue.room())
    }

    /// As [`writable_now`](Self::writable_now), but waits while it is 0. Cancel safe.
    pub(crate) async fn writable(&self) -> u64 {
        poll_fn(|context| {
            let credit = ready!(self.state.credit.poll_available(self.sent, context));
            self.queue.poll_room(context).map(|room| room.min(credit))
        })
        .await
    }

    /// Writes all of `chunk` without copying it, waiting for credit and room where they do not suffice.
    ///
    /// Not cancel safe: a part may have been written. The stream can then only be reset.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamCut> {
        self.write_part_of_buffer(chunk, 0).await
    }

    /// As [`write_chunk`](Self::write_chunk), of a chunk that keeps so much more memory than it has bytes.
    pub(crate) async fn write_part_of_buffer(
        &mut self,
        mut chunk: Bytes,
        mut more: usize,
    ) -> Result<(), StreamCut> {
        while !chunk.is_empty() {
            let room = poll_fn(|context| self.poll_writable(context)).await?;
            let size = usize::try_from(room).unwrap_or(usize::MAX).min(chunk.len());
            let memory = size + std::mem::take(&mut more);
            let part = self.hold(chunk.split_to(size), memory);
            self.write_raw(part).await?;
            self.sent += u64::try_from(size).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// How many bytes may be written, or why none will be any more.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, StreamCut>> {
        let credit = self.state.credit.poll_available(self.sent, context);
        let room = credit.map(|credit| self.queue.poll_room(context).map(|room| room.min(credit)));
        match room {
            Poll::Ready(Poll::Ready(room)) => Poll::Ready(Ok(room)),
            _ => self.poll_stopped(context).map(Err),
        }
    }

    /// Counts bytes as this session's until they are acknowledged, and lets its priority follow.
    fn hold(&mut self, bytes: Bytes, memory: usize) -> Bytes {
        let bytes = self.queue.hold(bytes, u64::try_from(memory).unwrap_or(u64::MAX));
        let priority = self.queue.priority();
        if priority != self.priority {
            self.priority = priority;
            // Refused only where the stream has ended: then nothing follows.
            let _ = self.stream.set_priority(priority);
        }
        bytes
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

    /// Copies what there is credit for, and says how much that is.
    pub(super) fn poll_write(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamCut>> {
        let room = ready!(self.poll_writable(context))?;
        let size = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let mut part = [self.hold(Bytes::copy_from_slice(bytes.get(..size).unwrap_or(bytes)), size)];
        // It keeps nothing between two polls, and what it did not take is let go.
        let written = pin!(self.stream.write_chunks(&mut part)).poll(context);
        let written = ready!(self.or_stopped(written, context))?.bytes;
        self.sent += u64::try_from(written).unwrap_or(u64::MAX);
        Poll::Ready(Ok(written))
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
    /// is told to stop cuts the session. Cancelled, it delivers no more and leaves the reset to the caller. After
    /// [`finish`](Self::finish) there is nothing to cut: then it waits until the peer has every byte.
    pub async fn abort(&mut self, code: ResetCode, grace: Duration) {
        if self.ended {
            self.acknowledged(grace).await;
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
