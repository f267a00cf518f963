//! Dialling real sockets on loopback, by permits that allow it.

use super::*;
use crate::breaker::BreakerOptions;
use crate::policy::PermittedAddr;
use crate::policy::{DefaultAction, Policy, Rule};
use crate::resolve::ResolverOptions;
use fluidity_wire::Target;
use fluidity_wire::tls::AgentId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

fn dialer(timeout: Duration, attempts: usize) -> Dialer {
    let resolver = ResolverOptions {
        servers: vec![String::from("127.0.0.1:1").try_into().unwrap()],
        timeout: Duration::from_millis(100),
        cache_entries: 0,
    };
    let breaker = BreakerOptions {
        failures: 2,
        open_for: Duration::from_secs(60),
        targets: 10,
    };
    let options = DialOptions {
        timeout,
        attempts,
        retry_initial: Duration::from_millis(10),
    };
    Dialer::new(Resolver::new(&resolver), options, Breakers::new(breaker))
}

pub(super) fn policy() -> Policy {
    let loopback: Vec<Rule> = serde_yaml::from_str("[{ cidr: 127.0.0.0/8 }, { cidr: '::1' }]").unwrap();
    Policy::new(DefaultAction::Allow, loopback, Vec::new())
}

pub(super) fn permit(target: &str) -> Permit {
    let target = Target::parse(target).unwrap();
    policy()
        .authorize(&AgentId::parse("laptop").unwrap(), &target)
        .unwrap()
}

/// A port that is taken, and refuses: nobody listens on it.
pub(super) fn closed() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

pub(super) fn permitted(addresses: &[IpAddr], port: u16) -> Vec<PermittedAddr> {
    permit(&format!("a.example:{port}")).addresses(addresses).unwrap()
}

#[tokio::test]
async fn a_refusal_is_told_and_after_enough_of_them_the_target_is_left_alone() {
    let (_socket, port) = closed();
    let (dialer, permit) = (
        dialer(Duration::from_secs(5), 1),
        permit(&format!("127.0.0.1:{port}")),
    );
    for _ in 0..2 {
        assert_eq!(
            dialer.dial(&permit, &Span::default()).await.unwrap_err(),
            DialError::Refused
        );
    }
    assert_eq!(
        dialer.dial(&permit, &Span::default()).await.unwrap_err(),
        DialError::BreakerOpen
    );
    assert_eq!(dialer.breakers().failing(), 1);
}

#[tokio::test]
async fn another_round_reaches_a_target_that_just_came_up() {
    let (socket, port) = closed();
    let (dialer, permit) = (
        dialer(Duration::from_secs(20), 10),
        permit(&format!("127.0.0.1:{port}")),
    );
    let nobody = Span::default();
    let dial = dialer.dial(&permit, &nobody);
    let up = async {
        // After the first refusal, which the first poll of the dial has caused.
        tokio::task::yield_now().await;
        socket.listen(8).unwrap()
    };
    let (dialled, _listener) = tokio::join!(dial, up);
    assert_eq!(dialled.unwrap().peer_addr().unwrap().port(), port);
    assert_eq!(dialer.breakers().failing(), 0);
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_no_missing_name() {
    let dialer = dialer(Duration::from_secs(10), 1);
    let error = dialer
        .dial(&permit("a.example:80"), &Span::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::Resolve(ResolveError::Unreachable)),
        "{error:?}"
    );
    assert_eq!(error.reply_code(), ReplyCode::ResolveFailed);
    assert_eq!(dialer.breakers().failing(), 0, "says nothing of the target");
}
