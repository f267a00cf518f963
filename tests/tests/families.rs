//! Hosts with addresses of both families: the one that won is begun with.

use fluidity_tests::{Peer, Setup, Stack, TestDns};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// One port of both families, taken by sockets that refuse until they listen.
fn closed_ports() -> (TcpSocket, TcpSocket, u16) {
    for _ in 0..100 {
        let v4 = TcpSocket::new_v4().expect("a socket");
        v4.bind(SocketAddr::new(V4, 0)).expect("bind 127.0.0.1");
        let port = v4.local_addr().expect("bound").port();
        let v6 = TcpSocket::new_v6().expect("a socket");
        if v6.bind(SocketAddr::new(V6, port)).is_ok() {
            return (v4, v6, port);
        }
    }
    panic!("no port that is free in both families");
}

/// Waits for a connection, and only for a moment where none is expected.
async fn accepted(listener: &TcpListener, expected: bool) -> bool {
    let wait = Duration::from_millis(if expected { 10_000 } else { 300 });
    let accepted = timeout(wait, listener.accept()).await;
    accepted.is_ok_and(|accepted| accepted.is_ok())
}

/// The host is reached by the one family that listens; then the other begins to listen, too, and it is asked for again.
async fn reached_twice(stack: &Stack, host: &str, first: TcpSocket, then: TcpSocket) {
    let port = first.local_addr().expect("bound").port();
    let first = first.listen(8).expect("listen");
    Peer::tunnel(stack.proxy(), format!("{host}:{port}")).await;
    assert!(accepted(&first, true).await, "{host} was not reached");
    let then = then.listen(8).expect("listen");
    for _ in 0..3 {
        Peer::tunnel(stack.proxy(), format!("{host}:{port}")).await;
        assert!(
            accepted(&first, true).await,
            "{host}: the family that won was not begun with"
        );
    }
    assert!(
        !accepted(&then, false).await,
        "{host}: the family that lost was dialled"
    );
}

#[tokio::test]
async fn the_family_that_won_is_begun_with_whichever_it_is() {
    let (one, other) = (closed_ports(), closed_ports());
    let dns = TestDns::start(&[("four.test", &[V4, V6]), ("six.test", &[V4, V6])]).await;
    let ports = [one.2, other.2];
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .allow_rule(json!({ "cidr": "127.0.0.1/32", "ports": ports }))
        .allow_rule(json!({ "cidr": "::1/128", "ports": ports }))
        .start()
        .await;
    let (v4, v6, _) = one;
    reached_twice(&stack, "four.test", v4, v6).await;
    let (v4, v6, _) = other;
    reached_twice(&stack, "six.test", v6, v4).await;
}
