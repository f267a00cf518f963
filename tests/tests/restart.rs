//! Daemons that go and come back: the agent finds the server again by itself, and a stop is orderly.

use fluidity_tests::{
    Checker, Drained, Ending, Origin, Pattern, Peer, Setup, Stack, TestAgent, TestPki, TestServer, until,
    within,
};
use serde_json::Value;
use std::time::Duration;

const SENT: Pattern = Pattern::new(5);
const TEN_MB: u64 = 10 * 1000 * 1000;

/// Waits until the agent is connected to this very server process.
async fn connected_to(stack: &Stack, server: &TestServer, deadline: Duration) {
    let instance = server.status().await["instance"].clone();
    assert!(!instance.is_null(), "the server names its instance");
    until(deadline, "the agent is connected to the new server", || async {
        let status = stack.agent.status().await;
        let there = status["state"] == "connected" && status["server"]["instance"] == instance;
        if there { Ok(()) } else { Err(status) }
    })
    .await;
}

async fn agent_leaves_connected(stack: &Stack) {
    until(
        Duration::from_secs(10),
        "the agent sees that the server is gone",
        || async {
            match stack.agent.admin("/readyz").await {
                (503, body) => Ok(body),
                other => Err(other),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn after_kill_9_and_a_new_start_the_agent_is_back_within_two_seconds_and_says_so() {
    let web = Origin::bind().await.hello("hello");
    let stack = Stack::for_origin(web.addr()).await;
    assert_eq!(stack.get(web.addr(), "/").await, (200, "hello".to_owned()));
    let agent_pid = stack.agent.pid();
    let before = stack.agent.log().matches("connected").count();

    let Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    } = stack;
    server.kill().await;
    let server = TestServer::start(&server_settings).await;
    let stack = Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    };
    connected_to(&stack, &stack.server, Duration::from_secs(2)).await;

    assert_eq!(stack.get(web.addr(), "/").await, (200, "hello".to_owned()));
    assert_eq!(stack.agent.pid(), agent_pid);
    let status = stack.agent.status().await;
    assert!(
        status["reconnects"].as_u64().is_some_and(|times| times >= 1),
        "{status}"
    );
    let log = stack.agent.log();
    assert!(
        log.matches("connected").count() > before,
        "the log says that it is connected again:\n{log}"
    );
    assert!(
        log.contains("lost") || log.contains("reconnect"),
        "the log says that it was gone:\n{log}"
    );
}

#[tokio::test]
async fn after_a_long_absence_the_agent_is_back_within_two_seconds() {
    let web = Origin::bind().await.hello("hello");
    let setup = Setup::new()
        .allow(web.addr())
        .short_idle_timeout()
        .agent("connect.retry-max", "1s");
    let Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    } = setup.start().await;
    server.kill().await;
    // Gone for long enough that the agent has backed off as far as it does.
    until(
        Duration::from_secs(20),
        "several attempts have failed",
        || async {
            let status = agent.status().await;
            if status["last_error"].is_string() {
                Ok(())
            } else {
                Err(status)
            }
        },
    )
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let server = TestServer::start(&server_settings).await;
    let stack = Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    };
    connected_to(&stack, &stack.server, Duration::from_secs(2)).await;
    assert_eq!(stack.get(web.addr(), "/").await.0, 200);
}

#[tokio::test]
async fn requests_that_arrive_meanwhile_are_held_and_answered() {
    let web = Origin::bind().await.hello("hello");
    let target = web.addr();
    let stack = Setup::new().allow(target).short_idle_timeout().start().await;
    let Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    } = stack;
    let proxy = agent.proxy();
    server.kill().await;
    let gone = until(Duration::from_secs(10), "the agent sees it", || async {
        let (code, body) = agent.admin("/readyz").await;
        if code == 503 { Ok(body) } else { Err(body) }
    })
    .await;
    let said: Value = serde_json::from_str(&gone).expect("/readyz answers JSON");
    assert!(said["state"].is_string(), "{said}");

    let mut held = tokio::task::JoinSet::new();
    for number in 0..10 {
        let mut client = Peer::dial(proxy).await;
        held.spawn(async move {
            if number % 2 == 0 {
                client
                    .write(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"))
                    .await;
            } else {
                client
                    .write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
                    .await;
            }
            client.read_head().await.status()
        });
    }
    let server = TestServer::start(&server_settings).await;
    while let Some(status) = held.join_next().await {
        assert_eq!(status.expect("a request"), 200);
    }
    drop((server, agent, pki, agent_settings));
}

