//! When a CONNECT is answered: what `connect.answer` promises, and what becomes of a promise that cannot be kept.

use fluidity_tests::{Checker, Ending, Origin, Pattern, Peer, Setup, Stack};
use serde_json::json;

/// A CONNECT that was answered 200 though the target cannot be reached.
async fn promised_in_vain(stack: &Stack, target: impl ToString) {
    let (mut client, head) = Peer::try_tunnel(stack.proxy(), target).await;
    assert_eq!(head.status(), 200, "{head:?}");
    let drained = client.discard().await;
    assert_eq!(
        (drained.bytes, drained.end),
        (0, Ending::Reset),
        "never a clean end"
    );
}

async fn refused(stack: &Stack, target: impl ToString, status: u16) {
    let (_client, head) = Peer::try_tunnel(stack.proxy(), target).await;
    assert_eq!(head.status(), status, "{head:?}");
}

#[tokio::test]
async fn a_target_that_was_reached_lately_is_promised_and_one_that_fails_is_not_again() {
    let origin = Origin::bind().await;
    let address = origin.addr();
    let stack = Stack::for_origin(address).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    client.write("hello").await;
    assert_eq!(upstream.read_exact(5).await, "hello");
    drop((client, upstream, origin));
    promised_in_vain(&stack, address).await;
    refused(&stack, address, 502).await;
}

#[tokio::test]
async fn a_target_that_is_not_known_gets_an_honest_answer() {
    let origin = Origin::bind().await;
    let address = origin.addr();
    let stack = Stack::for_origin(address).await;
    drop(origin);
    refused(&stack, address, 502).await;
    refused(&stack, address, 502).await;
}

#[tokio::test]
async fn confirmed_never_promises() {
    let origin = Origin::bind().await;
    let address = origin.addr();
    let stack = Setup::new()
        .allow(address)
        .agent("connect.answer", "confirmed")
        .start()
        .await;
    drop((stack.tunnel(&origin).await, origin));
    refused(&stack, address, 502).await;
}

#[tokio::test]
async fn always_promises_and_a_denied_target_is_never_dialled() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("policy.deny", json!([{ "ports": [origin.addr().port()] }]))
        .agent("connect.answer", "always")
        .start()
        .await;
    promised_in_vain(&stack, origin.addr()).await;
    promised_in_vain(&stack, origin.addr()).await;
    origin.assert_never_dialled().await;
    let log = stack.agent.log();
    assert!(log.contains("denied-by-rule"), "the log says why: {log}");
}

#[tokio::test]
async fn what_is_sent_on_a_promise_arrives_once_and_in_order() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("connect.answer", "always")
        .start()
        .await;
    // With the request, and more than may go ahead of the server's answer.
    let sent = Pattern::new(7);
    let bytes = sent.bytes(1 << 20);
    let mut client = stack.client().await;
    let mut first = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr()).into_bytes();
    let (along, later) = bytes.split_at(100_000);
    first.extend_from_slice(along);
    let sending = async {
        client.write(&first).await;
        assert_eq!(client.read_head().await.status(), 200);
        client.write(later).await;
        client.finish().await;
    };
    let receiving = async {
        let mut upstream = origin.accept().await;
        let mut checker = Checker::new(sent);
        let drained = upstream.drain(&mut checker).await;
        upstream.write("thanks").await;
        upstream.finish().await;
        drained
    };
    let ((), drained) = tokio::join!(sending, receiving);
    assert_eq!((drained.bytes, drained.end), (1 << 20, Ending::Eof));
    assert_eq!(client.read_exact(6).await, "thanks");
    assert_eq!(client.discard().await.end, Ending::Eof);
}
