//! Requests that are refused: what the client is told, and the trace that a person finds afterwards. Clients of https show
//! nothing of an answer but its status.

use fluidity_tests::{
    Daemon, Ending, Origin, Peer, Settings, Setup, Stack, TestAgent, TestDns, TestPki, binary, until, within,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const REFUSED: &str = "request refused";

/// `fluidity status` of this agent.
async fn status_command(admin: SocketAddr) -> Output {
    let mut command = tokio::process::Command::new(binary("fluidity"));
    command.args(["status", "--admin", &admin.to_string()]);
    within(SOON, "fluidity status ends", command.output())
        .await
        .expect("run fluidity status")
}

async fn ask(proxy: SocketAddr, request: String) -> (u16, String) {
    let mut client = Peer::dial(proxy).await.with_deadline(SOON);
    client.write(request).await;
    let (head, body) = client.read_response().await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

async fn connect(proxy: SocketAddr, target: &str) -> u16 {
    let (_client, head) = Peer::try_tunnel(proxy, target).await;
    head.status()
}

fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

/// An agent whose server is not needed.
async fn alone(more: &[(&str, Value)]) -> TestAgent {
    let pki = TestPki::new();
    let mut settings: Settings = TestAgent::settings(&pki, SocketAddr::from(([127, 0, 0, 1], 9)));
    for (key, value) in more {
        settings.set(key, value.clone());
    }
    TestAgent::start(&settings).await
}

#[tokio::test]
async fn refused_https_leaves_a_line_without_its_target_and_a_trace_with_it_in_the_status() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    assert_eq!(connect(stack.proxy(), "127.0.0.99:4711").await, 403);
    let log = until(SOON, "the refusal is in the log", || async {
        let log = stack.agent.log();
        if log.contains(REFUSED) { Ok(log) } else { Err(log) }
    })
    .await;
    let lines = lines(&log, REFUSED);
    assert_eq!(lines.len(), 1, "{log}");
    for part in [
        "INFO",
        "kind=\"connect\"",
        "status=403",
        "reason=\"denied-address\"",
        "client.addr=",
    ] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
    assert!(!log.contains("127.0.0.99") && !log.contains("4711"), "{log}");

    let status = stack.agent.status().await;
    let refused = &status["refusals"][0];
    assert_eq!(refused["host"], "127.0.0.99", "{status}");
    assert_eq!(refused["kind"], "connect", "{status}");
    assert_eq!(refused["status"], 403, "{status}");
    assert_eq!(refused["reason"], "denied-address", "{status}");
    assert!(!refused.to_string().contains("4711"), "the host alone: {refused}");
    let said = status_command(stack.agent.port("admin")).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains(
            "connect 127.0.0.99, 403 denied-address: the target is, or resolves to, a loopback address"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist_and_a_port_that_is_closed_are_told_to_http_and_leave_a_trace_of_https() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = closed.local_addr().expect("bound").port();
    let dns = TestDns::start(&[("here.test", &["127.0.0.1".parse().expect("an address")])]).await;
    let stack = Setup::new()
        .allow(closed.local_addr().expect("bound"))
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    drop(closed);
    for (host, reason, said, advice) in [
        (
            "nowhere.test",
            "name-not-found",
            "the host name does not exist",
            "Check the spelling of the host name.",
        ),
        (
            "here.test",
            "connect-refused",
            "the target refused the connection",
            "Check the port, and that the service runs.",
        ),
    ] {
        let request =
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = ask(stack.proxy(), request).await;
        assert_eq!(status, 502, "{body}");
        assert!(
            body.to_lowercase().contains(said) && body.contains(advice),
            "{body}"
        );
        assert_eq!(connect(stack.proxy(), &format!("{host}:{port}")).await, 502);
        let shown = status_command(stack.agent.port("admin")).await;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let line = format!("connect {host}, 502 {reason}: {said}. {advice}");
        assert!(shown.contains(&line), "no {line:?} in\n{shown}");
        let log = stack.agent.log();
        let line = lines(&log, REFUSED)
            .into_iter()
            .find(|line| line.contains("kind=\"connect\"") && line.contains(reason));
        // It leads to where the host is told.
        assert!(
            line.is_some_and(|line| line.contains("INFO") && line.contains("`fluidity status`")),
            "{log}"
        );
        assert!(!log.contains(host), "{log}");
    }
}

#[tokio::test]
async fn refusals_without_end_fill_neither_the_log_nor_the_status() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for _ in 0..200 {
        assert_eq!(connect(stack.proxy(), "127.0.0.99:4711").await, 403);
    }
    let status = stack.agent.status().await;
    assert_eq!(status["refusals"].as_array().map(Vec::len), Some(20), "{status}");
    let log = stack.agent.log();
    let count = lines(&log, REFUSED).len();
    assert!((20..150).contains(&count), "{count} lines:\n{log}");
}

#[tokio::test]
async fn a_target_on_the_clients_own_machine_is_to_be_reached_without_the_proxy() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for host in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = ask(stack.proxy(), request).await;
        assert_eq!(status, 403, "{host}: {body}");
        let (exception, rule) = (body.find("no_proxy=localhost"), body.find("allow rule"));
        assert!(exception.is_some() && exception < rule, "{host}: {body}");
    }
}

