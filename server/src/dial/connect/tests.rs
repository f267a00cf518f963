//! Connecting to real sockets on loopback.

use super::super::tests::{closed, permit, permitted};
use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::net::TcpListener;

async fn connect(addresses: Vec<PermittedAddr>) -> Result<TcpStream, DialError> {
    let mut addresses = Addresses::new(permit("a.example:80"), addresses, None, None);
    addresses.connect(&Span::default()).await
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
    let stream = connect(addresses).await.unwrap();
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
    assert_eq!(connect(addresses).await.unwrap_err(), DialError::Refused);
    assert_eq!(connect(Vec::new()).await.unwrap_err(), DialError::Unreachable);
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