#[tokio::test]
async fn without_a_server_the_answer_comes_after_request_wait() {
    let origin = Origin::bind().await;
    let setup = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .agent("connect.request-wait", "1s");
    let stack = setup.start().await;
    stack.server.signal("KILL");
    agent_leaves_connected(&stack).await;
    for request in [
        "CONNECT {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        "GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n",
    ] {
        let mut client = stack.client().await;
        client
            .write(request.replace("{}", &origin.addr().to_string()))
            .await;
        let head = within(Duration::from_secs(4), "an answer", client.read_head()).await;
        assert_eq!(head.status(), 503, "{head:?}");
        assert!(head.one("retry-after").is_some(), "{head:?}");
        assert!(
            head.one("proxy-status")
                .is_some_and(|status| status.contains("error=")),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn a_server_told_to_stop_finishes_what_runs_and_takes_nothing_new() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("connect.request-wait", "1s")
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let mut checker = Checker::new(SENT);
    let half = TEN_MB / 2;
    tokio::join!(upstream.send(SENT, half), client.check_exact(&mut checker, half));

    stack.server.signal("TERM");
    agent_leaves_connected(&stack).await;
    let (_refused, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?}");
    assert!(head.one("retry-after").is_some(), "{head:?}");

    let rest = async {
        upstream
            .try_send(SENT, half, half)
            .await
            .expect("the download goes on");
        upstream.finish().await;
    };
    let ((), drained) = tokio::join!(rest, client.drain(&mut checker));
    assert_eq!(
        drained,
        Drained {
            bytes: half,
            end: Ending::Eof
        }
    );
    client.finish().await;
    let (exit, log) = stack.server.exit(Duration::from_secs(5)).await;
    assert!(exit.status.success(), "{:?}\n{log}", exit.status);
}

#[tokio::test]
async fn the_health_port_takes_connections_only_while_the_server_takes_agents() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("health.listen", "127.0.0.1:0")
        .start()
        .await;
    let health = stack.server.port("health");
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    assert_eq!(Peer::dial(health).await.discard().await.end, Ending::Eof);
    stack.server.signal("TERM");
    until(Duration::from_secs(5), "the port is closed", || async {
        match tokio::net::TcpStream::connect(health).await {
            Ok(_) => Err("it takes connections"),
            Err(_) => Ok(()),
        }
    })
    .await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
}

#[tokio::test]
async fn a_server_without_sessions_stops_at_once() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    stack.server.signal("TERM");
    let (exit, log) = stack.server.exit(Duration::from_secs(3)).await;
    assert!(exit.status.success(), "{:?}\n{log}", exit.status);
}

#[tokio::test]
async fn regression_handshakes_that_were_given_up_do_not_hold_a_stop_up() {
    let pki = TestPki::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    let address = socket.local_addr().expect("a bound address");
    let agent = TestAgent::start(&TestAgent::settings(&pki, address)).await;
    // The agent tries several times; what it gives up, the server will have begun.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(socket);
    let mut settings = TestServer::settings(&pki);
    settings.set("listen", address.to_string());
    let server = TestServer::start(&settings).await;
    agent.ready(Duration::from_secs(10)).await;
    agent.signal("TERM");
    agent.exit(Duration::from_secs(5)).await;
    server.signal("TERM");
    let (exit, log) = server.exit(Duration::from_secs(5)).await;
    assert!(exit.status.success(), "{:?}\n{log}", exit.status);
}

#[tokio::test]
async fn sessions_that_outlast_the_grace_are_cut_not_ended() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("drain-grace", "1s")
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
    stack.server.signal("TERM");
    let (client, upstream) = tokio::join!(client.discard(), upstream.discard());
    assert_eq!((client.end, upstream.end), (Ending::Reset, Ending::Reset));
    let (exit, log) = stack.server.exit(Duration::from_secs(5)).await;
    assert!(exit.status.success(), "{:?}\n{log}", exit.status);
}

