//! What is still owed to both sides once one direction of a session has failed.
//!
//! A socket that takes no more may have received bytes before its reset, and a peer that stops the stream may have sent
//! bytes before it did: an answer that came before the end of an upload, most often (RFC 9112 §9.6). Those bytes are
//! delivered, then the failure is passed on as what it was. Only failed sessions come here.
//!
//! Bounded by the session's idle limit while bytes are owed, and by [`LINGER`] and
//! [`RelayOptions::discard`](super::RelayOptions::discard) afterwards.

use super::{Moved, RelayEnd, end_of};
use crate::code::ResetCode;
use crate::stream::SessionRecv;
use socket2::SockRef;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Runs `ending` within the session's own limits.
pub(super) async fn unless(
    cancel: &CancellationToken,
    idle: Pin<&mut impl Future<Output = ()>>,
    ending: impl Future<Output = RelayEnd>,
) -> RelayEnd {
    tokio::select! {
        end = ending => end,
        () = idle => RelayEnd::IdleTimeout,
        () = cancel.cancelled() => RelayEnd::Cancelled,
    }
}

/// The socket takes no more: sends on what it received before, while what the peer sends is dropped.
pub(super) async fn hear_out(
    outward: Pin<&mut impl Future<Output = Result<(), RelayEnd>>>,
    recv: &mut SessionRecv,
) -> RelayEnd {
    tokio::select! {
        // An end of file is passed on as one. The socket was reset behind it nevertheless.
        ended = outward => ended.err().unwrap_or(RelayEnd::TcpReset),
        // The other end is gone too: nobody is left to deliver to.
        cut = recv.discard() => end_of(cut),
    }
}

/// The peer takes no more: delivers what it sent before, while what the socket sends is dropped.
pub(super) struct Delivery<'a> {
    pub(super) tcp: &'a TcpStream,
    pub(super) moved: &'a Moved<'a>,
    /// Bytes of the socket that are dropped at most.
    pub(super) discard: u64,
    /// What the peer said.
    pub(super) stopped: RelayEnd,
}

impl Delivery<'_> {
    /// `inward` brings what the peer sent; `None` where that has ended. The socket is to be reset afterwards.
    pub(super) async fn run<R>(
        self,
        inward: Option<Pin<&mut impl Future<Output = Result<(), (RelayEnd, R)>>>>,
    ) -> RelayEnd {
        let mut dropped = pin!(drop_all(self.tcp, self.discard));
        let mut sender = Sender::Sends;
        if let Some(mut inward) = inward {
            loop {
                tokio::select! {
                    ended = &mut inward => match ended {
                        Ok(()) => break,
                        Err((end, _)) => return end,
                    },
                    state = &mut dropped, if sender == Sender::Sends => sender = state,
                }
            }
        }
        if !self.is_owed_time() {
            return self.stopped;
        }
        // The socket has everything, and an end behind it. A reset now might overtake them.
        let mut until = Instant::now() + LINGER;
        loop {
            match sender {
                Sender::Sends => tokio::select! {
                    state = &mut dropped => sender = state,
                    () = sleep_until(until) => break,
                },
                Sender::Ended => {
                    until = until.min(Instant::now() + AFTER_END);
                    sleep_until(until).await;
                    break;
                }
                Sender::Gone => break,
            }
        }
        self.stopped
    }

    /// Whether the peer stopped because its own socket was reset, after it had said something.
    fn is_owed_time(&self) -> bool {
        is_socket_lost(self.stopped) && self.moved.own.inward.load(Ordering::Relaxed) > 0
    }
}

/// Whether a session ended because the peer's own socket was reset.
pub(super) fn is_socket_lost(end: RelayEnd) -> bool {
    matches!(
        end,
        RelayEnd::PeerReset(Some(ResetCode::ClientReset | ResetCode::UpstreamReset))
    )
}

/// Waits until the kernel has sent what was written to the socket, then resets it: a reset drops what is still queued.
/// What the socket sends meanwhile is dropped.
pub(super) async fn flush(tcp: TcpStream, discard: u64, cancel: &CancellationToken) {
    let Ok(tcp) = with_little_room(tcp) else { return };
    let dropping = async {
        drop_all(&tcp, discard).await;
        pending::<()>().await;
    };
    tokio::select! {
        _ = tcp.writable() => {}
        () = dropping => {}
        () = sleep(LINGER) => {}
        () = cancel.cancelled() => {}
    }
}

/// The socket with the smallest send buffer: it is writable only when next to nothing is queued. It is registered anew,
/// because the kernel looks for room only then.
fn with_little_room(tcp: TcpStream) -> io::Result<TcpStream> {
    SockRef::from(&tcp).set_send_buffer_size(1)?;
    TcpStream::from_std(tcp.into_std()?)
}

/// What the owner of a socket does whose bytes are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// It may send on.
    Sends,
    /// It has ended its direction.
    Ended,
    /// It was reset, or sent too much.
    Gone,
}

/// Reads up to `most` bytes and drops them.
async fn drop_all(tcp: &TcpStream, most: u64) -> Sender {
    let mut left = most;
    loop {
        if tcp.readable().await.is_err() {
            return Sender::Gone;
        }
        let mut scrap = [0; SCRAP];
        match tcp.try_read(&mut scrap) {
            Ok(0) => return Sender::Ended,
            Ok(read) => match left.checked_sub(super::length(read)) {
                Some(less) => left = less,
                None => return Sender::Gone,
            },
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return Sender::Gone,
        }
    }
}

/// How long the owner of a socket may take to read what it was sent last, before the reset.
const LINGER: Duration = Duration::from_secs(2);
/// The same for one that sends no more.
const AFTER_END: Duration = Duration::from_millis(500);
/// Bytes that are dropped at once.
const SCRAP: usize = 4 * 1024;
