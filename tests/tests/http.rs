//! Plain HTTP through the proxy, byte by byte: what must not pass does not, what must pass does, in order and at once.

use fluidity_tests::{Head, Origin, Pattern, Peer, Setup, Stack};

/// Sends `request` (with `{}` for the origin's address) and plays the origin until it has the head.
async fn ask(stack: &Stack, origin: &Origin, request: &str) -> (Peer, Peer, Head) {
    let mut client = stack.client().await;
    client
        .write(request.replace("{}", &origin.addr().to_string()))
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.read_head().await;
    (client, upstream, head)
}

#[tokio::test]
async fn what_is_for_the_proxy_stays_at_the_proxy() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let request = "GET http://{}/path?q=1&r=%20 HTTP/1.1\r\nHost: {}\r\n\
        Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\n\
        Connection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
        TE: trailers, deflate\r\nAuthorization: Bearer token\r\nX-Keep: 1\r\nX-Keep: 2\r\nCookie: a=b\r\n\r\n";
    let (_client, _upstream, head) = ask(&stack, &origin, request).await;
    assert_eq!(head.line, "GET /path?q=1&r=%20 HTTP/1.1");
    for name in [
        "proxy-authorization",
        "proxy-connection",
        "x-drop",
        "keep-alive",
        "upgrade",
    ] {
        assert_eq!(
            head.all(name),
            Vec::<&str>::new(),
            "{name} reached the origin: {head:?}"
        );
    }
    assert!(
        !head
            .all("connection")
            .iter()
            .any(|value| value.to_lowercase().contains("x-drop")),
        "{head:?}"
    );
    assert!(
        !head.all("te").iter().any(|value| value.contains("deflate")),
        "{head:?}"
    );
    assert_eq!(head.one("authorization"), Some("Bearer token"));
    assert_eq!(head.all("x-keep"), ["1", "2"]);
    assert_eq!(head.one("cookie"), Some("a=b"));
}

#[tokio::test]
async fn what_is_between_server_and_origin_stays_there() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream, _) =
        ask(&stack, &origin, "GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n").await;
    upstream
        .write(
            "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nX-Open: 1\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!(body, b"ok");
    for name in ["x-secret", "keep-alive", "proxy-authenticate", "proxy-connection"] {
        assert_eq!(
            head.all(name),
            Vec::<&str>::new(),
            "{name} reached the client: {head:?}"
        );
    }
    assert_eq!(head.one("x-open"), Some("1"));
}

#[tokio::test]
async fn the_host_field_is_that_of_the_target() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for host in ["Host: other.example\r\n", "Host: 127.0.0.1\r\n", "Host:\r\n"] {
        let request = format!("GET http://{{}}/ HTTP/1.1\r\n{host}\r\n");
        let (_client, _upstream, head) = ask(&stack, &origin, &request).await;
        // RFC 9112 §3.2.2: the received Host is ignored, and replaced by the target's.
        assert_eq!(
            head.one("host"),
            Some(origin.addr().to_string().as_str()),
            "{host:?}"
        );
    }
}

