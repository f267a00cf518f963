//! The relay at both ends of the tunnel: every way in which a session is cut, and that none looks like an end.

use crate::bench::{pattern, until, within};
use crate::relay::{Chain, Plan, put, reset, rest};
use bytes::Bytes;
use fluidity_wire::relay::{RelayEnd, Tap};
use fluidity_wire::{CloseCode, ResetCode};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

const RESET: (Vec<u8>, Result<(), ErrorKind>) = (Vec::new(), Err(ErrorKind::ConnectionReset));

fn peer(code: ResetCode) -> RelayEnd {
    RelayEnd::PeerReset(Some(code))
}

#[tokio::test]
async fn a_reset_of_the_client_is_a_reset_at_the_origin() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    reset(chain.client);
    assert_eq!(rest(&mut chain.origin).await, RESET);
    assert_eq!(chain.agent.summary().await.end, RelayEnd::TcpReset);
    assert_eq!(chain.server.summary().await.end, peer(ResetCode::ClientReset));
}

#[tokio::test]
async fn a_reset_of_the_origin_is_a_reset_at_the_client() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    reset(chain.origin);
    assert_eq!(rest(&mut chain.client).await, RESET);
    assert_eq!(chain.agent.summary().await.end, peer(ResetCode::UpstreamReset));
    assert_eq!(chain.server.summary().await.end, RelayEnd::TcpReset);
}

/// A reset behind a half-close, when nobody reads the socket any more.
async fn reset_after_half_close(mut first: TcpStream, mut other: TcpStream) {
    first.shutdown().await.unwrap();
    assert_eq!(rest(&mut other).await, (vec![], Ok(())));
    reset(first);
    // The other end has read its end, and neither reads nor writes any more: nothing but the reset can reach it.
    within("the reset", other.ready(Interest::ERROR)).await.unwrap();
}

#[tokio::test]
async fn a_reset_behind_the_clients_half_close_is_noticed() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    reset_after_half_close(chain.client, chain.origin).await;
    assert_eq!(chain.agent.summary().await.end, RelayEnd::TcpReset);
    assert_eq!(chain.server.summary().await.end, peer(ResetCode::ClientReset));
}

#[tokio::test]
async fn a_reset_behind_the_origins_half_close_is_noticed() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    reset_after_half_close(chain.origin, chain.client).await;
    assert_eq!(chain.server.summary().await.end, RelayEnd::TcpReset);
    assert_eq!(chain.agent.summary().await.end, peer(ResetCode::UpstreamReset));
}

const WAITING: u64 = 200_000;

#[tokio::test]
async fn regression_what_an_origin_sent_before_its_reset_is_delivered() {
    let mut chain = small().await;
    let bytes = pattern(200_000);
    put(&mut chain.origin, &bytes).await;
    until("the server has read it all", || {
        chain.server.outward() == 5 + WAITING
    })
    .await;
    assert!(chain.agent.inward() < WAITING, "some has to wait for the client");
    reset(chain.origin);
    hesitate().await;
    let (read, end) = rest(&mut chain.client).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(bytes.starts_with(&read));
    let summary = chain.agent.summary().await;
    assert_eq!(
        (summary.inward, summary.end),
        (5 + WAITING, peer(ResetCode::UpstreamReset))
    );
    assert_eq!(chain.server.summary().await.end, RelayEnd::TcpReset);
}

#[tokio::test]
async fn regression_what_a_client_sent_before_its_reset_is_delivered() {
    let mut chain = small().await;
    let bytes = pattern(200_000);
    put(&mut chain.client, &bytes).await;
    until("the agent has read it all", || {
        chain.agent.outward() == 5 + WAITING
    })
    .await;
    reset(chain.client);
    hesitate().await;
    let (read, end) = rest(&mut chain.origin).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(bytes.starts_with(&read));
    let summary = chain.server.summary().await;
    assert_eq!(
        (summary.inward, summary.end),
        (5 + WAITING, peer(ResetCode::ClientReset))
    );
}

async fn small() -> Chain {
    let mut chain = Chain::with(Plan {
        small_sockets: true,
        ..Plan::default()
    })
    .await;
    chain.greet().await;
    chain
}

/// Gives a relay that would not wait for the reader the time to show it. Nothing depends on how long it is.
async fn hesitate() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn resets_at_both_ends_at_once_end_both_relays_soon() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    let began = Instant::now();
    reset(chain.client);
    reset(chain.origin);
    chain.agent.summary().await;
    chain.server.summary().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    until("no session is left", || chain.pair.agent.link.sessions() == 0).await;
}

