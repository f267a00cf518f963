//! Control streams of peers that do not keep to the protocol, or know more of it.

use crate::bench::{Bare, End, closed_with, hello, stays_pending, until, within};
use bytes::Bytes;
use fluidity_wire::codec::{self, MAX_MESSAGE};
use fluidity_wire::message::Control;
use fluidity_wire::{CloseCode, ResetCode};
use quinn::{Connection, SendStream, VarInt};
use std::time::{Duration, Instant};

fn encoded(messages: &[Control]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        codec::encode_control(message, &mut bytes);
    }
    bytes
}

fn hello_bytes() -> Vec<u8> {
    encoded(&[Control::Hello(hello("bare", 0))])
}

/// Opens the control stream of an end without a link.
async fn control(connection: &Connection, bytes: &[u8]) -> SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// A message of an unknown type, with one field of which nothing is known either.
fn later(kind: u8, size: usize) -> Vec<u8> {
    let length = u32::try_from(size).unwrap() | 0x8000_0000;
    let value = u32::try_from(size - 5).unwrap() | 0x8000_0000;
    let mut bytes = [
        [kind].as_slice(),
        &length.to_be_bytes(),
        &[0x02],
        &value.to_be_bytes(),
    ]
    .concat();
    bytes.resize(bytes.len() + size - 5, 0);
    bytes
}

#[tokio::test]
async fn a_peer_that_never_says_hello_is_closed() {
    let bare = Bare::connect().await;
    let (other, began) = (Bare::connect().await, Instant::now());
    let (server, agent) = (bare.server(), other.agent());
    for (silent, end) in [(&bare.agent, server), (&other.server, agent)] {
        assert_eq!(closed_with(silent, CloseCode::Protocol).await, "no hello in time");
        assert_eq!(end.blames_its_peer().await, "no hello in time");
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_control_stream_that_does_not_begin_with_hello_closes_the_connection() {
    for bytes in [
        encoded(&[Control::Goodbye]),
        encoded(&[Control::Credit { stream: 0, limit: 1 }]),
        later(0x1a, 20),
        later(0x19, 20),
        b"\x01\x00".to_vec(),
        b"\x11\x00".to_vec(),
        b"\x00\x00".to_vec(),
        vec![0xff; 64],
    ] {
        let bare = Bare::connect().await;
        let server = bare.server();
        let _stream = control(&bare.agent, &bytes).await;
        let reason = closed_with(&bare.agent, CloseCode::Protocol).await;
        assert_eq!(server.blames_its_peer().await, reason);
        assert!(reason.contains("control stream"), "{bytes:?}: {reason}");
    }
}

#[tokio::test]
async fn what_may_not_follow_a_hello_closes_the_connection() {
    for (bytes, expected) in [
        (hello_bytes(), "a second hello"),
        (later(0x19, 20), "control stream: malformed message"),
        (b"\x16\x00".to_vec(), "control stream: malformed message"),
        (b"\x12\x00".to_vec(), "control stream: malformed message"),
        (b"\x01\x00".to_vec(), "control stream: malformed message"),
        (later(0x1a, MAX_MESSAGE + 1), "control stream: malformed message"),
        (vec![0xff; 64], "control stream: malformed message"),
    ] {
        let bare = Bare::connect().await;
        let agent = bare.agent();
        let mut stream = control(&bare.server, &hello_bytes()).await;
        // Refused while it is written, perhaps: what counts is the close.
        let _ = stream.write_all(&bytes).await;
        assert_eq!(closed_with(&bare.server, CloseCode::Protocol).await, expected);
        assert_eq!(agent.blames_its_peer().await, expected);
    }
}

#[tokio::test]
async fn a_control_stream_that_ends_in_whatever_way_closes_the_connection() {
    let ends: [fn(&mut SendStream); 2] = [
        |stream| stream.finish().unwrap(),
        |stream| stream.reset(VarInt::from_u32(0)).unwrap(),
    ];
    for end in ends {
        let bare = Bare::connect().await;
        let server = bare.server();
        let mut stream = control(&bare.agent, &hello_bytes()).await;
        heard(&server).await;
        end(&mut stream);
        closed_with(&bare.agent, CloseCode::Protocol).await;
        server.blames_its_peer().await;
    }
}

#[tokio::test]
async fn a_peer_that_stops_listening_to_the_control_stream_is_closed() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let _stream = control(&bare.agent, &hello_bytes()).await;
    let mut theirs = within("a control stream", bare.agent.accept_uni()).await.unwrap();
    theirs.stop(VarInt::from_u32(0)).unwrap();
    // Noticed when there is something to say.
    heard(&server).await;
    until("a close", || {
        server.link.send_drain(Duration::from_secs(1));
        bare.agent.close_reason().is_some()
    })
    .await;
    assert_eq!(
        server.blames_its_peer().await,
        "the peer stopped the control stream"
    );
}

#[tokio::test]
async fn a_second_control_stream_cannot_be_opened() {
    let bare = Bare::connect().await;
    let (server, agent) = (bare.server(), bare.agent());
    // Each link has opened the one that its peer allows.
    tokio::join!(heard(&server), heard(&agent));
    stays_pending("another stream of the agent", bare.agent.open_uni()).await;
    stays_pending("another stream of the server", bare.server.open_uni()).await;
}

#[tokio::test]
async fn a_server_can_open_no_session() {
    let bare = Bare::connect().await;
    let _agent = bare.agent();
    stays_pending("a session of the server's", bare.server.open_bi()).await;
}

#[tokio::test]
async fn messages_of_a_later_version_are_skipped_up_to_the_largest() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let deadline = Duration::from_secs(5);
    let rest = [
        later(0x1a, 20),
        later(0x3e, MAX_MESSAGE),
        encoded(&[Control::Drain { deadline }]),
    ]
    .concat();
    let mut stream = control(&bare.agent, &hello_bytes()).await;
    stream.write_chunk(Bytes::from(rest)).await.unwrap();
    let mut peer = server.link.peer();
    let peer = within(
        "the drain behind them",
        peer.wait_for(|peer| peer.draining.is_some()),
    )
    .await;
    assert_eq!(peer.unwrap().draining, Some(deadline));
}

#[tokio::test]
async fn messages_that_come_byte_by_byte_are_understood() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let mut stream = control(&bare.agent, b"").await;
    for byte in [hello_bytes(), encoded(&[Control::Goodbye])].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut peer = server.link.peer();
    within("a goodbye", peer.wait_for(|peer| peer.goodbye))
        .await
        .unwrap();
}

#[tokio::test]
async fn words_about_sessions_that_nobody_knows_are_ignored() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let (limit, offset, code) = (1, 1, ResetCode::ClientReset);
    let mut messages = vec![Control::Hello(hello("bare", 0))];
    for stream in [0, 4, 1_000_000, VarInt::MAX.into_inner()] {
        messages.push(Control::Credit { stream, limit });
        messages.push(Control::Abort { stream, offset, code });
    }
    messages.push(Control::Goodbye);
    let _stream = control(&bare.agent, &encoded(&messages)).await;
    let mut peer = server.link.peer();
    within("a goodbye", peer.wait_for(|peer| peer.goodbye))
        .await
        .unwrap();
}

async fn heard(end: &End) {
    let mut peer = end.link.peer();
    within("a hello", peer.wait_for(|peer| peer.hello.is_some()))
        .await
        .unwrap();
}
