//! Both halves of a session as one byte stream, for hyper.

use super::{SessionRecv, SessionSend, StreamCut, cut_of_read, poll_abort};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A session as a byte stream: an end of file is the peer's own end, a cut is an error of the kind
/// `ConnectionReset`, a shutdown finishes, and a drop without one resets.
#[derive(Debug)]
pub struct SessionIo {
    send: SessionSend,
    recv: SessionRecv,
}

impl SessionIo {
    /// Joins the halves of one session.
    pub fn new(send: SessionSend, recv: SessionRecv) -> Self {
        Self { send, recv }
    }

    /// Gives the halves back, for a relay after an upgrade.
    pub fn into_parts(self) -> (SessionSend, SessionRecv) {
        (self.send, self.recv)
    }
}

impl AsyncRead for SessionIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let recv = &mut self.get_mut().recv;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(code) = poll_abort(&recv.state, recv.received, context) {
            return Poll::Ready(Err(StreamCut::Peer(Some(code)).into()));
        }
        let before = buf.filled().len();
        recv.ahead.copy(buf);
        if buf.filled().len() == before {
            ready!(recv.stream.poll_read_buf(context, buf)).map_err(cut_of_read)?;
        }
        let size = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        if size == 0 {
            recv.ended = true;
        }
        recv.received += size;
        recv.delivered(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let send = &mut self.get_mut().send;
        let credit = ready!(send.poll_credit(context))?;
        let size = usize::try_from(credit).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.get(..size).unwrap_or(bytes);
        let written = Pin::new(&mut send.stream).poll_write(context, part);
        let written = ready!(send.or_stopped(written, context))?;
        send.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().send.finish();
        Poll::Ready(Ok(()))
    }
}
