//! The whole way: CA, server, agent, connected to each other.

use crate::agent::TestAgent;
use crate::origin::Origin;
use crate::peer::Peer;
use crate::pki::TestPki;
use crate::server::TestServer;
use crate::settings::Settings;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// What a test wants to be different from the defaults.
#[derive(Debug, Default)]
pub struct Setup {
    allow: Vec<Value>,
    agent: Vec<(String, Value)>,
    server: Vec<(String, Value)>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Nothing allowed but public addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens one address and port: loopback is closed by default.
    pub fn allow(mut self, origin: SocketAddr) -> Self {
        let bits = if origin.is_ipv4() { 32 } else { 128 };
        self.allow
            .push(json!({ "cidr": format!("{}/{bits}", origin.ip()), "ports": [origin.port()] }));
        self
    }

    /// Adds an allow rule.
    pub fn allow_rule(mut self, rule: Value) -> Self {
        self.allow.push(rule);
        self
    }

    /// Sets a key of `agent.yaml`.
    pub fn agent(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.agent.push((key.to_owned(), value.into()));
        self
    }

    /// Sets a key of `server.yaml`.
    pub fn server(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.server.push((key.to_owned(), value.into()));
        self
    }

    /// Adds to the environment of both.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// A lost daemon is noticed within three seconds.
    pub fn short_idle_timeout(self) -> Self {
        self.agent("quic.idle-timeout", "3s")
            .server("quic.idle-timeout", "3s")
    }

    /// Starts both daemons and waits until the agent is connected.
    pub async fn start(self) -> Stack {
        let pki = TestPki::new();
        let mut server_settings = TestServer::settings(&pki);
        if !self.allow.is_empty() {
            server_settings.set("policy.allow", self.allow);
        }
        for (key, value) in self.server {
            server_settings.set(&key, value);
        }
        let server = TestServer::start_with(&server_settings, &self.environment).await;
        let mut agent_settings = TestAgent::settings(&pki, server.quic());
        for (key, value) in self.agent {
            agent_settings.set(&key, value);
        }
        let agent = TestAgent::start_with(&agent_settings, &self.environment).await;
        agent.ready(Duration::from_secs(10)).await;
        // A server that is started again must come back where the agent looks for it.
        server_settings.set("listen", server.quic().to_string());
        Stack {
            agent,
            server,
            pki,
            agent_settings,
            server_settings,
        }
    }
}

/// A connected pair of daemons.
#[derive(Debug)]
pub struct Stack {
    /// The agent.
    pub agent: TestAgent,
    /// The server.
    pub server: TestServer,
    /// Their CA.
    pub pki: TestPki,
    /// What the agent was started with.
    pub agent_settings: Settings,
    /// What the server was started with, but on its port.
    pub server_settings: Settings,
}

impl Stack {
    /// With one origin allowed.
    pub async fn for_origin(origin: SocketAddr) -> Self {
        Setup::new().allow(origin).start().await
    }

    /// Where clients connect.
    pub fn proxy(&self) -> SocketAddr {
        self.agent.proxy()
    }

    /// A tunnel by CONNECT: the client's end and the origin's end.
    pub async fn tunnel(&self, origin: &Origin) -> (Peer, Peer) {
        let client = Peer::tunnel(self.proxy(), origin.addr()).await;
        (client, origin.accept().await)
    }

    /// A client connection to the proxy.
    pub async fn client(&self) -> Peer {
        Peer::dial(self.proxy()).await
    }

    /// A small request through the tunnel: status and body.
    pub async fn get(&self, origin: SocketAddr, path: &str) -> (u16, String) {
        get(self.proxy(), origin, path).await
    }
}

/// A request over a new client connection to a proxy: the status and the body.
pub async fn get(proxy: SocketAddr, origin: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Peer::dial(proxy).await;
    let request =
        format!("GET http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n");
    client.write(request).await;
    let (head, body) = client.read_response().await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}
