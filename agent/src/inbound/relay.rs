//! After an upgrade: the client's socket back from hyper, joined with its session by the byte copy of `wire`.

use super::client::ClientIo;
use super::frames::Frames;
use crate::tunnel::{Promise, SessionRecord};
use bytes::Bytes;
use fluidity_wire::ResetCode;
use fluidity_wire::relay::{NoTap, RelayEnd, RelayOptions, RelaySession, RelaySummary, Tap, relay};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What happens to a client's socket once hyper lets go of it.
#[derive(Debug)]
pub(super) struct Handover {
    /// The client's half.
    pub(super) client: OnUpgrade,
    /// The target's half.
    pub(super) session: RelaySession,
    /// The client's bytes that came along with its request, and were not sent yet.
    pub(super) early: Bytes,
    /// Set where the target may not have been reached yet.
    pub(super) promise: Option<Promise>,
    /// What is told at the session's end.
    pub(super) record: SessionRecord,
    /// Bytes for the client that came along with the target's answer.
    pub(super) first: Bytes,
    /// Set for a WebSocket.
    pub(super) frames: Option<Frames>,
}

impl Handover {
    /// Relays until the session ends; `cancel` cuts it.
    pub(super) async fn run(self, idle_timeout: Duration, cancel: CancellationToken) {
        // Dropping the session resets it, should the client be gone.
        let Ok(upgraded) = self.client.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<ClientIo>>() else {
            return;
        };
        let (mut tcp, early) = take_over(parts, self.early);
        if let Err(end) = write_first(&mut tcp, &self.first, &cancel).await {
            self.record.end(0, 0, end);
            return;
        }
        let options = RelayOptions {
            idle_timeout,
            cancel,
            counters: self.record.totals().clone(),
            tap: self.frames.map_or(ClientTap::Bytes(NoTap), ClientTap::Frames),
            reset: ResetCode::ClientReset,
            discard: MOST_DISCARDED,
        };
        let RelaySummary { outward, inward, end } = relay(tcp, early, self.session, options).await;
        // One that was kept brings bytes or an end: what else there is may be the target's doing.
        if let Some(promise) = &self.promise
            && inward == 0
            && end != RelayEnd::Finished
        {
            promise.broken();
        }
        self.record.end(outward, inward, name(end));
    }
}

/// Closes a client's socket that hyper has let go of after an answer that is no upgrade: in order, so that the client can
/// read that answer.
pub(super) async fn part(declined: OnUpgrade) {
    // hyper has closed it by itself, or it is gone.
    let Ok(upgraded) = declined.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<ClientIo>>() else {
        return;
    };
    // Its deadline is the linger's.
    let _ = parts.io.into_inner().shutdown().await;
}

/// The client's socket, and all that it sent and nobody has taken yet. Buffers that hold nothing go at once: a tunnel may
/// be silent for hours.
fn take_over(parts: Parts<TokioIo<ClientIo>>, ahead: Bytes) -> (TcpStream, Bytes) {
    let (tcp, read) = parts.io.into_inner().into_parts();
    if parts.read_buf.is_empty() && read.is_empty() {
        return (tcp, ahead);
    }
    (tcp, [ahead, parts.read_buf, read].concat().into())
}

/// What looks at the bytes that go to the client.
#[derive(Debug)]
enum ClientTap {
    Bytes(NoTap),
    Frames(Frames),
}

impl Tap for ClientTap {
    fn pass(&mut self, chunks: &[Bytes]) {
        match self {
            Self::Bytes(tap) => tap.pass(chunks),
            Self::Frames(tap) => tap.pass(chunks),
        }
    }

    fn last_words(&mut self, end: RelayEnd) -> Option<Bytes> {
        match self {
            Self::Bytes(tap) => tap.last_words(end),
            Self::Frames(tap) => tap.last_words(end),
        }
    }
}

/// Writes what came along with the answer. What fails says how the session ends; the socket is reset then.
async fn write_first(
    tcp: &mut TcpStream,
    first: &[u8],
    cancel: &CancellationToken,
) -> Result<(), &'static str> {
    tokio::select! {
        written = timeout(FIRST_WRITE_TIMEOUT, tcp.write_all(first)) => match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(name(RelayEnd::TcpReset)),
            Err(_) => Err(name(RelayEnd::IdleTimeout)),
        },
        () = cancel.cancelled() => Err(name(RelayEnd::Cancelled)),
    }
}

fn name(end: RelayEnd) -> &'static str {
    match end {
        RelayEnd::TcpReset => "client-reset",
        end => end.name(),
    }
}

/// How long a client may take to read the first bytes after an upgrade. They are few.
const FIRST_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an upload that its target does not want: the client may read the answer only behind them.
const MOST_DISCARDED: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn regression_first_bytes_that_a_client_does_not_take_do_not_outlive_the_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut tcp, _) = listener.accept().await.unwrap();
        let cancel = CancellationToken::new();
        let first = vec![0; 16 * 1024 * 1024];
        let write = write_first(&mut tcp, &first, &cancel);
        let cut = async {
            tokio::task::yield_now().await;
            cancel.cancel();
        };
        let both = async { tokio::join!(write, cut).0 };
        let written = timeout(Duration::from_secs(10), both).await.expect("in time");
        assert_eq!(written, Err("cancelled"));
        drop(client);
    }
}
