//! One QUIC connection between an agent and a server: its sessions and its two control streams.
//!
//! Each side opens one unidirectional control stream, whose first message is `Hello`; `Credit`, `Abort`, `Drain`
//! and `Goodbye` follow. Sessions never wait for it. The driver that [`Link::start`] returns is the only reader and
//! writer of control messages; whoever starts the link owns that task. It ends when the connection does.

mod opening;
mod permitted;

pub(crate) use opening::answer;
pub use opening::{OpenStreamError, Opening};

use permitted::Permitted;

use crate::backlog::Backlog;
use crate::budget::Share;
use crate::code::{CloseCode, ReplyCode, ResetCode};
use crate::codec;
use crate::credit::{EARLY_WINDOW, Window};
use crate::io::{ReadMessageError, read_message, read_now};
use crate::message::{Control, Hello, Open, Others, Reply};
use crate::pool::Pool;
use crate::stream::{SessionRecv, SessionSend, SessionState, StreamCut};
use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::{timeout, timeout_at};
use tracing::{debug, trace};

/// What a side brings into a connection.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// What is said to the peer.
    pub hello: Hello,
    /// How many sessions the peer may have open at once, as the transport was told
    /// ([`QuicOptions::max_sessions`](crate::quic::QuicOptions::max_sessions)).
    pub max_sessions: u32,
}

/// What the peer said on its control stream so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Its `Hello`, once it came.
    pub hello: Option<Hello>,
    /// It takes no new sessions and gave the running ones this long.
    pub draining: Option<Duration>,
    /// It said that it closes the connection on purpose.
    pub goodbye: bool,
    /// Who else it said is connected, where it is a server.
    pub others: Option<Others>,
}

/// How a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The connection was closed or lost.
    #[error("the connection ended")]
    Connection(#[from] ConnectionError),
    /// The peer broke the protocol; the connection was closed for it.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
}

/// One connection with its sessions.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    outbox: Arc<Outbox>,
    backlog: Arc<Backlog>,
    pool: Arc<Pool>,
    permitted: Permitted,
    peer: watch::Receiver<PeerState>,
}

impl Link {
    /// Takes a connection over, whose windows come out of the peer's `share`. The caller spawns and owns the driver; the
    /// link is dead without it.
    pub fn start(
        connection: Connection,
        options: LinkOptions,
        share: Arc<Share>,
    ) -> (Arc<Self>, impl Future<Output = LinkEnd> + Send + use<>) {
        let outbox = Arc::new(Outbox::default());
        let (peer, watched) = watch::channel(PeerState::default());
        let link = Arc::new(Self {
            connection: connection.clone(),
            outbox: outbox.clone(),
            backlog: Arc::new(Backlog::new(Some(connection.clone()))),
            pool: Pool::new(share, Some(connection.clone())),
            permitted: Permitted::new(options.max_sessions),
            peer: watched,
        });
        outbox.push(Control::Hello(options.hello));
        (link, drive(connection, outbox, peer))
    }

    /// The QUIC connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the peer says of itself, as it changes.
    pub fn peer(&self) -> watch::Receiver<PeerState> {
        self.peer.clone()
    }

    /// How many sessions are alive.
    pub fn sessions(&self) -> usize {
        self.outbox.lock().sessions.len()
    }

    /// About how many pieces of sessions' bytes QUIC got and could not hand out, because others before them are missing. It
    /// counts some too many: repeated ones, and those of sessions that ended unread.
    pub fn pieces_kept(&self) -> u64 {
        let received = self.connection.stats().frame_rx.stream;
        received.saturating_sub(self.pool.pieces())
    }

    /// Opens a session: sends `open` and `early` (the client's first bytes, at most 64 KiB of which go ahead of the
    /// answer) in one flight and waits for the target to be dialled, `deadline` in all.
    ///
    /// `open.window` is filled in here. Cancelled or failed, it resets the stream.
    pub async fn open(
        &self,
        open: Open,
        early: Bytes,
        deadline: Duration,
    ) -> Result<(SessionSend, SessionRecv), OpenStreamError> {
        self.begin(open, deadline).await?.confirmed(early).await
    }

    /// Asks for a session; its answer is due within `deadline` from now.
    ///
    /// `open.window` is filled in here. Cancelled or failed, it resets the stream.
    pub async fn begin(&self, open: Open, deadline: Duration) -> Result<Opening, OpenStreamError> {
        let until = tokio::time::Instant::now() + deadline;
        let opened = timeout_at(until, self.connection.open_bi()).await;
        let (send, recv) = opened
            .map_err(|_| OpenStreamError::NoStream)?
            .map_err(OpenStreamError::NeverSent)?;
        let window = Window::new(self.pool.clone(), Instant::now());
        Opening::ask(self.adopt((send, recv), window, EARLY_WINDOW), open, until).await
    }

