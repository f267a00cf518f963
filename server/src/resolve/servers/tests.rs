//! Name servers that the test plays on loopback.

use super::super::Family;
use super::super::message::Said;
use super::*;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, rdata::A};
use std::net::{IpAddr, Ipv4Addr};
use tokio::net::UdpSocket;

const FOUND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What a played name server does with a question; the flag is whether it has EDNS.
type Play = fn(edns: bool) -> Option<ResponseCode>;

async fn play(play: Play) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut room = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut room).await.unwrap();
            let asked = Message::from_vec(&room[..length]).unwrap();
            let Some(code) = play(asked.edns.is_some()) else {
                continue;
            };
            let mut said = asked.clone().into_response();
            said.edns = None;
            said.metadata.response_code = code;
            said.metadata.recursion_available = true;
            if code == ResponseCode::NoError {
                let name = asked.queries[0].name().clone();
                said.add_answer(Record::from_rdata(
                    name,
                    60,
                    RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
                ));
            }
            socket.send_to(&said.to_vec().unwrap(), from).await.unwrap();
        }
    });
    (address, task)
}

fn servers(addresses: &[SocketAddr], change: impl FnOnce(&mut SystemOptions)) -> Servers {
    let mut system = SystemOptions {
        servers: addresses.to_vec(),
        assumed: false,
        ..SystemOptions::default()
    };
    change(&mut system);
    Servers::new(&system, Duration::from_secs(3))
}

async fn ask(servers: &Servers) -> Result<Said, ResolveError> {
    let question = Arc::new(Question::new("a_b.example", Family::V4).unwrap());
    servers.ask(&question).await.map(|answer| answer.said)
}

fn well() -> Result<Said, ResolveError> {
    Ok(Said::Addresses(vec![FOUND]))
}

#[tokio::test]
async fn a_server_that_does_not_understand_edns_is_asked_without_and_known_for_it() {
    let plays: [Play; 5] = [
        |edns| {
            Some(if edns {
                ResponseCode::FormErr
            } else {
                ResponseCode::NoError
            })
        },
        |edns| {
            Some(if edns {
                ResponseCode::NotImp
            } else {
                ResponseCode::NoError
            })
        },
        |edns| {
            Some(if edns {
                ResponseCode::ServFail
            } else {
                ResponseCode::NoError
            })
        },
        |edns| {
            Some(if edns {
                ResponseCode::Refused
            } else {
                ResponseCode::NoError
            })
        },
        |edns| (!edns).then_some(ResponseCode::NoError),
    ];
    for one in plays {
        let (address, _server) = play(one).await;
        for edns in [false, true] {
            let servers = servers(&[address], |system| system.edns = edns);
            assert_eq!(ask(&servers).await, well());
            assert_eq!(servers.list[0].plain.holds(), edns);
            assert_eq!(ask(&servers).await, well());
        }
    }
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_or_is_silent_or_is_not_there() {
    let plays: [Play; 3] = [
        |_| Some(ResponseCode::ServFail),
        |_| Some(ResponseCode::Refused),
        |_| None,
    ];
    let (good, _good) = play(|_| Some(ResponseCode::NoError)).await;
    for one in plays {
        let (bad, _bad) = play(one).await;
        assert_eq!(ask(&servers(&[bad, good], |_| {})).await, well());
    }
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let servers = servers(&[nobody, good], |_| {});
    assert_eq!(ask(&servers).await, well());
    assert_eq!(
        servers.order()[0].address,
        good,
        "the other one is asked last now"
    );
}

#[tokio::test]
async fn a_missing_name_is_an_answer_and_failures_are_told_apart() {
    let (missing, _missing) = play(|_| Some(ResponseCode::NXDomain)).await;
    let (good, _good) = play(|_| Some(ResponseCode::NoError)).await;
    assert_eq!(ask(&servers(&[missing, good], |_| {})).await, Ok(Said::NoName));
    let plays: [(Play, ResolveError); 3] = [
        (|_| Some(ResponseCode::ServFail), ResolveError::Failed),
        (|_| Some(ResponseCode::Refused), ResolveError::Refused),
        (|_| None, ResolveError::Timeout),
    ];
    for (one, error) in plays {
        let (bad, _bad) = play(one).await;
        let servers = servers(&[bad], |system| {
            system.attempts = 1;
            system.timeout = Some(Duration::from_millis(300));
        });
        assert_eq!(ask(&servers).await, Err(error));
    }
    let nobody = "127.0.0.1:1".parse().unwrap();
    assert_eq!(
        ask(&servers(&[nobody], |_| {})).await,
        Err(ResolveError::Unreachable)
    );
    assert_eq!(ask(&servers(&[], |_| {})).await, Err(ResolveError::NoServers));
    let assumed = servers(&[nobody], |system| system.assumed = true);
    assert_eq!(ask(&assumed).await, Err(ResolveError::NoServers));
}

#[tokio::test]
async fn a_question_that_was_lost_is_asked_again() {
    use std::sync::atomic::AtomicBool;
    static LOST: AtomicBool = AtomicBool::new(false);
    let (address, _server) =
        play(|_| LOST.swap(true, Ordering::SeqCst).then_some(ResponseCode::NoError)).await;
    assert_eq!(ask(&servers(&[address], |_| {})).await, well());
}

#[tokio::test]
async fn servers_take_turns_where_the_system_wants_it() {
    let addresses: Vec<SocketAddr> = (1..=3)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .collect();
    let first = |servers: &Servers| servers.order()[0].address;
    let turning = servers(&addresses, |system| system.rotate = true);
    assert_eq!(
        [(); 4].map(|()| first(&turning)),
        [addresses[0], addresses[1], addresses[2], addresses[0]]
    );
    let steady = servers(&addresses, |_| {});
    assert_eq!([(); 2].map(|()| first(&steady)), [addresses[0]; 2]);
}
