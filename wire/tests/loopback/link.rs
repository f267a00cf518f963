//! A connection with its sessions: who is there, how sessions are opened, refused and given up.

use crate::bench::{
    Bare, DEADLINE, Pair, Setup, hello, open, pattern, read_all, read_exact, stays_pending, until, within,
    write,
};
use bytes::{Bytes, BytesMut};
use fluidity_wire::codec::{self, DecodeError, MAX_DETAIL, MAX_MESSAGE};
use fluidity_wire::{
    CloseCode, Kind, Open, OpenStreamError, ReadMessageError, Reply, ReplyCode, ResetCode, StreamCut, Target,
};
use std::time::Duration;

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let pair = Pair::connect().await;
    for (end, other) in [(&pair.agent, "server"), (&pair.server, "agent")] {
        let mut peer = end.link.peer();
        let peer = within("a hello", peer.wait_for(|peer| peer.hello.is_some()))
            .await
            .unwrap();
        assert_eq!(peer.hello, Some(hello(other, 1000)));
        assert_eq!((peer.draining, peer.goodbye), (None, false));
    }
}

#[tokio::test]
async fn drain_and_goodbye_are_heard() {
    let pair = Pair::connect().await;
    let mut peer = pair.agent.link.peer();
    pair.server.link.send_drain(Duration::from_millis(2_500));
    let draining = within("a drain", peer.wait_for(|peer| peer.draining.is_some()))
        .await
        .unwrap()
        .draining;
    assert_eq!(draining, Some(Duration::from_millis(2_500)));
    pair.server.link.send_goodbye();
    within("a goodbye", peer.wait_for(|peer| peer.goodbye))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_carries_what_was_asked_for_and_bytes_both_ways() {
    let pair = Pair::connect().await;
    for (kind, target) in [
        (Kind::Connect, "example.com:443"),
        (Kind::Http, "192.0.2.1:80"),
        (Kind::WebSocket, "[2001:db8::1]:8443"),
    ] {
        let asked = Open::new(kind, Target::parse(target).unwrap());
        let opening = pair
            .agent
            .link
            .open(asked.clone(), Bytes::from("early"), DEADLINE);
        let accepting = async {
            let mut incoming = pair.server.incoming().await;
            let open = incoming.read_open(DEADLINE).await.unwrap();
            assert_eq!((open.kind, open.target), (asked.kind, asked.target.clone()));
            incoming.accept().await.unwrap()
        };
        let (agent, mut server) = tokio::join!(opening, accepting);
        let mut agent = agent.unwrap();
        assert_eq!((agent.0.id(), agent.0.sent()), (server.0.id(), 5));
        write(&mut agent.0, " and late").await;
        agent.0.finish();
        write(&mut server.0, "back").await;
        server.0.finish();
        assert_eq!(
            read_all(&mut server.1).await,
            (b"early and late".to_vec(), Ok(()))
        );
        assert_eq!(read_all(&mut agent.1).await, (b"back".to_vec(), Ok(())));
        assert_eq!((server.1.received(), agent.1.received()), (14, 4));
    }
}

#[tokio::test]
async fn sessions_are_counted_while_a_half_of_them_lives() {
    let pair = Pair::connect().await;
    let first = pair.session().await;
    let (second, other) = pair.session().await;
    assert_eq!((pair.agent.link.sessions(), pair.server.link.sessions()), (2, 2));
    let (send, recv) = second;
    drop((send, first, other));
    assert_eq!((pair.agent.link.sessions(), pair.server.link.sessions()), (1, 0));
    drop(recv);
    assert_eq!(pair.agent.link.sessions(), 0);
}

#[tokio::test]
async fn more_sessions_than_the_usual_hundred_are_open_at_once() {
    let pair = Pair::connect().await;
    let mut sessions = Vec::new();
    for _ in 0..150 {
        sessions.push(pair.session().await);
    }
    for (number, (agent, server)) in sessions.iter_mut().enumerate() {
        let said = format!("session {number}");
        write(&mut agent.0, Bytes::from(said.clone())).await;
        agent.0.finish();
        assert_eq!(read_all(&mut server.1).await, (said.into_bytes(), Ok(())));
    }
}

#[tokio::test]
async fn as_many_sessions_as_are_allowed_may_be_asked_for_at_once() {
    let pair = Pair::connect().await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let link = pair.agent.link.clone();
        opening.spawn(async move { link.open(open(), Bytes::new(), DEADLINE).await });
    }
    let mut accepted = Vec::new();
    while accepted.len() < 1000 {
        let mut incoming = pair.server.incoming().await;
        incoming.read_open(DEADLINE).await.unwrap();
        accepted.push(incoming.accept().await.unwrap());
    }
    let opened = within("every session", opening.join_all()).await;
    assert!(opened.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_session_beyond_the_limit_waits_for_a_place() {
    let pair = Pair::with(Setup {
        max_sessions: 2,
        ..Setup::default()
    })
    .await;
    let first = pair.session().await;
    let _second = pair.session().await;
    let refused = pair
        .agent
        .link
        .open(open(), Bytes::new(), Duration::from_millis(100))
        .await;
    assert!(matches!(refused, Err(OpenStreamError::NoStream)), "{refused:?}");
    drop(first);
    pair.session().await;
}

#[tokio::test]
async fn a_refusal_arrives_with_its_code_and_its_reason_cut_to_size() {
    let pair = Pair::connect().await;
    let long = "x".repeat(MAX_DETAIL * 5);
    for (code, detail) in [(ReplyCode::DeniedByRule, "no"), (ReplyCode::Internal, &long)] {
        let opening = pair.agent.link.open(open(), pattern(1000), DEADLINE);
        let refusing = async {
            let mut incoming = pair.server.incoming().await;
            incoming.read_open(DEADLINE).await.unwrap();
            incoming.refuse(Reply::refusal(code, detail), DEADLINE).await;
        };
        let (refused, ()) = within("a refusal", async { tokio::join!(opening, refusing) }).await;
        let Err(OpenStreamError::Refused(reply)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            reply,
            Reply::refusal(code, &detail[..detail.len().min(MAX_DETAIL)])
        );
    }
    until("no session is left", || {
        pair.agent.link.sessions() + pair.server.link.sessions() == 0
    })
    .await;
}

#[tokio::test]
async fn regression_a_refusal_is_heard_although_early_bytes_were_cut_short() {
    // The server's stream window ends inside the early bytes: they are still on their way when it has decided.
    let pair = Pair::with(Setup {
        stream_window: Some(1_000),
        ..Setup::default()
    })
    .await;
    let opening = pair.agent.link.open(open(), pattern(60_000), DEADLINE);
    let refusing = async {
        let mut incoming = pair.server.incoming().await;
        incoming.read_open(DEADLINE).await.unwrap();
        incoming
            .refuse(Reply::refusal(ReplyCode::DeniedAddress, "private"), DEADLINE)
            .await;
    };
    let (refused, ()) = within("a refusal", async { tokio::join!(opening, refusing) }).await;
    let Err(OpenStreamError::Refused(reply)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(reply, Reply::refusal(ReplyCode::DeniedAddress, "private"));
}

#[tokio::test]
async fn early_bytes_go_ahead_of_the_answer_64_kib_of_them_and_the_rest_behind_it() {
    let bare = Bare::connect().await;
    let agent = bare.agent();
    let bytes = pattern(100_000);
    let opening = agent.link.open(open(), bytes.clone(), DEADLINE);
    let answering = async {
        let (mut send, mut recv) = bare.server.accept_bi().await.unwrap();
        let head = read_exact(&mut recv, 28).await;
        let raw = codec::split_message(&head).unwrap();
        assert_eq!(raw.consumed, head.len());
        assert_eq!(
            codec::decode_open(raw.kind, raw.body).unwrap().target,
            open().target
        );
        let mut early = read_exact(&mut recv, 64 * 1024).await;
        stays_pending("a 65537th early byte", recv.read(&mut [0])).await;
        let mut answer = BytesMut::new();
        let (code, detail) = (ReplyCode::Ok, String::new());
        let window = 100_000;
        codec::encode_reply(&Reply { code, detail, window }, &mut answer);
        send.write_chunk(answer.freeze()).await.unwrap();
        early.extend(read_exact(&mut recv, 100_000 - 64 * 1024).await);
        assert_eq!(early, bytes);
        (send, recv)
    };
    let (opened, _streams) = within("a session", async { tokio::join!(opening, answering) }).await;
    assert_eq!(opened.unwrap().0.sent(), 100_000);
}

#[tokio::test]
async fn no_answer_in_time_gives_the_session_up_and_the_server_learns_it() {
    let pair = Pair::connect().await;
    let given_up = pair
        .agent
        .link
        .open(open(), Bytes::new(), Duration::from_millis(100))
        .await;
    assert!(matches!(given_up, Err(OpenStreamError::Deadline)), "{given_up:?}");
    let incoming = pair.server.incoming().await;
    let cut = within("the agent's word", incoming.abandoned()).await;
    assert_eq!(cut, StreamCut::Peer(Some(ResetCode::Cancelled)));
}

#[tokio::test]
async fn a_session_dropped_unanswered_is_a_loss_and_no_refusal() {
    let pair = Pair::connect().await;
    let opening = pair.agent.link.open(open(), Bytes::new(), DEADLINE);
    let dropping = async { drop(pair.server.incoming().await) };
    let (lost, ()) = tokio::join!(opening, dropping);
    let Err(OpenStreamError::Lost(cut)) = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(cut, StreamCut::Peer(Some(ResetCode::Abandoned)));
}

#[tokio::test]
async fn a_connection_lost_before_the_answer_is_a_loss_and_one_lost_before_the_open_never_sent() {
    let pair = Pair::connect().await;
    let opening = pair.agent.link.open(open(), Bytes::new(), DEADLINE);
    let closing = async {
        let mut incoming = pair.server.incoming().await;
        incoming.read_open(DEADLINE).await.unwrap();
        pair.server.link.close(CloseCode::ShuttingDown);
    };
    let (lost, ()) = tokio::join!(opening, closing);
    assert!(
        matches!(lost, Err(OpenStreamError::Lost(StreamCut::ConnectionLost))),
        "{lost:?}"
    );
    let never = pair.agent.link.open(open(), Bytes::new(), DEADLINE).await;
    assert!(matches!(never, Err(OpenStreamError::NeverSent(_))), "{never:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_breach_of_the_protocol() {
    let bare = Bare::connect().await;
    let agent = bare.agent();
    for answer in [
        b"\x01\x00".as_slice(),
        b"\x03\x00",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x03\x80\x00\x40\x01",
        b"",
    ] {
        let opening = agent.link.open(open(), Bytes::new(), DEADLINE);
        let answering = async {
            let (mut send, recv) = bare.server.accept_bi().await.unwrap();
            send.write_all(answer).await.unwrap();
            send.finish().unwrap();
            (send, recv)
        };
        let (opened, _streams) = within("an end", async { tokio::join!(opening, answering) }).await;
        assert!(
            matches!(opened, Err(OpenStreamError::Protocol(_))),
            "{answer:?}: {opened:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_open_is_told_apart_and_can_be_answered() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let too_long = u64::try_from(MAX_MESSAGE).unwrap() + 1;
    for (bytes, expected) in [
        (b"\x01\x02\xff\xff".as_slice(), "malformed message"),
        (b"\x03\x00", "malformed message"),
        (b"\x01\x80\x00\x40\x01", "malformed message"),
        (b"", "the stream ended before the message was whole"),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "the stream ended before the message was whole",
        ),
        (b"\x01\x16\x01", "the stream ended before the message was whole"),
    ] {
        let (mut send, mut recv) = bare.agent.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let mut incoming = server.incoming().await;
        let error = within("an open", incoming.read_open(DEADLINE)).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{bytes:?}");
        if bytes.ends_with(b"\x40\x01") {
            assert!(
                matches!(error, ReadMessageError::Decode(DecodeError::TooLong(length)) if length == too_long)
            );
        }
        let refusing = incoming.refuse(Reply::refusal(ReplyCode::MalformedOpen, ""), DEADLINE);
        let (answer, ()) = tokio::join!(recv.read_to_end(MAX_MESSAGE), refusing);
        let answer = answer.unwrap();
        let raw = codec::split_message(&answer).unwrap();
        assert_eq!(
            codec::decode_reply(raw.kind, raw.body).unwrap().code,
            ReplyCode::MalformedOpen
        );
    }
}

#[tokio::test]
async fn an_open_that_comes_too_slowly_is_given_up() {
    let bare = Bare::connect().await;
    let server = bare.server();
    let (mut send, _recv) = bare.agent.open_bi().await.unwrap();
    send.write_all(b"\x01\x16\x01").await.unwrap();
    let mut incoming = server.incoming().await;
    let limit = Duration::from_millis(100);
    let error = within("an end", incoming.read_open(limit)).await.unwrap_err();
    assert!(
        matches!(error, ReadMessageError::Deadline(deadline) if deadline == limit),
        "{error:?}"
    );
}
