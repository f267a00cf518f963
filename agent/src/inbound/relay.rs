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
use tracing::debug;

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
        if !write_first(&mut tcp, &self.first, idle_timeout).await {
            return;
        }
        let options = RelayOptions {
            idle_timeout,
            cancel,
            counters: self.record.totals().clone(),
            tap: self.frames.map_or(ClientTap::Bytes(NoTap), ClientTap::Frames),
            reset: ResetCode::ClientReset,
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

async fn write_first(tcp: &mut TcpStream, first: &[u8], limit: Duration) -> bool {
    match timeout(limit, tcp.write_all(first)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            debug!(%error, "the client went away");
            false
        }
        Err(_) => false,
    }
}

fn name(end: RelayEnd) -> &'static str {
    match end {
        RelayEnd::TcpReset => "client-reset",
        end => end.name(),
    }
}
