//! Logins that count for a TCP connection (NTLM, Negotiate, Kerberos): the session belongs to the client connection that
//! logged in, for each of its requests, and to nobody else.

use fluidity_tests::{Head, Origin, Peer, Served, Stack, until, within};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(30);

/// An origin that logs a connection in with a hello and an answer to the challenge of that connection, as NTLM does.
fn office(origin: Origin, scheme: &'static str) -> Served {
    let number = Arc::new(AtomicUsize::new(0));
    origin.serve(move |mut peer| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut user = None;
            while let Some(head) = peer.next_request().await {
                peer.skip_body(&head).await;
                let token = head.one("authorization").and_then(|value| value.split_once(' '));
                let mut challenge = scheme.to_owned();
                match token {
                    Some((_, "hello")) => challenge = format!("{scheme} challenge-{number}"),
                    Some((_, answer)) if answer == format!("answer-to-challenge-{number}") => {
                        user = Some("anna");
                    }
                    _ => {}
                }
                let said = match user {
                    Some(user) => {
                        let body = if head.line.starts_with("HEAD") { String::new() } else { format!("the mail of {user}") };
                        format!("200 OK\r\nX-User: {user}\r\nContent-Length: 16\r\n\r\n{body}")
                    }
                    None => format!("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, b\", {challenge}\r\nContent-Length: 0\r\n\r\n"),
                };
                if peer.try_write(format!("HTTP/1.1 {said}")).await.is_err() {
                    return;
                }
            }
        }
    })
}

async fn ask(client: &mut Peer, method: &str, origin: SocketAddr, authorization: Option<String>) -> Head {
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n"));
    let body = if matches!(method, "POST" | "PUT" | "PATCH") {
        "hi"
    } else {
        ""
    };
    let length = if body.is_empty() {
        ""
    } else {
        "Content-Length: 2\r\n"
    };
    client
        .write(format!(
            "{method} http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n{length}{}\r\n{body}",
            authorization.unwrap_or_default()
        ))
        .await;
    if method == "HEAD" {
        return client.read_head().await;
    }
    client.read_response().await.0
}

/// Logs a client in, and says the status of the last step.
async fn log_in(client: &mut Peer, method: &str, origin: SocketAddr, scheme: &str) -> u16 {
    let head = ask(client, method, origin, Some(format!("{scheme} hello"))).await;
    assert_eq!(head.status(), 401, "{head:?}");
    assert_eq!(head.one("proxy-support"), Some("Session-Based-Authentication"));
    let challenge = head.one("www-authenticate").expect("a challenge");
    let (_, challenge) = challenge.rsplit_once(' ').expect("a token");
    let answer = format!("{scheme} answer-to-{challenge}");
    ask(client, method, origin, Some(answer)).await.status()
}

#[tokio::test]
async fn regression_a_login_for_a_connection_serves_the_client_that_logged_in_and_nobody_else() {
    for scheme in ["NTLM", "Negotiate", "Kerberos", "ntlm", "SomethingNew"] {
        let origin = office(Origin::bind().await, scheme);
        let stack = Stack::for_origin(origin.addr()).await;
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let mut anna = stack.client().await;
            let status = log_in(&mut anna, method, origin.addr(), scheme).await;
            assert_eq!(status, 200, "{scheme}, {method}: the login comes to its end");
            for other in ["GET", "HEAD", "POST"] {
                let mut bert = stack.client().await;
                let head = ask(&mut bert, other, origin.addr(), None).await;
                assert_eq!(
                    head.one("x-user"),
                    None,
                    "{scheme}, {method}: served as somebody else"
                );
                assert_eq!(head.status(), 401);
            }
            // Her own next requests need no further login, whatever they are.
            for own in ["GET", "POST", "HEAD"] {
                let head = ask(&mut anna, own, origin.addr(), None).await;
                assert_eq!(head.one("x-user"), Some("anna"), "{scheme}: {own} after {method}");
            }
        }
    }
}

#[tokio::test]
async fn regression_a_login_in_one_step_or_by_a_word_of_the_origin_serves_nobody_else() {
    for said in [
        "HTTP/1.1 200 OK\r\nPersistent-Auth: true\r\nContent-Length: 4\r\n\r\nanna",
        "HTTP/1.1 200 OK\r\nWWW-Authenticate: Negotiate oYG2MIGz\r\nContent-Length: 4\r\n\r\nanna",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nanna",
    ] {
        let origin = Origin::bind().await.serve(move |mut peer| async move {
            let mut anna = false;
            while let Some(head) = peer.next_request().await {
                anna |= head.one("authorization").is_some();
                let said = if anna {
                    said
                } else {
                    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbert"
                };
                if peer.try_write(said).await.is_err() {
                    return;
                }
            }
        });
        let stack = Stack::for_origin(origin.addr()).await;
        let request = |more: &str| {
            format!(
                "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{more}\r\n",
                origin.addr()
            )
        };
        let mut anna = stack.client().await;
        anna.write(request("Authorization: Negotiate YIIKzQ==\r\n")).await;
        assert_eq!(anna.read_response().await.1, b"anna");
        let mut bert = stack.client().await;
        bert.write(request("")).await;
        assert_eq!(bert.read_response().await.1, b"bert", "{said}");
    }
}

