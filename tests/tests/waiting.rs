//! Sessions that wait for another request: one that is not fit for another client never gets one. Whatever the exchange
//! before left behind, the next client gets its own answer.

use fluidity_tests::{Origin, Peer, Stack, within};
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
/// What nobody asked for.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";

fn request(method: &str, origin: SocketAddr, more: &str) -> String {
    format!("{method} http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n{more}\r\n")
}

/// Another client asks, and gets its own answer from whichever connection the origin sees it on.
async fn another_gets_its_own(stack: &Stack, origin: &Origin, old: Peer, case: &str) {
    let mut client = stack.client().await;
    client
        .write(request("GET", origin.addr(), "X-Client: another\r\n"))
        .await;
    let answer = |mut peer: Peer| async move {
        while let Some(head) = peer.next_request().await {
            if head.one("x-client") == Some("another") {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown")
                    .await;
            }
        }
    };
    let asked = async {
        let (head, body) = client.read_response().await;
        assert_eq!((head.status(), &*body), (200, &b"own"[..]), "{case}");
    };
    tokio::select! {
        () = within(DEADLINE, case, asked) => {}
        () = async {
            // Either the old connection or a new one.
            let new = async { answer(origin.accept().await).await };
            tokio::join!(answer(old), new);
        } => panic!("{case}: nobody was asked"),
    }
}

/// One exchange, whatever comes back, and what the origin leaves behind.
async fn after(case: &str, method: &str, more: &str, said: &[&str]) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for _ in 0..10 {
        let mut first = stack.client().await;
        first.write(request(method, origin.addr(), more)).await;
        let mut upstream = origin.accept().await;
        upstream.next_request().await.expect("a request");
        upstream.write(said.concat()).await;
        let head = first.read_head().await;
        assert!((200..600).contains(&head.status()), "{case}: {head:?}");
        another_gets_its_own(&stack, &origin, upstream, case).await;
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    after("a second answer", "GET", "", &[ANSWER, STRAY]).await;
    after("half a head", "GET", "", &[ANSWER, "HTTP/1.1 200 O"]).await;
    after("a line end too many", "GET", "", &[ANSWER, "\r\n", STRAY]).await;
    after(
        "an interim answer",
        "GET",
        "",
        &[ANSWER, "HTTP/1.1 103 Early Hints\r\n\r\n", STRAY],
    )
    .await;
}

#[tokio::test]
async fn bodies_where_there_are_none_are_nobodys_answer() {
    after(
        "a body for HEAD",
        "HEAD",
        "",
        &["HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n", STRAY],
    )
    .await;
    after(
        "a body of a 204",
        "GET",
        "",
        &["HTTP/1.1 204 No Content\r\n\r\n", STRAY],
    )
    .await;
    after(
        "a body of a 304",
        "GET",
        "",
        &["HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n", STRAY],
    )
    .await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n";
    after("bytes behind the last chunk", "GET", "", &[chunked, STRAY]).await;
}

#[tokio::test]
async fn a_protocol_that_was_switched_to_is_no_session_to_wait() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    after("a 101 unasked", "GET", "", &[switched, STRAY]).await;
}

#[tokio::test]
async fn an_answer_that_comes_while_the_session_waits_is_nobodys() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut first = stack.client().await;
    first.write(request("GET", origin.addr(), "")).await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    upstream.write(ANSWER).await;
    assert_eq!(first.read_response().await.1, b"first");
    upstream
        .write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nstray")
        .await;
    // The agent closes what it cannot use.
    within(DEADLINE, "the session's end", upstream.discard()).await;
    another_gets_its_own(&stack, &origin, upstream, "an answer to nobody").await;
}

#[tokio::test]
async fn regression_a_408_that_was_on_its_way_when_the_request_came_is_no_answer_to_it() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut first = stack.client().await;
    first.write(request("GET", origin.addr(), "")).await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    upstream.write(ANSWER).await;
    assert_eq!(first.read_response().await.1, b"first");
    let mut second = stack.client().await;
    second.write(request("GET", origin.addr(), "")).await;
    upstream.next_request().await.expect("the same session");
    // Written before the origin had read the request, for all it knows.
    upstream
        .write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await;
    upstream.finish().await;
    let mut fresh = origin.accept().await;
    fresh.next_request().await.expect("once more");
    fresh
        .write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
        .await;
    let (head, body) = second.read_response().await;
    assert_eq!((head.status(), &*body), (200, &b"second"[..]));
}

#[tokio::test]
async fn the_rest_of_an_answer_that_a_client_left_is_nobodys() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for more in [
        "Content-Length: 43\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2b\r\n",
    ] {
        let mut first = stack.client().await;
        first.write(request("GET", origin.addr(), "")).await;
        let mut upstream = origin.accept().await;
        upstream.next_request().await.expect("a request");
        upstream.write(format!("HTTP/1.1 200 OK\r\n{more}")).await;
        assert_eq!(first.read_head().await.status(), 200);
        drop(first);
        // The agent cuts what nobody reads; what the origin says to that reaches nobody.
        let _ = upstream.try_write(STRAY).await;
        another_gets_its_own(&stack, &origin, upstream, "an unread rest").await;
    }
}

#[tokio::test]
async fn an_upload_that_was_cut_leaves_no_session_behind() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for answered in [false, true] {
        let mut first = stack.client().await;
        first
            .write(request("PUT", origin.addr(), "Content-Length: 100\r\n"))
            .await;
        first.write("half").await;
        let mut upstream = origin.accept().await;
        upstream.next_request().await.expect("a request");
        upstream.read_exact(4).await;
        if answered {
            upstream.write(ANSWER).await;
            assert_eq!(first.read_response().await.1, b"first");
        }
        first.reset();
        another_gets_its_own(&stack, &origin, upstream, "a cut upload").await;
    }
}
