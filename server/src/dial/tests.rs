//! Dialling real sockets on loopback, by permits that allow it.

use super::*;
use crate::breaker::BreakerOptions;
use crate::policy::{DefaultAction, Policy, Rule};
use crate::resolve::ResolverOptions;
use fluidity_wire::Target;
use fluidity_wire::tls::AgentId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::net::{TcpListener, TcpSocket};

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
    Dialer::new(Resolver::new(&resolver).unwrap(), options, Breakers::new(breaker))
}

fn policy() -> Policy {
    let loopback: Vec<Rule> = serde_yaml::from_str("[{ cidr: 127.0.0.0/8 }, { cidr: '::1' }]").unwrap();
    Policy::new(DefaultAction::Allow, loopback, Vec::new())
}

fn permit(target: &str) -> Permit {
    let target = Target::parse(target).unwrap();
    policy()
        .authorize(&AgentId::parse("laptop").unwrap(), &target)
        .unwrap()
}

/// A port that is taken, and refuses: nobody listens on it.
fn closed() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn permitted(addresses: &[IpAddr], port: u16) -> Vec<PermittedAddr> {
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
    assert_eq!(error, DialError::Resolve(ResolveError::Failed));
    assert_eq!(dialer.breakers().failing(), 0, "says nothing of the target");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody listens on ::1 or 127.0.0.2.
    let addresses = permitted(
        &[
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::new(127, 0, 0, 2).into(),
            Ipv4Addr::LOCALHOST.into(),
        ],
        port,
    );
    let stream = connect(&addresses, &Span::default()).await.unwrap();
    assert_eq!(
        stream.peer_addr().unwrap(),
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    );
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn of_many_failures_the_most_telling_is_told() {
    let (_socket, port) = closed();
    let addresses = permitted(
        &[Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()],
        port,
    );
    assert_eq!(
        connect(&addresses, &Span::default()).await.unwrap_err(),
        DialError::Refused
    );
    assert_eq!(
        connect(&[], &Span::default()).await.unwrap_err(),
        DialError::Unreachable
    );
    assert_eq!(
        more_telling(DialError::Unreachable, DialError::Timeout),
        DialError::Timeout
    );
    assert_eq!(
        more_telling(DialError::Refused, DialError::Timeout),
        DialError::Refused
    );
}

#[test]
fn families_take_turns_and_the_number_is_bounded() {
    let (four, six) = (
        |n| IpAddr::from([127, 0, 0, n]),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let shown = |first, addresses: &[IpAddr]| -> Vec<IpAddr> {
        let ordered = interleave(permitted(addresses, 80), first);
        ordered.iter().map(|address| address.get().ip()).collect()
    };
    assert_eq!(
        shown(None, &[six, six, four(1), four(2), four(3)]),
        [six, four(1), six, four(2), four(3)]
    );
    assert_eq!(
        shown(Some(Family::V4), &[six, four(1), four(2)]),
        [four(1), six, four(2)]
    );
    let many: Vec<_> = (1..100).map(four).collect();
    assert_eq!(shown(None, &many).len(), MOST_ADDRESSES);
}
