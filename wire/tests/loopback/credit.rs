//! Credit on the wire: senders keep to it, and readers that stand still harm nobody.

use crate::bench::{
    Bare, DEADLINE, Pair, closed_with, hello, open, pattern, read_all, read_exact, stays_pending, until,
    within, write,
};
use bytes::{Bytes, BytesMut};
use fluidity_wire::codec;
use fluidity_wire::message::Control;
use fluidity_wire::{CloseCode, Reply, ReplyCode, StreamCut};
use quinn::{Connection, SendStream};
use std::time::Duration;
use tokio::time::timeout;

const BASE_WINDOW: u64 = 256 * 1024;
const EARLY_WINDOW: u64 = 64 * 1024;

/// The control stream of an end without a link.
async fn say(connection: &Connection) -> SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    tell(&mut stream, &[Control::Hello(hello("bare", 0))]).await;
    stream
}

async fn tell(stream: &mut SendStream, messages: &[Control]) {
    let mut bytes = BytesMut::new();
    for message in messages {
        codec::encode_control(message, &mut bytes);
    }
    stream.write_chunk(bytes.freeze()).await.unwrap();
}

#[tokio::test]
async fn an_agent_sends_what_reply_and_credit_allow_and_not_a_byte_more() {
    let bare = Bare::connect().await;
    let agent = bare.agent();
    let mut control = say(&bare.server).await;
    let bytes = pattern(400_000);
    let opening = agent.link.open(open(), Bytes::new(), DEADLINE);
    let answering = async {
        let (mut send, mut recv) = bare.server.accept_bi().await.unwrap();
        read_exact(&mut recv, 28).await;
        let mut answer = BytesMut::new();
        let (code, detail, window) = (ReplyCode::Ok, String::new(), 100_000);
        codec::encode_reply(&Reply { code, detail, window }, &mut answer);
        send.write_chunk(answer.freeze()).await.unwrap();
        (send, recv)
    };
    let (opened, (_back, mut recv)) = within("a session", async { tokio::join!(opening, answering) }).await;
    let (mut send, _recv) = opened.unwrap();
    let stream = send.id();
    assert_eq!(send.available(), 100_000);

    let writing = tokio::spawn({
        let bytes = bytes.clone();
        async move {
            send.write_chunk(bytes).await.unwrap();
            send.finish();
            send.acknowledged(DEADLINE).await
        }
    });
    let mut read = read_exact(&mut recv, 100_000).await;
    stays_pending("a byte without credit", recv.read(&mut [0])).await;
    // The lower limits come with the higher one, before anything could be sent for it.
    let credit = |limit| Control::Credit { stream, limit };
    tell(&mut control, &[credit(150_000), credit(120_000), credit(0)]).await;
    read.extend(read_exact(&mut recv, 50_000).await);
    let (stream, limit) = (stream + 4, 400_000);
    tell(&mut control, &[Control::Credit { stream, limit }]).await;
    stays_pending("a byte for the credit of another session", recv.read(&mut [0])).await;
    tell(&mut control, &[credit(u64::MAX)]).await;
    read.extend(within("the rest", recv.read_to_end(bytes.len())).await.unwrap());
    assert!(read == bytes);
    assert!(within("the end of the writing", writing).await.unwrap());
}

