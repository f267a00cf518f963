//! Sessions to an origin are used again: a client without CONNECT does not pay for a dial each time.

use fluidity_tests::{Origin, Peer, Stack};
use std::net::SocketAddr;

const CLIENTS: usize = 48;

/// One request on each connection, all at once.
async fn ask(clients: Vec<Peer>, origin: SocketAddr) -> Vec<Peer> {
    let asked = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client
                .write(format!("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n"))
                .await;
            let (head, body) = client.read_response().await;
            assert_eq!((head.status(), &*body), (200, &b"hello"[..]));
            client
        })
    });
    let mut clients = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        clients.push(asked.await.expect("an answer"));
    }
    clients
}

#[tokio::test]
async fn as_many_sessions_wait_for_reuse_as_a_busy_client_has() {
    let web = Origin::bind().await.hello("hello");
    let stack = Stack::for_origin(web.addr()).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(stack.client().await);
    }
    for _ in 0..10 {
        clients = ask(clients, web.addr()).await;
    }
    // Once each, and a few more: a session is given back a moment after its answer was read.
    let dials = web.connections();
    assert!(
        dials <= CLIENTS * 2,
        "{dials} dials for {} requests",
        CLIENTS * 10
    );
}
