//! The relay at both ends of the tunnel: client, relay, QUIC, relay, origin. How sessions end in order.

use crate::bench::{Pair, pattern, until, within};
use bytes::Bytes;
use fluidity_wire::ResetCode;
use fluidity_wire::relay::{
    NoTap, RelayCounters, RelayEnd, RelayOptions, RelaySummary, Tap, linger_zero, relay,
};
use socket2::SockRef;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One end's relay, running.
pub(crate) struct Side {
    pub(crate) task: JoinHandle<RelaySummary>,
    pub(crate) cancel: CancellationToken,
    pub(crate) counters: Arc<RelayCounters>,
}

impl Side {
    pub(crate) async fn summary(self) -> RelaySummary {
        within("the end of a relay", self.task).await.unwrap()
    }

    pub(crate) fn outward(&self) -> u64 {
        self.counters.outward.load(Ordering::Relaxed)
    }

    pub(crate) fn inward(&self) -> u64 {
        self.counters.inward.load(Ordering::Relaxed)
    }
}

/// How the relays of a chain are set up.
pub(crate) struct Plan<T> {
    pub(crate) tap: T,
    pub(crate) early: Bytes,
    pub(crate) agent_idle: Duration,
    /// Little room in the client's socket, so that bytes wait in the relay.
    pub(crate) small_sockets: bool,
}

impl Default for Plan<NoTap> {
    fn default() -> Self {
        Self {
            tap: NoTap,
            early: Bytes::new(),
            agent_idle: NEVER,
            small_sockets: false,
        }
    }
}

/// A client and an origin with the whole tunnel between them.
pub(crate) struct Chain {
    pub(crate) client: TcpStream,
    pub(crate) origin: TcpStream,
    pub(crate) agent: Side,
    pub(crate) server: Side,
    pub(crate) pair: Pair,
}

impl Chain {
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with<T: Tap + 'static>(plan: Plan<T>) -> Self {
        let pair = Pair::connect().await;
        let (agent, server) = pair.session().await;
        let (client, accepted) = sockets(plan.small_sockets).await;
        let (dialled, origin) = sockets(plan.small_sockets).await;
        let start = |idle_timeout| {
            (
                CancellationToken::new(),
                Arc::<RelayCounters>::default(),
                idle_timeout,
            )
        };
        let (cancel, counters, idle_timeout) = start(plan.agent_idle);
        let options = RelayOptions {
            idle_timeout,
            cancel: cancel.clone(),
            counters: counters.clone(),
            tap: plan.tap,
            reset: ResetCode::ClientReset,
            discard: DISCARD,
        };
        let task = tokio::spawn(relay(accepted, plan.early, agent, options));
        let agent = Side {
            task,
            cancel,
            counters,
        };
        let (cancel, counters, idle_timeout) = start(NEVER);
        let options = RelayOptions {
            idle_timeout,
            cancel: cancel.clone(),
            counters: counters.clone(),
            tap: NoTap,
            reset: ResetCode::UpstreamReset,
            discard: DISCARD,
        };
        let task = tokio::spawn(relay(dialled, Bytes::new(), server, options));
        let server = Side {
            task,
            cancel,
            counters,
        };
        Self {
            client,
            origin,
            agent,
            server,
            pair,
        }
    }

    /// Sends a word each way, so that everything surely runs.
    pub(crate) async fn greet(&mut self) {
        pass_word(&mut self.client, &mut self.origin).await;
        pass_word(&mut self.origin, &mut self.client).await;
    }
}

async fn pass_word(from: &mut TcpStream, to: &mut TcpStream) {
    let mut word = [0; 5];
    put(from, b"hello").await;
    within("a word", to.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"hello");
}

