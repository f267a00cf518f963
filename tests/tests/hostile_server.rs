//! A server with good papers that keeps to nothing, against the real agent: what it can make the agent hold is bounded, what
//! it says forges nothing, and the next good server at its address is used.

use bytes::{Bytes, BytesMut};
use fluidity_tests::{
    MIB, Origin, Peer, RogueServer, Tamper, TestAgent, TestPki, TestServer, Untampered, until, within,
};
use fluidity_wire::message::Control;
use fluidity_wire::tls::AgentId;
use fluidity_wire::{Hello, Others, Reply, ReplyCode, ResetCode, codec};
use quinn::{Connection, SendStream};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the agent may hold in a test: a budget of 16 MiB and first windows of 256 KiB for 20 clients, 2.5 times, and itself.
const LIMIT: u64 = 80 * MIB;
/// How long an attack goes on.
const ATTACK: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 20;
const EVIL: &str =
    "ok\r\n2026-11-28T09:09:09.000000Z  INFO connected FORGED\u{1b}[2J\u{9b}31m\u{202e}\" agent=good\n";

fn message(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(&mut bytes);
    bytes.freeze()
}

fn control(said: &Control) -> Bytes {
    message(|bytes| codec::encode_control(said, bytes))
}

/// The control stream of a server that says who it is.
async fn introduce(connection: &Connection) -> Option<SendStream> {
    let hello = Control::Hello(Hello {
        instance: u64::MAX,
        software: EVIL.repeat(10).chars().take(100).collect(),
        max_sessions: u32::MAX,
        uptime: Duration::from_secs(u64::MAX >> 2),
    });
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&control(&hello)).await.ok()?;
    Some(stream)
}

/// Answers each session with `answer` and goes on with `more` as long as it may.
async fn answer_all(connection: Connection, answer: Bytes, more: Bytes) {
    let mut sessions = JoinSet::new();
    while let Ok((mut send, recv)) = connection.accept_bi().await {
        let (answer, more) = (answer.clone(), more.clone());
        sessions.spawn(async move {
            let _unread = recv;
            if send.write_all(&answer).await.is_ok() {
                while send.write_chunk(more.clone()).await.is_ok() {}
            }
        });
    }
}

fn accepted() -> Bytes {
    let reply = Reply {
        code: ReplyCode::Ok,
        detail: EVIL.into(),
        window: u64::from(u32::MAX),
    };
    message(|bytes| codec::encode_reply(&reply, bytes))
}

