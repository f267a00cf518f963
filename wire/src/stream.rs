//! The two halves of a session's stream, guarded so that a cut never looks complete.
//!
//! Invariants: dropping quinn's `SendStream` would finish it, so [`SessionSend`] resets unless it was finished on
//! purpose: a panic, a `?` or an aborted task reaches the peer as a reset. Bytes leave only inside the peer's credit.
//! A [`SessionRecv`] ends with `None` only on the peer's own end. Used by `relay` and, as [`SessionIo`], by hyper.

mod ahead;
mod queue;
mod recv;
mod send;
mod session_io;

pub use recv::SessionRecv;
pub use send::SessionSend;
pub use session_io::SessionIo;

use crate::code::ResetCode;
use crate::credit::{SendCredit, WakerSlot};
use crate::link::Outbox;
use quinn::{ReadError, VarInt, WriteError};
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// Why a session's stream ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamCut {
    /// The peer reset or stopped the stream; `None` is a code of a later version.
    #[error("the peer cut the session ({})", name(*.0))]
    Peer(Option<ResetCode>),
    /// The tunnel's connection was lost or closed.
    #[error("the tunnel's connection was lost")]
    ConnectionLost,
    /// Its bytes wait for a reader, and the memory for such bytes is used up.
    #[error("the session's bytes are not read, and the memory for bytes that wait is used up")]
    Exhausted,
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

    /// Ready once the peer's `Abort` is known and every byte before it was read.
    fn poll_abort(&self, received: u64, context: &Context<'_>) -> Poll<ResetCode> {
        let reached = || {
            self.abort
                .get()
                .filter(|(offset, _)| received >= *offset)
                .map(|(_, code)| *code)
        };
        if let Some(code) = reached() {
            return Poll::Ready(code);
        }
        self.reader.register(context.waker());
        reached().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        self.outbox.forget(self.id);
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
