//! Heads of old, odd and hostile origins (RFC 9112 §2.2, §4, §5): each has one right outcome, and the next request to the
//! same origin, by another client, gets its own answer. Bodies are in `bad_answers_bodies.rs`.

use fluidity_tests::odd::{Right, Then, ask, body, good, raw, refused, torture, whole};
use fluidity_tests::{Origin, Stack, within};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const LENGTH: &str = "Content-Length: 5\r\n\r\nhello";
const CHUNKS: &str = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn status_lines_of_every_kind() {
    let version = "its version is not HTTP/1.1 or HTTP/1.0";
    let status = "its status line has no status of three digits";
    let name = "it does not begin with HTTP/";
    torture(vec![
        raw("no reason", format!("HTTP/1.1 200\r\n{LENGTH}"), good("hello")),
        raw(
            "no reason but its space",
            format!("HTTP/1.1 200 \r\n{LENGTH}"),
            good("hello"),
        ),
        raw(
            "bare line feeds",
            "HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 5\n\nhello",
            good("hello"),
        )
        .has("X-A: 1\r\n"),
        raw(
            "empty lines before it",
            format!("\r\n\r\n\nHTTP/1.1 200 OK\r\n{LENGTH}"),
            good("hello"),
        ),
        raw(
            "more space",
            format!("HTTP/1.1 \t 200  OK\r\n{LENGTH}"),
            good("hello"),
        ),
        raw("HTTP/1.2", format!("HTTP/1.2 200 OK\r\n{LENGTH}"), good("hello")).has("HTTP/1.1 200"),
        raw(
            "HTTP/1.2, chunked",
            format!("HTTP/1.2 200 OK\r\n{CHUNKS}"),
            good("hello"),
        ),
        raw("HTTP/1.0", format!("HTTP/1.0 200 OK\r\n{LENGTH}"), good("hello")).has("HTTP/1.1 200"),
        raw(
            "HTTP/1.0 with keep-alive",
            format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{LENGTH}"),
            good("hello"),
        ),
        raw(
            "HTTP/1.0 up to its close",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            good("hello"),
        )
        .then(Then::Closes),
        raw(
            "HTTP/1.1 up to its close",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            good("hello"),
        )
        .then(Then::Closes),
        raw(
            "obs-text in the reason",
            [b"HTTP/1.1 200 \xfcber\r\n", LENGTH.as_bytes()].concat(),
            good("hello"),
        ),
        raw(
            "a control byte in the reason",
            format!("HTTP/1.1 200 O\x01\0K\r\n{LENGTH}"),
            good("hello"),
        )
        .lacks("\x01")
        .lacks("\0"),
        raw(
            "a status that nobody knows",
            format!("HTTP/1.1 799 Odd\r\n{LENGTH}"),
            Right::Whole(799, b"hello".to_vec()),
        ),
        raw(
            "HTTP/2.0",
            format!("HTTP/2.0 200 OK\r\n{LENGTH}"),
            Right::Refused(version),
        ),
        raw(
            "HTTP/0.9 with a head",
            format!("HTTP/0.9 200 OK\r\n{LENGTH}"),
            Right::Refused(version),
        ),
        raw(
            "HTTP/1",
            format!("HTTP/1 200 OK\r\n{LENGTH}"),
            Right::Refused(version),
        ),
        raw(
            "HTTP/11.1",
            format!("HTTP/11.1 200 OK\r\n{LENGTH}"),
            Right::Refused(version),
        ),
        raw(
            "HTTP/1.10",
            format!("HTTP/1.10 200 OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "two digits",
            format!("HTTP/1.1 20 OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "four digits",
            format!("HTTP/1.1 2000 OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "a signed status",
            format!("HTTP/1.1 +20 OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "a status below 100",
            format!("HTTP/1.1 099 OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "no space behind the status",
            format!("HTTP/1.1 200OK\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "no status",
            format!("HTTP/1.1\r\n{LENGTH}"),
            Right::Refused(status),
        ),
        raw(
            "lower case",
            format!("http/1.1 200 OK\r\n{LENGTH}"),
            Right::Refused(name),
        ),
        raw(
            "space before it",
            format!(" HTTP/1.1 200 OK\r\n{LENGTH}"),
            Right::Refused(name),
        ),
        raw(
            "another protocol",
            "SSH-2.0-OpenSSH_9.9\r\n",
            Right::Refused(name),
        ),
        raw(
            "a TLS alert",
            b"\x15\x03\x01\x00\x02\x02\x50",
            Right::Refused(name),
        ),
        raw("HTTP/0.9", "<html>hello</html>", Right::Refused(name)).then(Then::Closes),
        raw(
            "nothing",
            "",
            Right::Refused("closed the connection before it answered"),
        )
        .then(Then::Closes),
        raw(
            "empty lines alone",
            "\r\n\r\n",
            Right::Refused("in the middle of the head"),
        )
        .then(Then::Closes),
        raw(
            "half a status line",
            "HTTP/1.1 20",
            Right::Refused("in the middle of the head"),
        )
        .then(Then::Closes),
    ])
    .await;
}

#[tokio::test]
async fn fields_of_every_kind() {
    let colon = "a line among its fields has no colon";
    let name = "a field's name is malformed";
    let first = "there is whitespace before its first field";
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    torture(vec![
        whole("space before the colon", format!("X-A : 1\r\nX-B\t : 2\r\n{LENGTH}"), "hello").has("X-A: 1\r\n").has("X-B: 2\r\n"),
        whole("space before the colon of the length", "Content-Length : 5\r\n\r\nhello", "hello").has("5\r\n"),
        whole("space before the colon of the coding", "Transfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        whole("a folded line", format!("X-A: 1\r\n  2\r\n\t3\r\n{LENGTH}"), "hello").has("X-A: 1 2 3\r\n"),
        whole("a folded length", "Content-Length:\r\n 5\r\n\r\nhello", "hello").has("5\r\n"),
        whole("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        whole("a fold that would be a field", format!("X-A: 1\r\n Content-Length: 9\r\n{LENGTH}"), "hello").has("X-A: 1 Content-Length: 9\r\n"),
        whole("a line of space alone", format!("X-A: 1\r\n \r\n{LENGTH}"), "hello").has("X-A: 1\r\n"),
        whole("control bytes in a value", format!("X-A: a\x01b\x1bc\x7fd\te\r\n{LENGTH}"), "hello").has("X-A: a b c d\te\r\n"),
        whole("NUL in a value", format!("X-A: a\0b\r\n{LENGTH}"), "hello").has("X-A: a b\r\n"),
        whole("a bare CR in a value", format!("X-A: a\rX-B: 1\r\n{LENGTH}"), "hello").has("X-A: a X-B: 1\r\n"),
        whole("two CR at a line's end", format!("X-A: a\r\r\n{LENGTH}"), "hello").has("X-A: a\r\n"),
        whole("obs-text", [b"X-A: caf\xe9 \xff\xc3\xa9\r\n", LENGTH.as_bytes()].concat(), "hello").has(b"X-A: caf\xe9 \xff\xc3\xa9\r\n"),
        whole("an empty value", format!("X-A:\r\nX-B: \t \r\n{LENGTH}"), "hello").has("X-A: \r\n").has("X-B: \r\n"),
        whole("space around a value", format!("X-A: \t 1 \t\r\n{LENGTH}"), "hello").has("X-A: 1\r\n"),
        whole("every character of a name", format!("!#$%&'*+-.^_`|~9: 1\r\n{LENGTH}"), "hello").has("!#$%&'*+-.^_`|~9: 1\r\n"),
        whole("300 fields", format!("{}{LENGTH}", many(300)), "hello").has("X-0: 0\r\n").has("X-299: 299\r\n"),
        whole("3,000 fields", format!("{}{LENGTH}", many(3000)), "hello").has("X-0: 0\r\n").has("X-2999: 2999\r\n"),
        whole("a field of 60 KB", format!("X-A: {}\r\n{LENGTH}", "x".repeat(60_000)), "hello"),
        refused("5,000 fields", format!("{}{LENGTH}", many(5000)), "its head is larger than"),
        refused("5,000 short fields", format!("{}{LENGTH}", "a:1\r\n".repeat(5000)), "its head has more than"),
        refused("a field of 70 KB", format!("X-A: {}\r\n{LENGTH}", "x".repeat(70_000)), "its head is larger than"),
        refused("space before the first field", format!(" X-A: 1\r\n{LENGTH}"), first),
        refused("space before a first length", format!("\tContent-Length: 3\r\n{LENGTH}"), first),
        refused("an empty name", format!(": 1\r\n{LENGTH}"), name),
        refused("a space in a name", format!("X A: 1\r\n{LENGTH}"), name),
        refused("a control byte in a name", format!("X\x0b: 1\r\n{LENGTH}"), name),
        refused("NUL before the colon of a coding", format!("Transfer-Encoding\0: chunked\r\n{LENGTH}"), name),
        refused("a separator in a name", format!("X(A): 1\r\n{LENGTH}"), name),
        refused("obs-text in a name", [b"X\xe9: 1\r\n", LENGTH.as_bytes()].concat(), name),
        refused("no colon", format!("X-A\r\n{LENGTH}"), colon),
        refused("two status lines", format!("HTTP/1.1 200 OK\r\n{LENGTH}"), colon),
        refused("half a head", "X-A: 1\r\nContent-Len", "in the middle of the head").then(Then::Closes),
        whole("Proxy-Status in our name", format!("Proxy-Status: fluidity; error=dns_error\r\nProxy-Status: cdn; hit, \"Fluidity\"\r\nProxy-Status: other\r\n{LENGTH}"), "hello")
            .lacks("fluidity").has("Proxy-Status: other\r\n"),
        whole("fields between neighbours", format!("Connection: X-A, close\r\nX-A: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n{LENGTH}"), "hello")
            .lacks("x-a").lacks("upgrade").lacks("proxy-auth"),
        raw("407 of an origin", "HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", Right::Refused("which only a proxy may send"))
            .lacks("proxy-authenticate"),
        raw("401 of an origin", "HTTP/1.1 401 Login\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", Right::Whole(401, Vec::new())),
    ])
    .await;
}

#[tokio::test]
async fn informational_answers_of_every_kind() {
    let after = |first: &str| format!("{first}HTTP/1.1 200 OK\r\n{LENGTH}");
    torture(vec![
        raw(
            "100 unasked",
            after("HTTP/1.1 100 Continue\r\n\r\n"),
            good("hello"),
        ),
        raw("102", after("HTTP/1.1 102 Processing\r\n\r\n"), good("hello")),
        raw(
            "103",
            after("HTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n"),
            good("hello"),
        ),
        raw("199", after("HTTP/1.1 199\r\n\r\n"), good("hello")),
        raw(
            "one with a length and a coding",
            after("HTTP/1.1 103 Hints\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            good("hello"),
        ),
        raw(
            "one in HTTP/1.2, folded",
            after("HTTP/1.2 103 Hints\nX-A: 1\n 2\n\n"),
            good("hello"),
        ),
        raw(
            "one with empty lines around it",
            after("\r\nHTTP/1.1 103 Hints\r\n\r\n\r\n\r\n"),
            good("hello"),
        ),
        raw(
            "ten of them",
            after(&"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n".repeat(10)),
            good("hello"),
        ),
        raw(
            "one and then a bad head",
            "HTTP/1.1 103 Hints\r\n\r\nHTTP/2.0 200 OK\r\n\r\n",
            Right::Refused("its version"),
        ),
        raw(
            "one with a bad field",
            after("HTTP/1.1 103 Hints\r\nLink\r\n\r\n"),
            Right::Refused("has no colon"),
        ),
        raw(
            "one, and a close",
            "HTTP/1.1 103 Hints\r\n\r\n",
            Right::Refused("closed the connection before it answered"),
        )
        .then(Then::Closes),
        raw(
            "one and a half",
            "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 2",
            Right::Refused("in the middle of the head"),
        )
        .then(Then::Closes),
        raw(
            "101 unasked",
            "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
            Right::Refused("switched to another protocol unasked"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn hints_pass_without_what_would_frame_them() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET http://{}/ HTTP/1.1\r\nHost: a\r\n\r\n",
            origin.addr()
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write("HTTP/1.1 103 Hints\r\nLink : </a>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nProxy-Status: fluidity\r\n\r\n")
        .await;
    let hints = client.read_head().await;
    assert_eq!((hints.status(), hints.one("link")), (103, Some("</a>")));
    for name in ["content-length", "transfer-encoding", "proxy-status"] {
        assert_eq!(hints.one(name), None, "{hints:?}");
    }
    upstream.write(format!("HTTP/1.1 200 OK\r\n{LENGTH}")).await;
    assert_eq!(client.read_response().await.1, b"hello");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let origin = Origin::bind().await;
    let addr = origin.addr();
    let speak = Arc::new(Notify::new());
    let spoken = Arc::new(Notify::new());
    let (when, tell) = (speak.clone(), spoken.clone());
    let _served = origin.serve(move |mut peer| {
        let (speak, spoken) = (when.clone(), tell.clone());
        async move {
            let Some(head) = peer.next_request().await else {
                return;
            };
            let path = head.line.split(' ').nth(1).expect("a path").to_owned();
            peer.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            ))
            .await;
            if path == "/first" {
                speak.notified().await;
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
                    .await;
                // The session that waits is given up.
                peer.discard().await;
                spoken.notify_one();
            } else {
                peer.discard().await;
            }
        }
    });
    let stack = Stack::for_origin(addr).await;
    assert_eq!(ask_and_leave(&stack, addr, "/first").await, "/first");
    speak.notify_one();
    within(
        Duration::from_secs(30),
        "the origin's connection to end",
        spoken.notified(),
    )
    .await;
    assert_eq!(ask_and_leave(&stack, addr, "/second").await, "/second");
}

/// A request that leaves a session waiting for another.
async fn ask_and_leave(stack: &Stack, origin: SocketAddr, path: &str) -> String {
    let mut client = stack.client().await;
    let (head, _) = ask(&mut client, "GET", &format!("http://{origin}{path}")).await;
    assert_eq!(head.status(), 200, "{head:?}");
    String::from_utf8(body(&mut client, &head).await).expect("text")
}
