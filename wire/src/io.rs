//! Messages on QUIC streams, each read under a deadline and inside the codec's limits.
//!
//! Reads take no byte past the message: what follows an `Open` or a `Reply` is the session's own.

use crate::codec::{self, DecodeError, MAX_MESSAGE};
use quinn::{ReadError, ReadExactError, RecvStream};
use std::time::Duration;
use tokio::time::timeout;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadMessageError {
    /// The message was not whole in time.
    #[error("no message within {}", humanize(*.0))]
    Deadline(Duration),
    /// The stream ended before or inside the message.
    #[error("the stream ended before the message was whole")]
    Ended,
    /// The bytes are no message.
    #[error("malformed message")]
    Decode(#[from] DecodeError),
    /// The stream or its connection was lost.
    #[error("the stream was lost")]
    Stream(#[source] ReadError),
}

/// Reads one message and hands its type and fields to `decode`. Not cancel safe: bytes read so far are lost.
pub(crate) async fn read_message<T>(
    recv: &mut RecvStream,
    deadline: Duration,
    decode: impl FnOnce(u64, &[u8]) -> Result<T, DecodeError>,
) -> Result<T, ReadMessageError> {
    timeout(deadline, read_now(recv, decode))
        .await
        .map_err(|_| ReadMessageError::Deadline(deadline))?
}

/// As [`read_message`], without a deadline: for control streams, whose next message may be hours away.
pub(crate) async fn read_now<T>(
    recv: &mut RecvStream,
    decode: impl FnOnce(u64, &[u8]) -> Result<T, DecodeError>,
) -> Result<T, ReadMessageError> {
    let kind = read_varint(recv).await?;
    let length = read_varint(recv).await?;
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_MESSAGE);
    let mut body = vec![0; size.ok_or(DecodeError::TooLong(length))?];
    recv.read_exact(&mut body).await?;
    Ok(decode(kind, &body)?)
}

async fn read_varint(recv: &mut RecvStream) -> Result<u64, ReadMessageError> {
    let mut bytes = [0; 8];
    let (first, rest) = bytes.split_at_mut(1);
    recv.read_exact(first).await?;
    let more = codec::varint_len(first.first().copied().unwrap_or_default()) - 1;
    if let Some(rest) = rest.get_mut(..more) {
        recv.read_exact(rest).await?;
    }
    Ok(codec::varint(&mut bytes.as_slice()).ok_or(DecodeError::Incomplete)?)
}

impl From<ReadExactError> for ReadMessageError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Ended,
            ReadExactError::ReadError(error) => Self::Stream(error),
        }
    }
}

fn humanize(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
