//! The byte copy between a TCP socket and a session's stream: the same at both ends of the tunnel.
//!
//! Half-close correct: each direction ends on its own. TCP end of file -> `finish`; the stream's end -> `shutdown`;
//! TCP reset -> what was read is delivered, then the far socket is reset too; a cut stream -> TCP reset
//! (SO_LINGER 0). A cut never looks like an end. The bytes read from TCP are handed to QUIC, and QUIC's to TCP,
//! without a copy; an idle session holds no buffer. Last stop on the byte's way, on both sides.

mod end;

pub use end::RelayEnd;

use crate::buffer::{BUFFERS, LARGE, ReadBuffer};
use crate::code::ResetCode;
use crate::link::{OpenStreamError, Opening, answer};
use crate::stream::{SessionRecv, SessionSend, StreamCut};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How a relay behaves and what it reports to.
#[derive(Debug)]
pub struct RelayOptions<T> {
    /// The session is cut when no byte moved in either direction for this long.
    pub idle_timeout: Duration,
    /// Cuts the session.
    pub cancel: CancellationToken,
    /// Bytes moved, while they move.
    pub counters: Arc<RelayCounters>,
    /// Sees what goes to the TCP socket.
    pub tap: T,
    /// What the peer is told when the TCP socket fails: who it belongs to.
    pub reset: ResetCode,
}

/// Bytes moved by one session or by all of them.
#[derive(Debug, Default)]
pub struct RelayCounters {
    /// From the TCP socket into the tunnel.
    pub outward: AtomicU64,
    /// From the tunnel to the TCP socket.
    pub inward: AtomicU64,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySummary {
    /// Bytes from the TCP socket into the tunnel.
    pub outward: u64,
    /// Bytes from the tunnel that the TCP socket took.
    pub inward: u64,
    /// How it ended.
    pub end: RelayEnd,
}

/// Looks at what the TCP socket is about to get, and may have the last word when the session is cut.
pub trait Tap: Send {
    /// Sees chunks, in order, each byte once, before they are written.
    fn pass(&mut self, chunks: &[Bytes]);

    /// The session is cut: bytes to write before a clean close, in place of the TCP reset. Only asked for where the
    /// socket has taken all that was passed.
    fn last_words(&mut self, end: RelayEnd) -> Option<Bytes>;
}

/// A tap that looks at nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoTap;

impl Tap for NoTap {
    fn pass(&mut self, _: &[Bytes]) {}

