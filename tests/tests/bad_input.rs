//! Bad input gets a clear answer, and a session beside it does not notice.

use fluidity_tests::{Head, Origin, Peer, Setup, Stack, within};
use std::time::{Duration, Instant};

/// A stack with a healthy session running.
struct Bench {
    stack: Stack,
    origin: Origin,
    client: Peer,
    upstream: Peer,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Setup::new()).await
    }

    async fn with(setup: Setup) -> Self {
        let origin = Origin::bind().await;
        let stack = setup.allow(origin.addr()).start().await;
        let (client, upstream) = stack.tunnel(&origin).await;
        Self {
            stack,
            origin,
            client,
            upstream,
        }
    }

    /// The session beside is alive in both directions, and nobody dialled the origin again.
    async fn assert_undisturbed(&mut self) {
        self.client.write("ping").await;
        assert_eq!(self.upstream.read_exact(4).await, "ping");
        self.upstream.write("pong").await;
        assert_eq!(self.client.read_exact(4).await, "pong");
        self.origin.assert_never_dialled().await;
    }

    /// Sends `bytes` on a connection of its own and returns the answer's head. A body, or a half-sent request,
    /// does not keep the proxy from answering.
    async fn answer(&self, bytes: impl AsRef<[u8]>) -> Head {
        let mut client = self.stack.client().await;
        // The proxy may answer, and close, before it has taken everything.
        let _ = client.try_write(bytes).await;
        client.read_head().await
    }

    /// `bytes` get `status`, the connection is then closed, and the session beside is undisturbed.
    async fn assert_refused(&mut self, what: &str, bytes: impl AsRef<[u8]>, statuses: &[u16]) {
        let mut client = self.stack.client().await;
        let _ = client.try_write(bytes).await;
        let head = client.read_head().await;
        assert!(statuses.contains(&head.status()), "{what}: {head:?}");
        self.assert_undisturbed().await;
    }
}

#[tokio::test]
async fn bad_connect_targets_get_400() {
    let mut bench = Bench::start().await;
    let origin_port = u32::from(bench.origin.addr().port());
    let wrapped = format!("127.0.0.1:{}", 65_536 + origin_port);
    let long = format!("{}:443", "a".repeat(300));
    let long_labels = format!("{}:443", "abcdefghi.".repeat(30));
    let targets = [
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        &wrapped,
        "127.0.0.1:-1",
        "127.0.0.1:+80",
        "127.0.0.1:8o",
        "127.0.0.1:80:80",
        "[::1",
        "[::1:443",
        "[::1]443",
        "::1:443",
        "[]:443",
        ":443",
        "user@127.0.0.1:443",
        "a b:443",
        "exa%6dple.com:443",
        "http://127.0.0.1:443/",
        &long,
        &long_labels,
    ];
    for target in targets {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        bench.assert_refused(target, request, &[400]).await;
    }
}

#[tokio::test]
async fn control_bytes_in_a_target_get_400() {
    let mut bench = Bench::start().await;
    for byte in ["\0", "\r", "\n", "\r\n", "\t", "\x7f"] {
        let connect = format!("CONNECT 127.0.{byte}0.1:443 HTTP/1.1\r\nHost: a\r\n\r\n");
        bench
            .assert_refused(&format!("{byte:?} in CONNECT"), connect, &[400])
            .await;
        let get = format!("GET http://127.0.{byte}0.1:443/ HTTP/1.1\r\nHost: a\r\n\r\n");
        bench
            .assert_refused(&format!("{byte:?} in GET"), get, &[400])
            .await;
    }
    for byte in ["\0", "\r"] {
        let field = format!("GET http://127.0.0.1:443/ HTTP/1.1\r\nHost: a\r\nX-Bad: a{byte}b\r\n\r\n");
        bench
            .assert_refused(&format!("{byte:?} in a field"), field, &[400])
            .await;
    }
}

#[tokio::test]
async fn bad_absolute_forms_get_400() {
    let mut bench = Bench::start().await;
    let origin_port = u32::from(bench.origin.addr().port());
    let long = format!("http://{}/", "a".repeat(300));
    let wrapped = format!("http://127.0.0.1:{}/", 65_536 + origin_port);
    let uris = [
        "/",
        "*",
        "http:///",
        "http://:80/",
        "http://[::1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        &wrapped,
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        &long,
    ];
    for uri in uris {
        let request = format!("GET {uri} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        bench.assert_refused(uri, request, &[400, 501]).await;
    }
}

#[tokio::test]
async fn ambiguous_framing_gets_400_and_never_reaches_the_origin() {
    let mut bench = Bench::start().await;
    let host = bench.origin.addr();
    let cases = [
        (
            "CL+TE",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "TE+CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "0\r\n\r\n",
        ),
        (
            "two lengths",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "hello!",
        ),
        (
            "the same length twice, and another",
            "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "hello!",
        ),
        ("a list of lengths", "Content-Length: 5, 6\r\n", "hello!"),
        ("a negative length", "Content-Length: -5\r\n", "hello"),
        ("a signed length", "Content-Length: +5\r\n", "hello"),
        ("no number", "Content-Length: five\r\n", "hello"),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, gzip\r\n",
            "0\r\n\r\n",
        ),
        ("obs-fold", "X-Folded: a\r\n b\r\nContent-Length: 0\r\n", ""),
        (
            "obs-fold in framing",
            "Transfer-Encoding:\r\n chunked\r\n",
            "0\r\n\r\n",
        ),
        ("space before the colon", "Content-Length : 5\r\n", "hello"),
        ("no colon", "Content-Length 5\r\n", "hello"),
        ("empty name", ": 5\r\n", ""),
    ];
    for (what, fields, body) in cases {
        let request = format!("POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}");
        bench.assert_refused(what, request, &[400, 501]).await;
    }
}

