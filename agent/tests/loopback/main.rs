//! The agent's parts on real sockets: a proxy, a tunnel and the least server, all in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod certificates;
mod http;
mod server;
mod supervision;

use certificates::Certificates;
use fluidity_agent::config::{Flags, Settings};
use fluidity_agent::inbound::Inbound;
use fluidity_agent::metrics::Metrics;
use fluidity_agent::tunnel::{Dialer, Phase, State, Supervisor, Tunnel};
use fluidity_daemon::shutdown::Shutdown;
use server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Agent {
    proxy: SocketAddr,
    phase: watch::Receiver<Phase>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    served: JoinHandle<()>,
    closing: CancellationToken,
    supervised: JoinHandle<()>,
}

impl Agent {
    async fn start(certificates: &Certificates, server: SocketAddr, more: &str) -> Self {
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
        let (supervisor, phase) = Supervisor::new(
            dialer,
            config.connect.clone(),
            config.quic.keep_alive,
            closing.clone(),
        );
        let tunnel = Tunnel::new(phase.clone(), &config.connect, &config.limits, metrics.clone());
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

    async fn until(&mut self, what: &str, is: impl FnMut(&Phase) -> bool) -> Phase {
        let waited = timeout(DEADLINE, self.phase.wait_for(is)).await;
        waited
            .unwrap_or_else(|_| panic!("not in time: {what}"))
            .unwrap()
            .clone()
    }

    async fn connected(&mut self) -> Phase {
        self.until("connected", |phase| phase.state == State::Connected)
            .await
    }
}

/// Everything, connected.
struct Bench {
    agent: Agent,
    server: Server,
    certificates: Certificates,
    origin: TcpListener,
}

impl Bench {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
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
    async fn ask(&self, request: &str) -> Peer {
        let mut client = Peer(TcpStream::connect(self.agent.proxy).await.unwrap());
        client
            .say(request.replace("{}", &self.origin.local_addr().unwrap().to_string()))
            .await;
        client
    }

    async fn accept(&self) -> Peer {
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
struct Peer(TcpStream);

impl Peer {
    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    async fn raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(DEADLINE, self.0.read_exact(&mut bytes))
            .await
            .expect("in time")
            .unwrap();
        bytes
    }

    async fn bytes(&mut self, count: usize) -> String {
        String::from_utf8_lossy(&self.raw(count).await).into_owned()
    }

    /// Up to and with `end`, byte by byte.
    async fn through(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = self.bytes(1).await;
            text.push_str(&byte);
        }
        text
    }

    async fn head(&mut self) -> String {
        self.through("\r\n\r\n").await
    }

    /// Everything to the end; `Err` is a reset.
    async fn rest(&mut self) -> Result<String, std::io::ErrorKind> {
        let mut bytes = Vec::new();
        let read = timeout(DEADLINE, self.0.read_to_end(&mut bytes))
            .await
            .expect("an end in time");
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| error.kind())
    }

    fn reset(self) {
        fluidity_wire::relay::linger_zero(&self.0, true);
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