#[tokio::test]
async fn pages_name_the_proxy_as_the_client_found_it() {
    let agent = alone(&[("proxy-auth", json!({ "username": "ann", "password": "s3cret" }))]).await;
    let proxy = agent.proxy();
    let page = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned();
    let (status, body) = ask(proxy, page).await;
    assert_eq!(status, 400);
    assert!(body.contains(&format!("--proxy http://{proxy} ")), "{body}");
    assert!(
        body.contains(&format!("https_proxy=http://{proxy} no_proxy=")),
        "{body}"
    );
    assert!(!body.contains("8080"), "{body}");

    let with = |credentials: &str| {
        format!(
            "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{credentials}Connection: close\r\n\r\n"
        )
    };
    let (status, missing) = ask(proxy, with("")).await;
    assert_eq!(status, 407);
    assert!(
        missing.contains("asks for a user name and a password"),
        "{missing}"
    );
    assert!(
        missing.contains(&format!("http://USER:PASSWORD@{proxy}")),
        "{missing}"
    );
    let (status, wrong) = ask(proxy, with("Proxy-Authorization: Basic YW5uOndyb25n\r\n")).await;
    assert_eq!(status, 407);
    assert!(
        wrong.contains("does not accept this user name and password"),
        "{wrong}"
    );
    assert!(wrong.contains("proxy-auth"), "{wrong}");
    let (_, other) = ask(proxy, with("Proxy-Authorization: Bearer x\r\n")).await;
    assert!(other.contains("of the kind Basic only"), "{other}");
    // Clients ask without credentials first: that is no news.
    let log = agent.log();
    assert_eq!(lines(&log, "credentials-missing").len(), 0, "{log}");
    assert_eq!(lines(&log, "credentials-wrong").len(), 2, "{log}");
}

/// Says `greeting` to the proxy; returns all that comes back, to an orderly end.
async fn greet(agent: &Daemon, greeting: &[u8]) -> Vec<u8> {
    let mut client = Peer::dial(agent.port("proxy")).await.with_deadline(SOON);
    client.write(greeting).await;
    let mut answer = Vec::new();
    client.drain_with(|bytes| answer.extend_from_slice(bytes)).await;
    answer
}

