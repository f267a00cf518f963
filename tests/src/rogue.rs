//! A server with good papers and bad manners: built on the wire crate, in the hands of a test.

use crate::pki::{SERVER_NAME, TestPki};
use crate::wait::within;
use fluidity_wire::quic::{QuicOptions, server_endpoint};
use fluidity_wire::tls::Identity;
use fluidity_wire::{Budget, Hello, Link, LinkEnd, LinkOptions};
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where agents connect to a test.
#[derive(Debug)]
pub struct RogueServer(Endpoint);

impl RogueServer {
    /// Binds with the identity of the CA's server.
    pub fn bind(pki: &TestPki) -> Self {
        let file = |end: &str| pki.file(&format!("{SERVER_NAME}.{end}"));
        let identity = Identity::load(&file("pem"), &file("key"), &pki.file("ca.pem")).expect("an identity");
        let options = QuicOptions {
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            max_sessions: SESSIONS,
        };
        let bind = "127.0.0.1:0".parse().expect("an address");
        Self(server_endpoint(bind, &identity, &options).expect("a UDP socket"))
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// The next agent.
    pub async fn accept(&self) -> Connection {
        within(DEADLINE, "an agent connects", async {
            loop {
                let incoming = self.0.accept().await.expect("the endpoint is open");
                // An agent may have let go of an attempt.
                if let Ok(connection) = incoming.await {
                    return connection;
                }
            }
        })
        .await
    }

    /// The next agent, to which it says that it is `software`.
    pub async fn serve(&self, software: &str) -> (Arc<Link>, JoinHandle<LinkEnd>) {
        let options = LinkOptions {
            hello: Hello {
                instance: 7,
                software: software.into(),
                max_sessions: SESSIONS,
                uptime: Duration::ZERO,
            },
            max_sessions: SESSIONS,
        };
        let windows = Budget::for_one_peer(1 << 24);
        let (link, driver) = Link::start(self.accept().await, options, windows.share());
        (link, tokio::spawn(driver))
    }
}

const SESSIONS: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(30);