#[tokio::test]
async fn after_a_drain_the_agent_moves_to_the_next_server() {
    let web = Origin::bind().await.hello("hello");
    let stack = Stack::for_origin(web.addr()).await;
    let Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    } = stack;
    server.signal("TERM");
    server.exit(Duration::from_secs(5)).await;
    let server = TestServer::start(&server_settings).await;
    let stack = Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    };
    connected_to(&stack, &stack.server, Duration::from_secs(2)).await;
    assert_eq!(stack.get(web.addr(), "/").await.0, 200);
}

#[tokio::test]
async fn an_agent_told_to_stop_finishes_what_runs_and_takes_nothing_new() {
    for signal in ["TERM", "INT"] {
        let origin = Origin::bind().await;
        let stack = Stack::for_origin(origin.addr()).await;
        let (mut client, mut upstream) = stack.tunnel(&origin).await;
        let mut checker = Checker::new(SENT);
        let half = TEN_MB / 2;
        tokio::join!(upstream.send(SENT, half), client.check_exact(&mut checker, half));

        stack.agent.signal(signal);
        until(
            Duration::from_secs(5),
            "the proxy takes no new clients",
            || async {
                match tokio::net::TcpStream::connect(stack.proxy()).await {
                    Err(_) => Ok(()),
                    Ok(tcp) => match Peer::new(tcp).read_some().await {
                        Ok(bytes) if !bytes.is_empty() => Err("an answer out of nothing"),
                        _ => Ok(()),
                    },
                }
            },
        )
        .await;
        let rest = async {
            upstream
                .try_send(SENT, half, half)
                .await
                .expect("the download goes on");
            upstream.finish().await;
        };
        let ((), drained) = tokio::join!(rest, client.drain(&mut checker));
        assert_eq!(
            drained,
            Drained {
                bytes: half,
                end: Ending::Eof
            }
        );
        client.finish().await;
        let (exit, log) = stack.agent.exit(Duration::from_secs(5)).await;
        assert!(exit.status.success(), "SIG{signal}: {:?}\n{log}", exit.status);
    }
}

/// A WebSocket through the proxy, by hand: the client and the origin after the 101.
async fn websocket(stack: &Stack, origin: &Origin) -> (Peer, Peer) {
    let host = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET ws://{host}/chat HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.read_head().await;
    assert_eq!(head.line, "GET /chat HTTP/1.1");
    upstream
        .write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await;
    assert_eq!(client.read_head().await.status(), 101);
    upstream.write(b"\x81\x02hi").await;
    assert_eq!(&client.read_exact(4).await[..], b"\x81\x02hi");
    (client, upstream)
}

/// A Close frame, unmasked, with 1012 (service restart) or 1014 (bad gateway), and then the end.
async fn assert_close_frame(mut client: Peer) {
    let mut bytes = Vec::new();
    let drained = client.drain_with(|part| bytes.extend_from_slice(part)).await;
    assert!(
        bytes.len() >= 4 && bytes[0] == 0x88,
        "a Close frame: {bytes:02x?}, then {:?}",
        drained.end
    );
    assert_eq!(
        usize::from(bytes[1]),
        bytes.len() - 2,
        "a whole, unmasked frame: {bytes:02x?}"
    );
    let code = u16::from_be_bytes([bytes[2], bytes[3]]);
    assert!(matches!(code, 1012 | 1014), "{code}");
    assert!(std::str::from_utf8(&bytes[4..]).is_ok(), "the reason is UTF-8");
}

#[tokio::test]
async fn a_websocket_client_gets_a_close_when_the_server_is_killed() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .start()
        .await;
    let (client, upstream) = websocket(&stack, &origin).await;
    stack.server.signal("KILL");
    assert_close_frame(client).await;
    drop(upstream);
}

#[tokio::test]
async fn a_websocket_client_gets_a_close_when_the_grace_is_over() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("drain-grace", "1s")
        .start()
        .await;
    let (client, upstream) = websocket(&stack, &origin).await;
    stack.server.signal("TERM");
    assert_close_frame(client).await;
    drop(upstream);
}

#[tokio::test]
async fn inside_a_websocket_frame_there_is_no_room_for_a_close() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .start()
        .await;
    let (mut client, mut upstream) = websocket(&stack, &origin).await;
    // 100 bytes announced, 3 sent.
    upstream.write(b"\x82\x64abc").await;
    assert_eq!(&client.read_exact(5).await[..], b"\x82\x64abc");
    stack.server.signal("KILL");
    assert_eq!(
        client.discard().await,
        Drained {
            bytes: 0,
            end: Ending::Reset
        }
    );
}
