//! What browsers, curl, Go, Node and older clients really send: it arrives as it was meant, or is refused with the
//! right status; and behind each of them the next client's request gets its own answer.

use fluidity_tests::{Origin, Peer, Served, Stack};
use std::fmt::Write;
use std::time::Duration;

/// Answers each request with what arrived, byte for byte.
fn mirror(origin: Origin) -> Served {
    origin.serve(|mut peer| async move {
        while let Some((head, body)) = arrived(&mut peer).await {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                head.len() + body.len()
            );
            // HEAD has no body; none of the requests here is one.
            if peer.try_write(std::mem::take(&mut answer)).await.is_err() {
                return;
            }
            let _ = peer.try_write([head, body].concat()).await;
        }
    })
}

async fn arrived(peer: &mut Peer) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = peer.read_up_to(1).await.ok().filter(|byte| !byte.is_empty())?;
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.split("content-length: ").nth(1).map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a length")
    });
    let mut body = Vec::new();
    if let Some(length) = length {
        body = peer.read_exact(length).await.to_vec();
    } else if text.contains("transfer-encoding: chunked") {
        body = peer.read_through(b"0\r\n\r\n").await.to_vec();
    }
    Some((head, body))
}

/// What becomes of a request.
enum Fate {
    /// The origin gets a head that has all of these in it.
    Arrives(&'static [&'static [u8]]),
    /// The proxy answers by itself.
    Answered(u16),
}
use Fate::{Answered, Arrives};

/// `ORIGIN` stands for the origin's address, `PORT` for its port.
struct Row(&'static str, &'static [u8], Fate);

const PLAIN: &[u8] = b" HTTP/1.1\r\nHost: x\r\n\r\n";

