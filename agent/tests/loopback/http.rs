//! Requests through the proxy.

use crate::bench::{Bench, Peer};
use crate::server::DEAF;
use std::io::ErrorKind::ConnectionReset;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const GET: &str = "GET http://{}/x HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_tunnel_is_reused_and_an_origin_that_hung_up_is_dialled_again() {
    let bench = Bench::start().await;
    let host = bench.origin.local_addr().unwrap().to_string();
    let mut client = bench.ask(GET).await;
    let mut upstream = bench.accept().await;
    let head = upstream.head().await;
    assert_eq!(head, format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    upstream.say(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.bytes(2).await, "ok");

    client.say(GET.replace("{}", &host)).await;
    upstream.head().await;
    upstream.say(OK).await;
    client.through("\r\n\r\nok").await;
    assert_eq!(bench.server.dials(), 1, "the same session");

    drop(upstream);
    client.say(GET.replace("{}", &host)).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream.say(OK).await;
    client.through("\r\n\r\nok").await;
    assert_eq!(bench.server.dials(), 2);
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_gets_a_session_of_its_own() {
    let bench = Bench::start().await;
    for _ in 0..2 {
        let mut client = bench
            .ask("POST http://{}/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let mut upstream = bench.accept().await;
        upstream.through("\r\n\r\nhi").await;
        upstream.say(OK).await;
        client.through("\r\n\r\nok").await;
    }
    assert_eq!(bench.server.dials(), 2);
}

#[tokio::test]
async fn early_hints_and_trailers_pass() {
    let bench = Bench::start().await;
    let mut client = bench
        .ask("POST http://{}/ HTTP/1.1\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        .await;
    let mut upstream = bench.accept().await;
    assert!(
        upstream
            .through("0\r\nX-Sum: 1\r\n\r\n")
            .await
            .contains("TE: trailers")
    );
    upstream
        .say("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
        .await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    );
    upstream
        .say("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n")
        .await;
    assert!(client.head().await.contains("Trailer: X-Sum"));
    client.through("1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n").await;
}

const EXPECT: &str = "PUT http://{}/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[tokio::test]
async fn a_100_comes_from_the_origin_once_or_not_at_all() {
    let bench = Bench::start().await;
    let mut client = bench.ask(EXPECT).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("body").await;
    assert_eq!(upstream.bytes(4).await, "body");
    upstream.say(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));

    let mut client = bench.ask(EXPECT).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream
        .say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 417"));

    // A client that does not wait is not kept waiting.
    let mut client = bench.ask(EXPECT).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    client.say("body").await;
    assert_eq!(upstream.bytes(4).await, "body");
    upstream.say(OK).await;
    client.through("\r\n\r\nok").await;
}

#[tokio::test]
async fn a_cut_answer_is_a_reset_and_a_whole_one_an_end() {
    let bench = Bench::start().await;
    for version in ["1.0", "1.1"] {
        let request = format!("GET http://{{}}/ HTTP/{version}\r\n\r\n");
        for framing in ["", "Transfer-Encoding: chunked\r\n", "Content-Length: 100\r\n"] {
            let mut client = bench.ask(&request).await;
            let mut upstream = bench.accept().await;
            upstream.head().await;
            upstream
                .say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n5\r\nhello\r\n"))
                .await;
            client.head().await;
            client.through("hello").await;
            upstream.reset();
            assert_eq!(client.rest().await, Err(ConnectionReset), "{version} {framing}");
        }
        let mut client = bench.ask(&request).await;
        let mut upstream = bench.accept().await;
        upstream.head().await;
        upstream.say("HTTP/1.1 200 OK\r\n\r\nwhole").await;
        upstream.0.shutdown().await.unwrap();
        client.head().await;
        if version == "1.0" {
            assert_eq!(client.rest().await.unwrap(), "whole");
        } else {
            client.through("5\r\nwhole\r\n0\r\n\r\n").await;
        }
    }
}

#[tokio::test]
async fn a_cut_upload_reaches_the_origin_as_a_reset() {
    let bench = Bench::start().await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        for abort in [true, false] {
            let mut client = bench
                .ask(&format!(
                    "POST http://{{}}/ HTTP/1.1\r\n{framing}\r\n\r\n5\r\nhello\r\n"
                ))
                .await;
            let mut upstream = bench.accept().await;
            upstream.through("hello\r\n").await;
            if abort {
                client.reset();
                assert_eq!(upstream.rest().await, Err(ConnectionReset), "{framing}");
            } else {
                client.0.shutdown().await.unwrap();
                assert_eq!(upstream.rest().await, Err(ConnectionReset), "{framing}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_lets_go_of_the_origin() {
    let bench = Bench::start().await;
    let client = bench.ask(GET).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    client.reset();
    assert_eq!(upstream.rest().await, Err(ConnectionReset));
}

#[tokio::test]
async fn an_answer_before_the_end_of_an_upload_arrives() {
    let bench = Bench::start().await;
    let mut client = bench
        .ask("POST http://{}/ HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    client.say(vec![b'x'; 100_000]).await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream.bytes(100_000).await;
    upstream
        .say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        .await;
    drop(upstream);
    client.through("\r\n\r\nbig").await;
}

#[tokio::test]
async fn an_answer_is_not_lost_where_the_origin_stopped_reading() {
    let bench = Bench::start().await;
    for _ in 0..20 {
        let mut client = bench
            .ask(&format!(
                "POST http://{DEAF}/ HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n"
            ))
            .await;
        // An upload in pieces: some are written after the origin stopped reading.
        for _ in 0..10 {
            client.say([b'x'; 5_000]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.through("\r\n\r\nbig").await;
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let bench = Bench::start().await;
    let mut client = bench.ask(GET).await;
    client.0.shutdown().await.unwrap();
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream.say(OK).await;
    assert!(client.rest().await.unwrap().ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn credentials_are_asked_for_and_kept_here() {
    let bench = Bench::with("proxy-auth: { username: ann, password: s3cret }\n").await;
    for line in ["CONNECT {}", "GET http://{}/"] {
        let mut client = bench.ask(&format!("{line} HTTP/1.1\r\n\r\n")).await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 407") && head.contains("Proxy-Authenticate: Basic"),
            "{head}"
        );
    }
    assert_eq!(bench.server.dials(), 0);
    let _client = bench
        .ask("GET http://{}/ HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnMzY3JldA==\r\n\r\n")
        .await;
    let head = bench.accept().await.head().await;
    assert!(!head.to_lowercase().contains("proxy-"), "{head}");
}

#[tokio::test]
async fn connect_carries_bytes_both_ways_and_each_end_by_itself() {
    let bench = Bench::start().await;
    let mut client = bench.ask("CONNECT {} HTTP/1.1\r\n\r\nearly").await;
    let mut upstream = bench.accept().await;
    assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\n\r\n");
    client.say("later").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(upstream.rest().await.unwrap(), "earlylater");
    upstream.say("back").await;
    drop(upstream);
    assert_eq!(client.rest().await.unwrap(), "back");
    let page = bench
        .agent
        .metrics
        .render(fluidity_agent::metrics::Now::default());
    assert!(
        page.contains("fluidity_agent_sessions_started_total{kind=\"connect\"} 1"),
        "{page}"
    );
}

#[tokio::test]
async fn a_refused_connect_leaves_the_connection_to_the_next_request() {
    let bench = Bench::start().await;
    let mut client = bench.ask("CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").await;
    let head = client.head().await;
    assert!(
        head.starts_with("HTTP/1.1 502") && head.contains("error=connection_refused"),
        "{head}"
    );
    client.through("runs.\n").await;
    client
        .say(GET.replace("{}", &bench.origin.local_addr().unwrap().to_string()))
        .await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream.say(OK).await;
    client.through("\r\n\r\nok").await;
}

#[tokio::test]
async fn one_client_too_many_is_told() {
    let bench = Bench::with("limits: { clients: 1 }\n").await;
    let _first = bench.ask("GET ").await;
    let mut second = bench.ask("").await;
    let head = second.head().await;
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains("Retry-After: 1"),
        "{head}"
    );
}

async fn websocket(bench: &Bench) -> (Peer, Peer) {
    let mut client = bench
        .ask("GET ws://{}/chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n")
        .await;
    let mut upstream = bench.accept().await;
    let head = upstream.head().await;
    assert!(
        head.contains("Upgrade: websocket") && head.contains("Sec-WebSocket-Key: k"),
        "{head}"
    );
    upstream
        .say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")
        .await;
    assert!(
        client
            .head()
            .await
            .starts_with("HTTP/1.1 101 Switching Protocols\r\n")
    );
    assert_eq!(client.raw(4).await, b"\x81\x02hi");
    (client, upstream)
}

#[tokio::test]
async fn a_websocket_carries_frames_and_ends_with_a_close_when_the_tunnel_is_lost() {
    let bench = Bench::start().await;
    let (mut client, mut upstream) = websocket(&bench).await;
    client.say(b"\x81\x80\0\0\0\0").await;
    assert_eq!(upstream.raw(6).await, b"\x81\x80\0\0\0\0");
    upstream.say(b"\x89\0").await;
    assert_eq!(client.raw(2).await, b"\x89\0");
    bench.server.stop().await;
    let close = client.rest().await.expect("a close, not a reset");
    assert!(close.ends_with("the tunnel was lost"), "{close:?}");
}
