//! Interim (1xx) answers: they pass, their number and what waits of them is bounded.

use fluidity_tests::{MIB, Origin, Peer, Stack, within};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// As `agent/src/inbound/forward.rs` has it.
const MOST: usize = 64;

fn hint(size: usize) -> String {
    format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </{}>; rel=preload\r\n\r\n",
        "a".repeat(size)
    )
}

async fn ask(stack: &Stack, origin: &Origin) -> (Peer, Peer) {
    let mut client = stack.client().await;
    let target = origin.addr();
    client
        .write(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    (client, upstream)
}

#[tokio::test]
async fn regression_interim_answers_without_end_to_a_client_that_does_not_read_are_stopped() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let before = stack.agent.rss();
    let (_client, mut upstream) = ask(&stack, &origin).await;
    let hint = hint(4_000);
    let mut sent = 0;
    // Far more than any buffer on the way holds, if nobody stops it.
    while sent < 400 * MIB && upstream.try_write(&hint).await.is_ok() {
        sent += hint.len() as u64;
    }
    let grown = stack.agent.rss().saturating_sub(before);
    assert!(sent < 400 * MIB, "the origin could say all of it");
    assert!(grown < 64 * MIB, "the agent has grown by {} MiB", grown / MIB);
}

#[tokio::test]
async fn regression_more_interim_answers_than_anybody_needs_are_a_502() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream) = ask(&stack, &origin).await;
    let flood = tokio::spawn(async move {
        let hint = hint(10);
        while upstream.try_write(&hint).await.is_ok() {}
    });
    let mut interim = 0;
    let (head, body) = loop {
        let head = client.read_head().await;
        if head.status() != 103 {
            let length = head.content_length().expect("words of the proxy");
            break (head, client.read_exact(length as usize).await);
        }
        interim += 1;
        assert!(interim <= MOST, "without end");
    };
    assert_eq!(head.status(), 502);
    assert!(String::from_utf8_lossy(&body).contains("interim"), "{body:?}");
    within(DEADLINE, "the end of the flood", flood)
        .await
        .expect("a task");
    // The client's connection goes on.
    let target = origin.addr();
    client
        .write(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    upstream.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.read_head().await.status(), 204);
}

#[tokio::test]
async fn as_many_interim_answers_as_are_allowed_pass_in_order_before_the_answer() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream) = ask(&stack, &origin).await;
    for number in 0..MOST {
        upstream
            .write(format!("HTTP/1.1 103 Early Hints\r\nX-Number: {number}\r\n\r\n"))
            .await;
        let head = client.read_head().await;
        assert_eq!(
            (head.status(), head.one("x-number")),
            (103, Some(&*number.to_string()))
        );
    }
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), body.as_slice()), (200, b"ok".as_slice()));
}
