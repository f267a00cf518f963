//! Odd answers of origins, one after the other: what must come of each, and that nobody else notices.

use crate::http::Head;
use crate::origin::{Origin, Served};
use crate::peer::{Ending, Peer};
use crate::stack::Stack;
use std::sync::Arc;

/// One odd answer, and what must come of it.
#[derive(Debug)]
pub struct Row {
    what: &'static str,
    method: &'static str,
    answer: Vec<u8>,
    then: Then,
    right: Right,
    /// Bytes that the client's head has.
    has: Vec<&'static [u8]>,
    /// Bytes that it has not, in lower case.
    lacks: Vec<&'static str>,
}

/// What the origin does behind its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Waits for the next request.
    Keeps,
    Closes,
    Resets,
}

#[derive(Clone, Debug)]
pub enum Right {
    /// The client gets this status and this body, whole.
    Whole(u16, Vec<u8>),
    /// A 502 that says this.
    Refused(&'static str),
    /// A 200 with a part of this body, and then a reset.
    Cut(Vec<u8>),
}

/// A 200 with these fields and body, which is passed on as `right`.
pub fn whole(what: &'static str, rest: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> Row {
    let answer = [b"HTTP/1.1 200 OK\r\n", rest.as_ref()].concat();
    row(what, answer, Right::Whole(200, right.as_ref().to_vec()))
}

/// A 200 with these fields, which is refused for this reason.
pub fn refused(what: &'static str, rest: impl AsRef<[u8]>, reason: &'static str) -> Row {
    row(
        what,
        [b"HTTP/1.1 200 OK\r\n", rest.as_ref()].concat(),
        Right::Refused(reason),
    )
}

/// A 200 with a body that breaks off.
pub fn cut(what: &'static str, rest: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> Row {
    let answer = [b"HTTP/1.1 200 OK\r\n", rest.as_ref()].concat();
    row(what, answer, Right::Cut(right.as_ref().to_vec()))
}

/// Any bytes.
pub fn raw(what: &'static str, answer: impl AsRef<[u8]>, right: Right) -> Row {
    row(what, answer.as_ref().to_vec(), right)
}

fn row(what: &'static str, answer: Vec<u8>, right: Right) -> Row {
    Row {
        what,
        method: "GET",
        answer,
        then: Then::Keeps,
        right,
        has: Vec::new(),
        lacks: Vec::new(),
    }
}

impl Row {
    pub fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    pub fn has(mut self, bytes: &'static (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.has.push(bytes.as_ref());
        self
    }

