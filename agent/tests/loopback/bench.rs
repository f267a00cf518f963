//! An agent, a server and an origin, connected, and sockets that tests read and write by hand.

use crate::certificates::Certificates;
use crate::server::Server;
use fluidity_agent::config::{Flags, Settings};
use fluidity_agent::inbound::Inbound;
use fluidity_agent::metrics::Metrics;
use fluidity_agent::tunnel::{Dialer, Phase, State, Supervisor, Tunnel};
use fluidity_daemon::shutdown::Shutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) struct Agent {
    pub(crate) proxy: SocketAddr,
    phase: watch::Receiver<Phase>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: JoinHandle<()>,
    pub(crate) closing: CancellationToken,
    pub(crate) supervised: JoinHandle<()>,
}

impl Agent {
    pub(crate) async fn start(certificates: &Certificates, server: SocketAddr, more: &str) -> Self {
        let file = certificates.path("agent.yaml");
        let text = format!(
            "server: {{ address: '{server}' }}\nidentity: {{ certificate: agent.pem, key: agent.key, ca: ca.pem }}\n\
             quic: {{ idle-timeout: 3s }}\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let config = Settings::load(Some(&file), Flags::default(), [])
            .unwrap()
            .config()
            .unwrap();
        let shutdown = Shutdown::default();
        let closing = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let dialer = Arc::new(Dialer::new(&config, &certificates.identity("agent")).unwrap());
        let (supervisor, watched) = Supervisor::new(&config, dialer, None, closing.clone());
        let phase = watched.phase.clone();
        let tunnel = Tunnel::new(watched, &config, metrics.clone());
        let inbound = Inbound::new(&config, tunnel, metrics.clone(), shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            proxy: listener.local_addr().unwrap(),
            phase: phase.clone(),
            metrics,
            shutdown,
            served: tokio::spawn(inbound.serve(listener, phase)),
            closing,
            supervised: tokio::spawn(supervisor.run()),
        }
    }

    pub(crate) async fn until(&mut self, what: &str, is: impl FnMut(&Phase) -> bool) -> Phase {
        let waited = timeout(DEADLINE, self.phase.wait_for(is)).await;
        waited
            .unwrap_or_else(|_| panic!("not in time: {what}"))
            .unwrap()
            .clone()
    }

    pub(crate) async fn connected(&mut self) -> Phase {
        self.until("connected", |phase| phase.state == State::Connected)
            .await
    }
}

/// Everything, connected.
pub(crate) struct Bench {
    pub(crate) agent: Agent,
    pub(crate) server: Server,
    pub(crate) certificates: Certificates,
    pub(crate) origin: TcpListener,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    pub(crate) async fn with(more: &str) -> Self {
        let certificates = Certificates::new();
        let server = Server::start(&certificates, "127.0.0.1:0".parse().unwrap());
        let mut agent = Agent::start(&certificates, server.address(), more).await;
        agent.connected().await;
        Self {
            agent,
            server,
            certificates,
            origin: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Sends a request with `{}` for the origin's address.
    pub(crate) async fn ask(&self, request: &str) -> Peer {
        let mut client = Peer(TcpStream::connect(self.agent.proxy).await.unwrap());
        client
            .say(request.replace("{}", &self.origin.local_addr().unwrap().to_string()))
            .await;
        client
    }

    pub(crate) async fn accept(&self) -> Peer {
        Peer(
            timeout(DEADLINE, self.origin.accept())
                .await
                .expect("dialled")
                .unwrap()
                .0,
        )
    }
}

/// A socket that tests read and write by hand.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    pub(crate) async fn raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(DEADLINE, self.0.read_exact(&mut bytes))
            .await
            .expect("in time")
            .unwrap();
        bytes
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> String {
        String::from_utf8_lossy(&self.raw(count).await).into_owned()
    }

    /// Up to and with `end`, byte by byte.
    pub(crate) async fn through(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = self.bytes(1).await;
            text.push_str(&byte);
        }
        text
    }

    pub(crate) async fn head(&mut self) -> String {
        self.through("\r\n\r\n").await
    }

    /// Everything to the end; `Err` is a reset.
    pub(crate) async fn rest(&mut self) -> Result<String, std::io::ErrorKind> {
        let mut bytes = Vec::new();
        let read = timeout(DEADLINE, self.0.read_to_end(&mut bytes))
            .await
            .expect("an end in time");
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| error.kind())
    }

    pub(crate) fn reset(self) {
        fluidity_wire::relay::linger_zero(&self.0, true);
    }
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