pub(crate) async fn sockets(small: bool) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    if small {
        SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
        SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    if small {
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
    }
    let connecting = socket.connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// Everything to the end, or to the error with which it ends.
pub(crate) async fn rest(tcp: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = within("an end", tcp.read_to_end(&mut bytes)).await;
    (bytes, end.map(|_| ()).map_err(|error| error.kind()))
}

/// Writes all of it, which must not take long.
pub(crate) async fn put(tcp: &mut TcpStream, bytes: &[u8]) {
    within("a write", tcp.write_all(bytes)).await.unwrap();
}

pub(crate) fn reset(tcp: TcpStream) {
    linger_zero(&tcp, true);
    drop(tcp);
}

const DISCARD: u64 = 64 * 1024 * 1024;
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn bytes_pass_both_ways_in_full_and_both_ends_finish() {
    let mut chain = Chain::with(Plan {
        early: Bytes::from("early "),
        ..Plan::default()
    })
    .await;
    let (up, down) = (pattern(5_000_000), pattern(4_000_000));
    let (mut client_reads, mut client_writes) = chain.client.split();
    let (mut origin_reads, mut origin_writes) = chain.origin.split();
    let (mut at_origin, mut at_client) = (Vec::new(), Vec::new());
    let transfer = async {
        tokio::try_join!(
            async {
                client_writes.write_all(&up).await?;
                client_writes.shutdown().await
            },
            async {
                origin_writes.write_all(&down).await?;
                origin_writes.shutdown().await
            },
            async { origin_reads.read_to_end(&mut at_origin).await.map(drop) },
            async { client_reads.read_to_end(&mut at_client).await.map(drop) },
        )
    };
    within("both transfers", transfer).await.unwrap();
    assert!(
        at_origin == [b"early ", &up[..]].concat(),
        "{} bytes",
        at_origin.len()
    );
    assert!(at_client == down, "{} bytes", at_client.len());
    let (outward, inward) = (5_000_006, 4_000_000);
    assert_eq!((chain.agent.outward(), chain.agent.inward()), (outward, inward));
    let end = RelayEnd::Finished;
    assert_eq!(chain.agent.summary().await, RelaySummary { outward, inward, end });
    let (outward, inward) = (inward, outward);
    assert_eq!(
        chain.server.summary().await,
        RelaySummary { outward, inward, end }
    );
    until("no session is left", || chain.pair.agent.link.sessions() == 0).await;
}

/// One side says that it has no more; the other goes on for long.
async fn half_close(mut first: TcpStream, mut last: TcpStream) {
    first.shutdown().await.unwrap();
    assert_eq!(rest(&mut last).await, (vec![], Ok(())));
    let bytes = pattern(3_000_000);
    let write = async {
        last.write_all(&bytes).await.unwrap();
        last.shutdown().await.unwrap();
    };
    let ((), (read, end)) = tokio::join!(write, rest(&mut first));
    assert_eq!(end, Ok(()));
    assert!(read == bytes, "{} bytes", read.len());
}

#[tokio::test]
async fn a_client_that_has_no_more_to_say_still_hears_everything() {
    let chain = Chain::new().await;
    half_close(chain.client, chain.origin).await;
    assert_eq!(chain.agent.summary().await.end, RelayEnd::Finished);
    assert_eq!(chain.server.summary().await.end, RelayEnd::Finished);
}

#[tokio::test]
async fn an_origin_that_has_no_more_to_say_still_hears_everything() {
    let chain = Chain::new().await;
    half_close(chain.origin, chain.client).await;
    assert_eq!(chain.agent.summary().await.end, RelayEnd::Finished);
    assert_eq!(chain.server.summary().await.end, RelayEnd::Finished);
}

#[tokio::test]
async fn the_last_bytes_reach_a_client_that_takes_its_time() {
    let mut chain = Chain::with(Plan {
        small_sockets: true,
        ..Plan::default()
    })
    .await;
    // Too many for the client's side of the connection, few enough for both sides.
    let bytes = pattern(8_000);
    chain.client.shutdown().await.unwrap();
    put(&mut chain.origin, &bytes).await;
    chain.origin.shutdown().await.unwrap();
    assert_eq!(chain.agent.summary().await.end, RelayEnd::Finished);
    // The relay and its socket are gone; the kernel still has some of the bytes.
    let (read, end) = rest(&mut chain.client).await;
    assert_eq!((read.len(), end), (bytes.len(), Ok(())));
}

#[tokio::test]
async fn a_client_that_reads_nothing_lets_the_origin_write_only_so_much() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    let bytes = pattern(64 * 1024 * 1024);
    let mut written = 0;
    // Written until nothing goes any more: sockets and a window are full.
    while let Ok(more) =
        tokio::time::timeout(Duration::from_millis(500), chain.origin.write(&bytes[written..])).await
    {
        written += more.unwrap();
    }
    assert!(written < bytes.len());
    let held = chain.server.outward() - chain.agent.inward();
    assert!(held <= 8 * 1024 * 1024, "{held} bytes are held");
    let write = async {
        chain.origin.write_all(&bytes[written..]).await.unwrap();
        chain.origin.shutdown().await.unwrap();
    };
    let ((), (read, end)) = tokio::join!(write, rest(&mut chain.client));
    assert_eq!(end, Ok(()));
    assert!(read == bytes, "{} bytes", read.len());
}
