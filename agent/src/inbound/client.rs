//! A client's socket as hyper sees it: every head is checked before it passes, and a cut never looks like an end.
//!
//! Invariants: hyper gets one request at a time, with nothing of the next. A bad head, or none in time, reaches the
//! service as a request of its own with the refusal beside it ([`super::exchange`]), so that answers keep their order.
//! The socket is reset when it is dropped (SO_LINGER 0), also by the kernel when the process dies; only hyper's own
//! shutdown, after a whole answer, closes it in order, and then lingers so that the client can read that answer.
//! First stop on the byte's way.

use super::exchange::{Arrival, Hold, SharedExchange};
use super::framing::Framing;
use super::head::{self, Form, HeadError, HeadLimits, Parsed};
use bytes::{Buf, Bytes, BytesMut};
use fluidity_wire::relay::linger_zero;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// The socket of one client.
#[derive(Debug)]
pub(super) struct ClientIo {
    tcp: TcpStream,
    exchange: SharedExchange,
    limits: HeadLimits,
    head_timeout: Duration,
    /// Read from the socket, not yet handed to hyper.
    buffer: BytesMut,
    /// A head on its way to hyper.
    passing: Bytes,
    /// 1xx answers on their way to the client: at most what the exchange lets wait, taken when this is empty.
    informing: BytesMut,
    stage: Stage,
    /// For the head, the pause before it, or the linger at the end.
    timer: Pin<Box<Sleep>>,
    /// hyper waits for bytes from the socket.
    wanted: bool,
    ended: bool,
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before a head, or inside one; whether bytes came since the last look at it.
    Head { fresh: bool },
    /// In a request's body, or behind it.
    Body(Framing),
    /// Behind a CONNECT or an upgrade.
    Held,
    /// Behind a head that is refused: nothing more is read.
    Refused,
}

impl ClientIo {
    pub(super) fn new(
        tcp: TcpStream,
        exchange: SharedExchange,
        limits: HeadLimits,
        head_timeout: Duration,
    ) -> Self {
        linger_zero(&tcp, true);
        Self {
            tcp,
            exchange,
            limits,
            head_timeout,
            buffer: BytesMut::new(),
            passing: Bytes::new(),
            informing: BytesMut::new(),
            stage: Stage::Head { fresh: false },
            timer: Box::pin(sleep(head_timeout)),
            wanted: false,
            ended: false,
            closing: false,
        }
    }

    /// Makes the answer to whatever the client will ask for a refusal.
    pub(super) fn turn_away(mut self, error: HeadError) -> Self {
        self.refuse(error);
        self
    }