    pub fn lacks(mut self, text: &'static str) -> Self {
        self.lacks.push(text);
        self
    }
}

pub fn good(body: &str) -> Right {
    Right::Whole(200, body.as_bytes().to_vec())
}

/// An origin that answers `/N` with the row of that number, and anything else with its own path.
async fn play(rows: &[Row], peer: &mut Peer) {
    while let Some(head) = peer.next_request().await {
        let path = head.line.split(' ').nth(1).expect("a path").to_owned();
        let Some(row) = path
            .trim_start_matches('/')
            .parse()
            .ok()
            .and_then(|number: usize| rows.get(number))
        else {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            if peer.try_write(answer).await.is_err() {
                return;
            }
            continue;
        };
        if peer.try_write(&row.answer).await.is_err() {
            return;
        }
        match row.then {
            Then::Keeps => {}
            Then::Closes => {
                peer.finish().await;
                peer.discard().await;
                return;
            }
            Then::Resets => return,
        }
    }
}

fn serve(origin: Origin, rows: Vec<Row>) -> (Served, Arc<Vec<Row>>) {
    let rows = Arc::new(rows);
    let shared = rows.clone();
    let served = origin.serve(move |mut peer| {
        let rows = shared.clone();
        async move {
            play(&rows, &mut peer).await;
            peer.reset();
        }
    });
    (served, rows)
}

/// Asks on a connection that is kept; the answer's head as it came, after those of 1xx.
pub async fn ask(client: &mut Peer, method: &str, url: &str) -> (Head, Vec<u8>) {
    let host = url
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    client
        .write(format!(
            "{method} {url} HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\n\r\n"
        ))
        .await;
    loop {
        let bytes = client.read_through(b"\r\n\r\n").await;
        let head = Head::parse(&bytes);
        if head.status() >= 200 || head.status() == 101 {
            return (head, bytes.to_vec());
        }
    }
}

pub async fn body(client: &mut Peer, head: &Head) -> Vec<u8> {
    if head.chunked() {
        return client.read_chunked().await.0;
    }
    let length = head
        .content_length()
        .expect("the client can tell where the body ends");
    client
        .read_exact(usize::try_from(length).expect("a short body"))
        .await
        .to_vec()
}

/// The odd answer, on a connection of its own. Returns it, if it can still be used.
async fn check(row: &Row, client: &mut Peer, url: &str) -> bool {
    let what = row.what;
    let (head, bytes) = ask(client, row.method, url).await;
    let lower = String::from_utf8_lossy(&bytes).to_lowercase();
    for needle in &row.has {
        assert!(
            bytes.windows(needle.len()).any(|window| window == *needle),
            "{what}: no {:?} in {head:?}",
            String::from_utf8_lossy(needle)
        );
    }
    for needle in &row.lacks {
        assert!(!lower.contains(needle), "{what}: {needle:?} in {head:?}");
    }
    let bodiless = row.method == "HEAD" || matches!(head.status(), 204 | 304);
    match &row.right {
        Right::Whole(status, right) => {
            assert_eq!(head.status(), *status, "{what}: {head:?}");
            if !bodiless {
                let body = body(client, &head).await;
                assert_eq!(
                    String::from_utf8_lossy(&body),
                    String::from_utf8_lossy(right),
                    "{what}: {head:?}"
                );
            }
            !head.all("connection").contains(&"close")
        }
        Right::Refused(reason) => {
            assert_eq!(head.status(), 502, "{what}: {head:?}");
            let said = head.one("proxy-status").expect("a Proxy-Status");
            assert!(said.starts_with("fluidity; error="), "{what}: {said}");
            if !bodiless {
                let text = String::from_utf8(body(client, &head).await).expect("text");
                assert!(text.contains(reason), "{what}: {text}");
            }
            assert!(said.contains(reason), "{what}: {said}");
            true
        }
        Right::Cut(right) => {
            assert_eq!(head.status(), 200, "{what}: {head:?}");
            let mut got = Vec::new();
            let end = client.drain_with(|part| got.extend_from_slice(part)).await.end;
            assert_eq!(
                end,
                Ending::Reset,
                "{what}: a cut never looks like an end, after {got:?}"
            );
            if head.chunked() {
                assert!(
                    !got.ends_with(b"\r\n0\r\n\r\n") && got != b"0\r\n\r\n",
                    "{what}: {got:?}"
                );
            } else {
                assert!(right.starts_with(&got), "{what}: {got:?}");
            }
            false
        }
    }
}

/// Each row in turn, with another client behind it.
pub async fn torture(rows: Vec<Row>) {
    let origin = Origin::bind().await;
    let addr = origin.addr();
    let (_served, rows) = serve(origin, rows);
    let stack = Stack::for_origin(addr).await;
    let mut other = stack.client().await;
    for (number, row) in rows.iter().enumerate() {
        let mut client = stack.client().await;
        let kept = check(row, &mut client, &format!("http://{addr}/{number}")).await;
        let own = format!("/other/{number}");
        let (head, _) = ask(&mut other, "GET", &format!("http://{addr}{own}")).await;
        assert_eq!(head.status(), 200, "after {}: {head:?}", row.what);
        let got = body(&mut other, &head).await;
        assert_eq!(String::from_utf8_lossy(&got), own, "after {}", row.what);
        if kept {
            let own = format!("/same/{number}");
            let (head, _) = ask(&mut client, "GET", &format!("http://{addr}{own}")).await;
            let got = body(&mut client, &head).await;
            assert_eq!(
                (head.status(), String::from_utf8_lossy(&got).as_ref()),
                (200, own.as_str()),
                "after {}",
                row.what
            );
        }
    }
}