#[tokio::test]
async fn a_login_whose_origin_hangs_up_begins_anew_on_a_fresh_session() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    for round in 0..5 {
        let target = origin.addr();
        client
            .write(format!(
                "POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nAuthorization: NTLM hello\r\nContent-Length: 2\r\n\r\nhi"
            ))
            .await;
        let mut upstream = origin.accept().await;
        let head = upstream.next_request().await.expect("a request");
        upstream.skip_body(&head).await;
        upstream
            .write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM x\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(client.read_head().await.status(), 401, "round {round}");
        // The origin hangs up; what it closed is closed at the agent, too, when its own end comes back.
        upstream.finish().await;
        upstream.discard().await;
    }
}

#[tokio::test]
async fn regression_an_origin_that_asks_for_a_login_before_it_has_read_the_upload_gets_the_rest() {
    const UPLOAD: usize = 3_000_000;
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let target = origin.addr();
    let mut client = stack.client().await;
    let head = |token: &str| {
        format!(
            "POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nAuthorization: NTLM {token}\r\nContent-Length: {UPLOAD}\r\n\r\n"
        )
    };
    client.write(head("hello")).await;
    client.write(vec![b'u'; UPLOAD / 2]).await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    upstream
        .write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM x\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 401);
    let rest = async {
        client.write(vec![b'u'; UPLOAD / 2]).await;
        client.write(head("answer")).await;
        client.write(vec![b'v'; UPLOAD]).await;
    };
    let read = async {
        upstream.read_exact(UPLOAD).await;
        let head = upstream.next_request().await.expect("the second step");
        assert_eq!(head.one("authorization"), Some("NTLM answer"));
        upstream.skip_body(&head).await;
        upstream
            .write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    };
    within(DEADLINE, "the second step on the same connection", async {
        tokio::join!(rest, read)
    })
    .await;
    assert_eq!(client.read_head().await.status(), 200);
}

#[tokio::test]
async fn a_session_with_a_login_ends_with_its_client() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    let target = origin.addr();
    client
        .write(format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nAuthorization: NTLM hello\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 200);
    drop(client);
    within(DEADLINE, "the session's end", upstream.discard()).await;
}

#[tokio::test]
async fn regression_a_websocket_whose_handshake_needs_a_login_gets_it() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let target = origin.addr();
    let mut client = stack.client().await;
    let handshake = |token: &str| {
        format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: NTLM {token}\r\n\r\n"
        )
    };
    client.write(handshake("hello")).await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a handshake");
    upstream
        .write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM x\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 401);
    client.write(handshake("answer")).await;
    let head = within(
        DEADLINE,
        "the second handshake on the same connection",
        upstream.next_request(),
    )
    .await;
    assert_eq!(
        head.expect("a handshake").one("authorization"),
        Some("NTLM answer")
    );
    upstream
        .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 101);
    client.write("up").await;
    assert_eq!(upstream.read_exact(2).await, "up");
}

#[tokio::test]
async fn a_client_that_logs_in_at_many_targets_keeps_a_bounded_number_of_sessions() {
    const TARGETS: usize = 20;
    let (ended, mut ends) = mpsc::unbounded_channel();
    let mut setup = fluidity_tests::Setup::new();
    let mut origins = Vec::new();
    for _ in 0..TARGETS {
        let ended = ended.clone();
        let origin = Origin::bind().await.serve(move |mut peer| {
            let ended = ended.clone();
            async move {
                while peer.next_request().await.is_some() {
                    let said = "HTTP/1.1 200 OK\r\nPersistent-Auth: true\r\nContent-Length: 0\r\n\r\n";
                    if peer.try_write(said).await.is_err() {
                        break;
                    }
                }
                let _ = ended.send(());
            }
        });
        setup = setup.allow(origin.addr());
        origins.push(origin);
    }
    let stack = setup.start().await;
    let mut client = stack.client().await;
    for origin in &origins {
        assert_eq!(ask(&mut client, "GET", origin.addr(), None).await.status(), 200);
    }
    for _ in 0..TARGETS - 8 {
        within(DEADLINE, "the end of an older session", ends.recv()).await;
    }
}

#[tokio::test]
async fn a_login_for_each_request_leaves_the_sessions_to_everybody() {
    let origin = Origin::bind().await.hello("hello");
    let stack = Stack::for_origin(origin.addr()).await;
    let mut dials = 0;
    until(DEADLINE, "a session that is used again", || {
        dials += 1;
        let stack = &stack;
        let origin = &origin;
        async move {
            let mut client = stack.client().await;
            let login = Some("Basic YTpi".to_owned());
            assert_eq!(ask(&mut client, "GET", origin.addr(), login).await.status(), 200);
            if origin.connections() < dials {
                Ok(())
            } else {
                Err("another dial")
            }
        }
    })
    .await;
}