#[tokio::test]
async fn heads_over_the_limit_get_431() {
    let mut bench = Bench::start().await;
    let host = bench.origin.addr();
    let start = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n");
    let many: String = (0..1000).map(|number| format!("X-{number}: v\r\n")).collect();
    bench
        .assert_refused("1,000 fields", format!("{start}{many}\r\n"), &[431])
        .await;
    let large = "v".repeat(64 << 10);
    bench
        .assert_refused(
            "a field of 64 KiB",
            format!("{start}X-Large: {large}\r\n\r\n"),
            &[431],
        )
        .await;
    let parts: String = (0..80)
        .map(|number| format!("X-{number}: {}\r\n", "v".repeat(900)))
        .collect();
    bench
        .assert_refused("64 KiB in 80 fields", format!("{start}{parts}\r\n"), &[431])
        .await;
    let path = "p".repeat(64 << 10);
    let line = format!("GET http://{host}/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    bench
        .assert_refused("a request line of 64 KiB", line, &[414, 431])
        .await;
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{many}\r\n");
    bench
        .assert_refused("1,000 fields on CONNECT", connect, &[431])
        .await;
}

#[tokio::test]
async fn what_is_not_http_1_gets_an_answer_in_its_own_protocol_or_in_http_or_a_close() {
    let mut bench = Bench::start().await;
    let hello_tls = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    let cases: [(&str, &[u8], &[u8]); 4] = [
        ("a TLS ClientHello", &hello_tls, &[21, 3, 1, 0, 2, 2, 40]),
        ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
        ("SOCKS5", &[5, 1, 0], &[5, 0xff]),
        ("noise", &[0xff; 100], b""),
    ];
    for (what, bytes, own) in cases {
        let mut client = bench.stack.client().await;
        client.write(bytes).await;
        client.write("\r\n\r\n\r\n\r\n").await;
        let mut answer = Vec::new();
        client.drain_with(|part| answer.extend_from_slice(part)).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer == own || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{what}: {text}"
        );
        bench.assert_undisturbed().await;
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off_at_the_deadline() {
    let mut bench = Bench::with(Setup::new().agent("limits.head-timeout", "1s")).await;
    let host = bench.origin.addr();
    let mut slow = Vec::new();
    for start in [
        String::new(),
        "G".to_owned(),
        format!("GET http://{host}/ HTTP/1.1\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: "),
    ] {
        let mut client = bench.stack.client().await;
        client.write(&start).await;
        slow.push((start, client));
    }
    let started = Instant::now();
    for (start, client) in slow {
        // One byte after the other must not keep it open either.
        let (tcp, _) = client.into_parts();
        let (mut read, mut write) = tcp.into_split();
        let trickle = tokio::spawn(async move {
            if start.is_empty() {
                return write; // This one says nothing at all.
            }
            while tokio::io::AsyncWriteExt::write_all(&mut write, b"x")
                .await
                .is_ok()
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            write
        });
        let mut answer = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer);
        let _ = within(Duration::from_secs(5), "the proxy gives up on a slow head", end).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
        trickle.abort();
    }
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    bench.assert_undisturbed().await;
}

#[tokio::test]
async fn many_slow_heads_do_not_keep_others_out() {
    let mut bench = Bench::with(Setup::new().agent("limits.head-timeout", "2s")).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = bench.stack.client().await;
        client.write("GET http://").await;
        slow.push(client);
    }
    let (_client, _upstream) = bench.stack.tunnel(&bench.origin).await;
    bench.assert_undisturbed().await;
    for mut client in slow {
        client.discard().await;
    }
}

#[tokio::test]
async fn clients_over_the_limit_do_not_hang() {
    let mut bench = Bench::with(Setup::new().agent("limits.clients", 10)).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(bench.stack.tunnel(&bench.origin).await);
    }
    // The eleventh is told, or closed; it does not hang.
    let mut one_more = bench.stack.client().await;
    let host = bench.origin.addr();
    let _ = one_more
        .try_write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    let mut answer = Vec::new();
    one_more.drain_with(|part| answer.extend_from_slice(part)).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1.1 503"), "{text}");
    bench.assert_undisturbed().await;
}

#[tokio::test]
async fn a_refusal_leaves_a_sentence_behind() {
    let bench = Bench::start().await;
    let head = bench
        .answer("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(head.status(), 400);
    let status = head.one("proxy-status").expect("Proxy-Status");
    assert!(status.contains("error=http_request_error"), "{status}");
    assert!(
        head.content_length().is_some_and(|length| length > 20),
        "{head:?}"
    );
}
