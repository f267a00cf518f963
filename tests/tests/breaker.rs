//! A target that fails is left alone for the agent that ran into it, and for no other.

use fluidity_tests::{Peer, Setup, TestAgent};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpSocket;

#[tokio::test]
async fn one_agents_failing_dials_close_the_target_to_itself_alone() {
    let taken = TcpSocket::new_v4().expect("a socket");
    taken
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .expect("bind");
    let target = taken.local_addr().expect("bound");
    let stack = Setup::new()
        .allow(target)
        .server("dial.attempts", 1)
        .server("breaker.open-for", "60s")
        .start()
        .await;
    let mut told = String::new();
    for _ in 0..12 {
        let (_, head) = Peer::try_tunnel(stack.proxy(), target).await;
        assert!(matches!(head.status(), 502 | 503), "{head:?}");
        told = head.one("proxy-status").unwrap_or_default().to_owned();
    }
    assert!(told.contains("left alone"), "{told}");

    stack.pki.issue_agent("phone");
    let mut settings = TestAgent::settings(&stack.pki, stack.server.quic());
    settings.set("identity", stack.pki.identity("phone"));
    let phone = TestAgent::start(&settings).await;
    phone.ready(Duration::from_secs(30)).await;
    let (_, head) = Peer::try_tunnel(phone.proxy(), target).await;
    let told = head.one("proxy-status").unwrap_or_default();
    assert!(told.contains("refused the connection"), "{told}");

    // It is there again: the other reaches it, and the first has to wait all the same.
    let listener = taken.listen(8).expect("listen");
    Peer::tunnel(phone.proxy(), target).await;
    listener.accept().await.expect("accept");
    let (_, head) = Peer::try_tunnel(stack.proxy(), target).await;
    assert_ne!(head.status(), 200, "{head:?}");
}