#[tokio::test]
async fn a_kept_client_connection_reaches_the_origin_that_each_request_names() {
    let (one, two) = (
        Origin::bind().await.hello("one"),
        Origin::bind().await.hello("two"),
    );
    let stack = Setup::new().allow(one.addr()).allow(two.addr()).start().await;
    let mut client = stack.client().await;
    for round in 0..10 {
        for (addr, expect) in [(one.addr(), "one"), (two.addr(), "two")] {
            client
                .write(format!("GET http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\n\r\n"))
                .await;
            let (head, body) = client.read_response().await;
            assert_eq!(
                (head.status(), body.as_slice()),
                (200, expect.as_bytes()),
                "round {round}"
            );
        }
    }
    assert!(
        one.connections() < 10 && two.connections() < 10,
        "tunnels are reused"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (one, two) = (
        Origin::bind().await.hello("one"),
        Origin::bind().await.hello("two"),
    );
    let stack = Setup::new().allow(one.addr()).allow(two.addr()).start().await;
    let mut client = stack.client().await;
    let request = |addr| format!("GET http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    client
        .write(format!(
            "{}{}{}",
            request(one.addr()),
            request(two.addr()),
            request(one.addr())
        ))
        .await;
    for expect in ["one", "two", "one"] {
        assert_eq!(client.read_response().await.1, expect.as_bytes());
    }
}

#[tokio::test]
async fn an_origin_that_hangs_up_between_requests_is_not_the_clients_problem() {
    // It says nothing of `Connection: close`, and closes all the same.
    let origin = Origin::bind().await.serve(|mut peer| async move {
        if peer.next_request().await.is_some() {
            let _ = peer
                .try_write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    });
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    for round in 0..20 {
        client
            .write(format!(
                "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n",
                origin.addr()
            ))
            .await;
        let (head, body) = client.read_response().await;
        assert_eq!(
            (head.status(), body.as_slice()),
            (200, b"ok".as_slice()),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn repeated_fields_keep_their_number_and_order() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream, _) =
        ask(&stack, &origin, "GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n").await;
    upstream
        .write(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX-Between: 1\r\nSet-Cookie: b=2, c\r\nSet-Cookie: a=3\r\n\
             Content-Length: 0\r\n\r\n",
        )
        .await;
    let head = client.read_head().await;
    assert_eq!(head.all("set-cookie"), ["a=1; Path=/", "b=2, c", "a=3"]);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let request = "POST http://{}/ HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 900150983\r\n\r\n";
    let (mut client, mut upstream, head) = ask(&stack, &origin, request).await;
    assert!(head.chunked(), "{head:?}");
    let (body, trailers) = upstream.read_chunked().await;
    assert_eq!(body, b"abc");
    let sum = trailers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
    assert_eq!(
        sum.map(|(_, value)| value.as_str()),
        Some("900150983"),
        "{trailers:?}"
    );

    upstream
        .write(
            "HTTP/1.1 200 OK\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Check: 1\r\n\r\n",
        )
        .await;
    let head = client.read_head().await;
    assert!(head.chunked(), "{head:?}");
    let (body, trailers) = client.read_chunked().await;
    assert_eq!(body, b"body");
    let check = trailers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-check"));
    assert_eq!(check.map(|(_, value)| value.as_str()), Some("1"), "{trailers:?}");
}

const EXPECT: &str =
    "PUT http://{}/ HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[tokio::test]
async fn continue_comes_from_the_origin() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream, head) = ask(&stack, &origin, EXPECT).await;
    assert_eq!(
        head.one("expect").map(str::to_lowercase).as_deref(),
        Some("100-continue")
    );
    upstream.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.read_head().await.status(), 100);
    client.write("body").await;
    assert_eq!(upstream.read_exact(4).await, "body");
    upstream
        .write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(
        client.read_head().await.status(),
        201,
        "one 100, and then the answer"
    );
}

#[tokio::test]
async fn a_refusal_instead_of_continue_saves_the_body() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream, _) = ask(&stack, &origin, EXPECT).await;
    upstream
        .write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await;
    upstream.finish().await;
    assert_eq!(client.read_head().await.status(), 417, "and no 100 before it");
}

#[tokio::test]
async fn early_hints_pass() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream, _) =
        ask(&stack, &origin, "GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n").await;
    upstream
        .write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        .await;
    let hints = client.read_head().await;
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.one("link"), Some("</style.css>; rel=preload"));
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), body.as_slice()), (200, b"ok".as_slice()));
}

#[tokio::test]
async fn large_heads_under_the_limit_pass_in_one_write() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let fields: String = (0..60)
        .map(|number| format!("X-{number}: {}\r\n", "v".repeat(700)))
        .collect();
    let request = format!("GET http://{{}}/ HTTP/1.1\r\nHost: {{}}\r\n{fields}\r\n");
    let (mut client, mut upstream, head) = ask(&stack, &origin, &request).await;
    assert_eq!(head.one("x-59").map(str::len), Some(700));
    upstream
        .write(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok"))
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!(
        (head.one("x-59").map(str::len), body.as_slice()),
        (Some(700), b"ok".as_slice())
    );
}

#[tokio::test]
async fn events_arrive_before_the_next_one_is_sent() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for chunked in [true, false] {
        let request = "GET http://{}/events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n";
        let (mut client, mut upstream, _) = ask(&stack, &origin, request).await;
        let framing = if chunked {
            "Transfer-Encoding: chunked"
        } else {
            "Connection: close"
        };
        upstream
            .write(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n"
            ))
            .await;
        // The head comes before any event.
        assert_eq!(client.read_head().await.status(), 200);
        for number in 0..20 {
            let event = format!("id: {number}\ndata: tick\n\n");
            let part = if chunked {
                format!("{:x}\r\n{event}\r\n", event.len())
            } else {
                event.clone()
            };
            upstream.write(part).await;
            let got = client.read_through(event.as_bytes()).await;
            assert!(got.ends_with(event.as_bytes()));
        }
    }
}

