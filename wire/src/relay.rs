//! The byte copy between a TCP socket and a session's stream: the same at both ends of the tunnel.
//!
//! Half-close correct: each direction ends on its own. TCP end of file -> `finish`; the stream's end -> `shutdown`;
//! TCP reset -> what was read is delivered, then the far socket is reset too; a cut stream -> TCP reset
//! (SO_LINGER 0). A cut never looks like an end. The bytes read from TCP are handed to QUIC, and QUIC's to TCP,
//! without a copy; an idle session holds no buffer. Last stop on the byte's way, on both sides.
//!
//! A direction that fails does not take the other one's bytes along (`relay/rest.rs`): what a socket received before its reset
//! is still read and delivered, and so is what the peer sent before it stopped the stream.

mod end;
mod moved;
mod rest;

pub use end::RelayEnd;
pub use moved::RelayCounters;

use crate::buffer::{BUFFERS, LARGE, ReadBuffer};
use crate::code::ResetCode;
use crate::link::{OpenStreamError, Opening, answer};
use crate::stream::{SessionRecv, SessionSend, StreamCut};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use moved::{Moved, idle};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
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
    /// When the peer takes no more: the largest number of bytes that are read from the TCP socket and dropped while its
    /// owner still gets what the peer had sent. A sender that is not read may never come to reading.
    pub discard: u64,
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
        discard,
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
        let socket = Socket {
            tcp: &tcp,
            error_taken: AtomicBool::new(false),
        };
        let mut outward = pin!(outward(&socket, early, &mut send, &moved));
        let (inlet, outlet, tap) = (&mut recv, &socket, &mut tapped);
        let mut inward = pin!(async {
            if let Some(until) = unanswered
                && let Err(end) = reached(inlet, until).await
            {
                return Err((end, inlet));
            }
            inward(outlet, inlet, tap, &moved).await
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
                    Err(stopped @ RelayEnd::PeerReset(_)) => {
                        let delivery = rest::Delivery { tcp: &tcp, moved: &moved, discard, stopped };
                        let inward = inward_open.then_some(inward);
                        break rest::unless(&cancel, idle, delivery.run(inward)).await;
                    }
                    Err(end) => break end,
                },
                ended = &mut inward, if inward_open => match ended {
                    Ok(()) => inward_open = false,
                    Err((RelayEnd::TcpReset, recv)) if outward_open => {
                        break rest::unless(&cancel, idle, rest::hear_out(outward, recv)).await;
                    }
                    Err((end, _)) => break end,
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
        | RelayEnd::Exhausted
        | RelayEnd::Cancelled
        | RelayEnd::Refused(_) => {
            let code = match end {
                RelayEnd::IdleTimeout => ResetCode::IdleTimeout,
                RelayEnd::Cancelled => ResetCode::ShuttingDown,
                RelayEnd::Exhausted => ResetCode::Exhausted,
                _ => ResetCode::Cancelled,
            };
            send.reset(code);
            recv.stop(code);
            if tapped.all_written {
                match tapped.tap.last_words(end) {
                    // A client that does not take them in time gets the reset instead.
                    Some(words) => drop(timeout(GRACE, say(&tcp, &words)).await),
                    None if rest::is_socket_lost(end) && moved.own.inward.load(Ordering::Relaxed) > 0 => {
                        rest::flush(tcp, discard, &cancel).await;
                    }
                    None => {}
                }
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

/// The TCP socket, as both directions see it.
struct Socket<'a> {
    tcp: &'a TcpStream,
    /// A write was told of the socket's reset. The kernel reports a reset once: the read that follows sees an end of file.
    error_taken: AtomicBool,
}

impl Socket<'_> {
    /// Notes why a write failed. `BrokenPipe` takes nothing away: there the end of file came before the reset.
    fn write_failed(&self, error: &io::Error) -> RelayEnd {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.error_taken.store(true, Ordering::Relaxed);
        }
        RelayEnd::TcpReset
    }
}

/// TCP -> stream. `Ok` is the socket's end of file, finished on the stream.
async fn outward(
    socket: &Socket<'_>,
    early: Bytes,
    send: &mut SessionSend,
    moved: &Moved<'_>,
) -> Result<(), RelayEnd> {
    let tcp = socket.tcp;
    let mut stopped = pin!(send.stopped());
    if !early.is_empty() {
        let size = length(early.len());
        send.write_chunk(early).await.map_err(end_of)?;
        moved.outward(size);
    }
    let mut buffer = ReadBuffer::new(&BUFFERS);
    let mut size = SMALLEST_READ;
    loop {
        if send.scattered() {
            tokio::select! {
                () = sleep(GATHER) => {}
                cut = &mut stopped => return Err(end_of(cut)),
                () = failed(tcp) => return Err(RelayEnd::TcpReset),
            }
            continue;
        }
        let room = match send.writable_now() {
            0 => tokio::select! {
                room = send.writable() => room,
                cut = &mut stopped => return Err(end_of(cut)),
                // What it received before can still be delivered, if the peer comes to taking it.
                () = async { failed(tcp).await; sleep(GRACE).await } => return Err(RelayEnd::TcpReset),
            },
            room => room,
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(size);
        // A buffer of the usual size is one that was used before; of one that is much larger than the read, most would be kept for nothing.
        let bytes = buffer.for_a_read_of(if room < size / 2 { room } else { size });
        let room = room.min(bytes.capacity());
        match try_read(tcp, bytes, room) {
            Ok(0) if socket.error_taken.load(Ordering::Relaxed) => return Err(RelayEnd::TcpReset),
            Ok(0) => {
                send.finish();
                return Ok(());
            }
            Ok(read) => {
                if read == size {
                    size = (size * 2).min(LARGE);
                } else if read < room / 2 {
                    size = (size / 2).max(SMALLEST_READ);
                }
                // A small part of a buffer would keep all of it until the peer acknowledged it; a large one does, and counts so.
                let (chunk, more) = if read < bytes.capacity() / 2 {
                    let chunk = Bytes::copy_from_slice(bytes);
                    bytes.clear();
                    (chunk, 0)
                } else {
                    let more = bytes.capacity() - read;
                    (bytes.split().freeze(), more)
                };
                send.write_part_of_buffer(chunk, more).await.map_err(end_of)?;
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

/// Stream -> TCP. `Ok` is the peer's own end, passed on as a shutdown. What fails gives the stream back.
async fn inward<'a, T: Tap>(
    socket: &Socket<'_>,
    recv: &'a mut SessionRecv,
    tapped: &mut Tapped<T>,
    moved: &Moved<'_>,
) -> Result<(), (RelayEnd, &'a mut SessionRecv)> {
    let mut chunks: [Bytes; CHUNKS] = [const { Bytes::new() }; CHUNKS];
    loop {
        let count = match recv.read(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => {
                // Fails only on a socket that is gone: the other direction learns it by itself.
                let _ = SockRef::from(socket.tcp).shutdown(Shutdown::Write);
                return Ok(());
            }
            Err(cut) => return Err((end_of(cut), recv)),
        };
        let chunks = chunks.get_mut(..count).unwrap_or_default();
        tapped.tap.pass(chunks);
        tapped.all_written = false;
        if let Err(end) = write_all(socket, chunks, recv, moved).await {
            return Err((end, recv));
        }
        tapped.all_written = true;
    }
}

/// Writes chunks in as few calls as they take, and drops each as soon as the kernel has it.
async fn write_all(
    socket: &Socket<'_>,
    chunks: &mut [Bytes],
    recv: &mut SessionRecv,
    moved: &Moved<'_>,
) -> Result<(), RelayEnd> {
    let tcp = socket.tcp;
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
            Err(error) => return Err(socket.write_failed(&error)),
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
        StreamCut::Exhausted => RelayEnd::Exhausted,
        StreamCut::Closed => RelayEnd::PeerReset(None),
    }
}

fn length(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A session that moves little reads into little.
const SMALLEST_READ: usize = 4 * 1024;
/// How long a session waits for more bytes of which the peer has not acknowledged many small pieces.
const GATHER: Duration = Duration::from_millis(5);
/// How many of QUIC's chunks go to the socket in one call.
const CHUNKS: usize = 32;
/// How long an end waits for the peer to have taken what was sent.
const GRACE: Duration = Duration::from_secs(10);