#[tokio::test]
async fn a_session_in_which_nothing_moves_is_cut_at_both_ends() {
    let mut chain = Chain::with(Plan {
        agent_idle: Duration::from_millis(300),
        ..Plan::default()
    })
    .await;
    let began = Instant::now();
    assert_eq!(rest(&mut chain.client).await, RESET);
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(rest(&mut chain.origin).await, RESET);
    assert_eq!(chain.agent.summary().await.end, RelayEnd::IdleTimeout);
    assert_eq!(chain.server.summary().await.end, peer(ResetCode::IdleTimeout));
}

#[tokio::test]
async fn a_session_in_which_little_moves_is_not_idle() {
    let limit = Duration::from_secs(1);
    let mut chain = Chain::with(Plan {
        agent_idle: limit,
        ..Plan::default()
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < limit * 2 {
        chain.greet().await;
        tokio::time::sleep(limit / 10).await;
    }
    assert!(!chain.agent.task.is_finished());
}

#[tokio::test]
async fn a_cancelled_session_is_cut_at_both_ends() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    chain.server.cancel.cancel();
    assert_eq!(rest(&mut chain.origin).await, RESET);
    assert_eq!(rest(&mut chain.client).await, RESET);
    assert_eq!(chain.server.summary().await.end, RelayEnd::Cancelled);
    assert_eq!(chain.agent.summary().await.end, peer(ResetCode::ShuttingDown));
}

#[tokio::test]
async fn a_relay_whose_task_is_aborted_is_a_cut_at_both_ends() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    chain.agent.task.abort();
    assert_eq!(rest(&mut chain.client).await, RESET);
    assert_eq!(rest(&mut chain.origin).await, RESET);
    let RelayEnd::PeerReset(Some(ResetCode::Abandoned | ResetCode::Cancelled)) =
        chain.server.summary().await.end
    else {
        panic!("the peer vanished")
    };
}

#[tokio::test]
async fn a_lost_connection_is_a_cut_at_both_ends() {
    let mut chain = Chain::new().await;
    chain.greet().await;
    chain.pair.agent.link.close(CloseCode::Normal);
    assert_eq!(rest(&mut chain.client).await, RESET);
    assert_eq!(rest(&mut chain.origin).await, RESET);
    assert_eq!(chain.agent.summary().await.end, RelayEnd::ConnectionLost);
    assert_eq!(chain.server.summary().await.end, RelayEnd::ConnectionLost);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_download_never_looks_complete() {
    let mut chain = Chain::new().await;
    let bytes = pattern(50_000_000);
    let (client, origin, server) = (&mut chain.client, &mut chain.origin, &chain.server);
    let write = async { origin.write_all(&bytes).await };
    let read = async {
        let mut some = vec![0; 1_000_000];
        within("a part", client.read_exact(&mut some)).await.unwrap();
        server.cancel.cancel();
        rest(client).await
    };
    let (written, (_, end)) = within("a cut", async { tokio::join!(write, read) }).await;
    written.unwrap_err();
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

/// Says goodbye in the client's own protocol.
struct Words(Vec<u8>);

impl Tap for Words {
    fn pass(&mut self, chunks: &[Bytes]) {
        chunks.iter().for_each(|chunk| self.0.extend_from_slice(chunk));
    }

    fn last_words(&mut self, end: RelayEnd) -> Option<Bytes> {
        Some(Bytes::from(format!(" {} bytes, then {end}", self.0.len())))
    }
}

fn with_words() -> Plan<Words> {
    Plan {
        tap: Words(Vec::new()),
        early: Bytes::new(),
        agent_idle: crate::relay::NEVER,
        small_sockets: true,
    }
}

#[tokio::test]
async fn a_client_whose_protocol_can_say_it_gets_last_words_and_an_orderly_end() {
    let mut chain = Chain::with(with_words()).await;
    chain.greet().await;
    chain.pair.server.link.close(CloseCode::ShuttingDown);
    let words = b" 5 bytes, then connection-lost".to_vec();
    assert_eq!(rest(&mut chain.client).await, (words, Ok(())));
    assert_eq!(rest(&mut chain.origin).await, RESET);
}

#[tokio::test]
async fn a_client_that_has_not_taken_everything_gets_no_last_words_in_between() {
    let mut chain = Chain::with(with_words()).await;
    chain.greet().await;
    let bytes = pattern(200_000);
    put(&mut chain.origin, &bytes).await;
    until("the server has read it all", || {
        chain.server.outward() == 5 + WAITING
    })
    .await;
    chain.pair.server.link.close(CloseCode::ShuttingDown);
    let tunnel = chain.pair.agent.link.connection();
    until("the agent knows", || tunnel.close_reason().is_some()).await;
    let (read, end) = rest(&mut chain.client).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(bytes.starts_with(&read));
    assert_eq!(chain.agent.summary().await.end, RelayEnd::ConnectionLost);
}