    /// Waits for the agent to open a session. Cancel safe.
    pub async fn accept(&self) -> Result<Incoming, ConnectionError> {
        let (send, recv) = self.connection.accept_bi().await?;
        let window = Window::early(self.pool.clone(), Instant::now());
        let (send, recv) = self.adopt((send, recv), window, 0);
        if let Some(count) = self.permitted.raise(self.sessions()) {
            self.connection.set_max_concurrent_bi_streams(count.into());
        }
        Ok(Incoming { send, recv })
    }

    /// Tells the peer to open no more sessions; running ones have `deadline` to end.
    pub fn send_drain(&self, deadline: Duration) {
        self.outbox.push(Control::Drain { deadline });
    }

    /// Tells the peer who else is connected; the newest word replaces one that still waits to be sent.
    pub fn send_others(&self, others: Others) {
        self.outbox.others(others);
    }

    /// Tells the peer that the connection is about to be closed on purpose.
    pub fn send_goodbye(&self) {
        self.outbox.push(Control::Goodbye);
    }

    /// Closes the connection at once: what is under way is lost, and running sessions are cut.
    pub fn close(&self, code: CloseCode) {
        self.connection.close(code.into(), code.name().as_bytes());
    }

    fn adopt(
        &self,
        (send, recv): (SendStream, RecvStream),
        window: Window,
        credit: u64,
    ) -> (SessionSend, SessionRecv) {
        let id = VarInt::from(send.id()).into_inner();
        let state = SessionState::new(id, credit, self.outbox.clone());
        self.outbox.lock().sessions.insert(id, Arc::downgrade(&state));
        let recv = SessionRecv::new(recv, state.clone(), window, self.connection.clone());
        (SessionSend::new(send, state, self.backlog.clone()), recv)
    }
}

/// A session that an agent asks for, before it was answered. Dropped unanswered, it is reset.
#[derive(Debug)]
pub struct Incoming {
    send: SessionSend,
    recv: SessionRecv,
}

impl Incoming {
    /// The session's QUIC stream id.
    pub fn id(&self) -> u64 {
        self.send.id()
    }

    /// Reads what the agent wants, whole within `deadline`.
    pub async fn read_open(&mut self, deadline: Duration) -> Result<Open, ReadMessageError> {
        let open = read_message(self.recv.stream(), deadline, codec::decode_open).await?;
        self.send.raise_credit(open.window);
        Ok(open)
    }

    /// Completes when the agent no longer wants the session. Cancel safe.
    pub fn abandoned(&self) -> impl Future<Output = StreamCut> + Send + Sync + use<> {
        self.send.stopped()
    }

    /// The same once the `Open` was read, and takes early bytes out of QUIC meanwhile. Cancel safe.
    pub async fn cut(&mut self) -> StreamCut {
        let abandoned = self.abandoned();
        tokio::select! {
            cut = abandoned => cut,
            cut = self.recv.cut() => cut,
        }
    }

    /// Answers that the target was dialled and hands out the session's halves.
    pub async fn accept(mut self) -> Result<(SessionSend, SessionRecv), StreamCut> {
        self.recv.tell().await?;
        let reply = Reply {
            code: ReplyCode::Ok,
            detail: String::new(),
            window: self.recv.granted(),
        };
        self.send.write_raw(encoded(&reply)).await?;
        Ok((self.send, self.recv))
    }

    /// Answers why there will be no session, and waits up to `grace` for the answer to arrive.
    pub async fn refuse(mut self, reply: Reply, grace: Duration) {
        self.recv.stop(ResetCode::Cancelled);
        if let Ok(Ok(())) = timeout(grace, self.send.write_raw(encoded(&reply))).await {
            self.send.finish();
            self.send.acknowledged(grace).await;
        }
    }
}

fn encoded(reply: &Reply) -> Bytes {
    let mut bytes = BytesMut::with_capacity(64 + reply.detail.len());
    codec::encode_reply(reply, &mut bytes);
    bytes.freeze()
}

/// What waits to be said on the control stream, and whom an answer concerns. Bounded: a newer credit of a session takes
/// the older one's place, and a connection on which too many messages wait is closed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    filled: Notify,
    /// More waits than a peer that reads its control stream lets wait.
    full: Notify,
    /// The peer sent more of a session than it was granted.
    overrun: Notify,
}

#[derive(Debug, Default)]
struct OutboxState {
    messages: VecDeque<Control>,
    others: Option<Others>,
    credits: HashMap<u64, u64>,
    sessions: HashMap<u64, Weak<SessionState>>,
}