    /// The socket, and what was read from it but not by hyper. It is still reset when dropped.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.tcp, self.buffer.freeze())
    }

    /// Reads on until the stage has something for hyper. `Ok(false)` is the end of the client's bytes.
    fn poll_stage(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        loop {
            if !self.passing.is_empty() {
                let size = self.passing.len().min(out.remaining());
                out.put_slice(&self.passing.split_to(size));
                return Poll::Ready(Ok(true));
            }
            match self.stage {
                Stage::Refused => return Poll::Pending,
                Stage::Held if self.exchange.hold() == Hold::On => return Poll::Pending,
                Stage::Held | Stage::Body(Framing::None) => self.await_head(),
                Stage::Body(framing) => return self.poll_body(framing, context, out),
                Stage::Head { fresh } => {
                    if fresh && self.read_head() {
                        continue;
                    }
                    if self.ended {
                        return Poll::Ready(Ok(false));
                    }
                    if !ready!(self.poll_head_bytes(context))? {
                        return Poll::Ready(Ok(false));
                    }
                }
            }
        }
    }

    fn await_head(&mut self) {
        self.buffer.advance(head::empty_lines(&self.buffer));
        let fresh = !self.buffer.is_empty();
        self.stage = Stage::Head { fresh };
        let wait = if fresh { self.head_timeout } else { KEEP_ALIVE };
        self.timer.as_mut().reset(Instant::now() + wait);
    }

    /// Looks for a head in the buffer; true where there is one, good or bad.
    fn read_head(&mut self) -> bool {
        self.stage = Stage::Head { fresh: false };
        match head::parse(&self.buffer, self.limits) {
            Ok(None) => false,
            Ok(Some(Parsed {
                length,
                head,
                for_hyper,
            })) => {
                self.buffer.advance(length);
                self.passing = for_hyper;
                self.stage = match head.form {
                    Form::Connect(_) | Form::WebSocket(_) => Stage::Held,
                    Form::Http(_) | Form::Proxy => Stage::Body(head.framing),
                };
                let early = match head.form {
                    Form::Connect(_) => self.buffer.split().freeze(),
                    _ => Bytes::new(),
                };
                // The client does not wait for the 100 that it asks for.
                let hurried = head.expects_continue && !self.buffer.is_empty();
                self.exchange.begin(Ok(Arrival { head, early }));
                if hurried {
                    self.exchange.body_may_flow();
                }
                true
            }
            Err(error) => {
                self.refuse(error);
                true
            }
        }
    }

    fn refuse(&mut self, error: HeadError) {
        self.exchange.begin(Err(error));
        self.passing = Bytes::from_static(STAND_IN);
        self.stage = Stage::Refused;
    }

    /// Waits for more of a head, up to its deadline. `Ok(false)` is the end.
    fn poll_head_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let was_empty = self.buffer.is_empty();
        match self.poll_fill(context)? {
            Poll::Ready(0) => Poll::Ready(Ok(false)),
            Poll::Ready(read) => {
                self.buffer.advance(head::empty_lines(&self.buffer));
                if self.buffer.is_empty() {
                    // An empty line begins no request, and keeps no connection open.
                    return Poll::Ready(Ok(true));
                }
                if was_empty {
                    // The first head has its time from the start; those after a pause, from their first byte.
                    let deadline = Instant::now() + self.head_timeout;
                    if self.timer.deadline() > deadline {
                        self.timer.as_mut().reset(deadline);
                    }
                }
                let start = self.buffer.len().saturating_sub(read);
                let news = self.buffer.get(start..).unwrap_or_default();
                // What is whole, or wrong, shows at a line's end; a second look at a half line is for its length.
                let fresh = was_empty || news.contains(&b'\n') || self.buffer.len() >= self.limits.size;
                self.stage = Stage::Head { fresh };
                Poll::Ready(Ok(true))
            }
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(context));
                if self.buffer.is_empty() {
                    // It said nothing: nothing is owed.
                    return Poll::Ready(Ok(false));
                }
                self.refuse(HeadError::Timeout);
                Poll::Ready(Ok(true))
            }
        }
    }

    fn poll_body(
        &mut self,
        mut framing: Framing,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.buffer.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            if let Framing::Length(left) = framing {
                // The bulk of what is uploaded passes here, without a copy of its own.
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining());
                let window = out.initialize_unfilled_to(most);
                let read = loop {
                    ready!(self.tcp.poll_read_ready(context))?;
                    match self.tcp.try_read(window) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        read => break read?,
                    }
                };
                framing.take(window.get(..read).unwrap_or_default());
                out.advance(read);
                self.ended = read == 0;
                self.stage = Stage::Body(framing);
                return Poll::Ready(Ok(read > 0));
            }
            if ready!(self.poll_fill(context))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        let most = self.buffer.len().min(out.remaining());
        let taken = framing.take(self.buffer.get(..most).unwrap_or_default());
        out.put_slice(&self.buffer.split_to(taken));
        self.stage = Stage::Body(framing);
        Poll::Ready(Ok(true))
    }

    /// Reads into the buffer; 0 is the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = loop {
            ready!(self.tcp.poll_read_ready(context))?;
            // Only now: a client that is silent costs no buffer.
            self.buffer.reserve(READ_SIZE);
            match self.tcp.try_read_buf(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break read?,
            }
        };
        self.ended |= read == 0;
        Poll::Ready(Ok(read))
    }

    /// While hyper does not read, somebody must notice that the client is gone, or sends a body unasked.
    fn read_ahead(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.wanted
            || self.ended
            || self.closing
            || self.buffer.len() >= READ_AHEAD
            || self.stage == Stage::Refused
        {
            return Ok(());
        }
        while let Poll::Ready(read) = self.poll_fill(context)? {
            if read > 0 && self.exchange.body_is_awaited() {
                self.exchange.body_may_flow();
            }
            if read == 0 || self.buffer.len() >= READ_AHEAD {
                break;
            }
        }
        Ok(())
    }

    fn poll_inform(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.informing.is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(context, &self.informing))?;
            self.informing.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_before_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_inform(context))?;
        self.informing = self.exchange.before_write();
        self.poll_inform(context)
    }

    /// Reads and drops what the client still sends, up to its end or a deadline: closing a socket with unread bytes
    /// resets it, and the answer would be lost with it.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended {
            self.buffer.clear();
            match self.poll_fill(context) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(context));
                    break;
                }
            }
        }
        linger_zero(&self.tcp, false);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = this.poll_stage(context, out);
        this.wanted = polled.is_pending() && this.stage != Stage::Held;
        ready!(polled)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(context))?;
        Pin::new(&mut this.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(context))?;
        Pin::new(&mut this.tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What the client does not take stays where its size has a limit.
        ready!(this.poll_inform(context))?;
        this.informing = this.exchange.at_boundary(context);
        ready!(this.poll_inform(context))?;
        this.read_ahead(context)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(context))?;
            this.closing = true;
            this.timer.as_mut().reset(Instant::now() + LINGER);
        }
        this.poll_linger(context)
    }
}

/// What hyper reads in place of a head that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
/// How long a connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a client may take to read its last answer and close.
const LINGER: Duration = Duration::from_secs(2);
/// Room for one read.
const READ_SIZE: usize = 4 * 1024;
/// Bytes that are read before hyper asks for them.
const READ_AHEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests;
