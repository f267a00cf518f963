//! The receiving half: chunks as they came, the peer's own end, or a cut.

use super::ahead::Ahead;
use super::{SessionState, StreamCut, cut_of_read};
use crate::code::ResetCode;
use crate::credit::{Taken, Window};
use bytes::Bytes;
use quinn::RecvStream;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

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
    /// More was taken out of QUIC than there is memory for.
    exhausted: bool,
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
            exhausted: false,
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

    /// The peer is told its first limit; what it sent before may not have been more than early bytes.
    pub(crate) async fn tell(&mut self) -> Result<(), StreamCut> {
        let cut = poll_fn(|context| Poll::Ready(self.poll_cut(context))).await;
        if let Poll::Ready(cut) = cut {
            return Err(cut);
        }
        self.window.tell();
        Ok(())
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
        if let Poll::Ready(code) = self.state.poll_abort(self.received, context) {
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

    /// Copies what there is, and takes it for delivered; nothing is the end.
    pub(super) fn poll_copy(
        &mut self,
        buf: &mut ReadBuf<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StreamCut>> {
        if let Poll::Ready(code) = self.state.poll_abort(self.received, context) {
            return Poll::Ready(Err(StreamCut::Peer(Some(code))));
        }
        let before = buf.filled().len();
        self.ahead.copy(buf);
        if buf.filled().len() == before {
            ready!(self.stream.poll_read_buf(context, buf)).map_err(cut_of_read)?;
            self.window.took_pieces(1);
            self.took(buf.filled().len() - before)?;
        }
        let size = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        if size == 0 {
            self.ended = true;
        }
        self.received += size;
        self.delivered(size);
        Poll::Ready(Ok(()))
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
        match read {
            Some(count) => {
                self.window.took_pieces(count);
                self.took(chunks.iter().take(count).map(Bytes::len).sum())?;
            }
            None => {
                self.ahead.finished = true;
                self.ended = true;
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Counts bytes that came out of QUIC. A peer that sent more than it was granted loses its connection.
    fn took(&mut self, size: usize) -> Result<(), StreamCut> {
        match self.window.took(u64::try_from(size).unwrap_or(u64::MAX)) {
            Taken::Fits => {}
            Taken::Exhausted => self.exhausted = true,
            Taken::Overrun => {
                self.state.outbox.overrun();
                return Err(StreamCut::ConnectionLost);
            }
        }
        Ok(())
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
    /// Meanwhile what arrives is taken out of QUIC, for [`read`](Self::read): as much as the peer was granted, and as there
    /// is memory for. A session that finds none is cut, since what it left in QUIC would stop all others.
    pub async fn cut(&mut self) -> StreamCut {
        poll_fn(|context| self.poll_cut(context)).await
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<StreamCut> {
        while !self.ended {
            let mut chunks = [const { Bytes::new() }; AT_ONCE];
            self.exhausted = false;
            match ready!(self.poll_stream(&mut chunks, context)) {
                Ok(Some(count)) => self.ahead.put(chunks.get_mut(..count).unwrap_or_default()),
                Ok(None) => {}
                Err(cut) => return Poll::Ready(cut),
            }
            if self.exhausted {
                return Poll::Ready(StreamCut::Exhausted);
            }
        }
        Poll::Pending
    }

    /// Reads until the peer cuts the stream, and keeps nothing; pending for ever where it ends instead. Cancel safe.
    ///
    /// The peer may go on sending for a while: whoever writes there may read only when it has written everything.
    pub(crate) async fn discard(&mut self) -> StreamCut {
        let mut chunks = [const { Bytes::new() }; 8];
        let most = self.received.saturating_add(MOST_DISCARDED);
        loop {
            let before = self.received;
            match self.read(&mut chunks).await {
                Ok(Some(_)) if self.received <= most => self.delivered(self.received - before),
                Ok(Some(_)) => self.window.drop_taken(),
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
        // Nobody will read it.
        self.ahead = Ahead::default();
        self.window.drop_taken();
    }
}

impl Drop for SessionRecv {
    fn drop(&mut self) {
        self.stop(ResetCode::Cancelled);
    }
}

/// Bytes that a peer may send although nobody wants them.
const MOST_DISCARDED: u64 = 16 * 1024 * 1024;
/// Chunks that are taken ahead of their reader at once.
const AT_ONCE: usize = 32;