#[tokio::test]
async fn uploads_arrive_before_the_next_part_is_sent() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let request = "POST http://{}/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n";
    let (mut client, mut upstream, _) = ask(&stack, &origin, request).await;
    for number in 0..10 {
        let part = format!("part {number:05}");
        client.write(&part[..10]).await;
        assert_eq!(upstream.read_exact(10).await, &part.as_bytes()[..10]);
    }
    // And the answer may come while the client still sends.
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.read_response().await.1, b"ok");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let request = "POST http://{}/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000000\r\n\r\n";
    let (mut client, mut upstream, _) = ask(&stack, &origin, request).await;
    client.write(Pattern::new(1).bytes(100_000)).await;
    upstream.read_exact(100_000).await;
    upstream
        .write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        .await;
    upstream.finish().await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), body.as_slice()), (413, b"big".as_slice()));
}

#[tokio::test]
async fn redirects_are_the_clients_to_follow() {
    let (origin, elsewhere) = (Origin::bind().await, Origin::bind().await);
    let stack = Setup::new()
        .allow(origin.addr())
        .allow(elsewhere.addr())
        .start()
        .await;
    let (mut client, mut upstream, _) =
        ask(&stack, &origin, "GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n").await;
    let location = format!("http://{}/there", elsewhere.addr());
    upstream
        .write(format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let head = client.read_head().await;
    assert_eq!(
        (head.status(), head.one("location")),
        (302, Some(location.as_str()))
    );
    elsewhere.assert_never_dialled().await;
}

#[tokio::test]
async fn every_method_passes_and_bodiless_answers_have_no_body() {
    let origin = Origin::bind().await.serve(|mut peer| async move {
        while let Some(head) = peer.next_request().await {
            peer.skip_body(&head).await;
            let method = head.line.split(' ').next().unwrap_or_default().to_owned();
            let answer = match head.line.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_owned(),
                _ if method == "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_owned(),
                _ => format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{method}",
                    method.len()
                ),
            };
            if peer.try_write(answer).await.is_err() {
                return;
            }
        }
    });
    let stack = Stack::for_origin(origin.addr()).await;
    let addr = origin.addr();
    let mut client = stack.client().await;
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "BREW",
    ] {
        let body = if matches!(method, "POST" | "PUT" | "PATCH") {
            "Content-Length: 3\r\n\r\nabc"
        } else {
            "\r\n"
        };
        client
            .write(format!(
                "{method} http://{addr}/x HTTP/1.1\r\nHost: {addr}\r\n{body}"
            ))
            .await;
        let (head, body) = client.read_response().await;
        assert_eq!((head.status(), body.as_slice()), (200, method.as_bytes()));
    }
    for (path, status) in [("/204", 204), ("/304", 304)] {
        client
            .write(format!(
                "GET http://{addr}{path} HTTP/1.1\r\nHost: {addr}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.read_response().await.0.status(), status);
    }
    client
        .write(format!("HEAD http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\n\r\n"))
        .await;
    let head = client.read_head().await;
    assert_eq!((head.status(), head.content_length()), (200, Some(1000)));
    // Nothing of a body came: the connection goes on with the next answer.
    client
        .write(format!("GET http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\n\r\n"))
        .await;
    assert_eq!(client.read_response().await.1, b"GET");
}

#[tokio::test]
async fn regression_an_origin_that_closes_behind_its_answer_is_ended_in_order() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let host = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        .await;
    upstream.finish().await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), &body[..]), (200, &b"hi"[..]));
    assert_eq!(upstream.discard().await.end, fluidity_tests::Ending::Eof);
    fluidity_tests::until(
        std::time::Duration::from_secs(5),
        "the server tells its end",
        || async {
            let log = stack.server.log();
            if log.contains("session ended") {
                Ok(())
            } else {
                Err(log)
            }
        },
    )
    .await;
    let log = stack.server.log();
    assert!(log.contains("end=\"finished\""), "{log}");
}
