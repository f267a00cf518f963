//! CONNECT, who may use the proxy, and the limits of a session.

use fluidity_tests::{Ending, Origin, Peer, Setup, Stack, until};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn bytes_sent_along_with_connect_reach_the_origin_once() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    client
        .write(format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\nearly",
            origin.addr()
        ))
        .await;
    let mut upstream = origin.accept().await;
    assert_eq!(client.read_head().await.status(), 200);
    client.write("later").await;
    assert_eq!(upstream.read_exact(10).await, "earlylater");
}

#[tokio::test]
async fn connect_with_a_content_length_does_not_swallow_the_tunnels_first_bytes() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut client = stack.client().await;
        client
            .write(format!(
                "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{framing}\r\n\r\nhello",
                origin.addr()
            ))
            .await;
        // RFC 9110 §9.3.6: a CONNECT request has no content. To refuse the framing is fine; to eat bytes is not.
        let head = client.read_head().await;
        if head.status() == 400 {
            origin.assert_never_dialled().await;
            continue;
        }
        assert_eq!(head.status(), 200, "{framing}: {head:?}");
        let mut upstream = origin.accept().await;
        assert_eq!(upstream.read_exact(5).await, "hello", "{framing}");
    }
}

#[tokio::test]
async fn the_answer_to_connect_has_no_framing() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (_client, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
    // RFC 9110 §9.3.6.
    assert_eq!(head.status(), 200);
    assert!(
        head.one("content-length").is_none() && head.one("transfer-encoding").is_none(),
        "{head:?}"
    );
}

#[tokio::test]
async fn connect_succeeds_only_after_the_target_was_reached() {
    let origin = Origin::bind().await;
    let addr = origin.addr();
    let stack = Stack::for_origin(addr).await;
    drop(origin);
    let (_client, head) = Peer::try_tunnel(stack.proxy(), addr).await;
    assert_eq!(head.status(), 502, "{head:?}");
    let status = head.one("proxy-status").expect("Proxy-Status");
    assert!(status.contains("error=connection_refused"), "{status}");
}

#[tokio::test]
async fn with_proxy_auth_only_the_right_credentials_pass() {
    let origin = Origin::bind().await;
    let auth = json!({ "username": "ann", "password": "s3cret" });
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("proxy-auth", auth)
        .start()
        .await;
    let addr = origin.addr();
    // ann:wrong, ann:s3cret with another scheme, nonsense, nothing.
    for field in [
        "Proxy-Authorization: Basic YW5uOndyb25n\r\n",
        "Proxy-Authorization: Bearer YW5uOnMzY3JldA==\r\n",
        "Proxy-Authorization: Basic !\r\n",
        "Authorization: Basic YW5uOnMzY3JldA==\r\n",
        "",
    ] {
        for start in [format!("GET http://{addr}/"), format!("CONNECT {addr}")] {
            let mut client = stack.client().await;
            client
                .write(format!("{start} HTTP/1.1\r\nHost: {addr}\r\n{field}\r\n"))
                .await;
            let head = client.read_head().await;
            assert_eq!(head.status(), 407, "{start} {field}: {head:?}");
            assert!(
                head.one("proxy-authenticate")
                    .is_some_and(|value| value.starts_with("Basic realm=")),
                "{head:?}"
            );
        }
    }
    origin.assert_never_dialled().await;
    let right = "Proxy-Authorization: Basic YW5uOnMzY3JldA==";
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\n{right}\r\n\r\n"
        ))
        .await;
    let head = origin.accept().await.read_head().await;
    assert_eq!(
        head.all("proxy-authorization"),
        Vec::<&str>::new(),
        "the password reached the origin"
    );
    let mut client = stack.client().await;
    client
        .write(format!(
            "CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\n{right}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.read_head().await.status(), 200);
    assert!(!stack.agent.log().contains("s3cret"), "the log keeps the secret");
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_alone_for_a_while_and_others_are_not() {
    let (origin, other) = (Origin::bind().await, Origin::bind().await.hello("ok"));
    let addr = origin.addr();
    let breaker = json!({ "failures": 3, "open-for": "1s" });
    let setup = Setup::new()
        .allow(addr)
        .allow(other.addr())
        .server("breaker", breaker);
    let stack = setup.server("dial.attempts", 1).start().await;
    drop(origin);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let (_client, head) = Peer::try_tunnel(stack.proxy(), addr).await;
        if head.status() == 503 {
            assert!(head.one("retry-after").is_some(), "{head:?}");
        }
        statuses.push(head.status());
    }
    assert_eq!(statuses[..3], [502, 502, 502], "{statuses:?}");
    assert_eq!(statuses[5], 503, "{statuses:?}");
    assert_eq!(stack.get(other.addr(), "/").await.0, 200, "another target");
    let back = tokio::net::TcpListener::bind(addr)
        .await
        .expect("the same port again");
    until(Duration::from_secs(10), "the breaker closes again", || async {
        let (_client, head) = Peer::try_tunnel(stack.proxy(), addr).await;
        if head.status() == 200 { Ok(()) } else { Err(head) }
    })
    .await;
    drop(back);
}

#[tokio::test]
async fn sessions_over_the_agents_limit_get_503_and_one_that_ends_makes_room() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("limits.sessions-per-agent", 5)
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(stack.tunnel(&origin).await);
    }
    let (_client, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?}");
    assert!(
        head.one("proxy-status")
            .is_some_and(|s| s.contains("connection_limit_reached")),
        "{head:?}"
    );
    held.truncate(4);
    until(Duration::from_secs(5), "room for another session", || async {
        let (_client, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
        if head.status() == 200 { Ok(()) } else { Err(head) }
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_without_a_byte_for_too_long_is_cut() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("limits.session-idle", "1s")
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let (client, upstream) = tokio::join!(client.discard(), upstream.discard());
    assert_eq!((client.bytes, upstream.bytes), (0, 0));
    assert_eq!(client.end, Ending::Reset);
    assert_eq!(upstream.end, Ending::Reset);
}
