//! A server with few descriptors: whatever one agent does, another is served, and its own pages answer.

#![cfg(unix)]

use fluidity_tests::{Origin, Peer, TestAgent, TestPki, TestServer, until};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

const SOON: Duration = Duration::from_secs(60);
const FILES: u32 = 256;

struct Two {
    pki: TestPki,
    server: TestServer,
    laptop: TestAgent,
    phone: TestAgent,
}

/// A server with 256 descriptors, and two agents, to whom these ports are open.
async fn two_agents(ports: &[u16]) -> Two {
    let pki = TestPki::new();
    pki.issue_agent("phone");
    let mut settings = TestServer::settings(&pki);
    settings.set("policy.allow", json!([{ "cidr": "127.0.0.1", "ports": ports }]));
    let server = TestServer::start_with_open_files(&settings, FILES).await;
    let mut settings = TestAgent::settings(&pki, server.quic());
    settings.set("connect.answer", "confirmed");
    let laptop = TestAgent::start(&settings).await;
    settings.set("identity", pki.identity("phone"));
    let phone = TestAgent::start(&settings).await;
    laptop.ready(SOON).await;
    phone.ready(SOON).await;
    Two {
        pki,
        server,
        laptop,
        phone,
    }
}

/// What the server does for others meanwhile.
async fn assert_serves(two: &Two, origin: &Origin) {
    for _ in 0..5 {
        let _client = Peer::tunnel(two.phone.proxy(), origin.addr()).await;
        origin.accept().await;
    }
    let (code, page) = two.server.admin("/api/status").await;
    assert_eq!(code, 200, "{page}");
    let renewed = two.pki.pki(&["renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    two.server.signal("HUP");
    until(SOON, "the new identity is read", || async {
        let log = two.server.log();
        if log.contains("new identity: ") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

#[tokio::test]
async fn one_agents_sessions_leave_descriptors_for_another() {
    let origin = Origin::bind().await;
    let two = two_agents(&[origin.addr().port()]).await;
    assert!(
        two.server.log().contains("fewer sessions than limits.sessions"),
        "{}",
        two.server.log()
    );
    let mut held = Vec::new();
    let refusal = loop {
        let (client, head) = Peer::try_tunnel(two.laptop.proxy(), origin.addr()).await;
        if head.status() != 200 {
            break head;
        }
        held.push((client, origin.accept().await));
        assert!(held.len() < FILES as usize, "nothing stops it");
    };
    assert!(held.len() > 40, "it gets its share: {}", held.len());
    assert_eq!(refusal.status(), 503, "{refusal:?}");
    assert_serves(&two, &origin).await;
    // And what it has goes on.
    for (client, upstream) in &mut held {
        client.write("ping").await;
        assert_eq!(upstream.read_exact(4).await, "ping");
    }
}

/// A listener whose queue is full: who connects to it waits.
async fn full() -> (TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .expect("bind");
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let connect = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(500), connect).await {
            Ok(Ok(stream)) => waiting.push(stream),
            _ => return (listener, waiting),
        }
    }
    panic!("its queue has no end");
}

#[tokio::test]
async fn one_agents_dials_that_hang_leave_descriptors_for_another() {
    let (listener, _waiting) = full().await;
    let silent = listener.local_addr().expect("bound");
    let origin = Origin::bind().await;
    let two = two_agents(&[origin.addr().port(), silent.port()]).await;
    let mut asking = Vec::new();
    for _ in 0..FILES + 50 {
        let mut client = Peer::dial(two.laptop.proxy()).await.with_deadline(SOON);
        let asked = format!("CONNECT {silent} HTTP/1.1\r\nHost: {silent}\r\n\r\n");
        client.write(asked).await;
        asking.push(client);
    }
    // The last of them is answered when all the others are under way, or have been refused.
    let answer = asking.last_mut().expect("many").read_head().await;
    assert_ne!(answer.status(), 200, "{answer:?}");
    assert_serves(&two, &origin).await;
}