    fn last_words(&mut self, _: RelayEnd) -> Option<Bytes> {
        None
    }
}

/// The tunnel's side of a relay.
#[derive(Debug)]
pub struct RelaySession {
    send: SessionSend,
    recv: SessionRecv,
    /// The answer is due until then.
    unanswered: Option<Instant>,
}

impl From<(SessionSend, SessionRecv)> for RelaySession {
    fn from((send, recv): (SessionSend, SessionRecv)) -> Self {
        Self {
            send,
            recv,
            unanswered: None,
        }
    }
}

/// Whose answer the relay waits for, while the client's first bytes go ahead.
impl From<Opening> for RelaySession {
    fn from(Opening { send, recv, until }: Opening) -> Self {
        Self {
            send,
            recv,
            unanswered: Some(until),
        }
    }
}

/// Relays until both directions ended or the session is cut; `early` was read from `tcp` before and goes first.
///
/// Not cancel safe in the sense that a dropped relay cuts the session at both ends; cut it with
/// [`RelayOptions::cancel`] to get a summary.
pub async fn relay<T: Tap>(
    tcp: TcpStream,
    early: Bytes,
    session: impl Into<RelaySession>,
    options: RelayOptions<T>,
) -> RelaySummary {
    let RelayOptions {
        idle_timeout,
        cancel,
        counters,
        tap,
        reset,
    } = options;
    let RelaySession {
        mut send,
        mut recv,
        unanswered,
    } = session.into();
    // A relay that is dropped must reset the socket too; every clean end takes this back.
    linger_zero(&tcp, true);
    let moved = Moved {
        total: &counters,
        own: RelayCounters::default(),
    };
    let mut tapped = Tapped {
        tap,
        all_written: true,
    };
    let end = {
        let mut outward = pin!(outward(&tcp, early, &mut send, &moved));
        let answered = AtomicBool::new(unanswered.is_none());
        let mut inward = pin!(async {
            if let Some(until) = unanswered {
                reached(&mut recv, until).await?;
                answered.store(true, Ordering::Relaxed);
            }
            inward(&tcp, &mut recv, &mut tapped, &moved).await
        });
        let mut idle = pin!(idle(&moved, idle_timeout));
        let (mut outward_open, mut inward_open) = (true, true);
        loop {
            if !outward_open && !inward_open {
                break RelayEnd::Finished;
            }
            tokio::select! {
                ended = &mut outward, if outward_open => match ended {
                    Ok(()) => outward_open = false,
                    // A server that refuses stops the stream, and says why.
                    Err(stopped @ RelayEnd::PeerReset(_)) if !answered.load(Ordering::Relaxed) => {
                        let said = timeout(REASON, inward).await;
                        break said.ok().and_then(Result::err).unwrap_or(stopped);
                    }
                    Err(end) => break end,
                },
                ended = &mut inward, if inward_open => match ended {
                    Ok(()) => inward_open = false,
                    Err(end) => break end,
                },
                // Nobody reads the socket any more: its failure has to be watched for.
                () = failed(&tcp), if !outward_open => break RelayEnd::TcpReset,
                () = &mut idle => break RelayEnd::IdleTimeout,
                () = cancel.cancelled() => break RelayEnd::Cancelled,
            }
        }
    };
    match end {
        RelayEnd::Finished => {
            linger_zero(&tcp, false);
            drop(tcp);
            send.acknowledged(GRACE).await;
        }
        RelayEnd::TcpReset => {
            drop(tcp);
            tokio::select! {
                () = send.abort(reset, GRACE) => {}
                // The other end is gone too: nobody is left to deliver to.
                _ = recv.discard() => send.reset(reset),
            }
            recv.stop(reset);
        }
        RelayEnd::PeerReset(_)
        | RelayEnd::ConnectionLost
        | RelayEnd::IdleTimeout
        | RelayEnd::Cancelled
        | RelayEnd::Refused(_) => {
            let code = match end {
                RelayEnd::IdleTimeout => ResetCode::IdleTimeout,
                RelayEnd::Cancelled => ResetCode::ShuttingDown,
                _ => ResetCode::Cancelled,
            };
            send.reset(code);
            recv.stop(code);
            if tapped.all_written
                && let Some(words) = tapped.tap.last_words(end)
            {
                // A client that does not take them in time gets the reset instead.
                let _ = timeout(GRACE, say(&tcp, &words)).await;
            }
        }
    }
    RelaySummary {
        outward: moved.own.outward.load(Ordering::Relaxed),
        inward: moved.own.inward.load(Ordering::Relaxed),
        end,
    }
}

/// Makes the next close of the socket a reset (SO_LINGER 0), or an orderly one again.
pub fn linger_zero(tcp: &TcpStream, reset: bool) {
    let linger = reset.then_some(Duration::ZERO);
    // Fails only on a socket that is gone, which then needs no reset.
    let _ = SockRef::from(tcp).set_linger(linger);
}

struct Moved<'a> {
    total: &'a RelayCounters,
    own: RelayCounters,
}

impl Moved<'_> {
    fn outward(&self, bytes: u64) {
        self.total.outward.fetch_add(bytes, Ordering::Relaxed);
        self.own.outward.fetch_add(bytes, Ordering::Relaxed);
    }

    fn inward(&self, bytes: u64) {
        self.total.inward.fetch_add(bytes, Ordering::Relaxed);
        self.own.inward.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.own.outward.load(Ordering::Relaxed) + self.own.inward.load(Ordering::Relaxed)
    }
}