impl Outbox {
    pub(crate) fn push(&self, message: Control) {
        let mut state = self.lock();
        if state.messages.len() >= MOST_QUEUED {
            self.full.notify_one();
            return;
        }
        state.messages.push_back(message);
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn overrun(&self) {
        self.overrun.notify_one();
    }

    fn others(&self, others: Others) {
        self.lock().others = Some(others);
        self.filled.notify_one();
    }

    pub(crate) fn credit(&self, stream: u64, limit: u64) {
        self.lock().credits.insert(stream, limit);
        self.filled.notify_one();
    }

    pub(crate) fn forget(&self, stream: u64) {
        let mut state = self.lock();
        state.sessions.remove(&stream);
        state.credits.remove(&stream);
    }

    fn session(&self, stream: u64) -> Option<Arc<SessionState>> {
        self.lock().sessions.get(&stream).and_then(Weak::upgrade)
    }

    /// Moves everything that waits into `bytes`.
    fn drain_into(&self, bytes: &mut BytesMut) {
        let mut state = self.lock();
        while let Some(message) = state.messages.pop_front() {
            codec::encode_control(&message, bytes);
        }
        if let Some(others) = state.others.take() {
            codec::encode_control(&Control::Others(others), bytes);
        }
        for (stream, limit) in state.credits.drain() {
            codec::encode_control(&Control::Credit { stream, limit }, bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drive(connection: Connection, outbox: Arc<Outbox>, peer: watch::Sender<PeerState>) -> LinkEnd {
    let end = tokio::select! {
        end = write_control(&connection, &outbox) => end,
        end = read_control(&connection, &outbox, &peer) => end,
        error = connection.closed() => error.into(),
        () = outbox.full.notified() => LinkEnd::Protocol("the peer does not read its control stream".into()),
        () = outbox.overrun.notified() => LinkEnd::Protocol("a session has more bytes than were granted".into()),
    };
    if let LinkEnd::Protocol(reason) = &end {
        debug!(reason, "closing the connection");
        connection.close(CloseCode::Protocol.into(), reason.as_bytes());
    }
    end
}

/// Owns the own control stream; only this future writes to it, so a message is never torn.
async fn write_control(connection: &Connection, outbox: &Outbox) -> LinkEnd {
    let mut stream = match connection.open_uni().await {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    // Credit that waits behind bulk data would stall what it is to speed up.
    let _ = stream.set_priority(i32::MAX);
    let mut bytes = BytesMut::new();
    loop {
        outbox.drain_into(&mut bytes);
        if bytes.is_empty() {
            outbox.filled.notified().await;
        } else if stream.write_chunk(bytes.split().freeze()).await.is_err() {
            return match connection.close_reason() {
                Some(error) => error.into(),
                None => LinkEnd::Protocol("the peer stopped the control stream".into()),
            };
        }
    }
}

async fn read_control(connection: &Connection, outbox: &Outbox, peer: &watch::Sender<PeerState>) -> LinkEnd {
    let accepted = timeout(HELLO_DEADLINE, async {
        let mut stream = connection.accept_uni().await?;
        let hello = read_now(&mut stream, codec::decode_control).await;
        Ok::<_, ConnectionError>((stream, hello))
    });
    let mut stream = match accepted.await {
        Ok(Ok((stream, Ok(Control::Hello(hello))))) => {
            peer.send_modify(|state| state.hello = Some(hello));
            stream
        }
        Ok(Ok((_, Ok(_)))) => {
            return LinkEnd::Protocol("the control stream does not begin with a hello".into());
        }
        Ok(Ok((_, Err(error)))) => return control_error(connection, &error),
        Ok(Err(error)) => return error.into(),
        Err(_) => return LinkEnd::Protocol("no hello in time".into()),
    };
    loop {
        match read_now(&mut stream, codec::decode_control).await {
            Ok(message) => {
                trace!(?message, "control");
                match message {
                    Control::Hello(_) => return LinkEnd::Protocol("a second hello".into()),
                    Control::Drain { deadline } => peer.send_modify(|state| state.draining = Some(deadline)),
                    Control::Goodbye => peer.send_modify(|state| state.goodbye = true),
                    Control::Others(others) => peer.send_modify(|state| state.others = Some(others)),
                    Control::Credit { stream, limit } => {
                        if let Some(session) = outbox.session(stream) {
                            session.raise_credit(limit);
                        }
                    }
                    Control::Abort { stream, offset, code } => {
                        if let Some(session) = outbox.session(stream) {
                            session.abort_at(offset, code);
                        }
                    }
                    Control::Unknown => {}
                }
            }
            Err(error) => return control_error(connection, &error),
        }
    }
}

fn control_error(connection: &Connection, error: &ReadMessageError) -> LinkEnd {
    match connection.close_reason() {
        Some(reason) => reason.into(),
        None => LinkEnd::Protocol(format!("control stream: {error}")),
    }
}

/// Messages that may wait for the control stream: an `Abort` outlives its session, and a peer that does not read would
/// let them pile up.
const MOST_QUEUED: usize = 16 * 1024;
/// How long the peer may take to open its control stream and say `Hello`.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn regression_a_peer_that_does_not_read_its_control_stream_lets_a_bounded_number_wait() {
        let outbox = Outbox::default();
        for _ in 0..MOST_QUEUED {
            outbox.push(Control::Goodbye);
        }
        assert!(
            timeout(Duration::from_millis(10), outbox.full.notified())
                .await
                .is_err()
        );
        outbox.push(Control::Goodbye);
        assert_eq!(outbox.lock().messages.len(), MOST_QUEUED);
        timeout(Duration::from_secs(5), outbox.full.notified())
            .await
            .expect("the driver is told");
    }
}
