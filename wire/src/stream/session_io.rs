//! Both halves of a session as one byte stream, for hyper.

use super::{SessionRecv, SessionSend};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
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
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.get_mut().recv.poll_copy(buf, context).map_err(Into::into)
    }
}

impl AsyncWrite for SessionIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().send.poll_write(bytes, context).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().send.finish();
        Poll::Ready(Ok(()))
    }
}
