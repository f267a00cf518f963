//! Both ends of a connection, sessions over it, and sockets at their ends.

use crate::certificates::Certificates;
use bytes::Bytes;
use fluidity_wire::quic::{QuicOptions, client_config, client_endpoint, server_endpoint};
use fluidity_wire::relay::{NoTap, RelayOptions, relay};
use fluidity_wire::{
    Budget, Hello, Kind, Link, LinkOptions, Open, ResetCode, SessionRecv, SessionSend, Target,
};
use quinn::{Connection, Endpoint};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

type Halves = (SessionSend, SessionRecv);

/// A tunnel's two ends.
pub(crate) struct Chain {
    agent: Arc<Link>,
    server: Arc<Link>,
    open: Open,
    _endpoints: [Endpoint; 2],
}

impl Chain {
    pub(crate) async fn connect() -> Self {
        let certificates = Certificates::new();
        let options = |max_sessions| QuicOptions {
            idle_timeout: DEADLINE,
            keep_alive: Some(Duration::from_secs(1)),
            max_sessions,
        };
        let here = "127.0.0.1:0".parse().expect("an address");
        let server =
            server_endpoint(here, &certificates.identity("server"), &options(SESSIONS)).expect("a server");
        let agent = client_endpoint(here).expect("a client");
        let config = client_config(&certificates.identity("agent"), &options(0)).expect("a configuration");
        let address = server.local_addr().expect("a bound socket");
        let connecting = agent
            .connect_with(config, address, "fluidity-server")
            .expect("a dial");
        let accepting = async { server.accept().await.expect("an agent").await };
        let (connected, accepted) = tokio::join!(connecting, accepting);
        Self {
            agent: start(connected.expect("connected")),
            server: start(accepted.expect("accepted")),
            open: Open::new(Kind::Connect, Target::parse("example.com:443").expect("a target")),
            _endpoints: [agent, server],
        }
    }

    async fn halves(&self) -> (Halves, Halves) {
        let opening = self.agent.open(self.open.clone(), Bytes::new(), DEADLINE);
        let accepting = async {
            let mut incoming = self.server.accept().await.expect("a session");
            incoming.read_open(DEADLINE).await.expect("an open");
            incoming.accept().await.expect("accepted")
        };
        let (agent, server) = tokio::join!(opening, accepting);
        (agent.expect("opened"), server)
    }

    /// Opens a session, passes a byte each way, and ends it.
    pub(crate) async fn session(&self) {
        let (agent, server) = self.halves().await;
        let ((mut request, mut answer), (mut reply, mut asked)) = (agent, server);
        request
            .write_chunk(Bytes::from_static(b"?"))
            .await
            .expect("written");
        request.finish();
        read_to_end(&mut asked).await;
        reply
            .write_chunk(Bytes::from_static(b"!"))
            .await
            .expect("written");
        reply.finish();
        read_to_end(&mut answer).await;
    }

    /// A session with a relay at each end.
    pub(crate) async fn relayed(&self) -> Ends {
        let (agent, server) = self.halves().await;
        let (client, accepted) = sockets().await;
        let (dialled, origin) = sockets().await;
        tokio::spawn(relay(accepted, Bytes::new(), agent, options()));
        tokio::spawn(relay(dialled, Bytes::new(), server, options()));
        Ends {
            client,
            origin,
            sent: vec![7; CHUNK],
            received: vec![0; CHUNK],
        }
    }
}

/// A client's socket and an origin's.
pub(crate) struct Ends {
    client: TcpStream,
    origin: TcpStream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Ends {
    /// From the origin to the client, all of it.
    pub(crate) async fn pass(&mut self, bytes: usize) {
        let Self {
            client,
            origin,
            sent,
            received,
        } = self;
        let sending = async {
            for _ in 0..bytes / CHUNK {
                origin.write_all(sent).await.expect("sent");
            }
        };
        let receiving = async {
            for _ in 0..bytes / CHUNK {
                client.read_exact(received).await.expect("received");
            }
        };
        tokio::join!(sending, receiving);
    }
}

fn start(connection: Connection) -> Arc<Link> {
    let options = LinkOptions {
        hello: Hello {
            instance: 7,
            software: "bench".into(),
            max_sessions: SESSIONS,
            uptime: Duration::ZERO,
        },
        max_sessions: SESSIONS,
    };
    let (link, driver) = Link::start(connection, options, Budget::for_one_peer(POOL).share());
    tokio::spawn(driver);
    link
}

fn options() -> RelayOptions<NoTap> {
    RelayOptions {
        idle_timeout: DEADLINE,
        cancel: CancellationToken::new(),
        counters: Arc::default(),
        tap: NoTap,
        reset: ResetCode::UpstreamReset,
        discard: 64 * 1024 * 1024,
    }
}

async fn read_to_end(recv: &mut SessionRecv) {
    let mut chunks = [const { Bytes::new() }; 8];
    while recv.read(&mut chunks).await.expect("no cut").is_some() {}
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let connecting = TcpStream::connect(listener.local_addr().expect("bound"));
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    (connected.expect("connected"), accepted.expect("accepted").0)
}

pub(crate) const MIB: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;
const POOL: u64 = 64 * 1024 * 1024;
const SESSIONS: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(600);
