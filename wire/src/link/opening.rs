//! A session that the server was asked for, and whose answer is due: the target is being dialled.

use crate::codec;
use crate::credit::EARLY_WINDOW;
use crate::io::{ReadMessageError, read_now};
use crate::message::Reply;
use crate::stream::{SessionRecv, SessionSend, StreamCut};
use crate::{Open, ReplyCode};
use bytes::{Bytes, BytesMut};
use quinn::ConnectionError;
use tokio::time::{Instant, timeout_at};

/// Why a session could not be opened. Only [`NeverSent`](Self::NeverSent) is sure to have dialled nothing.
#[derive(Debug, thiserror::Error)]
pub enum OpenStreamError {
    /// The connection was gone before anything was sent.
    #[error("the tunnel's connection is gone")]
    NeverSent(#[source] ConnectionError),
    /// The peer allows no further stream, and none ended in time.
    #[error("the server takes no more sessions on this connection")]
    NoStream,
    /// The server will not or cannot serve the target.
    #[error("{}", .0.detail)]
    Refused(Reply),
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    Deadline,
    /// The stream or connection was lost while the answer was due.
    #[error("the tunnel was lost while the target was dialled")]
    Lost(#[source] StreamCut),
    /// The answer was not understood.
    #[error("the server's answer was not understood")]
    Protocol(#[source] ReadMessageError),
}

/// A session whose `Open` was sent. Dropped, it is reset.
///
/// Either [`confirmed`](Self::confirmed) waits for the answer, or a [`relay`](crate::relay::relay) takes the session as
/// it is, lets the client's first bytes go ahead, and is cut where the answer is a refusal.
#[derive(Debug)]
pub struct Opening {
    pub(crate) send: SessionSend,
    pub(crate) recv: SessionRecv,
    pub(crate) until: Instant,
}

impl Opening {
    /// Sends the `Open`.
    pub(super) async fn ask(
        (mut send, recv): (SessionSend, SessionRecv),
        mut open: Open,
        until: Instant,
    ) -> Result<Self, OpenStreamError> {
        open.window = recv.granted();
        let mut head = BytesMut::with_capacity(128);
        codec::encode_open(&open, &mut head);
        let written = timeout_at(until, send.write_raw(head.freeze())).await;
        written
            .map_err(|_| OpenStreamError::Deadline)?
            .map_err(OpenStreamError::Lost)?;
        Ok(Self { send, recv, until })
    }

    /// The session's QUIC stream id.
    pub fn id(&self) -> u64 {
        self.send.id()
    }

    /// Sends the client's first bytes, at most 64 KiB of them ahead of the answer, and waits for the target to be
    /// dialled.
    ///
    /// Cancelled or failed, it resets the stream.
    pub async fn confirmed(self, early: Bytes) -> Result<(SessionSend, SessionRecv), OpenStreamError> {
        let Self {
            mut send,
            mut recv,
            until,
        } = self;
        let exchange = async {
            let ahead = usize::try_from(EARLY_WINDOW).unwrap_or(usize::MAX);
            let first = early.slice(..early.len().min(ahead));
            let rest = early.slice(first.len()..);
            // A server that refuses may stop the early bytes half-way: what it answers counts.
            let written = send.write_chunk(first).await;
            answer(&mut recv).await?;
            written.map_err(OpenStreamError::Lost)?;
            send.write_chunk(rest).await.map_err(OpenStreamError::Lost)
        };
        timeout_at(until, exchange)
            .await
            .map_err(|_| OpenStreamError::Deadline)??;
        Ok((send, recv))
    }
}

/// Reads the answer, and lets the session's other half go on. Not cancel safe.
pub(crate) async fn answer(recv: &mut SessionRecv) -> Result<(), OpenStreamError> {
    let reply = read_now(recv.stream(), codec::decode_reply)
        .await
        .map_err(|error| match error {
            ReadMessageError::Stream(error) => OpenStreamError::Lost(error.into()),
            error => OpenStreamError::Protocol(error),
        })?;
    if reply.code != ReplyCode::Ok {
        return Err(OpenStreamError::Refused(reply));
    }
    recv.raise_credit(reply.window);
    Ok(())
}