#[tokio::test]
async fn a_server_sends_what_open_and_credit_allow_and_not_a_byte_more() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let mut control = say(&bare.agent).await;
    let mut asked = open();
    asked.window = 5_000;
    let mut head = BytesMut::new();
    codec::encode_open(&asked, &mut head);
    let (mut back, mut recv) = bare.agent.open_bi().await.unwrap();
    back.write_chunk(head.freeze()).await.unwrap();
    let mut incoming = server.incoming().await;
    let id = incoming.id();
    assert_eq!(incoming.read_open(DEADLINE).await.unwrap(), asked);
    let (mut send, _recv) = incoming.accept().await.unwrap();
    let writing = tokio::spawn(async move {
        send.write_chunk(pattern(7_000)).await.unwrap();
        send.finish();
        send.acknowledged(DEADLINE).await
    });
    // The reply's bytes do not count.
    let reply = read_exact(&mut recv, 11).await;
    let raw = codec::split_message(&reply).unwrap();
    let reply = codec::decode_reply(raw.kind, raw.body).unwrap();
    assert_eq!((reply.code, reply.window), (ReplyCode::Ok, BASE_WINDOW));
    assert_eq!(read_exact(&mut recv, 5_000).await, pattern(5_000));
    stays_pending("a byte without credit", recv.read(&mut [0])).await;
    let (stream, limit) = (id, 7_000);
    tell(&mut control, &[Control::Credit { stream, limit }]).await;
    assert_eq!(
        within("the rest", recv.read_to_end(7_000)).await.unwrap(),
        pattern(7_000)[5_000..]
    );
    assert!(within("the end of the writing", writing).await.unwrap());
}

#[tokio::test]
async fn what_is_read_but_not_delivered_grants_nothing() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    assert_eq!(agent.0.available(), BASE_WINDOW);
    let all = usize::try_from(BASE_WINDOW).unwrap();
    write(&mut agent.0, pattern(all)).await;
    let mut chunks = [const { Bytes::new() }; 32];
    while server.1.received() < BASE_WINDOW {
        within("bytes", server.1.read(&mut chunks)).await.unwrap();
    }
    stays_pending("credit", agent.0.credit()).await;
    // Half a window is enough for the next grant.
    server.1.delivered(BASE_WINDOW / 2);
    assert!(within("credit", agent.0.credit()).await >= BASE_WINDOW / 2);
}

#[tokio::test]
async fn a_reader_that_keeps_up_gets_a_wider_window() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    let writing = async {
        write(&mut agent.0, pattern(20_000_000)).await;
        until("a window of a mebibyte", || agent.0.available() >= 1024 * 1024).await;
        agent.0.finish();
    };
    let ((), (read, end)) = within("an end", async { tokio::join!(writing, read_all(&mut server.1)) }).await;
    assert_eq!((read.len(), end), (20_000_000, Ok(())));
}

#[tokio::test]
async fn a_hundred_stalled_readers_hold_little_and_starve_nobody() {
    let pair = Pair::connect().await;
    let mut stalled = Vec::new();
    let mut held = 0;
    for _ in 0..100 {
        let (agent, mut server) = pair.session().await;
        let window = server.0.available();
        write(&mut server.0, pattern(usize::try_from(window).unwrap())).await;
        assert_eq!(server.0.available(), 0);
        held += window;
        stalled.push((agent, server));
    }
    assert!(held <= 100 * BASE_WINDOW, "{held}");
    // Another session of the same connection moves forty times its window.
    let (mut agent, mut server) = pair.session().await;
    let writing = async {
        write(&mut server.0, pattern(10_000_000)).await;
        server.0.finish();
    };
    let ((), (read, end)) = within("an end", async { tokio::join!(writing, read_all(&mut agent.1)) }).await;
    assert_eq!((read.len(), end), (10_000_000, Ok(())));
    // And those that stood still go on where they stood.
    for (mut agent, mut server) in stalled {
        let sent = server.0.sent();
        let writing = async {
            write(&mut server.0, "on").await;
            server.0.finish();
        };
        let ((), (read, end)) =
            within("an end", async { tokio::join!(writing, read_all(&mut agent.1)) }).await;
        assert_eq!((u64::try_from(read.len()), end), (Ok(sent + 2), Ok(())));
    }
}

/// A session that an agent without a link asks for, with its first bytes behind the `Open`.
async fn asked(agent: &Connection, early: Bytes) -> (SendStream, quinn::RecvStream) {
    let mut head = BytesMut::new();
    codec::encode_open(&open(), &mut head);
    let (mut send, recv) = agent.open_bi().await.unwrap();
    send.write_chunk(head.freeze()).await.unwrap();
    send.write_chunk(early).await.unwrap();
    (send, recv)
}

