//! An agent's and a server's end of one connection, with a link on each or bare.

use crate::certificates::Certificates;
use bytes::Bytes;
use fluidity_wire::quic::{QuicOptions, client_config, client_endpoint, server_config};
use fluidity_wire::{
    Budget, CloseCode, Hello, Incoming, Kind, Link, LinkEnd, LinkOptions, Open, SessionRecv, SessionSend,
    StreamCut, Target,
};
use quinn::{Connection, ConnectionError, Endpoint};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Both halves of a session at one end.
pub(crate) type Halves = (SessionSend, SessionRecv);

/// How a connection is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) max_sessions: u32,
    pub(crate) pool: u64,
    /// The server's window for each stream, where it is not the usual one.
    pub(crate) stream_window: Option<u32>,
    /// The server's window for the connection, where it is not the usual one.
    pub(crate) connection_window: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            pool: 64 * 1024 * 1024,
            stream_window: None,
            connection_window: None,
        }
    }
}

/// Two ends of one connection without links.
pub(crate) struct Bare {
    pub(crate) agent: Connection,
    pub(crate) server: Connection,
    setup: Setup,
    _endpoints: [Endpoint; 2],
}

impl Bare {
    pub(crate) async fn connect() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let certificates = Certificates::new();
        let options = |max_sessions| QuicOptions {
            idle_timeout: DEADLINE * 2,
            keep_alive: Some(Duration::from_secs(1)),
            max_sessions,
        };
        let mut config =
            server_config(&certificates.identity("server"), &options(setup.max_sessions)).unwrap();
        if setup.stream_window.is_some() || setup.connection_window.is_some() {
            let mut transport = quinn::TransportConfig::default();
            if let Some(window) = setup.stream_window {
                transport.stream_receive_window(window.into());
            }
            if let Some(window) = setup.connection_window {
                transport.receive_window(window.into());
            }
            config.transport_config(Arc::new(transport));
        }
        let listening = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let dialling = client_endpoint("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = client_config(&certificates.identity("agent"), &options(0)).unwrap();
        let address = listening.local_addr().unwrap();
        let connecting = dialling.connect_with(config, address, "fluidity-server").unwrap();
        let accepting = async { listening.accept().await.unwrap().await };
        let (agent, server) = within("a connection", async { tokio::join!(connecting, accepting) }).await;
        Self {
            agent: agent.unwrap(),
            server: server.unwrap(),
            setup,
            _endpoints: [dialling, listening],
        }
    }

    /// Puts a link on the agent's end; the server's is the test's own.
    pub(crate) fn agent(&self) -> End {
        End::start(&self.agent, "agent", &self.setup)
    }

    /// Puts a link on the server's end; the agent's is the test's own.
    pub(crate) fn server(&self) -> End {
        End::start(&self.server, "server", &self.setup)
    }
}

/// A link and the task that drives it.
pub(crate) struct End {
    pub(crate) link: Arc<Link>,
    pub(crate) driver: JoinHandle<LinkEnd>,
}

impl End {
    fn start(connection: &Connection, software: &str, setup: &Setup) -> Self {
        let hello = hello(software, setup.max_sessions);
        let options = LinkOptions {
            hello,
            max_sessions: setup.max_sessions,
        };
        let share = Budget::for_one_peer(setup.pool).share();
        let (link, driver) = Link::start(connection.clone(), options, share);
        Self {
            link,
            driver: tokio::spawn(driver),
        }
    }

    /// The next session that the agent asks for.
    pub(crate) async fn incoming(&self) -> Incoming {
        within("a session", self.link.accept()).await.unwrap()
    }

    /// Expects the link to have closed the connection because its peer broke the protocol; returns the reason.
    pub(crate) async fn blames_its_peer(self) -> String {
        match within("the end of the link", self.driver).await.unwrap() {
            LinkEnd::Protocol(reason) => reason,
            end @ LinkEnd::Connection(_) => panic!("{end:?}"),
        }
    }
}

/// Two links on one connection.
pub(crate) struct Pair {
    pub(crate) agent: End,
    pub(crate) server: End,
    _bare: Bare,
}

impl Pair {
    pub(crate) async fn connect() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let bare = Bare::with(setup).await;
        Self {
            agent: bare.agent(),
            server: bare.server(),
            _bare: bare,
        }
    }

    /// A session that the server accepted: the agent's halves and the server's.
    pub(crate) async fn session(&self) -> (Halves, Halves) {
        let opening = self.agent.link.open(open(), Bytes::new(), DEADLINE);
        let accepting = async {
            let mut incoming = self.server.incoming().await;
            incoming.read_open(DEADLINE).await.unwrap();
            incoming.accept().await.unwrap()
        };
        let (agent, server) = within("a session", async { tokio::join!(opening, accepting) }).await;
        (agent.unwrap(), server)
    }
}

pub(crate) fn hello(software: &str, max_sessions: u32) -> Hello {
    Hello {
        instance: 7,
        software: software.into(),
        max_sessions,
        uptime: Duration::ZERO,
    }
}

pub(crate) fn open() -> Open {
    Open::new(Kind::Connect, Target::parse("example.com:443").unwrap())
}

/// Writes all of it, which must not take long.
pub(crate) async fn write(send: &mut SessionSend, bytes: impl Into<Bytes>) {
    within("a write", send.write_chunk(bytes.into())).await.unwrap();
}

/// Reads to the end or the cut, and lets the peer go on meanwhile.
pub(crate) async fn read_all(recv: &mut SessionRecv) -> (Vec<u8>, Result<(), StreamCut>) {
    let mut bytes = Vec::new();
    let mut chunks = [const { Bytes::new() }; 8];
    loop {
        match within("bytes or an end", recv.read(&mut chunks)).await {
            Ok(Some(count)) => {
                for chunk in chunks.iter().take(count) {
                    bytes.extend_from_slice(chunk);
                    recv.delivered(chunk.len().try_into().unwrap());
                }
            }
            Ok(None) => return (bytes, Ok(())),
            Err(cut) => return (bytes, Err(cut)),
        }
    }
}

/// Reads exactly as many bytes.
pub(crate) async fn read_exact(recv: &mut quinn::RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    within("bytes", recv.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Expects nothing to be ready for a moment: what is not allowed would have come by then.
pub(crate) async fn stays_pending<F: Future>(what: &str, future: F) {
    if timeout(MOMENT, future).await.is_ok() {
        panic!("{what} should not have happened");
    }
}

/// Expects the connection to have been closed with this code; returns the reason.
pub(crate) async fn closed_with(connection: &Connection, code: CloseCode) -> String {
    match within("a close", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(CloseCode::from_number(close.error_code.into_inner()), Some(code));
            String::from_utf8(close.reason.to_vec()).unwrap()
        }
        error => panic!("{error:?}"),
    }
}

/// Different bytes wherever one looks, so that none can be lost or change places unseen.
pub(crate) fn pattern(length: usize) -> Bytes {
    let mut state = 1_u32;
    let byte = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    byte.take(length).collect()
}

pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let waited = timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Waits until a condition holds that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, wait).await;
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
const MOMENT: Duration = Duration::from_millis(100);