/// TCP -> stream. `Ok` is the socket's end of file, finished on the stream.
async fn outward(
    tcp: &TcpStream,
    early: Bytes,
    send: &mut SessionSend,
    moved: &Moved<'_>,
) -> Result<(), RelayEnd> {
    let mut stopped = pin!(send.stopped());
    if !early.is_empty() {
        let size = length(early.len());
        send.write_chunk(early).await.map_err(end_of)?;
        moved.outward(size);
    }
    let mut buffer = ReadBuffer::new(&BUFFERS);
    let mut size = SMALLEST_READ;
    loop {
        let credit = match send.available() {
            0 => tokio::select! {
                credit = send.credit() => credit,
                cut = &mut stopped => return Err(end_of(cut)),
                () = failed(tcp) => return Err(RelayEnd::TcpReset),
            },
            credit => credit,
        };
        let bytes = buffer.for_a_read_of(size);
        let room = usize::try_from(credit)
            .unwrap_or(usize::MAX)
            .min(size)
            .min(bytes.capacity());
        match try_read(tcp, bytes, room) {
            Ok(0) => {
                send.finish();
                return Ok(());
            }
            Ok(read) => {
                if read == room {
                    size = (size * 2).min(LARGE);
                } else if read < room / 4 {
                    size = (size / 2).max(SMALLEST_READ);
                }
                send.write_chunk(bytes.split().freeze()).await.map_err(end_of)?;
                moved.outward(length(read));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Whoever waits holds no memory.
                buffer.release();
                tokio::select! {
                    ready = tcp.readable() => ready.map_err(|_| RelayEnd::TcpReset)?,
                    cut = &mut stopped => return Err(end_of(cut)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(RelayEnd::TcpReset),
        }
    }
}

/// A tap, and whether the socket has taken every byte that it saw.
struct Tapped<T> {
    tap: T,
    all_written: bool,
}

/// Waits for the word that the target was reached.
async fn reached(recv: &mut SessionRecv, until: Instant) -> Result<(), RelayEnd> {
    let answered = timeout_at(until, answer(recv)).await;
    answered
        .unwrap_or(Err(OpenStreamError::Deadline))
        .map_err(|error| match error {
            OpenStreamError::Refused(reply) => RelayEnd::Refused(Some(reply.code)),
            OpenStreamError::Lost(cut) => end_of(cut),
            _ => RelayEnd::Refused(None),
        })
}

/// Stream -> TCP. `Ok` is the peer's own end, passed on as a shutdown.
async fn inward<T: Tap>(
    tcp: &TcpStream,
    recv: &mut SessionRecv,
    tapped: &mut Tapped<T>,
    moved: &Moved<'_>,
) -> Result<(), RelayEnd> {
    let mut chunks: [Bytes; CHUNKS] = [const { Bytes::new() }; CHUNKS];
    loop {
        let Some(count) = recv.read(&mut chunks).await.map_err(end_of)? else {
            // Fails only on a socket that is gone: the other direction learns it by itself.
            let _ = SockRef::from(tcp).shutdown(Shutdown::Write);
            return Ok(());
        };
        let chunks = chunks.get_mut(..count).unwrap_or_default();
        tapped.tap.pass(chunks);
        tapped.all_written = false;
        write_all(tcp, chunks, recv, moved).await?;
        tapped.all_written = true;
    }
}

/// Writes chunks in as few calls as they take, and drops each as soon as the kernel has it.
async fn write_all(
    tcp: &TcpStream,
    chunks: &mut [Bytes],
    recv: &mut SessionRecv,
    moved: &Moved<'_>,
) -> Result<(), RelayEnd> {
    let mut rest = chunks;
    while !rest.is_empty() {
        let written = {
            let mut slices = [IoSlice::new(&[]); CHUNKS];
            for (slice, chunk) in slices.iter_mut().zip(rest.iter()) {
                *slice = IoSlice::new(chunk);
            }
            tcp.try_write_vectored(slices.get(..rest.len()).unwrap_or_default())
        };
        match written {
            Ok(0) => return Err(RelayEnd::TcpReset),
            Ok(written) => {
                rest = advance(rest, written);
                moved.inward(length(written));
                recv.delivered(length(written));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                ready = tcp.writable() => ready.map_err(|_| RelayEnd::TcpReset)?,
                cut = recv.cut() => return Err(end_of(cut)),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(RelayEnd::TcpReset),
        }
    }
    Ok(())
}

/// Takes `written` bytes off the front of `chunks`, freeing those that are done.
fn advance(chunks: &mut [Bytes], mut written: usize) -> &mut [Bytes] {
    let mut done = 0;
    for chunk in chunks.iter_mut() {
        if written < chunk.len() {
            chunk.advance(written);
            break;
        }
        written -= chunk.len();
        *chunk = Bytes::new();
        done += 1;
    }
    chunks.get_mut(done..).unwrap_or_default()
}

fn try_read(tcp: &TcpStream, buffer: &mut BytesMut, room: usize) -> io::Result<usize> {
    // `Limit` keeps the read inside the peer's credit, so that what was read can always be handed over at once.
    tcp.try_read_buf(&mut buffer.limit(room))
}

/// Completes when the socket was reset or failed, also while nobody reads or writes it.
async fn failed(tcp: &TcpStream) {
    // An error of the reactor itself is a failure all the same.
    let _ = tcp.ready(Interest::ERROR).await;
}

/// Completes when no byte moved for `limit`. Looks at counters now and then: nothing on the hot path.
async fn idle(moved: &Moved<'_>, limit: Duration) {
    let mut seen = moved.sum();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        sleep_until((since + limit).min(Instant::now() + limit / 4)).await;
        let sum = moved.sum();
        if sum != seen {
            seen = sum;
            since = Instant::now();
        }
    }
}

/// Writes the last words, then closes in order.
async fn say(tcp: &TcpStream, words: &[u8]) -> io::Result<()> {
    let mut rest = words;
    while !rest.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    linger_zero(tcp, false);
    SockRef::from(tcp).shutdown(Shutdown::Write)
}

fn end_of(cut: StreamCut) -> RelayEnd {
    match cut {
        StreamCut::Peer(code) => RelayEnd::PeerReset(code),
        StreamCut::ConnectionLost => RelayEnd::ConnectionLost,
        StreamCut::Closed => RelayEnd::PeerReset(None),
    }
}

fn length(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A session that moves little reads into little.
const SMALLEST_READ: usize = 4 * 1024;
/// How many of QUIC's chunks go to the socket in one call.
const CHUNKS: usize = 32;
/// How long an end waits for the peer to have taken what was sent.
const GRACE: Duration = Duration::from_secs(10);
/// How long the reason may take that follows when a server stops a session it was only asked for.
const REASON: Duration = Duration::from_secs(1);