#[rustfmt::skip]
const URLS: &[(&str, &[u8], Fate)] = &[
    ("braces and quotes in a query", b"/q?query=up{job=\"n\"}", Arrives(&[b"GET /q?query=up{job=%22n%22} HTTP/1.1\r\n"])),
    ("a name in angle brackets", b"/list/<name>", Arrives(&[b"GET /list/%3Cname%3E HTTP/1.1\r\n"])),
    ("angle brackets in a query", b"/f?q=a<b>c", Arrives(&[b"GET /f?q=a%3Cb%3Ec HTTP/1.1\r\n"])),
    ("a backtick in a path", b"/a`b", Arrives(&[b"GET /a%60b HTTP/1.1\r\n"])),
    ("a backtick in a query", b"/?a`b", Arrives(&[b"GET /?a`b HTTP/1.1\r\n"])),
    ("quotes in a path", b"/\"a\"", Arrives(&[b"GET /\"a\" HTTP/1.1\r\n"])),
    ("a bar, a caret, a backslash", b"/a|b^c\\d?e|f^g\\h", Arrives(&[b"GET /a|b^c\\d?e|f^g\\h HTTP/1.1\r\n"])),
    ("brackets and braces", b"/a[0]{b}?c[]={d}", Arrives(&[b"GET /a[0]{b}?c[]={d} HTTP/1.1\r\n"])),
    ("UTF-8", "/caf\u{e9}?q=\u{20ac}".as_bytes(), Arrives(&["GET /caf\u{e9}?q=\u{20ac} HTTP/1.1\r\n".as_bytes()])),
    ("Latin-1 in a path", b"/caf\xe9", Arrives(&[b"GET /caf%E9 HTTP/1.1\r\n"])),
    ("Latin-1 in a query", b"/f?q=caf\xe9", Arrives(&[b"GET /f?q=caf%E9 HTTP/1.1\r\n"])),
    ("what is encoded already, or badly", b"/%2f%zz%25%2525?%", Arrives(&[b"GET /%2f%zz%25%2525?% HTTP/1.1\r\n"])),
    ("a fragment", b"/a?b#c", Arrives(&[b"GET /a?b HTTP/1.1\r\n"])),
    ("a fragment behind nothing", b"#c/d?e", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    ("a query behind nothing", b"?a=b", Arrives(&[b"GET /?a=b HTTP/1.1\r\n"])),
    ("dots and double slashes", b"//a/./../b//", Arrives(&[b"GET //a/./../b// HTTP/1.1\r\n"])),
    ("a URL in a URL", b"/go?to=http://user@h:1/x#y", Arrives(&[b"GET /go?to=http://user@h:1/x HTTP/1.1\r\n"])),
    ("a space", b"/a b", Answered(400)),
    ("a tab", b"/a\tb", Answered(400)),
    ("a NUL", b"/a\0b", Answered(400)),
    ("a bare CR", b"/a\rb", Answered(400)),
    ("a DEL", b"/a\x7fb", Answered(400)),
];

#[rustfmt::skip]
const REQUESTS: &[Row] = &[
    Row("an empty Host", b"GET http://ORIGIN/ HTTP/1.1\r\nHost:\r\n\r\n", Arrives(&[b"Host: ORIGIN\r\n"])),
    Row("no Host", b"GET http://ORIGIN/ HTTP/1.1\r\n\r\n", Arrives(&[b"Host: ORIGIN\r\n"])),
    Row("another Host", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: other\r\n\r\n", Arrives(&[b"Host: ORIGIN\r\n"])),
    Row("two Hosts", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", Answered(400)),
    Row("an upper-case scheme", b"GET HTTP://ORIGIN/a HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(&[b"GET /a HTTP/1.1\r\n"])),
    Row("a dot behind the host", b"GET http://127.0.0.1.:PORT/a HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(&[b"GET /a HTTP/1.1\r\n"])),
    Row("a user in the URL", b"GET http://u:p@ORIGIN/a HTTP/1.1\r\nHost: x\r\n\r\n", Answered(400)),
    Row("a lower-case method", b"get http://ORIGIN/ HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(&[b"get / HTTP/1.1\r\n"])),
    Row("a method of WebDAV", b"PROPFIND http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n", Arrives(&[b"PROPFIND / HTTP/1.1\r\n", b"Depth: 1\r\n"])),
    Row("a method with a hyphen", b"M-SEARCH http://ORIGIN/ HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(&[b"M-SEARCH / HTTP/1.1\r\n"])),
    Row("QUERY with a body", b"QUERY http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", Arrives(&[b"QUERY / HTTP/1.1\r\n", b"\r\n\r\nhi"])),
    Row("GET with a body", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", Arrives(&[b"\r\n\r\nhi"])),
    Row("a wish to upgrade that is none", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\r\n", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    Row("curl's wish for HTTP/2", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    Row("HTTP/1.0 that is kept alive", b"GET http://ORIGIN/ HTTP/1.0\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\n\r\n", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    Row("a minor version of the future", b"GET http://ORIGIN/ HTTP/1.2\r\nHost: x\r\n\r\n", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    Row("HTTP/2 without an upgrade", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Answered(400)),
    Row("empty lines before", b"\r\n\r\nGET http://ORIGIN/a HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(&[b"GET /a HTTP/1.1\r\n"])),
    Row("lines that end in LF", b"GET http://ORIGIN/a HTTP/1.1\nHost: x\nX: y\n\n", Arrives(&[b"GET /a HTTP/1.1\r\n", b"X: y\r\n"])),
    Row("two spaces in the line", b"GET  http://ORIGIN/a HTTP/1.1\r\nHost: x\r\n\r\n", Answered(400)),
    Row("Expect in odd letters", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi", Arrives(&[b"\r\n\r\nhi"])),
    Row("names of odd letters", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX_y.z!#$%&'*+^`|~: 1\r\n\r\n", Arrives(&[b"X_y.z!#$%&'*+^`|~: 1\r\n"])),
    Row("values of odd letters", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX-A: caf\xe9\tb \"\r\nX-B:\r\n\r\n", Arrives(&[b"X-A: caf\xe9\tb \"\r\n", b"X-B:\r\n"])),
    Row("no space behind the colon", b"GET http://ORIGIN/ HTTP/1.1\r\nHost:x\r\nX-A:1\r\n\r\n", Arrives(&[b"X-A: 1\r\n"])),
    Row("a space before the colon", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX-A : 1\r\n\r\n", Answered(400)),
    Row("a folded line", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n 2\r\n\r\n", Answered(400)),
    Row("a NUL in a value", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n", Answered(400)),
    Row("a bare CR in a value", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n", Answered(400)),
    Row("one length twice", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-A: 1\r\ncontent-length: 2\r\n\r\nhi", Arrives(&[b"X-A: 1\r\n", b"\r\n\r\nhi"])),
    Row("one length as a list", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nhi", Arrives(&[b"ontent-Length: 2\r\n", b"\r\n\r\nhi"])),
    Row("no length twice", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", Arrives(&[b"GET / HTTP/1.1\r\n"])),
    Row("two lengths", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", Answered(400)),
    Row("two lengths as a list", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 3\r\n\r\nhi!", Answered(400)),
    Row("a length and chunks", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Answered(400)),
    Row("chunks", b"POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n", Arrives(&[b"hi"])),
    Row("a URL of https", b"GET https://ORIGIN/ HTTP/1.1\r\nHost: x\r\n\r\n", Answered(501)),
    Row("a tunnel with an empty body", b"CONNECT ORIGIN HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nProxy-Connection: keep-alive\r\n\r\n", Answered(200)),
    Row("a tunnel by HTTP/1.0", b"CONNECT ORIGIN HTTP/1.0\r\n\r\n", Answered(200)),
];

fn filled(text: &[u8], origin: &Served) -> Vec<u8> {
    let text = text.iter().fold(String::new(), |mut hex, byte| {
        // Latin-1 in and out: every byte stays what it is.
        hex.push(char::from(*byte));
        hex
    });
    let text = text.replace("ORIGIN", &origin.addr().to_string());
    let text = text.replace("PORT", &origin.addr().port().to_string());
    text.chars()
        .map(|letter| u8::try_from(u32::from(letter)).expect("Latin-1"))
        .collect()
}

/// Two daemons, an origin, and what was wrong so far.
struct Bench {
    stack: Stack,
    origin: Served,
    wrong: String,
}

impl Bench {
    async fn start() -> Self {
        let origin = mirror(Origin::bind().await);
        Self {
            stack: Stack::for_origin(origin.addr()).await,
            origin,
            wrong: String::new(),
        }
    }

    /// Plays one request, and another client's behind it; what was wrong is written down.
    async fn play(&mut self, what: &str, request: &[u8], fate: &Fate) {
        let Self { stack, origin, wrong } = self;
        let mut client = stack.client().await.with_deadline(Duration::from_secs(40));
        client.write(filled(request, origin)).await;
        let mut head = client.read_head().await;
        while head.status() == 100 {
            head = client.read_head().await;
        }
        match fate {
            Answered(status) if head.status() == *status => {}
            Answered(status) => writeln!(wrong, "{what}: {} instead of {status}", head.line).unwrap(),
            Arrives(parts) if head.status() == 200 => {
                let length = head.content_length().expect("the mirror says it");
                let got = client.read_exact(length.try_into().expect("small")).await;
                for part in *parts {
                    let part = filled(part, origin);
                    if !got.windows(part.len()).any(|window| window == part) {
                        let (part, got) = (String::from_utf8_lossy(&part), String::from_utf8_lossy(&got));
                        writeln!(wrong, "{what}: no {part:?} in {got:?}").unwrap();
                    }
                }
                let lengths = String::from_utf8_lossy(&got)
                    .to_lowercase()
                    .matches("content-length")
                    .count();
                if lengths > 1 {
                    writeln!(wrong, "{what}: {lengths} lengths").unwrap();
                }
            }
            Arrives(_) => writeln!(wrong, "{what}: {}", head.line).unwrap(),
        }
        let (status, seen) = stack.get(origin.addr(), "/next").await;
        if status != 200 || !seen.starts_with("GET /next HTTP/1.1\r\n") {
            writeln!(wrong, "behind {what}: {status} {seen:?}").unwrap();
        }
    }
}

#[tokio::test]
async fn what_clients_write_into_urls_arrives_and_what_could_be_misread_is_refused() {
    let mut bench = Bench::start().await;
    for (what, path, fate) in URLS {
        let request = [b"GET http://ORIGIN", *path, PLAIN].concat();
        bench.play(what, &request, fate).await;
    }
    assert!(bench.wrong.is_empty(), "{}", bench.wrong);
}

#[tokio::test]
async fn odd_requests_arrive_as_they_were_meant_or_are_refused() {
    let mut bench = Bench::start().await;
    for Row(what, request, fate) in REQUESTS {
        bench.play(what, request, fate).await;
    }
    assert!(bench.wrong.is_empty(), "{}", bench.wrong);
}

#[tokio::test]
async fn a_long_url_arrives_whole_and_one_too_long_is_said_to_be() {
    let origin = mirror(Origin::bind().await);
    let setup = fluidity_tests::Setup::new().agent("limits.head-size", "256KiB");
    let stack = setup.allow(origin.addr()).start().await;
    for (length, status) in [(60_000, 200), (100_000, 414)] {
        let mut client = stack.client().await;
        let path = "a".repeat(length);
        client
            .write(format!("GET http://{}/{path} HTTP/1.1\r\n\r\n", origin.addr()))
            .await;
        let (head, body) = client.read_response().await;
        assert_eq!(head.status(), status, "{length}");
        if status == 200 {
            assert!(body.starts_with(format!("GET /{path} HTTP/1.1\r\n").as_bytes()));
        }
    }
}

#[tokio::test]
async fn an_empty_line_behind_a_request_begins_no_other() {
    let origin = mirror(Origin::bind().await);
    let setup = fluidity_tests::Setup::new().agent("limits.head-timeout", "1s");
    let stack = setup.allow(origin.addr()).start().await;
    let ask = |path: &str| {
        format!(
            "POST http://{}{path} HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\r\n",
            origin.addr()
        )
    };
    let mut client = stack.client().await;
    for path in ["/1", "/2", "/3"] {
        client.write(ask(path)).await;
        let (head, body) = client.read_response().await;
        assert_eq!(head.status(), 200);
        assert!(body.starts_with(format!("POST {path} HTTP/1.1\r\n").as_bytes()));
    }
    // Nothing is owed for an empty line, however long it is the last that came.
    client.write("\r\n").await;
    let answered = tokio::time::timeout(Duration::from_secs(2), client.read_some()).await;
    assert!(answered.is_err(), "an answer to an empty line: {answered:?}");
    client.write(ask("/4")).await;
    assert_eq!(client.read_head().await.status(), 200);
}