fn bytes(count: u64) -> Bytes {
    pattern(usize::try_from(count).unwrap())
}

#[tokio::test]
async fn an_agent_that_sends_past_its_credit_loses_the_connection() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let _control = say(&bare.agent).await;
    let (mut send, _back) = asked(&bare.agent, Bytes::new()).await;
    let mut incoming = server.incoming().await;
    incoming.read_open(DEADLINE).await.unwrap();
    let (_send, mut recv) = incoming.accept().await.unwrap();
    send.write_chunk(bytes(BASE_WINDOW)).await.unwrap();
    stays_pending("a cut for what was granted", recv.cut()).await;
    send.write_chunk(bytes(1)).await.unwrap();
    assert_eq!(within("a cut", recv.cut()).await, StreamCut::ConnectionLost);
    assert!(server.blames_its_peer().await.contains("granted"));
    closed_with(&bare.agent, CloseCode::Protocol).await;
}

#[tokio::test]
async fn more_early_bytes_than_may_be_lose_the_connection_and_as_many_do_not() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let _control = say(&bare.agent).await;
    let (_send, _back) = asked(&bare.agent, bytes(EARLY_WINDOW)).await;
    let mut incoming = server.incoming().await;
    incoming.read_open(DEADLINE).await.unwrap();
    stays_pending("a cut for early bytes", incoming.cut()).await;
    incoming.accept().await.unwrap();
    let (_send, _back) = asked(&bare.agent, bytes(EARLY_WINDOW + 1)).await;
    let mut incoming = server.incoming().await;
    incoming.read_open(DEADLINE).await.unwrap();
    assert_eq!(within("a cut", incoming.cut()).await, StreamCut::ConnectionLost);
    assert!(server.blames_its_peer().await.contains("granted"));
}

#[tokio::test]
async fn a_server_that_sends_past_its_credit_loses_the_connection() {
    let bare = Bare::connect().await;
    let agent = bare.agent();
    let _control = say(&bare.server).await;
    let opening = agent.link.open(open(), Bytes::new(), DEADLINE);
    let answering = async {
        let (mut send, recv) = bare.server.accept_bi().await.unwrap();
        let mut answer = BytesMut::new();
        let (code, detail, window) = (ReplyCode::Ok, String::new(), 0);
        codec::encode_reply(&Reply { code, detail, window }, &mut answer);
        send.write_chunk(answer.freeze()).await.unwrap();
        send.write_chunk(bytes(BASE_WINDOW + 1)).await.unwrap();
        (send, recv)
    };
    let (opened, _session) = within("a session", async { tokio::join!(opening, answering) }).await;
    let (_send, mut recv) = opened.unwrap();
    assert_eq!(within("a cut", recv.cut()).await, StreamCut::ConnectionLost);
    assert!(agent.blames_its_peer().await.contains("granted"));
}

#[tokio::test]
async fn what_nobody_takes_stops_at_quics_window_which_follows_credit() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let _control = say(&bare.agent).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let (send, back) = asked(&bare.agent, Bytes::new()).await;
        let mut incoming = server.incoming().await;
        incoming.read_open(DEADLINE).await.unwrap();
        kept.push((send, back, incoming.accept().await.unwrap()));
    }
    let (chunk, mut sent) = (pattern(16 * 1024), 0);
    for (send, ..) in &mut kept {
        // Nobody looks at these sessions, so that only QUIC can stop what is sent.
        while let Ok(written) = timeout(Duration::from_millis(300), send.write(&chunk)).await {
            sent += u64::try_from(written.unwrap()).unwrap();
            assert!(sent < 8 * 1024 * 1024, "{sent} bytes of ten sessions");
        }
    }
    assert!(sent >= 10 * BASE_WINDOW, "{sent} bytes of ten sessions");
}