#[tokio::test]
async fn a_client_that_speaks_tls_or_socks_to_the_proxy_is_refused_in_its_own_words_and_leaves_a_line() {
    let agent = alone(&[]).await;
    // The beginning of a ClientHello; more of it would not change the answer.
    let hello = [&[0x16, 3, 1, 0x02, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 64]].concat();
    assert_eq!(greet(&agent, &hello).await, [0x15, 3, 1, 0, 2, 2, 40]);
    assert_eq!(greet(&agent, &[5, 1, 0]).await, [5, 0xff]);
    assert_eq!(
        greet(&agent, b"\x04\x01\x00\x50\x7f\0\0\x01\0").await,
        [0, 0x5b, 0, 0, 0, 0, 0, 0]
    );
    let status = agent.status().await;
    let refused: Vec<_> = status["refusals"].as_array().expect("an array").iter().collect();
    let kinds: Vec<_> = refused
        .iter()
        .filter_map(|refused| refused["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["socks4", "socks5", "tls"], "{status}");
    let proxy = format!("set its proxy to http://{}", agent.proxy());
    for refused in refused {
        assert!(
            refused["said"].as_str().is_some_and(|said| said.contains(&proxy)),
            "{refused}"
        );
    }
    let log = agent.log();
    for kind in ["tls", "socks4", "socks5"] {
        let lines = lines(&log, &format!("kind=\"{kind}\""));
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(&proxy), "{}", lines[0]);
    }
    assert!(
        agent
            .admin("/metrics")
            .await
            .1
            .contains("requests_refused_total{reason=\"tls\"} 1")
    );
}

#[tokio::test]
async fn real_clients_of_https_and_socks_proxies_get_their_own_kind_of_error() {
    let agent = alone(&[]).await;
    let Some(curl) = fluidity_tests::tool("curl") else {
        return;
    };
    // CURLE_SSL_CONNECT_ERROR and CURLE_PROXY.
    for (scheme, code) in [("https", 35), ("socks5", 97), ("socks4", 97)] {
        let mut command = curl.command();
        let proxy = format!("{scheme}://{}", agent.proxy());
        command.args(["-sS", "--max-time", "20", "--proxy", &proxy, "http://192.0.2.1/"]);
        let output = fluidity_tests::run(&mut command, SOON).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{scheme}: {said}");
        assert!(!said.contains("version"), "{scheme}: {said}");
        assert!(scheme != "https" || said.contains("alert"), "{scheme}: {said}");
    }
}

#[tokio::test]
async fn a_servers_admin_page_is_not_taken_for_an_agents() {
    let origin = Origin::bind().await;
    let stack = Setup::new().allow(origin.addr()).start().await;
    let said = status_command(stack.server.port("admin")).await;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(
        text.contains("is the admin address of a server, not of an agent"),
        "{text}"
    );
    assert!(said.stdout.is_empty(), "no table that means nothing");
}

#[tokio::test]
async fn regression_an_answer_that_is_no_upgrade_is_never_followed_by_a_reset() {
    const LARGE: usize = 8 * 1024 * 1024;
    let origin = Origin::bind().await.serve(|mut peer| async move {
        peer.read_head().await;
        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {LARGE}\r\n\r\n");
        peer.write(head).await;
        peer.write(vec![b'x'; LARGE]).await;
        peer.discard().await;
    });
    let stack = Stack::for_origin(origin.addr()).await;
    let closed = "CONNECT 127.0.0.99:4711 HTTP/1";
    let open = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n", origin.addr());
    for (request, least) in [
        // Clients of HTTP/1.0, as Python's is for a CONNECT.
        (format!("{closed}.0\r\n\r\n"), 1),
        (format!("{closed}.1\r\nConnection: close\r\n\r\n"), 1),
        // The start of a TLS handshake, ahead of the answer.
        (format!("{closed}.1\r\n\r\n\u{16}\u{3}\u{1}"), 1),
        // The next request's end is not the one's that was declined.
        (format!("{closed}.1\r\n\r\n"), 0),
        (
            format!("{open}Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"),
            LARGE,
        ),
    ] {
        let mut client = Peer::dial(stack.proxy()).await.with_deadline(SOON);
        client.write(&request).await;
        if least == 0 {
            let (head, _) = client.read_response().await;
            assert_eq!(head.status(), 403);
            client.write("CONNECT a HTTP/1.1\r\n\r\n").await;
        }
        let head = client.read_head().await;
        assert!(
            [400, 403].contains(&head.status()),
            "{request:?}: {}",
            head.status()
        );
        let rest = client.discard().await;
        assert_eq!(rest.end, Ending::Eof, "{request:?}");
        assert!(rest.bytes >= least as u64, "{request:?}: {rest:?}");
    }
}