/// Clients that open tunnels and read nothing, or ask for pages.
async fn clients(proxy: SocketAddr) {
    let mut all = JoinSet::new();
    for number in 0..CLIENTS {
        all.spawn(async move {
            loop {
                let mut client = Peer::dial(proxy).await;
                let asked = match number % 2 {
                    0 => "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
                    _ => "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
                };
                let _ = client.try_write(asked).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
    }
    while all.join_next().await.is_some() {}
}

/// Lets a server do `attack` to each connection of an agent that has clients, and then a good one take its address.
async fn survives<T, F, R>(tamper: T, attack: F)
where
    T: Tamper,
    F: Fn(Connection) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let pki = TestPki::new();
    let rogue = RogueServer::tampering(&pki, "127.0.0.1:0".parse().expect("an address"), tamper);
    let at = rogue.addr();
    let mut settings = TestAgent::settings(&pki, at);
    settings.set("limits.window-memory", "16MiB");
    settings.set("connect.retry-max", "1s");
    settings.set("connect.request-wait", "1s");
    settings.set("quic.idle-timeout", "3s");
    let agent = TestAgent::start(&settings).await;
    let began = Instant::now();
    let mut attacks = JoinSet::new();
    let served = async {
        loop {
            let connection = rogue.accept().await;
            attacks.spawn(attack(connection));
        }
    };
    let watched = async {
        while began.elapsed() < ATTACK {
            assert!(agent.peak() < LIMIT, "{} MiB", agent.peak() / MIB);
            assert_eq!(within(DEADLINE, "the page", agent.admin("/healthz")).await.0, 200);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = watched => {}
        () = clients(agent.proxy()) => panic!("the clients ended"),
        () = served => panic!("the server ended"),
    }
    let log = agent.log();
    println!(
        "peak {} MiB, {} lines of log",
        agent.peak() / MIB,
        log.lines().count()
    );
    assert!(log.contains("connected to the server"), "{log}");
    assert!(log.lines().count() < 1000, "{} lines", log.lines().count());
    attacks.shutdown().await;
    rogue.close().await;

    let origin = Origin::bind().await.hello("here");
    let mut settings = TestServer::settings(&pki);
    settings.set("listen", at.to_string());
    settings.set("policy.allow", json!([{ "cidr": "127.0.0.1/32" }]));
    let _server = TestServer::start(&settings).await;
    until(DEADLINE, "an answer over the good server", || async {
        let mut client = Peer::dial(agent.proxy()).await;
        let to = origin.addr();
        let asked = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        client.write(asked).await;
        let (head, body) = client.read_response().await;
        match (head.status(), body.as_slice()) {
            (200, b"here") => Ok(()),
            (status, body) => Err(format!("{status} {}", String::from_utf8_lossy(body))),
        }
    })
    .await;
    let (_, status) = agent.admin("/api/status").await;
    for (what, text) in [("the log", agent.log()), ("the status", status)] {
        let acts = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
        assert!(!text.contains(acts), "{what}: {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("2026-11-28T09:09:09")),
            "{what}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_past_every_credit_is_left_and_costs_bounded_memory() {
    survives(Untampered, |connection| async move {
        let _control = introduce(&connection).await;
        answer_all(connection, accepted(), vec![7; 64 << 10].into()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_interim_answers_without_an_end_costs_bounded_memory() {
    survives(Untampered, |connection| async move {
        let _control = introduce(&connection).await;
        let early = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(4000));
        answer_all(connection, accepted(), early.into()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_without_an_end_about_sessions_that_do_not_exist_cost_bounded_memory() {
    survives(Untampered, |connection| async move {
        let Some(mut stream) = introduce(&connection).await else {
            return;
        };
        let others = |count| {
            let names = (0..200).filter_map(|name| AgentId::parse(&format!("agent-{name}")).ok());
            Control::Others(Others {
                count,
                names: names.collect(),
                same_name: u32::MAX,
            })
        };
        let mut said = Vec::new();
        for number in 0..500 {
            said.extend_from_slice(&control(&Control::Credit {
                stream: number * 4,
                limit: (1 << 62) - 1,
            }));
            said.extend_from_slice(&control(&Control::Abort {
                stream: (1 << 62) - 1 - number,
                offset: (1 << 62) - 1,
                code: ResetCode::Internal,
            }));
        }
        said.extend_from_slice(&control(&others(u32::MAX)));
        let said = Bytes::from(said);
        while stream.write_chunk(said.clone()).await.is_ok() {}
    })
    .await;
}

/// Makes pieces with gaps of every byte of a session.
#[derive(Clone, Copy, Debug)]
struct Shredder;

impl Tamper for Shredder {
    fn drops_stream(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }

    fn shreds(&self, stream: u64, _: u64) -> bool {
        stream.is_multiple_of(4)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_pieces_with_gaps_is_left_and_costs_bounded_memory() {
    survives(Shredder, |connection| async move {
        let _control = introduce(&connection).await;
        answer_all(connection, accepted(), vec![7; 4 << 10].into()).await;
    })
    .await;
}

/// Says everything of a session on a stream that only a server could open, of which the agent permits none.
#[derive(Clone, Copy, Debug)]
struct Opener;

impl Tamper for Opener {
    fn drops_stream(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }

    fn renames(&self, stream: u64) -> Option<u8> {
        (stream.is_multiple_of(4) && stream < 64).then_some(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_opens_streams_is_left() {
    survives(Opener, |connection| async move {
        let _control = introduce(&connection).await;
        answer_all(connection, accepted(), vec![7; 1 << 10].into()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_and_drains_with_long_evil_words_forges_nothing() {
    survives(Untampered, |connection| async move {
        let Some(mut stream) = introduce(&connection).await else {
            return;
        };
        let drain = Control::Drain {
            deadline: Duration::from_secs(u64::MAX >> 12),
        };
        let refusal = Reply::refusal(
            ReplyCode::Internal,
            EVIL.chars().cycle().take(900).collect::<String>(),
        );
        let refusal = message(|bytes| codec::encode_reply(&refusal, bytes));
        if let Ok(Ok((mut send, _recv))) =
            tokio::time::timeout(Duration::from_secs(1), connection.accept_bi()).await
        {
            let _ = send.write_all(&refusal).await;
        }
        let _ = stream.write_all(&control(&drain)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        connection.close(0x999_u32.into(), EVIL.repeat(100).as_bytes());
    })
    .await;
}
